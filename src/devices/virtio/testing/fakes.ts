import type { Log } from '#util/log.ts';
import type { Interrupt } from '../interrupt.ts';
import type { PciInterrupt } from '../transport/transport-interrupt.ts';
import type { Worker, WorkerHost } from '../worker.ts';

export const silentLog: Log = { error() {}, warn() {}, info() {}, debug() {}, trace() {} };

export class RecordedInterrupt implements Interrupt {
  readonly vectors: number[] = [];
  readonly resets: string[] = [];
  configChanges = 0;

  signalUsedQueue(vector: number): void {
    this.vectors.push(vector);
  }

  signalConfigChanged(): void {
    this.configChanges += 1;
  }

  signalNeedsReset(reason: string): void {
    this.resets.push(reason);
  }
}

export class RecordedPciInterrupt implements PciInterrupt {
  msixEnabled = false;
  line = false;
  readonly triggered: number[] = [];

  trigger(vector: number): void {
    this.triggered.push(vector);
  }

  setLine(asserted: boolean): void {
    this.line = asserted;
  }
}

/** Turns workers when a test says so. */
export class ManualWorkers implements WorkerHost {
  readonly workers = new Set<Worker>();

  add(worker: Worker): void {
    this.workers.add(worker);
  }

  remove(worker: Worker): void {
    this.workers.delete(worker);
  }

  turn(): void {
    for (const worker of this.workers) worker.turn(0);
  }
}

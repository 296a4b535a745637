/** A driver of serial port 1 that works by interrupts only: sleeps until its vector is pending, then empties the port. */
import { parentPort, workerData } from 'node:worker_threads';
import type { LocalApic } from '#hypervisor/software/local-apic.ts';
import { PENDING } from '#hypervisor/software/local-apic-inbox.ts';
import { createBoard, DONE, READY, type Shared } from './shared-board.ts';

const { shared, sizeBytes } = workerData as { shared: Shared; sizeBytes: number };
const { board, chip } = createBoard(shared);
const apic = chip.localApics[0] as LocalApic;
const VECTOR = 0x44;
const UART = 0x3f8;

const out = (port: number, value: number): void => board.writePort(port, Uint8Array.of(value));
const byte = new Uint8Array(1);
function input(port: number): number {
  board.readPort(port, byte);
  return byte[0] as number;
}
function write32(address: number, value: number): void {
  const data = new Uint8Array(4);
  new DataView(data.buffer).setUint32(0, value, true);
  board.writeMmio(address, data);
}

apic.write(0xf0, Uint8Array.of(0xff, 1, 0, 0));
write32(0xfec0_0000, 0x10 + 2 * 4);
write32(0xfec0_0010, VECTOR);
out(UART + 2, 0xc1);
out(UART + 4, 0x0b);
out(UART + 1, 0x01);
Atomics.store(shared.control, READY, 1);
Atomics.notify(shared.control, READY);

let received = 0;
let errors = 0;
let interrupts = 0;
while (received < sizeBytes) {
  if (!apic.waitPending(PENDING.INTERRUPT, 5000)) {
    errors++;
    break;
  }
  if (apic.acknowledge() !== VECTOR) continue;
  interrupts++;
  while ((input(UART + 2) & 1) === 0) {
    while ((input(UART + 5) & 1) !== 0) {
      if (input(UART) !== (received & 0xff)) errors++;
      received++;
    }
  }
  apic.write(0xb0, new Uint8Array(4));
}
Atomics.store(shared.control, DONE, 1);
parentPort?.postMessage({ errors, interrupts });

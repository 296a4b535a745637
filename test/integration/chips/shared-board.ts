/** A board whose state threads share, as the main thread and a vCPU's thread do. */
import { BOARD_STATE_WORDS, Board } from '#arch/x86_64/board.ts';
import { SoftwareIrqChip } from '#hypervisor/software/irq-chip.ts';
import { clockSince } from '#util/clock.ts';

export interface Shared {
  readonly chips: Int32Array;
  readonly board: Int32Array;
  /** READY, DONE, and a count of the announcements of room. */
  readonly control: Int32Array;
  readonly originNs: bigint;
}

export const READY = 0;
export const DONE = 1;
const SPACE = 2;

const words = (count: number): Int32Array => new Int32Array(new SharedArrayBuffer(count * 4));

export function createShared(): Shared {
  return {
    chips: words(SoftwareIrqChip.stateWords(1)),
    board: words(BOARD_STATE_WORDS),
    control: words(3),
    originNs: process.hrtime.bigint(),
  };
}

/** This thread's view. */
export function createBoard(shared: Shared): { board: Board; chip: SoftwareIrqChip } {
  const clock = clockSince(shared.originNs);
  const chip = new SoftwareIrqChip(shared.chips, { vcpuCount: 1, clock, tscToNs: (_vcpu, ticks) => ticks });
  const sink = { write: () => {} };
  const board = new Board({
    state: shared.board,
    irqChip: chip,
    clock,
    serialOutputs: [sink, sink, sink, sink],
    lowMemoryBytes: 2 ** 28,
    highMemoryBytes: 0,
    highMmio: { start: 2 ** 32, sizeBytes: 0 },
    events: {
      onPowerOff: () => {},
      onReset: () => {},
      onInputSpace: () => {
        Atomics.add(shared.control, SPACE, 1);
        Atomics.notify(shared.control, SPACE);
      },
    },
  });
  return { board, chip };
}

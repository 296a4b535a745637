/** An input device as the user describes it: plain data, and what can be wrong with it. */
import type { InputKind, TouchSize } from '#devices/virtio/input/input-table.ts';
import type { Mistake } from './config.ts';

export interface InputConfig {
  readonly kind: InputKind;
  /** The Unix stream socket that its events come from: somebody listens there. */
  readonly path: string;
  /** Of the kinds with a surface: the largest coordinates. */
  readonly size?: TouchSize;
}

/** As crosvm has it since 2020. */
export const DEFAULT_TOUCH_SIZE: TouchSize = { width: 1280, height: 1024 };
/** They, the disks, the networks and the others share one PCI bus. */
const INPUTS_MAX = 4;
/** An axis has signed 32-bit values in Linux. */
const SIZE_MAX = 2 ** 31 - 1;

export const hasSurface = (kind: InputKind): boolean => kind === 'single-touch' || kind === 'trackpad';

/** What is wrong besides the paths. */
export function inputMistakes(inputs: readonly InputConfig[]): Mistake[] {
  const option = '--input';
  const isGood = (value: number): boolean => Number.isInteger(value) && value >= 1 && value <= SIZE_MAX;
  const mistakes = inputs
    .flatMap(({ size }) => (size === undefined ? [] : [size.width, size.height]))
    .filter((value) => !isGood(value))
    .map((value) => ({ option, message: `${value} as width or height: must be 1 to ${SIZE_MAX}` }));
  if (inputs.length > INPUTS_MAX) mistakes.push({ option, message: `at most ${INPUTS_MAX} devices are possible` });
  return mistakes;
}

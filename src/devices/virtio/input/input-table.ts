/** What each kind of input device tells the guest of itself: names and events as in crosvm's defaults. */
import { assert } from '#util/assert.ts';
import { Axis, Button, EventType, Led, Property, Relative, Repeat } from './constants.ts';

export const INPUT_KINDS = ['keyboard', 'mouse', 'single-touch', 'trackpad'] as const;
export type InputKind = (typeof INPUT_KINDS)[number];

/** Of a device with a surface: the largest coordinates. */
export interface TouchSize {
  readonly width: number;
  readonly height: number;
}

/** What the configuration answers from. */
export interface InputTable {
  readonly name: string;
  readonly serial: string;
  /** Numbers of bits. */
  readonly properties: readonly number[];
  /** By type of event: the codes that the device sends, or takes. */
  readonly events: ReadonlyMap<number, readonly number[]>;
  /** By code of an absolute axis: its largest value; the smallest is 0. */
  readonly axes: ReadonlyMap<number, number>;
}

/** linux/input-event-codes.h: the keys of a PC's keyboard with 102 or 105 keys, and those for sound, power and pages. */
const KEY_RANGES: readonly (readonly [first: number, last: number])[] = [
  // ESC to KPDOT; 102ND, F11, F12; KPENTER, RIGHTCTRL, KPSLASH, SYSRQ, RIGHTALT; HOME to DELETE.
  ...([
    [1, 83],
    [86, 88],
    [96, 100],
    [102, 111],
  ] as const),
  // MUTE, VOLUMEDOWN, VOLUMEUP, POWER; PAUSE; LEFTMETA, RIGHTMETA, COMPOSE; MENU; BACK; HOMEPAGE; PRINT.
  ...([
    [113, 116],
    [119, 119],
    [125, 127],
    [139, 139],
    [158, 158],
    [172, 172],
    [210, 210],
  ] as const),
];

function keys(): number[] {
  return KEY_RANGES.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, index) => first + index));
}

/** `index` tells devices of a machine apart. `size` is there for the kinds with a surface. */
export function inputTable(kind: InputKind, index: number, size?: TouchSize): InputTable {
  const table = (
    name: string,
    serial: string,
    parts: Pick<InputTable, 'events'> & Partial<InputTable>,
  ): InputTable => ({
    name: `Crosvm Virtio ${name} ${index}`,
    serial: `virtio-${serial}-${index}`,
    properties: [],
    axes: new Map(),
    ...parts,
  });
  switch (kind) {
    case 'keyboard':
      return table('Keyboard', 'keyboard', {
        events: new Map<number, readonly number[]>([
          [EventType.KEY, keys()],
          [EventType.REP, [Repeat.DELAY, Repeat.PERIOD]],
          [EventType.LED, [Led.NUML, Led.CAPSL, Led.SCROLLL]],
        ]),
      });
    case 'mouse':
      return table('Mouse', 'mouse', {
        events: new Map<number, readonly number[]>([
          [EventType.KEY, [Button.LEFT, Button.RIGHT, Button.MIDDLE]],
          [EventType.REL, [Relative.X, Relative.Y, Relative.WHEEL]],
        ]),
      });
    case 'single-touch':
      return table('Touchscreen', 'touchscreen', {
        properties: [Property.DIRECT],
        ...surface([Button.TOUCH], size),
      });
    case 'trackpad':
      return table('Trackpad', 'trackpad', {
        properties: [Property.POINTER],
        ...surface([Button.TOOL_FINGER, Button.TOUCH, Button.LEFT, Button.RIGHT], size),
      });
  }
}

function surface(buttons: readonly number[], size: TouchSize | undefined): Pick<InputTable, 'events' | 'axes'> {
  assert(size !== undefined, 'the size of the surface');
  return {
    events: new Map<number, readonly number[]>([
      [EventType.KEY, buttons],
      [EventType.ABS, [Axis.X, Axis.Y]],
    ]),
    axes: new Map([
      [Axis.X, size.width],
      [Axis.Y, size.height],
    ]),
  };
}

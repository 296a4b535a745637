/** What only a console and an input device can be asked for: VIRTIO 1.1 §5.3 and §5.8. */
import { ControlEvent, ControlMessage, ControlQueue, receiveQueueOf } from '#devices/virtio/console/constants.ts';
import { InputEvent, InputQueue, InputSelect, QUEUE_SIZES } from '#devices/virtio/input/constants.ts';
import { BAR } from '#devices/virtio/transport/common-config.ts';
import { MiB } from '#util/bits.ts';
import { type Attack, FREE_RAM } from './attack.ts';
import type { HostileCase } from './case.ts';
import { hugeChains, send } from './request-cases.ts';
import { readable, SILENT_CONSOLE_PORT, writable } from './targets.ts';

const CONSOLE = ['console'];
const INPUT = ['input0'];
const { DEVICE_READY, PORT_ADD, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN } = ControlEvent;
const NO_PORT = 0xffff_ffff;
const MANY = 1000;
/** Each with a wait for the answer. */
const EXCHANGES = 500;
/** What the device may say at once. */
const MESSAGE_BYTES = 64;

/** Sends control messages, and waits now and then. */
function tell(
  attack: Attack,
  messages: Iterable<{ readonly id: number; readonly event: number; readonly value: number }>,
): void {
  const queue = attack.queues[ControlQueue.TRANSMIT];
  let count = 0;
  for (const message of messages) {
    queue?.add(readable(ControlMessage.encode(message)));
    attack.kick(ControlQueue.TRANSMIT);
    if (++count % 16 === 0) attack.settle();
    while (count % 16 === 0 && queue?.takeUsed() !== undefined);
  }
  attack.settle();
}

/** Buffers for what the device says. */
function listen(attack: Attack, count: number): void {
  for (let index = 0; index < count; index++) attack.queues[ControlQueue.RECEIVE]?.add(writable(MESSAGE_BYTES));
  attack.kick(ControlQueue.RECEIVE);
}

const ready = { id: NO_PORT, event: DEVICE_READY, value: 1 } as const;
const portReady = { id: SILENT_CONSOLE_PORT, event: PORT_READY, value: 1 } as const;
const opened = { id: SILENT_CONSOLE_PORT, event: PORT_OPEN, value: 1 } as const;
const saidOf = (attack: Attack): string => `${attack.queues[ControlQueue.RECEIVE]?.usedIndex} messages`;
const works = (attack: Attack): string => (attack.works() ? 'answered' : 'no more');

const CONTROL_CASES: readonly HostileCase[] = [
  {
    name: 'a control message of 3 bytes, and one in a buffer to be written',
    only: CONSOLE,
    run: (attack) => {
      attack.start();
      const queue = attack.queues[ControlQueue.TRANSMIT];
      for (const buffer of [readable(new Uint8Array(3)), writable(8)]) queue?.add(buffer);
      attack.kick(ControlQueue.TRANSMIT);
      return works(attack);
    },
  },
  {
    name: 'control messages for ports that are not there, of every kind and more',
    only: CONSOLE,
    run: (attack) => {
      attack.start();
      listen(attack, 16);
      tell(attack, [portReady, ready]);
      const before = saidOf(attack);
      for (const id of [2, 0x8000_0000, NO_PORT])
        tell(
          attack,
          Array.from({ length: 12 }, (_, event) => ({ id, event, value: event === DEVICE_READY ? 0 : 0xffff })),
        );
      return attack.works() && saidOf(attack) === before ? before : saidOf(attack);
    },
  },
  {
    name: 'control messages that only the device may send',
    only: CONSOLE,
    run: (attack) => {
      attack.start();
      listen(attack, 16);
      tell(attack, [ready, ...[PORT_ADD, CONSOLE_PORT, RESIZE].map((event) => ({ id: 0, event, value: 1 }))]);
      return attack.works() ? saidOf(attack) : 'no more';
    },
  },
  {
    name: `the device is ready ${MANY} times`,
    only: CONSOLE,
    run: (attack) => {
      attack.start();
      listen(attack, 32);
      tell(attack, Array(MANY).fill(ready));
      return attack.works() ? saidOf(attack) : 'no more';
    },
  },
  {
    name: 'a port is ready, open and closed again and again, and there are no buffers for what is said to it',
    only: CONSOLE,
    run: (attack) => {
      attack.start();
      tell(attack, [ready]);
      for (let round = 0; round < MANY / 4; round++)
        tell(attack, [portReady, opened, { ...opened, value: 0 }, { ...portReady, value: 0 }]);
      return works(attack);
    },
  },
  {
    name: 'a buffer of 4 bytes for a control message',
    only: CONSOLE,
    run: (attack) => {
      attack.start();
      attack.queues[ControlQueue.RECEIVE]?.add(writable(4));
      tell(attack, [ready]);
      return attack.outcome();
    },
  },
];

const PORT_IO_CASES: readonly HostileCase[] = [
  send(CONSOLE, 'output in a buffer to be written', writable(64)),
  {
    name: 'a queue full of output of 4 GiB',
    only: CONSOLE,
    run: (attack) => {
      const { size } = attack.queue;
      hugeChains(attack, { count: size, writes: false });
      return attack.queue.usedIndex < size ? 'in parts' : 'at once';
    },
  },
  {
    name: 'output of 4 MiB to somebody who does not read',
    only: CONSOLE,
    run: (attack) => {
      attack.start();
      const index = receiveQueueOf(SILENT_CONSOLE_PORT) + 1;
      const queue = attack.queues[index];
      queue?.writeDescriptor(0, { address: FREE_RAM, length: 4 * MiB });
      queue?.makeAvailable(0);
      attack.kick(index);
      attack.settle();
      return attack.works() && queue?.usedIndex === 0 ? 'kept' : 'taken';
    },
  },
  {
    name: 'buffers for input that are not to be written',
    only: CONSOLE,
    run: (attack) => {
      attack.start();
      const index = receiveQueueOf(SILENT_CONSOLE_PORT);
      for (let count = 0; count < 32; count++) attack.queues[index]?.add(readable(new Uint8Array(16)));
      tell(attack, [ready, portReady, opened]);
      attack.kick(index);
      attack.settle();
      return attack.works() ? `${attack.queues[index]?.usedIndex} of no bytes` : 'no more';
    },
  },
];

const INPUT_CASES: readonly HostileCase[] = [
  send(INPUT, 'a status event of 7 bytes', readable(new Uint8Array(InputEvent.size - 1))),
  send(INPUT, 'a status event in a buffer to be written', writable(InputEvent.size)),
  {
    name: 'a queue full of status events of 4 GiB',
    only: INPUT,
    run: (attack) => hugeChains(attack, { count: QUEUE_SIZES[InputQueue.STATUS], writes: false }),
  },
  {
    name: 'status events of ones without end to somebody who does not read',
    only: INPUT,
    run: (attack) => {
      attack.start();
      for (let round = 0; round < EXCHANGES; round++)
        attack.exchange([readable(new Uint8Array(64 * InputEvent.size).fill(0xff))]);
      return works(attack);
    },
  },
  {
    name: 'a buffer of 7 bytes for an event',
    only: INPUT,
    run: (attack) => {
      attack.start();
      for (let count = 0; count < 2; count++) attack.queues[InputQueue.EVENT]?.add(writable(InputEvent.size - 1));
      attack.kick(InputQueue.EVENT);
      return attack.outcome();
    },
  },
  {
    name: 'a configuration that does not exist is selected',
    only: INPUT,
    run: (attack) => {
      attack.start();
      const sizes = new Set<number>();
      for (let select = InputSelect.ABS_INFO + 1; select < 256; select++) {
        attack.driver.write(BAR.DEVICE.offset, 1, select);
        attack.driver.write(BAR.DEVICE.offset + 1, 1, 0xff);
        sizes.add(attack.driver.read(BAR.DEVICE.offset + 2, 1));
      }
      return attack.works() ? `size ${[...sizes].join(' ')}` : 'no more';
    },
  },
];

export const PORT_CASES: readonly HostileCase[] = [...CONTROL_CASES, ...PORT_IO_CASES, ...INPUT_CASES];

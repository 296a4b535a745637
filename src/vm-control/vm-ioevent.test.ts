import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Fd } from '#sys/fd.ts';
import { type IoeventPlace, ioeventHandlers } from './vm-ioevent.ts';

/** The descriptors are numbers alone. */
function create({ eventsMax = 2 } = {}) {
  const places = new Map<number, IoeventPlace>();
  const handlers = ioeventHandlers({
    bars: [
      { index: 0, sizeBytes: 0x8000 },
      { index: 2, sizeBytes: 0x1000 },
    ],
    taken: [{ bar: 0, offset: 0x3000 }],
    eventsMax,
    set: (event, place) => {
      places.set(event, place);
      return new Fd(1000 + event);
    },
    clear: (event) => void places.delete(event),
  });
  return { handlers, places };
}

describe('ioevents of a device', () => {
  test('are at its BARs, up to the last byte, and go again', () => {
    const { handlers, places } = create();
    const [first, second] = [
      { bar: 0, offset: 0x7fff },
      { bar: 2, offset: 0 },
    ].map(handlers.registerIoevent);
    assert.deepEqual([first?.id, first?.event.fd, second?.id, second?.event.fd], [0, 1000, 1, 1001]);
    assert.deepEqual(
      [...places],
      [
        [0, { bar: 0, offset: 0x7fff }],
        [1, { bar: 2, offset: 0 }],
      ],
    );
    handlers.unregisterIoevent({ id: 0 });
    assert.deepEqual([...places.keys()], [1]);
    assert.equal(handlers.registerIoevent({ bar: 0, offset: 4 }).id, 0);
  });

  for (const place of [
    { bar: 0, offset: 0x8000 },
    { bar: 2, offset: 0x1000 },
    { bar: 2, offset: 0xffff_ffff },
    { bar: 1, offset: 0 },
    { bar: 255, offset: 0 },
  ]) {
    test(`BAR ${place.bar}, offset ${place.offset}: what is not the device's is refused`, () => {
      const { handlers, places } = create();
      assert.throws(() => handlers.registerIoevent(place), { code: 'NOT_YOURS' });
      assert.equal(places.size, 0);
    });
  }

  test('a place has one: a queue’s, or the device’s', () => {
    const { handlers } = create();
    assert.throws(() => handlers.registerIoevent({ bar: 0, offset: 0x3000 }), { code: 'TAKEN' });
    handlers.registerIoevent({ bar: 0, offset: 8 });
    assert.throws(() => handlers.registerIoevent({ bar: 0, offset: 8 }), { code: 'TAKEN' });
  });

  test('are limited in number', () => {
    const { handlers } = create({ eventsMax: 1 });
    handlers.registerIoevent({ bar: 0, offset: 0 });
    assert.throws(() => handlers.registerIoevent({ bar: 0, offset: 4 }), { code: 'TOO_MANY' });
  });

  test('of another device, and those that are gone, cannot be unregistered', () => {
    const [mine, other] = [create(), create()];
    mine.handlers.registerIoevent({ bar: 0, offset: 0 });
    for (const id of [0, 1, 0xffff_ffff]) {
      assert.throws(() => other.handlers.unregisterIoevent({ id }), { code: 'NOT_YOURS' });
    }
    mine.handlers.unregisterIoevent({ id: 0 });
    assert.throws(() => mine.handlers.unregisterIoevent({ id: 0 }), { code: 'NOT_YOURS' });
  });
});

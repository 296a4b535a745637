import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { MsixConfig, type MsixLayout, msixCapability } from './msix.ts';
import { bytesOf, recordedInterrupts } from './testing.ts';

const ENABLE = 0x8000;
const FUNCTION_MASK = 0x4000;
const LAYOUT: MsixLayout = { vectorCount: 3, table: { bar: 4, offset: 0x100 }, pending: { bar: 4, offset: 0x200 } };

function create(layout = LAYOUT, vectorsMax?: number) {
  const log: string[] = [];
  const words = new Uint32Array(MsixConfig.stateWords(layout.vectorCount));
  const msix = new MsixConfig(words, layout, recordedInterrupts(log, vectorsMax));
  const write = (vector: number, field: number, value: number, sizeBytes = 4): boolean =>
    msix.writeBar(4, 0x100 + vector * 16 + field * 4, bytesOf(value, sizeBytes));
  const program = (vector: number, address = 0xfee0_0000, data = 0x40 + vector): void => {
    write(vector, 0, address, 8);
    write(vector, 2, data);
  };
  const mask = (vector: number, masked: boolean): void => void write(vector, 3, masked ? 1 : 0);
  const read = (offset: number, sizeBytes = 4): number => {
    const data = new Uint8Array(8);
    assert.ok(msix.readBar(4, offset, data.subarray(0, sizeBytes)));
    return Number(new DataView(data.buffer).getBigUint64(0, true));
  };
  /** What has happened since the last call. */
  const events = (): string[] => log.splice(0);
  return { msix, words, write, program, mask, read, events };
}

describe('the vector table', () => {
  test('has every vector masked at first', () => {
    const { read } = create();
    assert.deepEqual(
      [0x10c, 0x11c, 0x12c].map((offset) => read(offset)),
      [1, 1, 1],
    );
    assert.equal(read(0x100, 8), 0);
  });

  test('keeps address, data and mask; reserved bits read as 0', () => {
    const { write, read } = create();
    for (let field = 0; field < 4; field++) write(1, field, 0xffff_ffff);
    assert.deepEqual(
      [0x110, 0x114, 0x118, 0x11c].map((offset) => read(offset)),
      [0xffff_fffc, 0xffff_ffff, 0xffff_ffff, 1],
    );
    assert.equal(read(0x113, 1), 0xff);
    assert.equal(read(0x11e, 2), 0);
  });

  test('writes that are not aligned accesses of 4 or 8 bytes are lost', () => {
    const { msix, read } = create();
    for (const [offset, sizeBytes] of [
      [0x100, 1],
      [0x100, 2],
      [0x102, 4],
      [0x104, 8],
      [0x101, 8],
    ] as const) {
      assert.ok(msix.writeBar(4, offset, new Uint8Array(sizeBytes).fill(0xff)));
    }
    assert.deepEqual(
      [0x100, 0x108].map((offset) => read(offset, 8)),
      [0, 2 ** 32],
    );
  });

  test('what lies outside is not its business', () => {
    const { msix } = create();
    const data = Uint8Array.of(1, 2, 3, 4);
    for (const [bar, offset] of [
      [4, 0xff],
      [4, 0x130],
      [4, 0x208],
      [3, 0x100],
      [4, -1],
      [4, 2 ** 40],
    ] as const) {
      assert.equal(msix.readBar(bar, offset, data), false);
      assert.equal(msix.writeBar(bar, offset, data), false);
    }
    assert.deepEqual([...data], [1, 2, 3, 4]);
  });

  test('an access across its end reads zeros there and writes nothing beyond', () => {
    const { msix, read, words, write } = create();
    write(2, 3, 1);
    assert.equal(read(0x12c, 8), 1);
    const before = [...words];
    assert.ok(msix.writeBar(4, 0x12c, new Uint8Array(8).fill(0xff)));
    assert.deepEqual([...words], before);
  });
});

describe('a vector', () => {
  test('is allocated and routed when it is first unmasked, and sends', () => {
    const { msix, program, mask, events } = create();
    program(1, 0xfee0_1000, 0x55);
    msix.setControl(ENABLE);
    assert.deepEqual(events(), []);
    mask(1, false);
    msix.trigger(1);
    assert.deepEqual(events(), ['allocate 1', 'route 1 fee01000 55', 'trigger 1']);
  });

  test('is allocated once, however often MSI-X is enabled', () => {
    const { msix, program, mask, events } = create();
    program(0);
    mask(0, false);
    for (let i = 0; i < 5; i++) {
      msix.setControl(ENABLE);
      msix.setControl(0);
    }
    assert.deepEqual(events(), ['allocate 0', 'route 0 fee00000 40']);
  });

  test('is routed anew when its entry has changed, masked or not, and not when it has not', () => {
    const { msix, program, mask, events, write } = create();
    program(0);
    mask(0, false);
    msix.setControl(ENABLE);
    events();
    write(0, 2, 0x99);
    assert.deepEqual(events(), ['route 0 fee00000 99']);
    write(0, 2, 0x99);
    mask(0, true);
    mask(0, false);
    assert.deepEqual(events(), []);
    mask(0, true);
    program(0, 0xfee0_2000, 0x77);
    assert.deepEqual(events(), []);
    mask(0, false);
    assert.deepEqual(events(), ['route 0 fee02000 77']);
  });

  test('that is masked becomes pending and is sent once when it is unmasked', () => {
    const { msix, program, mask, events, read } = create();
    program(2);
    msix.setControl(ENABLE);
    msix.trigger(2);
    msix.trigger(2);
    assert.deepEqual(events(), []);
    assert.equal(read(0x200, 8), 4);
    mask(2, false);
    assert.deepEqual(events(), ['allocate 2', 'route 2 fee00000 42', 'trigger 2']);
    assert.equal(read(0x200, 8), 0);
  });

  test('waits for the function mask too', () => {
    const { msix, program, mask, events, read } = create();
    program(0);
    program(1);
    mask(0, false);
    mask(1, false);
    msix.setControl(ENABLE | FUNCTION_MASK);
    msix.trigger(1);
    msix.trigger(0);
    assert.deepEqual(events(), []);
    assert.equal(read(0x200, 8), 3);
    msix.setControl(ENABLE);
    assert.deepEqual(
      events().filter((event) => event.startsWith('trigger')),
      ['trigger 0', 'trigger 1'],
    );
  });

  test('that does not exist sends nothing, nor does any while MSI-X is off', () => {
    const { msix, mask, events } = create();
    mask(0, false);
    msix.trigger(0);
    msix.setControl(ENABLE);
    events();
    for (const vector of [3, 0xffff, -1, 0.5, Number.NaN]) msix.trigger(vector);
    assert.deepEqual(events(), []);
  });

  test('for which there is no room stays silent, and does not disturb others', () => {
    const { msix, mask, events } = create(LAYOUT, 1);
    mask(0, false);
    mask(1, false);
    msix.setControl(ENABLE);
    msix.trigger(1);
    msix.trigger(0);
    assert.deepEqual(events(), ['allocate 0', 'route 0 0 0', 'trigger 0']);
  });

  test('is not pending after a reset, and its table is as at first', () => {
    const { msix, program, mask, read, events } = create();
    program(0);
    msix.setControl(ENABLE);
    msix.trigger(0);
    msix.reset();
    assert.equal(msix.enabled, false);
    assert.deepEqual([read(0x200, 8), read(0x100, 8), read(0x10c)], [0, 0, 1]);
    msix.setControl(ENABLE);
    mask(0, false);
    assert.deepEqual(events(), ['allocate 0', 'route 0 0 0']);
  });
});

test('the pending bits cannot be written', () => {
  const { msix, read } = create();
  assert.ok(msix.writeBar(4, 0x200, new Uint8Array(8).fill(0xff)));
  assert.equal(read(0x200, 8), 0);
});

test('an object over the words of another goes on where that was', () => {
  const { msix, words, program, mask } = create();
  program(0);
  mask(0, false);
  msix.setControl(ENABLE);
  const log: string[] = [];
  new MsixConfig(words, LAYOUT, recordedInterrupts(log)).trigger(0);
  assert.deepEqual(log, ['trigger 0']);
});

test('the capability names count, table and pending bits, and overlaps are refused', () => {
  const { id, body, writable } = msixCapability({
    vectorCount: 2048,
    table: { bar: 1, offset: 0x8000 },
    pending: { bar: 5, offset: 0x48 },
  });
  assert.equal(id, 0x11);
  assert.equal(Buffer.from(body).toString('hex'), 'ff07' + '01800000' + '4d000000');
  assert.deepEqual([...(writable ?? [])], [0, 0xc0]);
  const bad: MsixLayout[] = [
    { ...LAYOUT, vectorCount: 0 },
    { ...LAYOUT, vectorCount: 2049 },
    { ...LAYOUT, table: { bar: 4, offset: 4 } },
    { ...LAYOUT, pending: { bar: 4, offset: 0x128 } },
    { ...LAYOUT, pending: { bar: 4, offset: 0xf8 }, vectorCount: 65 },
  ];
  for (const layout of bad) assert.throws(() => msixCapability(layout), { name: 'AssertionError' });
});

test('no sequence of accesses loses an interrupt, sends one of a masked vector, or allocates one twice', () => {
  const action = fc.oneof(
    fc.record({ kind: fc.constant('mask' as const), vector: fc.nat(2), masked: fc.boolean() }),
    fc.record({ kind: fc.constant('control' as const), control: fc.nat(0xffff) }),
    fc.record({ kind: fc.constant('trigger' as const), vector: fc.nat(4) }),
    fc.record({ kind: fc.constant('data' as const), vector: fc.nat(2), data: fc.nat(3) }),
  );
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const { msix, mask, write, read, events } = create();
      const masked = [true, true, true];
      const waiting = new Set<number>();
      const allocated = new Set<string>();
      let control = 0;
      for (const step of actions) {
        const isSending = (): boolean => (control & (ENABLE | FUNCTION_MASK)) === ENABLE;
        let expected: number[] = [];
        if (step.kind === 'mask') {
          mask(step.vector, step.masked);
          masked[step.vector] = step.masked;
        } else if (step.kind === 'control') {
          msix.setControl(step.control);
          control = step.control;
        } else if (step.kind === 'data') write(step.vector, 2, step.data);
        else {
          msix.trigger(step.vector);
          if ((control & ENABLE) !== 0 && step.vector < 3) waiting.add(step.vector);
        }
        if (isSending()) expected = [...waiting].filter((vector) => !masked[vector]).sort();
        for (const vector of expected) waiting.delete(vector);
        const seen = events();
        assert.deepEqual(
          seen.filter((event) => event.startsWith('trigger')),
          expected.map((vector) => `trigger ${vector}`),
        );
        for (const event of seen.filter((text) => text.startsWith('allocate'))) {
          assert.ok(!allocated.has(event));
          allocated.add(event);
        }
        assert.equal(
          read(0x200, 8),
          [...waiting].reduce((bits, vector) => bits | (1 << vector), 0),
        );
      }
    }),
  );
});

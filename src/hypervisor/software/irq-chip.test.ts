import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SoftwareIrqChip } from './irq-chip.ts';
import type { LocalApic } from './local-apic.ts';
import { PENDING } from './local-apic-inbox.ts';
import { ManualClock, write32, writeByte } from './testing.ts';

function createChip(vcpuCount = 1) {
  const clock = new ManualClock();
  const state = new Int32Array(new SharedArrayBuffer(SoftwareIrqChip.stateWords(vcpuCount) * 4));
  const ended: number[] = [];
  const onEnd = (gsi: number): void => void ended.push(gsi);
  const options = { vcpuCount, clock, tscToNs: (_vcpu: number, ticks: number) => ticks, onEnd };
  const chip = new SoftwareIrqChip(state, options);
  const part = (name: Parameters<typeof chip.parts.get>[0]) =>
    chip.parts.get(name) as NonNullable<ReturnType<typeof chip.parts.get>>;
  const apic = (index = 0): LocalApic => chip.localApics[index] as LocalApic;
  for (let i = 0; i < vcpuCount; i++) write32(apic(i), 0xf0, 0x1ff);
  const program = (pin: number, low: number, destination = 0): void => {
    write32(part('io-apic'), 0, 0x11 + 2 * pin);
    write32(part('io-apic'), 0x10, destination << 24);
    write32(part('io-apic'), 0, 0x10 + 2 * pin);
    write32(part('io-apic'), 0x10, low);
  };
  return { chip, clock, state, options, ended, part, apic, program };
}

const LEVEL = 1 << 15;

describe('the interrupt chips together', () => {
  test('a line reaches the local APIC through the I/O APIC', () => {
    const { chip, apic, program } = createChip();
    program(4, 0x44);
    chip.line(4).set(true);
    assert.equal(apic().acknowledge(), 0x44);
  });

  test('a level is asked for again after its EOI, as long as any source asserts it', () => {
    const { chip, apic, program } = createChip();
    program(10, 0x50 | LEVEL);
    const [one, other] = [chip.line(10, 0), chip.line(10, 1)];
    one.set(true);
    other.set(true);
    assert.equal(apic().acknowledge(), 0x50);
    one.set(false);
    write32(apic(), 0xb0, 0);
    assert.equal(apic().acknowledge(), 0x50);
    other.set(false);
    write32(apic(), 0xb0, 0);
    assert.equal(apic().acknowledge(), -1);
  });

  test('what is asserted until its end is let go by the EOI register of the I/O APIC too, and by no other vector', () => {
    const { chip, ended, apic, program, part } = createChip();
    program(17, 0x51 | LEVEL);
    program(18, 0x52 | LEVEL);
    chip.assertUntilEnd(17);
    chip.assertUntilEnd(17);
    assert.equal(apic().acknowledge(), 0x51);
    write32(part('io-apic'), 0x40, 0x52);
    assert.deepEqual(ended.splice(0), []);
    write32(part('io-apic'), 0x40, 0x51);
    assert.deepEqual(ended.splice(0), [17]);
    write32(apic(), 0xb0, 0);
    assert.deepEqual([apic().acknowledge(), ended], [-1, []]);
  });

  for (const { how, icw4, eoi } of [
    { how: 'a command', icw4: 1, eoi: 0x20 },
    { how: 'the acknowledgement, where that is automatic', icw4: 3, eoi: undefined },
  ]) {
    test(`the end of service at the PICs, by ${how}, lets go what is asserted until its end`, () => {
      const { chip, ended, part } = createChip();
      for (const name of ['pic-master', 'pic-slave'] as const) {
        [0x11, name === 'pic-master' ? 0x20 : 0x28, name === 'pic-master' ? 4 : 2, icw4].forEach((word, index) => {
          writeByte(part(name), index === 0 ? 0 : 1, word);
        });
      }
      writeByte(part('pic-edge-level-control'), 1, 1 << (11 - 8));
      chip.assertUntilEnd(11);
      assert.equal(chip.acknowledgePic(), 0x28 + 3);
      if (eoi !== undefined) {
        assert.deepEqual(ended, []);
        for (const name of ['pic-slave', 'pic-master'] as const) writeByte(part(name), 0, eoi);
      }
      assert.deepEqual(ended, [11]);
      chip.assertUntilEnd(11);
      assert.equal(chip.acknowledgePic(), 0x28 + 3);
    });
  }

  test('a level that comes while the local APIC is disabled, or is for nobody, is not lost', () => {
    const { chip, apic, program } = createChip();
    write32(apic(), 0xf0, 0xff);
    program(10, 0x50 | LEVEL);
    chip.line(10).set(true);
    assert.equal(apic().acknowledge(), -1);
    write32(apic(), 0xf0, 0x1ff);
    assert.equal(apic().acknowledge(), 0x50);
    program(11, 0x60 | LEVEL, 7);
    chip.line(11).set(true);
    program(11, 0x60 | LEVEL, 0);
    assert.equal(apic().acknowledge(), 0x60);
  });

  test('the PICs reach the processor through LINT0 as ExtINT', () => {
    const { chip, apic, part } = createChip();
    write32(apic(), 0x350, 0x700);
    for (const [port, value] of [
      [0, 0x11],
      [1, 0x20],
      [1, 4],
      [1, 1],
      [1, 0],
    ] as const) {
      writeByte(part('pic-master'), port, value);
    }
    chip.line(4).set(true);
    assert.equal(apic().pending() & PENDING.INTERRUPT, PENDING.INTERRUPT);
    assert.equal(apic().acknowledge(), 0x24);
  });

  test('the PIT drives interrupt 0 at its deadline', () => {
    const { chip, clock, apic, part, program } = createChip();
    program(0, 0x30);
    writeByte(part('pit'), 3, 0x34);
    writeByte(part('pit'), 0, 0xe8);
    writeByte(part('pit'), 0, 0x03);
    const deadlineNs = chip.nextDeadlineNs();
    assert.ok(deadlineNs > 0 && deadlineNs < 2e6);
    clock.timeNs = Math.ceil(deadlineNs);
    chip.advance(clock.nowNs());
    assert.equal(apic().acknowledge(), 0x30);
  });

  test('a message-signalled interrupt is delivered, a write elsewhere is not', () => {
    const { chip, apic } = createChip(2);
    chip.send(0xfee0_1000, 0x61);
    assert.deepEqual([apic(0).acknowledge(), apic(1).acknowledge()], [-1, 0x61]);
    for (const elsewhere of [0xfed0_0000, 0x1_fee0_0000, 2 ** 53 - 2 ** 32 + 0xfee0_0000]) chip.send(elsewhere, 0x61);
    assert.equal(apic(0).acknowledge(), -1);
  });

  test('an IPI by shorthand reaches all but the sender', () => {
    const { apic } = createChip(3);
    write32(apic(1), 0x300, 0xc_4070);
    assert.deepEqual(
      [0, 1, 2].map((i) => apic(i).acknowledge()),
      [0x70, -1, 0x70],
    );
  });

  test('lowest priority takes turns among equals and spares the busy', () => {
    const { chip, apic } = createChip(2);
    const taken = [0, 0];
    for (let i = 0; i < 4; i++) {
      chip.send(0xfeef_f000, 0x161);
      for (const index of [0, 1]) {
        if (apic(index).acknowledge() < 0) continue;
        taken[index] = (taken[index] ?? 0) + 1;
        write32(apic(index), 0xb0, 0);
      }
    }
    assert.deepEqual(taken, [2, 2]);
    write32(apic(0), 0x80, 0x90);
    chip.send(0xfeef_f000, 0x1a1);
    assert.equal(apic(1).acknowledge(), 0xa1);
  });

  test('INIT and start-up wake a processor at a page, which the boot processor ignores', () => {
    const { apic } = createChip(2);
    assert.equal(apic(1).isWaitingForStartup(), true);
    write32(apic(0), 0x310, 1 << 24);
    write32(apic(0), 0x300, 0x4500);
    assert.equal(apic(1).takeInit(), true);
    write32(apic(0), 0x300, 0x4609);
    assert.equal(apic(1).takeStartup(), 9);
    assert.equal(apic(1).isWaitingForStartup(), false);
    write32(apic(0), 0x300, 0x460a);
    assert.equal(apic(1).takeStartup(), -1);
    assert.equal(apic(0).takeStartup(), -1);
  });

  test('an object over the same state is the same chips', () => {
    const { chip, state, options, program } = createChip();
    program(4, 0x44);
    const other = new SoftwareIrqChip(state, options);
    other.line(4).set(true);
    assert.equal((chip.localApics[0] as LocalApic).acknowledge(), 0x44);
  });
});

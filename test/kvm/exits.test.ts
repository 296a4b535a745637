import assert from 'node:assert/strict';
import { test } from 'node:test';
import { longMode, NO_RAM, protectedMode, realMode, SmallVm, skip, writePageTables } from './small-vm.ts';

/** mov al, 0 and out 0xf4, al: the end of a test's code; then it goes round. */
const END = [0xb0, 0x00, 0xe6, 0xf4, 0xeb, 0xfe];
const ENDED = 'out f4 00';

test('port output of 1, 2 and 4 bytes reaches the bus with its value', { skip }, () => {
  // mov eax, 0x12345678; out 0x10, al; out 0x10, ax; out 0x10, eax; mov dx, 0x1234; out dx, al
  const code = [0x66, 0xb8, 0x78, 0x56, 0x34, 0x12, 0xe6, 0x10, 0xe7, 0x10, 0x66, 0xe7, 0x10, 0xba, 0x34, 0x12, 0xee];
  using vm = new SmallVm([...code, ...END]);
  vm.runTo(ENDED);
  assert.deepEqual(vm.bus.accesses, ['out 10 78', 'out 10 5678', 'out 10 12345678', 'out 1234 78', ENDED]);
});

test('port input of 1, 2 and 4 bytes gives the guest what the bus answers', { skip }, () => {
  // in eax, 0x10; out 0x11, eax; xor eax, eax; in ax, 0x10; out 0x11, eax; in al, 0x12; out 0x11, eax
  const code = [0x66, 0xe5, 0x10, 0x66, 0xe7, 0x11, 0x66, 0x31, 0xc0, 0xe5, 0x10, 0x66, 0xe7, 0x11, 0xe4, 0x12];
  using vm = new SmallVm([...code, 0x66, 0xe7, 0x11, ...END]);
  vm.bus.answer = 0x8765_4321;
  vm.runTo(ENDED);
  const seen = vm.bus.accesses.filter((access) => access !== ENDED);
  assert.deepEqual(seen, ['in 10 4', 'out 11 87654321', 'in 10 2', 'out 11 00004321', 'in 12 1', 'out 11 00004321']);
});

test('string output and input of several elements is as many accesses of the bus', { skip }, () => {
  // mov si, 0x3000; mov cx, 3; mov dx, 0x320; rep outsw; mov di, 0x3100; mov cx, 5; rep insb
  const code = [0xbe, 0x00, 0x30, 0xb9, 0x03, 0x00, 0xba, 0x20, 0x03, 0xf3, 0x6f];
  using vm = new SmallVm([...code, 0xbf, 0x00, 0x31, 0xb9, 0x05, 0x00, 0xf3, 0x6c, ...END]);
  vm.memory.writeBytes(0x3000, Uint8Array.of(1, 2, 3, 4, 5, 6));
  vm.bus.answer = 0x5a;
  vm.runTo(ENDED);
  const inputs = Array.from({ length: 5 }, () => 'in 320 1');
  assert.deepEqual(vm.bus.accesses, ['out 320 0201', 'out 320 0403', 'out 320 0605', ...inputs, ENDED]);
  const target = new Uint8Array(6);
  vm.memory.readBytes(0x3100, target);
  assert.deepEqual([...target], [0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0]);
});

test('memory accesses outside of RAM reach the bus, in protected mode', { skip }, () => {
  // mov dword [NO_RAM], 0x11223344; mov word [NO_RAM + 4], 0x5566; mov byte [NO_RAM + 8], 0x77; mov eax, [NO_RAM]; out 0x10, eax
  const code = [
    [0xc7, 0x05, 0x00, 0x00, 0x20, 0x00, 0x44, 0x33, 0x22, 0x11],
    [0x66, 0xc7, 0x05, 0x04, 0x00, 0x20, 0x00, 0x66, 0x55],
    [0xc6, 0x05, 0x08, 0x00, 0x20, 0x00, 0x77],
    [0xa1, 0x00, 0x00, 0x20, 0x00, 0xe7, 0x10],
  ].flat();
  using vm = new SmallVm([...code, ...END], protectedMode());
  vm.bus.answer = 0x0bad_cafe;
  vm.runTo(ENDED);
  assert.deepEqual(vm.bus.accesses, [
    'write 200000 11223344',
    'write 200004 5566',
    'write 200008 77',
    'read 200000 4',
    'out 10 0badcafe',
    ENDED,
  ]);
});

test('a memory access of 8 bytes is one access of the bus, in 64-bit mode', { skip }, () => {
  // mov rax, 0x1122334455667788; mov [rbx], rax; mov rcx, [rbx]
  const code = [0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x48, 0x89, 0x03, 0x48, 0x8b, 0x0b];
  using vm = new SmallVm([...code, ...END], longMode({ rbx: BigInt(NO_RAM) }));
  writePageTables(vm.memory);
  vm.runTo(ENDED);
  assert.deepEqual(vm.bus.accesses, ['write 200000 1122334455667788', 'read 200000 8', ENDED]);
});

test('a memory access over the end of RAM is split, and the odd part reaches the bus byte by byte', { skip }, () => {
  // mov dword [0xfffff], 0x11223344: one byte is RAM
  using vm = new SmallVm([0xc7, 0x05, 0xff, 0xff, 0x0f, 0x00, 0x44, 0x33, 0x22, 0x11, ...END], protectedMode());
  vm.runTo(ENDED);
  assert.deepEqual(vm.bus.accesses, ['write 100000 33', 'write 100001 22', 'write 100002 11', ENDED]);
  assert.equal(vm.memory.readU8(0xf_ffff), 0x44);
});

test('a triple fault is a shutdown', { skip }, () => {
  // lidt [0x2000], where the limit is 0; int3
  using vm = new SmallVm([0x0f, 0x01, 0x1e, 0x00, 0x20, 0xcc]);
  assert.deepEqual(vm.vcpu.run(), { reason: 'shutdown', detail: 'triple fault' });
});

test('code where there is no memory is an internal error, with registers', { skip }, () => {
  // mov eax, NO_RAM; jmp eax
  using vm = new SmallVm([0xb8, 0x00, 0x00, 0x20, 0x00, 0xff, 0xe0], protectedMode());
  const exit = vm.vcpu.run();
  assert.equal(exit.reason, 'internal-error');
  assert.match(exit.detail, /^vCPU 0: KVM gives up: EMULATION/);
  assert.match(exit.detail, /rip 0000000000200000/);
  assert.match(exit.detail, /no RAM at guest-physical 200000/);
});

test('what devices hold back is flushed soon after an access, and a guest that asks nothing is not interrupted', {
  skip,
}, () => {
  // out 0x10, al; then 0x4000000 turns of a loop, some ten milliseconds
  const code = [0xe6, 0x10, 0x66, 0xb9, 0x00, 0x00, 0x00, 0x04, 0x67, 0xe2, 0xfd, ...END];
  using vm = new SmallVm(code, realMode());
  vm.runTo(ENDED);
  assert.equal(vm.bus.flushes, 1);
  assert.equal(vm.vcpu.statistics()['portExits'], 2);
});

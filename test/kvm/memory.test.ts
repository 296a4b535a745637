import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KvmVmFd } from '#hypervisor/kvm/kvm-vm-fd.ts';
import type { VmDescription } from '#hypervisor/vm.ts';
import { SharedMemory } from '#memory/shared-memory.ts';
import { EventFd } from '#poll/event-fd.ts';
import { NO_RAM, protectedMode, RAM_BYTES, SmallVm, skip } from './small-vm.ts';

/** mov al, 0; out 0xf4, al; then it goes round. */
const END = [0xb0, 0x00, 0xe6, 0xf4, 0xeb, 0xfe];
const ENDED = 'out f4 00';
const PAGE = 4096;

/** mov eax, [NO_RAM]; out 0x10, eax; mov dword [NO_RAM], 0x55; jmp $, out 0xf4 before it */
const READ_THEN_WRITE = [
  [0xa1, 0x00, 0x00, 0x20, 0x00, 0xe7, 0x10],
  [0xc7, 0x05, 0x00, 0x00, 0x20, 0x00, 0x55, 0x00, 0x00, 0x00, 0xb0, 0x00, 0xe6, 0xf4],
  // jmp to the beginning
  [0xeb, 0xe9],
].flat();

const rawVm = (vm: SmallVm): KvmVmFd =>
  new KvmVmFd({ fd: (vm.vm.describe() as VmDescription & { vmFd: number }).vmFd });

test('a region of memory comes and goes while the guest runs', { skip }, () => {
  using file = SharedMemory.create('region', PAGE);
  using vm = new SmallVm(READ_THEN_WRITE, protectedMode());
  vm.bus.answer = 0x77;
  vm.runTo(ENDED);
  assert.deepEqual(vm.bus.accesses.splice(0), ['read 200000 4', 'out 10 00000077', 'write 200000 00000055', ENDED]);
  const region = { guestAddress: NO_RAM, sizeBytes: PAGE, fd: file.fd, fileOffset: 0, readOnly: false };
  const slot = vm.vm.addMemoryRegion(region);
  vm.runTo(ENDED);
  assert.deepEqual(vm.bus.accesses.splice(0), ['out 10 00000000', ENDED]);
  vm.runTo(ENDED);
  assert.deepEqual(vm.bus.accesses.splice(0), ['out 10 00000055', ENDED], 'what the guest wrote is there');
  vm.vm.removeMemoryRegion(slot);
  vm.runTo(ENDED);
  assert.equal(vm.bus.accesses[0], 'read 200000 4');
});

test('writes to a read-only region reach the bus and not the file', { skip }, () => {
  using file = SharedMemory.create('region', PAGE);
  using vm = new SmallVm(READ_THEN_WRITE, protectedMode());
  vm.vm.addMemoryRegion({ guestAddress: NO_RAM, sizeBytes: PAGE, fd: file.fd, fileOffset: 0, readOnly: true });
  vm.runTo(ENDED);
  assert.deepEqual(vm.bus.accesses.splice(0), ['out 10 00000000', 'write 200000 00000055', ENDED]);
  vm.runTo(ENDED);
  assert.deepEqual(vm.bus.accesses.splice(0), ['out 10 00000000', 'write 200000 00000055', ENDED]);
});

test('the log of dirty pages has a bit for each page that was written, and begins anew', { skip }, () => {
  // mov byte [0x3000], 1; mov byte [0x4fff], 1; out 0xf4, al; again
  const writes = [0xc6, 0x05, 0x00, 0x30, 0x00, 0x00, 0x01, 0xc6, 0x05, 0xff, 0x4f, 0x00, 0x00, 0x01];
  using vm = new SmallVm([...writes, ...END], protectedMode());
  const raw = rawVm(vm);
  const ram = { slot: 0, guestAddress: 0, sizeBytes: RAM_BYTES, hostAddress: vm.memory.hostAddress(0, RAM_BYTES) };
  raw.setMemory({ ...ram, logsDirtyPages: true });
  vm.runTo(ENDED);
  const log = raw.dirtyLog(0, RAM_BYTES);
  assert.equal(log.length, RAM_BYTES / PAGE / 8);
  // Page 1, of the code, may count as written: KVM maps it for writing.
  assert.equal((log[0] as number) & 0b111100, 0b011000, 'pages 3 and 4, not 2 and 5');
  assert.ok(raw.dirtyLog(0, RAM_BYTES).every((byte) => byte === 0));
});

test('writes to a watched place signal the eventfd, and no exit comes of them', { skip }, () => {
  // out 0x80, al; out 0x80, ax; mov dword [NO_RAM], eax; mov word [NO_RAM], ax
  const writes = [0xe6, 0x80, 0x66, 0xe7, 0x80, 0xa3, 0x00, 0x00, 0x20, 0x00, 0x66, 0xa3, 0x00, 0x00, 0x20, 0x00];
  using vm = new SmallVm([...writes, ...END], protectedMode());
  const watcher = vm.vm.ioeventWatcher;
  assert.ok(watcher !== undefined, 'ioeventfds of any length');
  using port = EventFd.create();
  using memory = EventFd.create();
  assert.ok(watcher.watch({ space: 'io', address: 0x80 }, port));
  assert.ok(watcher.watch({ space: 'memory', address: NO_RAM }, memory));
  assert.equal(watcher.watch({ space: 'memory', address: NO_RAM }, port), false, 'the place is taken');
  vm.runTo(ENDED);
  assert.deepEqual(vm.bus.accesses, [ENDED]);
  assert.equal(port.read(), 2n);
  assert.equal(memory.read(), 2n);
  watcher.unwatch({ space: 'memory', address: NO_RAM }, memory);
  watcher.unwatch({ space: 'memory', address: NO_RAM }, memory);
});

test('an ioeventfd with a value takes that value and size alone', { skip }, () => {
  // mov eax, 5; out 0x80, al; out 0x80, eax; mov [NO_RAM], eax; inc eax; out 0x80, al; mov [NO_RAM], eax
  const store = [0xa3, 0x00, 0x00, 0x20, 0x00];
  const code = [0xb8, 0x05, 0x00, 0x00, 0x00, 0xe6, 0x80, 0xe7, 0x80, ...store, 0x40, 0xe6, 0x80, ...store];
  using vm = new SmallVm([...code, ...END], protectedMode());
  const raw = rawVm(vm);
  using port = EventFd.create();
  using memory = EventFd.create();
  raw.addIoevent({ space: 'io', address: 0x80, sizeBytes: 1, value: 5n }, port.fd);
  raw.addIoevent({ space: 'memory', address: NO_RAM, sizeBytes: 4, value: 5n }, memory.fd);
  vm.runTo(ENDED);
  assert.deepEqual(vm.bus.accesses, ['out 80 00000005', 'out 80 06', 'write 200000 00000006', ENDED]);
  assert.equal(port.read(), 1n);
  assert.equal(memory.read(), 1n);
});

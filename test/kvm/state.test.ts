import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KvmExit } from '#hypervisor/kvm/abi.ts';
import { guestCpuid } from '#hypervisor/kvm/cpuid.ts';
import { KvmDevice } from '#hypervisor/kvm/kvm-device.ts';
import { sregsOf } from '#hypervisor/kvm/kvm-state.ts';
import { KvmVcpuFd, VcpuPart } from '#hypervisor/kvm/kvm-vcpu-fd.ts';
import { RunPage } from '#hypervisor/kvm/run-page.ts';
import { GuestMemory } from '#memory/guest-memory.ts';
import { Fd } from '#sys/fd.ts';
import { viewOf } from '#util/struct.ts';
import { CODE_ADDRESS, RAM_BYTES, realMode, skip } from './small-vm.ts';

/** A vCPU by its descriptor, of a VM without chips in the kernel. */
function create(code: readonly number[] = []) {
  const owned = new DisposableStack();
  const device = owned.use(KvmDevice.open());
  const memory = owned.use(GuestMemory.create([{ start: 0, sizeBytes: RAM_BYTES }]));
  memory.writeBytes(CODE_ADDRESS, Uint8Array.from(code));
  const vm = owned.use(device.createVm());
  vm.setMemory({ slot: 0, guestAddress: 0, sizeBytes: RAM_BYTES, hostAddress: memory.hostAddress(0, RAM_BYTES) });
  const vcpu = new KvmVcpuFd(owned.use(new Fd(vm.createVcpu(0))));
  vcpu.setCpuid(guestCpuid(device.supportedCpuid(), { vcpuIndex: 0, vcpuCount: 1, tscDeadline: false }));
  const page = owned.use(new RunPage(vcpu.fd, device.runSizeBytes));
  const { general, special } = realMode();
  // Without chips there is no local APIC.
  vcpu.set(VcpuPart.SREGS, { ...sregsOf(special), apicBase: vcpu.get(VcpuPart.SREGS).apicBase });
  vcpu.set(VcpuPart.REGS, general);
  return { memory, vm, vcpu, page, [Symbol.dispose]: () => owned.dispose() };
}

test('HLT is an exit where no chip is in the kernel', { skip }, () => {
  using machine = create([0xf4]);
  assert.equal(machine.vcpu.run(), 0);
  assert.equal(machine.page.exitReason, KvmExit.HLT);
  assert.equal(machine.vcpu.get(VcpuPart.REGS).rip, BigInt(CODE_ADDRESS + 1));
});

test('an interrupt that is injected is taken after STI', { skip }, () => {
  const [vector, handler] = [0x21, 0x1800];
  // sti; nop; hlt. The handler: hlt
  using machine = create([0xfb, 0x90, 0xf4]);
  machine.memory.writeU32(4 * vector, handler);
  machine.memory.writeU8(handler, 0xf4);
  machine.vcpu.run();
  machine.vcpu.interrupt(vector);
  machine.vcpu.run();
  assert.equal(machine.page.exitReason, KvmExit.HLT);
  assert.equal(machine.vcpu.get(VcpuPart.REGS).rip, BigInt(handler + 1));
});

test('the extended state holds what was put there', { skip }, () => {
  using machine = create();
  const { vcpu } = machine;
  const { region } = vcpu.get(VcpuPart.XSAVE);
  const view = viewOf(region);
  // XMM0 is at 160 of the legacy part; the header at 512 says which parts there are: x87 and SSE.
  view.setBigUint64(160, 0x1122_3344_5566_7788n, true);
  view.setBigUint64(512, 3n, true);
  vcpu.set(VcpuPart.XSAVE, { region });
  assert.equal(viewOf(vcpu.get(VcpuPart.XSAVE).region).getBigUint64(160, true), 0x1122_3344_5566_7788n);
  assert.equal(vcpu.get(VcpuPart.XCRS).nrXcrs >= 1, true);
});

test('debug registers and model-specific registers hold what was put there', { skip }, () => {
  using machine = create();
  const { vcpu } = machine;
  const before = vcpu.get(VcpuPart.DEBUGREGS);
  vcpu.set(VcpuPart.DEBUGREGS, { ...before, db: [0x1000n, 2n, 3n, 4n] });
  assert.deepEqual([...vcpu.get(VcpuPart.DEBUGREGS).db], [0x1000n, 2n, 3n, 4n]);
  const SYSENTER_ESP = 0x175;
  const LSTAR = 0xc000_0082;
  const values = [
    { index: SYSENTER_ESP, value: 0x1234n },
    { index: LSTAR, value: 0xffff_ffff_8100_0000n },
  ];
  assert.equal(vcpu.setMsrs(values), 2);
  assert.deepEqual(vcpu.msrs([SYSENTER_ESP, LSTAR]), [0x1234n, 0xffff_ffff_8100_0000n]);
});

test('a register that KVM does not have ends the setting of those before it', { skip }, () => {
  using machine = create();
  const SYSENTER_ESP = 0x175;
  assert.equal(
    machine.vcpu.setMsrs([
      { index: SYSENTER_ESP, value: 1n },
      { index: 0x1234_5678, value: 1n },
    ]),
    1,
  );
});

test("KVM's clock is set", { skip }, () => {
  using machine = create();
  machine.vm.setClockNs(10n ** 15n);
  const now = machine.vm.clockNs();
  assert.ok(now >= 10n ** 15n && now < 10n ** 15n + 10n ** 11n, String(now));
});

test('the list of model-specific registers has those of system calls', { skip }, () => {
  using device = KvmDevice.open();
  assert.ok(device.msrIndices().includes(0xc000_0082));
});

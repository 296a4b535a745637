/**
 * /dev/kvm by its ioctls alone, without the hypervisor's code: what is wrong here is wrong with the host or the lab.
 * Documentation/virt/kvm/api.rst, linux/kvm.h.
 */
import assert from 'node:assert/strict';
import { closeSync, constants, openSync } from 'node:fs';
import { test } from 'node:test';
import { bind, bufferOver, detach, lastError } from '#sys/ffi.ts';
import { MapFlag, mmap, munmap, PAGE_SIZE_BYTES, Prot } from '#sys/memory.ts';
import { missingKvm } from '../host-needs.ts';

const KVM = {
  GET_API_VERSION: 0xae00,
  CREATE_VM: 0xae01,
  GET_VCPU_MMAP_SIZE: 0xae04,
  CREATE_VCPU: 0xae41,
  SET_USER_MEMORY_REGION: 0x4020_ae46,
  RUN: 0xae80,
  SET_REGS: 0x4090_ae82,
  GET_SREGS: 0x8138_ae83,
  SET_SREGS: 0x4138_ae84,
} as const;
const EXIT = { IO: 2, HLT: 5 } as const;
/** Bytes of struct kvm_regs and struct kvm_sregs, and the offsets used here. */
const REGS = { SIZE: 144, RIP: 128, RFLAGS: 136 } as const;
const SREGS = { SIZE: 312, CS_BASE: 0, CS_SELECTOR: 12 } as const;
/** struct kvm_run: the reason, and for IO the direction (1: out), size, port, count and where the data is. */
const RUN = { EXIT_REASON: 8, IO_DIRECTION: 32, IO_SIZE: 33, IO_PORT: 34, IO_COUNT: 36, IO_DATA_OFFSET: 40 } as const;

const GUEST_ADDRESS = 0x1000;
/** mov dx, 0x3f8; add al, bl; add al, '0'; out dx, al; hlt */
const PROGRAM = Uint8Array.of(0xba, 0xf8, 0x03, 0x00, 0xd8, 0x04, 0x30, 0xee, 0xf4);

const ioctlNumber = bind<(fd: number, request: number, argument: number) => number>(
  'int ioctl(int fd, unsigned long request, long argument)',
);
const ioctlBytes = bind<(fd: number, request: number, argument: Uint8Array) => number>(
  'int ioctl(int fd, unsigned long request, uint8_t *argument)',
);

function checked(what: string, result: number): number {
  if (result < 0) throw lastError(what);
  return result;
}

/** Opens a descriptor that is closed with the block. */
function descriptor(fd: number): { readonly fd: number } & Disposable {
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

/** Memory that this process shares with the kernel, or the guest. */
function mapped(sizeBytes: number, fd = -1) {
  const flags = fd < 0 ? MapFlag.SHARED | MapFlag.ANONYMOUS : MapFlag.SHARED;
  const address = mmap({ sizeBytes, prot: Prot.READ | Prot.WRITE, flags, fd });
  const buffer = bufferOver(address, sizeBytes);
  const dispose = (): void => {
    detach(buffer);
    munmap(address, sizeBytes);
  };
  return { address, buffer, view: new DataView(buffer), [Symbol.dispose]: dispose };
}

test('the device has version 12 of the interface', { skip: missingKvm() }, () => {
  using kvm = descriptor(openSync('/dev/kvm', constants.O_RDWR));
  assert.equal(ioctlNumber(kvm.fd, KVM.GET_API_VERSION, 0), 12);
});

test('a program in real mode adds two numbers, writes a port and halts', { skip: missingKvm() }, () => {
  using kvm = descriptor(openSync('/dev/kvm', constants.O_RDWR));
  using vm = descriptor(checked('KVM_CREATE_VM', ioctlNumber(kvm.fd, KVM.CREATE_VM, 0)));
  using memory = mapped(PAGE_SIZE_BYTES);
  new Uint8Array(memory.buffer).set(PROGRAM);
  const region = new BigUint64Array([0n, BigInt(GUEST_ADDRESS), BigInt(PAGE_SIZE_BYTES), BigInt(memory.address)]);
  checked('region', ioctlBytes(vm.fd, KVM.SET_USER_MEMORY_REGION, new Uint8Array(region.buffer)));
  using vcpu = descriptor(checked('KVM_CREATE_VCPU', ioctlNumber(vm.fd, KVM.CREATE_VCPU, 0)));
  using run = mapped(checked('run size', ioctlNumber(kvm.fd, KVM.GET_VCPU_MMAP_SIZE, 0)), vcpu.fd);

  const special = new Uint8Array(SREGS.SIZE);
  checked('KVM_GET_SREGS', ioctlBytes(vcpu.fd, KVM.GET_SREGS, special));
  const specialView = new DataView(special.buffer);
  specialView.setBigUint64(SREGS.CS_BASE, 0n, true);
  specialView.setUint16(SREGS.CS_SELECTOR, 0, true);
  checked('KVM_SET_SREGS', ioctlBytes(vcpu.fd, KVM.SET_SREGS, special));
  const general = new BigUint64Array(REGS.SIZE / 8);
  general[0] = 2n; // RAX
  general[1] = 3n; // RBX
  general[REGS.RIP / 8] = BigInt(GUEST_ADDRESS);
  general[REGS.RFLAGS / 8] = 2n;
  checked('KVM_SET_REGS', ioctlBytes(vcpu.fd, KVM.SET_REGS, new Uint8Array(general.buffer)));

  checked('KVM_RUN', ioctlNumber(vcpu.fd, KVM.RUN, 0));
  assert.equal(run.view.getUint32(RUN.EXIT_REASON, true), EXIT.IO);
  assert.equal(run.view.getUint8(RUN.IO_DIRECTION), 1);
  assert.equal(run.view.getUint8(RUN.IO_SIZE), 1);
  assert.equal(run.view.getUint16(RUN.IO_PORT, true), 0x3f8);
  assert.equal(run.view.getUint32(RUN.IO_COUNT, true), 1);
  const dataOffset = Number(run.view.getBigUint64(RUN.IO_DATA_OFFSET, true));
  assert.equal(String.fromCharCode(run.view.getUint8(dataOffset)), '5');
  checked('KVM_RUN', ioctlNumber(vcpu.fd, KVM.RUN, 0));
  assert.equal(run.view.getUint32(RUN.EXIT_REASON, true), EXIT.HLT);
});

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as abi from '#hypervisor/kvm/abi.ts';
import * as structs from '#hypervisor/kvm/abi-structs.ts';

type Layout = (typeof structs)[keyof typeof structs];

/** Where C has a structure, and how it calls fields that it does not call as we do. */
interface Place {
  /** Its name; a part of another structure is that, with the path to it. */
  readonly type: string;
  readonly member?: string;
  /** What follows the structure belongs to it in C, which has an array there; so its size is where the array begins. */
  readonly sizeIsOffsetOf?: string;
  readonly names?: Readonly<Record<string, string>>;
  /** C's has another size, for the reason that is told. */
  readonly sizeDiffers?: string;
}

const plain = (name: string): Place => ({ type: `struct kvm_${name}` });
const RUN = 'struct kvm_run';
const partOfRun = (member: string): Place => ({ type: RUN, member, sizeDiffers: 'a part of a union' });
const rest = { rest: '' };

const PLACES: Readonly<Record<keyof typeof structs, Place>> = {
  UserspaceMemoryRegion: plain('userspace_memory_region'),
  DirtyLog: plain('dirty_log'),
  EnableCap: plain('enable_cap'),
  PitConfig: plain('pit_config'),
  IrqLevel: plain('irq_level'),
  Irqfd: plain('irqfd'),
  Ioeventfd: plain('ioeventfd'),
  IrqRouting: { ...plain('irq_routing'), sizeIsOffsetOf: 'entries' },
  IrqRoutingIrqchip: {
    ...plain('irq_routing_entry'),
    names: { irqchip: 'u.irqchip.irqchip', pin: 'u.irqchip.pin', ...rest },
  },
  IrqRoutingMsi: {
    ...plain('irq_routing_entry'),
    names: { addressLo: 'u.msi.address_lo', addressHi: 'u.msi.address_hi', data: 'u.msi.data', ...rest },
  },
  Msi: plain('msi'),
  ClockData: plain('clock_data'),
  Cpuid2: { ...plain('cpuid2'), sizeIsOffsetOf: 'entries' },
  CpuidEntry2: plain('cpuid_entry2'),
  Msrs: { ...plain('msrs'), sizeIsOffsetOf: 'entries' },
  MsrEntry: plain('msr_entry'),
  MsrList: { ...plain('msr_list'), sizeIsOffsetOf: 'indices' },
  Regs: plain('regs'),
  Segment: { ...plain('segment'), names: { baseAddress: 'base' } },
  Dtable: { ...plain('dtable'), names: { baseAddress: 'base' } },
  Sregs: plain('sregs'),
  Fpu: plain('fpu'),
  LapicState: plain('lapic_state'),
  Xsave: plain('xsave'),
  Xcr: plain('xcr'),
  Xcrs: plain('xcrs'),
  Debugregs: plain('debugregs'),
  GuestDebug: { ...plain('guest_debug'), names: { debugreg: 'arch.debugreg' } },
  MpState: plain('mp_state'),
  Interrupt: plain('interrupt'),
  Translation: plain('translation'),
  SignalMask: { ...plain('signal_mask'), sizeDiffers: 'the set follows it' },
  Run: { type: RUN, sizeIsOffsetOf: 'hw' },
  RunIo: partOfRun('io'),
  RunMmio: partOfRun('mmio'),
  RunFailEntry: partOfRun('fail_entry'),
  RunInternal: partOfRun('internal'),
  RunEmulationFailure: partOfRun('emulation_failure'),
  RunSystemEvent: partOfRun('system_event'),
  RunEoi: partOfRun('eoi'),
  RunDebug: partOfRun('debug.arch'),
};

/** Tables of constants, with what C puts before their names. */
const CONSTANTS: readonly (readonly [prefix: string, values: Readonly<Record<string, number>>])[] = [
  ['KVM_', Object.fromEntries(Object.entries(abi.KvmIoctl).map(([name, { request }]) => [name, request]))],
  ['KVM_', { API_VERSION: abi.KVM_API_VERSION }],
  ['KVM_CAP_', abi.KvmCap],
  ['KVM_MEM_', abi.KvmMem],
  ['KVM_IRQFD_FLAG_', abi.KvmIrqfdFlag],
  ['KVM_IOEVENTFD_FLAG_', abi.KvmIoeventfdFlag],
  ['KVM_IRQ_ROUTING_', abi.KvmIrqRouting],
  ['KVM_IRQCHIP_', abi.KvmIrqchip],
  ['KVM_PIT_', abi.KvmPit],
  ['KVM_CPUID_FLAG_', abi.KvmCpuidFlag],
  ['KVM_MP_STATE_', abi.KvmMpState],
  ['KVM_GUESTDBG_', abi.KvmGuestDbg],
  ['KVM_EXIT_', abi.KvmExit],
  ['KVM_EXIT_IO_', abi.KvmExitIo],
  ['KVM_INTERNAL_ERROR_', abi.KvmInternalError],
  ['KVM_INTERNAL_ERROR_EMULATION_FLAG_', abi.KvmEmulationFlag],
  ['KVM_SYSTEM_EVENT_', abi.KvmSystemEvent],
];

/** C's names that are made otherwise. */
const IRREGULAR: Readonly<Record<string, string>> = {
  KVM_IOEVENTFD_FLAG_DATAMATCH: '1 << kvm_ioeventfd_flag_nr_datamatch',
  KVM_IOEVENTFD_FLAG_PIO: '1 << kvm_ioeventfd_flag_nr_pio',
  KVM_IOEVENTFD_FLAG_DEASSIGN: '1 << kvm_ioeventfd_flag_nr_deassign',
};

const snakeCase = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Expressions of C, with what we have for them. */
function expectations(): [expression: string, ours: number][] {
  const values = CONSTANTS.flatMap(([prefix, table]) =>
    Object.entries(table).map(([name, value]): [string, number] => {
      const symbol = `${prefix}${name}`;
      return [IRREGULAR[symbol] ?? symbol, value];
    }),
  );
  return [
    ...values,
    ...Object.entries(structs).flatMap(([name, layout]) => layoutOf(layout, PLACES[name as keyof typeof structs])),
  ];
}

function layoutOf(layout: Layout, { type, member, sizeIsOffsetOf, sizeDiffers, names = {} }: Place) {
  const base = member === undefined ? 0 : structs.Run.size;
  const path = member === undefined ? '' : `${member}.`;
  const found: [string, number][] = Object.entries(layout.fields).flatMap(([field, { offset }]) => {
    const inC = names[field] ?? snakeCase(field);
    return inC === '' ? [] : [[`offsetof(${type}, ${path}${inC})`, base + offset] as [string, number]];
  });
  if (sizeIsOffsetOf !== undefined) found.push([`offsetof(${type}, ${sizeIsOffsetOf})`, layout.size]);
  else if (sizeDiffers === undefined) found.push([`sizeof(${type})`, layout.size]);
  return found;
}

const compiler = spawnSync('cc', ['--version']).status === 0;

test('requests, constants and structures of KVM are those of a C compiler', {
  skip: compiler ? false : 'there is no C compiler (cc) on this machine',
}, () => {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-kvm-abi-'));
  try {
    const wanted = expectations();
    const prints = wanted.map(
      ([expression]) => `printf("${expression} %llu\\n", (unsigned long long)(${expression}));`,
    );
    const includes = ['stddef.h', 'stdio.h', 'linux/kvm.h'].map((header) => `#include <${header}>`);
    writeFileSync(join(folder, 'a.c'), `${includes.join('\n')}\nint main(void) { ${prints.join('\n')} }`);
    execFileSync('cc', ['-o', join(folder, 'a'), join(folder, 'a.c')]);
    const theirs = execFileSync(join(folder, 'a')).toString();
    assert.equal(`${wanted.map(([expression, ours]) => `${expression} ${ours}`).join('\n')}\n`, theirs);
    assert.ok(wanted.length > 300, 'the tables are looked through');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

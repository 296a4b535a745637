/** CPUID leaves (SDM vol. 2, CPUID; KVM's paravirtual leaves, Linux Documentation/virt/kvm/x86/cpuid.rst): what works, no more. */

export type CpuidLeaf = readonly [eax: number, ebx: number, ecx: number, edx: number];

/**
 * Leaf 1 EAX: family 6, model 0x1a (Nehalem), stepping 5. Programs choose code by the model without a look at the features, such as GCC's
 * `target_clones`: it must be one whose every instruction is here, so none that had AVX or AES.
 */
const SIGNATURE = 0x000106a5;
/** Leaf 1 EDX. */
const EDX1 = {
  FPU: 1 << 0,
  PSE: 1 << 3,
  TSC: 1 << 4,
  MSR: 1 << 5,
  PAE: 1 << 6,
  CX8: 1 << 8,
  APIC: 1 << 9,
  SEP: 1 << 11,
  PGE: 1 << 13,
  CMOV: 1 << 15,
  CLFLUSH: 1 << 19,
  MMX: 1 << 23,
  FXSR: 1 << 24,
  SSE: 1 << 25,
  SSE2: 1 << 26,
} as const;
/** There may be several ids in the package, as many as EBX says. */
const HTT = 1 << 28;
/** Leaf 1 ECX. */
const ECX1 = {
  SSE3: 1 << 0,
  SSSE3: 1 << 9,
  CX16: 1 << 13,
  SSE4_1: 1 << 19,
  SSE4_2: 1 << 20,
  X2APIC: 1 << 21,
  MOVBE: 1 << 22,
  POPCNT: 1 << 23,
  TSC_DEADLINE: 1 << 24,
  XSAVE: 1 << 26,
  RDRAND: 1 << 30,
  HYPERVISOR: 1 << 31,
} as const;
/** Leaf 7 EBX and EDX. */
const EBX7 = { SMEP: 1 << 7, ERMS: 1 << 9, RDSEED: 1 << 18, SMAP: 1 << 20 } as const;
const EDX7 = { FSRM: 1 << 4, SPEC_CTRL: 1 << 26, STIBP: 1 << 27, ARCH_CAPABILITIES: 1 << 29, SSBD: 1 << 31 } as const;
/** Leaf 7.2 EDX: BHI_CTRL spares kernels a loop on every system call. */
const MAX_SUBLEAF_7 = 2;
const LEAF_7_2: CpuidLeaf = [0, 0, 0, 1 << 4];
/** Leaf 80000001h EDX and ECX. */
const EDX81 = { SYSCALL: 1 << 11, NX: 1 << 20, PAGE1GB: 1 << 26, RDTSCP: 1 << 27, LM: 1 << 29 } as const;
const LAHF = 1;
const INVARIANT_TSC = 1 << 8;

/** KVM's paravirtual features: clock source MSRs, stable clock. */
const KVM_FEATURE = { NOP_IO_DELAY: 1 << 1, CLOCKSOURCE2: 1 << 3, CLOCKSOURCE_STABLE: 1 << 24 } as const;

const XCR0_SUPPORTED = 3;
const XSAVE_AREA_BYTES = 576;

/** Of physical addresses. */
export const PHYSICAL_BITS = 46;
const LINEAR_BITS = 48;
const MAX_BASIC = 0x16;
const MAX_EXTENDED = 0x80000008;
const NONE: CpuidLeaf = [0, 0, 0, 0];

/** Four bytes of text as a little-endian word. */
function word(text: string, at: number): number {
  let value = 0;
  for (let i = 3; i >= 0; i--) value = (value << 8) | (text.charCodeAt(at + i) || 0);
  return value;
}

const VENDOR = 'GenuineIntel';
const BRAND = 'crosvm-ts software CPU'.padEnd(48, '\0');
const KVM_SIGNATURE = 'KVMKVMKVM\0\0\0';

export interface CpuidOptions {
  /** Which optional parts of the machine stand beside the core. */
  readonly localApic: boolean;
  readonly paravirtualClock: boolean;
  /** Which of the machine's processors it is, by its local APIC's id, and how many there are; the only one when left out. */
  readonly apicId?: number;
  readonly count?: number;
}

/** Leaf 4: caches of the processor, and one that all share. Sizes are usual ones; nothing is cached here. */
const CACHES = [
  { type: 1, level: 1, ways: 8, sets: 64, isShared: false },
  { type: 2, level: 1, ways: 8, sets: 64, isShared: false },
  { type: 3, level: 2, ways: 8, sets: 2048, isShared: false },
  { type: 3, level: 3, ways: 16, sets: 16384, isShared: true },
] as const;
const CACHE_LINE_BYTES = 64;
const SELF_INITIALISING = 1 << 8;

function cacheLeaf(subleaf: number, count: number): CpuidLeaf {
  const cache = CACHES[subleaf];
  if (cache === undefined) return NONE;
  const sharing = cache.isShared ? 2 ** idBits(count) - 1 : 0;
  const eax = cache.type | (cache.level << 5) | SELF_INITIALISING | (sharing << 14) | ((2 ** idBits(count) - 1) << 26);
  return [eax, (CACHE_LINE_BYTES - 1) | ((cache.ways - 1) << 22), cache.sets - 1, 0];
}

/** Leaf 0xb: one thread in each core, all cores in one package. */
function topologyLeaf(subleaf: number, apicId: number, count: number): CpuidLeaf {
  const level = subleaf === 0 ? 1 : subleaf === 1 ? 2 : 0;
  const kind = (level << 8) | (subleaf & 0xff);
  if (level === 0) return [0, 0, kind, apicId];
  return level === 1 ? [0, 1, kind, apicId] : [idBits(count), count, kind, apicId];
}

/** Bits that tell the processors' ids apart. */
const idBits = (count: number): number => 32 - Math.clz32(count - 1);

/** The answer function for one processor whose TSC counts nanoseconds. */
export function createCpuid(options: CpuidOptions): (leaf: number, subleaf: number) => CpuidLeaf {
  const { apicId = 0, count = 1 } = options;
  const fixed = new Map<number, CpuidLeaf>([
    [0, [MAX_BASIC, word(VENDOR, 0), word(VENDOR, 8), word(VENDOR, 4)]],
    [
      1,
      [
        SIGNATURE,
        (CACHE_LINE_BYTES << 5) | ((2 ** idBits(count)) << 16) | (apicId << 24),
        ECX1.SSE3 |
          ECX1.SSSE3 |
          ECX1.CX16 |
          ECX1.SSE4_1 |
          ECX1.SSE4_2 |
          ECX1.XSAVE |
          ECX1.MOVBE |
          ECX1.POPCNT |
          ECX1.RDRAND |
          ECX1.HYPERVISOR |
          (options.localApic ? ECX1.X2APIC | ECX1.TSC_DEADLINE : 0),
        (Object.values(EDX1).reduce((all, bit) => all | bit, 0) & (options.localApic ? -1 : ~EDX1.APIC)) |
          (count > 1 ? HTT : 0),
      ],
    ],
    [6, [1 << 2, 0, 0, 0]],
    [
      7,
      [
        MAX_SUBLEAF_7,
        EBX7.SMEP | EBX7.ERMS | EBX7.RDSEED | EBX7.SMAP,
        0,
        Object.values(EDX7).reduce((all, bit) => all | bit, 0),
      ],
    ],
    // XCR0 may have x87 and SSE, whose area is the legacy one and the header.
    [0xd, [XCR0_SUPPORTED, XSAVE_AREA_BYTES, XSAVE_AREA_BYTES, 0]],
    // TSC = crystal × ebx / eax: 1 GHz.
    [0x15, [1, 1, 1_000_000_000, 0]],
    [0x16, [1000, 1000, 100, 0]],
    [
      0x40000000,
      [
        options.paravirtualClock ? 0x40000001 : 0x40000000,
        word(KVM_SIGNATURE, 0),
        word(KVM_SIGNATURE, 4),
        word(KVM_SIGNATURE, 8),
      ],
    ],
    [
      0x40000001,
      options.paravirtualClock
        ? [KVM_FEATURE.NOP_IO_DELAY | KVM_FEATURE.CLOCKSOURCE2 | KVM_FEATURE.CLOCKSOURCE_STABLE, 0, 0, 0]
        : NONE,
    ],
    [0x80000000, [MAX_EXTENDED | 0, word(VENDOR, 0), word(VENDOR, 8), word(VENDOR, 4)]],
    [0x80000001, [0, 0, LAHF, Object.values(EDX81).reduce((all, bit) => all | bit, 0)]],
    [0x80000007, [0, 0, 0, INVARIANT_TSC]],
    [0x80000008, [PHYSICAL_BITS | (LINEAR_BITS << 8), 0, 0, 0]],
  ]);
  for (let i = 0; i < 3; i++) {
    fixed.set(0x80000002 + i, [
      word(BRAND, i * 16),
      word(BRAND, i * 16 + 4),
      word(BRAND, i * 16 + 8),
      word(BRAND, i * 16 + 12),
    ]);
  }
  return (leaf, subleaf) => {
    if (leaf === 4) return cacheLeaf(subleaf, count);
    if (leaf === 0xb) return topologyLeaf(subleaf, apicId, count);
    if (leaf === 0xd && subleaf !== 0) return NONE;
    if (leaf === 7 && subleaf !== 0) return subleaf === MAX_SUBLEAF_7 ? LEAF_7_2 : NONE;
    return fixed.get(leaf >>> 0) ?? NONE;
  };
}

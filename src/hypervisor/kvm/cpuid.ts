/**
 * What CPUID tells a guest: what KVM supports here, with the vCPU's own numbers. Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E;
 * Documentation/virt/kvm/x86/cpuid.rst.
 */
import type { StructValues } from '#util/struct.ts';
import { KvmCpuidFlag } from './abi.ts';
import type { CpuidEntry2 } from './abi-structs.ts';

/** A leaf, or a subleaf where `index` is significant. */
export type CpuidEntry = Omit<StructValues<typeof CpuidEntry2>, 'padding'>;

export interface CpuidOptions {
  /** The APIC id. */
  readonly vcpuIndex: number;
  readonly vcpuCount: number;
  /** KVM's local APIC has the TSC-deadline mode, of which KVM_GET_SUPPORTED_CPUID says nothing. */
  readonly tscDeadline: boolean;
}

const LEAF = {
  FEATURES: 0x1,
  CACHES: 0x4,
  POWER: 0x6,
  TOPOLOGY: 0xb,
  TOPOLOGY_V2: 0x1f,
  AMD_SIZES: 0x8000_0008,
  AMD_CACHES: 0x8000_001d,
  AMD_TOPOLOGY: 0x8000_001e,
} as const;

/** Leaf 1. */
const FEATURES_ECX = { X2APIC: 1 << 21, TSC_DEADLINE: 1 << 24, HYPERVISOR: 1 << 31 } as const;
const FEATURES_EDX_HTT = 1 << 28;
const FEATURES_EBX = { CLFLUSH_SHIFT: 8, COUNT_SHIFT: 16, ID_SHIFT: 24 } as const;
/** In units of 8 bytes. */
const CLFLUSH_SIZE = 8;
/** Leaf 6, ECX: the energy-performance bias, whose MSR KVM does not have. */
const POWER_ECX_BIAS = 1 << 3;
/** Leaves 4 and 0x8000001d, EAX. */
const CACHE = { LEVEL_SHIFT: 5, LEVEL: 7, SHARING_SHIFT: 14, SHARING: 0xfff, CORES_SHIFT: 26 } as const;
/** Caches up to this level are a core's own. */
const OWN_CACHE_LEVEL = 2;
/** Leaf 0xb, ECX bits 15 to 8. */
const LEVEL_TYPE = { NONE: 0, THREAD: 1, CORE: 2 } as const;
/** Leaf 0x80000008, ECX. */
const AMD_SIZES_ECX = { COUNT: 0xff, ID_BITS_SHIFT: 12 } as const;

/** The table of one vCPU: all vCPUs are cores of one package, with one thread each. */
export function guestCpuid(supported: readonly CpuidEntry[], options: CpuidOptions): CpuidEntry[] {
  const { vcpuIndex } = options;
  const others = supported.filter(
    ({ function: leaf }) => leaf !== LEAF.TOPOLOGY && leaf !== LEAF.TOPOLOGY_V2 && leaf !== LEAF.AMD_TOPOLOGY,
  );
  const has = (leaf: number): boolean => supported.some((entry) => entry.function === leaf);
  const topologies = [LEAF.TOPOLOGY, LEAF.TOPOLOGY_V2].filter(has);
  return [
    ...others.map((entry) => ownEntry(entry, options)),
    ...topologies.flatMap((leaf) => topology(leaf, options)),
    ...(has(LEAF.AMD_TOPOLOGY) ? [entryOf(LEAF.AMD_TOPOLOGY, { eax: vcpuIndex, ebx: vcpuIndex & 0xff })] : []),
  ];
}

/** Bits that hold the numbers of all vCPUs. */
const idBits = (vcpuCount: number): number => Math.ceil(Math.log2(vcpuCount));

function ownEntry(entry: CpuidEntry, { vcpuIndex, vcpuCount, tscDeadline }: CpuidOptions): CpuidEntry {
  const { eax, ecx, edx } = entry;
  switch (entry.function) {
    case LEAF.FEATURES:
      return {
        ...entry,
        ebx:
          ((vcpuIndex << FEATURES_EBX.ID_SHIFT) |
            (Math.min(2 ** idBits(vcpuCount), 0xff) << FEATURES_EBX.COUNT_SHIFT) |
            (CLFLUSH_SIZE << FEATURES_EBX.CLFLUSH_SHIFT)) >>>
          0,
        ecx:
          (ecx | FEATURES_ECX.X2APIC | FEATURES_ECX.HYPERVISOR | (tscDeadline ? FEATURES_ECX.TSC_DEADLINE : 0)) >>> 0,
        edx: (vcpuCount > 1 ? edx | FEATURES_EDX_HTT : edx & ~FEATURES_EDX_HTT) >>> 0,
      };
    case LEAF.CACHES:
      return { ...entry, eax: cacheEax(eax, vcpuCount, (vcpuCount - 1) << CACHE.CORES_SHIFT) };
    case LEAF.AMD_CACHES:
      return { ...entry, eax: cacheEax(eax, vcpuCount, 0) };
    case LEAF.POWER:
      return { ...entry, ecx: (ecx & ~POWER_ECX_BIAS) >>> 0 };
    case LEAF.AMD_SIZES: {
      const count = (vcpuCount - 1) & AMD_SIZES_ECX.COUNT;
      return { ...entry, ecx: count | (idBits(vcpuCount) << AMD_SIZES_ECX.ID_BITS_SHIFT) };
    }
    default:
      return entry;
  }
}

/** A cache with how many vCPUs have it; an entry without a cache stays as it is. */
function cacheEax(eax: number, vcpuCount: number, cores: number): number {
  if ((eax & 0x1f) === 0) return eax;
  const level = (eax >>> CACHE.LEVEL_SHIFT) & CACHE.LEVEL;
  const sharing = level > OWN_CACHE_LEVEL ? vcpuCount - 1 : 0;
  const own = eax & ((1 << CACHE.SHARING_SHIFT) - 1);
  return (own | (sharing << CACHE.SHARING_SHIFT) | cores) >>> 0;
}

/** Extended topology: a level of threads, a level of cores, and the end. */
function topology(leaf: number, { vcpuIndex, vcpuCount }: CpuidOptions): CpuidEntry[] {
  const level = (index: number, type: number, sizes: { eax?: number; ebx?: number }): CpuidEntry => ({
    ...entryOf(leaf, sizes),
    index,
    flags: KvmCpuidFlag.SIGNIFCANT_INDEX,
    ecx: (type << 8) | index,
    edx: vcpuIndex,
  });
  return [
    level(0, LEVEL_TYPE.THREAD, { eax: 0, ebx: 1 }),
    level(1, LEVEL_TYPE.CORE, { eax: idBits(vcpuCount), ebx: vcpuCount }),
    level(2, LEVEL_TYPE.NONE, {}),
  ];
}

function entryOf(leaf: number, { eax = 0, ebx = 0 }: { eax?: number; ebx?: number }): CpuidEntry {
  return { function: leaf, index: 0, flags: 0, eax, ebx, ecx: 0, edx: 0 };
}

/** Bits of guest-physical addresses, leaf 0x80000008; 36 for a processor that does not say. */
export function physicalAddressBits(entries: readonly CpuidEntry[]): number {
  const sizes = entries.find((entry) => entry.function === LEAF.AMD_SIZES);
  return sizes === undefined ? 36 : sizes.eax & 0xff;
}

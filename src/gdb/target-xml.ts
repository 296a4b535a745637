/** The target description that GDB reads: "Debugging with GDB", appendix G. */
import { FEATURES, type Feature, type Register } from './registers.ts';

const EFLAGS = [
  ...['CF', '', 'PF', '', 'AF', '', 'ZF', 'SF', 'TF', 'IF', 'DF', 'OF'],
  ...['', '', 'NT', '', 'RF', 'VM', 'AC', 'VIF', 'VIP', 'ID'],
];
const MXCSR = ['IE', 'DE', 'ZE', 'OE', 'UE', 'PE', 'DAZ', 'IM', 'DM', 'ZM', 'OM', 'UM', 'PM', '', '', 'FZ'];

const flags = (id: string, names: readonly string[]): string => {
  const fields = names.map((name, bit) => `<field name="${name}" start="${bit}" end="${bit}"/>`);
  return `<flags id="${id}" size="4">${fields.join('')}</flags>`;
};

/** The parts of an XMM register: their type, and how many there are. */
const LANES = [
  ['v4_float', 'ieee_single', 4],
  ['v2_double', 'ieee_double', 2],
  ['v16_int8', 'int8', 16],
  ['v8_int16', 'int16', 8],
  ['v4_int32', 'int32', 4],
  ['v2_int64', 'int64', 2],
] as const;

const VECTORS = LANES.map(([name, type, count]) => `<vector id="${name}_v" type="${type}" count="${count}"/>`).join('');
const VEC128 = `<union id="vec128">${LANES.map(([name]) => `<field name="${name}" type="${name}_v"/>`).join('')}<field name="uint128" type="uint128"/></union>`;

/** Types that a feature's registers have and GDB does not know by itself. */
const TYPES: Readonly<Record<string, string>> = {
  'org.gnu.gdb.i386.core': flags('i386_eflags', EFLAGS),
  'org.gnu.gdb.i386.sse': `${VECTORS}${VEC128}${flags('i386_mxcsr', MXCSR)}`,
};

const registerXml = ({ name, bits, type, group }: Register): string =>
  `<reg name="${name}" bitsize="${bits}" type="${type}"${group === undefined ? '' : ` group="${group}"`}/>`;

const featureXml = ({ name, registers }: Feature): string =>
  `<feature name="${name}">${TYPES[name] ?? ''}${registers.map(registerXml).join('')}</feature>`;

export const TARGET_XML: string = [
  '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd">',
  '<target version="1.0"><architecture>i386:x86-64</architecture>',
  ...FEATURES.map(featureXml),
  '</target>',
].join('\n');

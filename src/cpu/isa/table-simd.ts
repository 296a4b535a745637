/**
 * Encodings of MMX and SSE to SSE4.2 (SDM vol. 2 appendix A). Operand letters are the manual's: V and W name XMM registers (W
 * or memory), P and Q MMX registers, U and N registers only, M memory only; the size after them is that of the access.
 */
import type { Attributes } from './table.ts';

type Row = (code: string, mnemonic: string, operands?: string, attributes?: Attributes) => void;

/** Packed integer operations with an MMX and an XMM form: 0F opcode, then 66 0F opcode. */
export const PACKED_BOTH = {
  '60': 'PUNPCKLBW',
  '61': 'PUNPCKLWD',
  '62': 'PUNPCKLDQ',
  '63': 'PACKSSWB',
  '64': 'PCMPGTB',
  '65': 'PCMPGTW',
  '66': 'PCMPGTD',
  '67': 'PACKUSWB',
  '68': 'PUNPCKHBW',
  '69': 'PUNPCKHWD',
  '6a': 'PUNPCKHDQ',
  '6b': 'PACKSSDW',
  '74': 'PCMPEQB',
  '75': 'PCMPEQW',
  '76': 'PCMPEQD',
  d1: 'PSRLW',
  d2: 'PSRLD',
  d3: 'PSRLQ',
  d4: 'PADDQ',
  d5: 'PMULLW',
  d8: 'PSUBUSB',
  d9: 'PSUBUSW',
  da: 'PMINUB',
  db: 'PAND',
  dc: 'PADDUSB',
  dd: 'PADDUSW',
  de: 'PMAXUB',
  df: 'PANDN',
  e0: 'PAVGB',
  e1: 'PSRAW',
  e2: 'PSRAD',
  e3: 'PAVGW',
  e4: 'PMULHUW',
  e5: 'PMULHW',
  e8: 'PSUBSB',
  e9: 'PSUBSW',
  ea: 'PMINSW',
  eb: 'POR',
  ec: 'PADDSB',
  ed: 'PADDSW',
  ee: 'PMAXSW',
  ef: 'PXOR',
  f1: 'PSLLW',
  f2: 'PSLLD',
  f3: 'PSLLQ',
  f4: 'PMULUDQ',
  f5: 'PMADDWD',
  f6: 'PSADBW',
  f8: 'PSUBB',
  f9: 'PSUBW',
  fa: 'PSUBD',
  fb: 'PSUBQ',
  fc: 'PADDB',
  fd: 'PADDW',
  fe: 'PADDD',
  '38 00': 'PSHUFB',
  '38 01': 'PHADDW',
  '38 02': 'PHADDD',
  '38 03': 'PHADDSW',
  '38 04': 'PMADDUBSW',
  '38 05': 'PHSUBW',
  '38 06': 'PHSUBD',
  '38 07': 'PHSUBSW',
  '38 08': 'PSIGNB',
  '38 09': 'PSIGNW',
  '38 0a': 'PSIGND',
  '38 0b': 'PMULHRSW',
  '38 1c': 'PABSB',
  '38 1d': 'PABSW',
  '38 1e': 'PABSD',
} as const;

/** Those with an XMM form only: 66 0F opcode. */
export const PACKED_XMM = {
  '6c': 'PUNPCKLQDQ',
  '6d': 'PUNPCKHQDQ',
  '38 10': 'PBLENDVB',
  '38 14': 'BLENDVPS',
  '38 15': 'BLENDVPD',
  '38 28': 'PMULDQ',
  '38 29': 'PCMPEQQ',
  '38 2b': 'PACKUSDW',
  '38 37': 'PCMPGTQ',
  '38 38': 'PMINSB',
  '38 39': 'PMINSD',
  '38 3a': 'PMINUW',
  '38 3b': 'PMINUD',
  '38 3c': 'PMAXSB',
  '38 3d': 'PMAXSD',
  '38 3e': 'PMAXUW',
  '38 3f': 'PMAXUD',
  '38 40': 'PMULLD',
} as const;

/** Bitwise and shuffling operations on floating-point registers: 0F opcode (PS) and 66 0F opcode (PD). */
export const PACKED_FLOAT_BITS = {
  '14': 'UNPCKLP',
  '15': 'UNPCKHP',
  '54': 'ANDP',
  '55': 'ANDNP',
  '56': 'ORP',
  '57': 'XORP',
} as const;

/** Shifts by an immediate byte: group opcode, digit. */
export const SHIFT_GROUPS = {
  '71 /2': 'PSRLW',
  '71 /4': 'PSRAW',
  '71 /6': 'PSLLW',
  '72 /2': 'PSRLD',
  '72 /4': 'PSRAD',
  '72 /6': 'PSLLD',
  '73 /2': 'PSRLQ',
  '73 /6': 'PSLLQ',
} as const;

/** Arithmetic in the four forms SS, SD, PS and PD: F3, F2, none and 66 before 0F opcode. */
export const FLOAT_FOUR = {
  '51': 'SQRT',
  '58': 'ADD',
  '59': 'MUL',
  '5c': 'SUB',
  '5d': 'MIN',
  '5e': 'DIV',
  '5f': 'MAX',
} as const;

/** Widening moves: 66 0F 38 opcode; the number of bytes that the source has. */
export const EXTENDING = { bw: 8, bd: 4, bq: 2, wd: 8, wq: 4, dq: 8 } as const;
export type ExtendingKind = keyof typeof EXTENDING;

function integerRows(row: Row): void {
  for (const [opcode, mnemonic] of Object.entries(PACKED_BOTH)) {
    row(`np 0f ${opcode} /r`, mnemonic, mnemonic.startsWith('PUNPCKL') ? 'Pq,Qd' : 'Pq,Qq');
    row(`66 0f ${opcode} /r`, mnemonic, 'Vdq,Wdq');
  }
  for (const [opcode, mnemonic] of Object.entries(PACKED_XMM)) row(`66 0f ${opcode} /r`, mnemonic, 'Vdq,Wdq');
  for (const [code, mnemonic] of Object.entries(SHIFT_GROUPS)) {
    row(`np 0f ${code} r`, mnemonic, 'Nq,Ib');
    row(`66 0f ${code} r`, mnemonic, 'Udq,Ib');
  }
  row('66 0f 73 /3 r', 'PSRLDQ', 'Udq,Ib');
  row('66 0f 73 /7 r', 'PSLLDQ', 'Udq,Ib');
  row('np 0f 70 /r', 'PSHUFW', 'Pq,Qq,Ib');
  row('66 0f 70 /r', 'PSHUFD', 'Vdq,Wdq,Ib');
  row('f3 0f 70 /r', 'PSHUFHW', 'Vdq,Wdq,Ib');
  row('f2 0f 70 /r', 'PSHUFLW', 'Vdq,Wdq,Ib');
  row('np 0f 77', 'EMMS');
  row('np 0f c4 /r m', 'PINSRW', 'Pq,Mw,Ib');
  row('np 0f c4 /r r', 'PINSRW', 'Pq,Rd,Ib');
  row('66 0f c4 /r m', 'PINSRW', 'Vdq,Mw,Ib');
  row('66 0f c4 /r r', 'PINSRW', 'Vdq,Rd,Ib');
  row('np 0f c5 /r r', 'PEXTRW', 'Gd,Nq,Ib');
  row('66 0f c5 /r r', 'PEXTRW', 'Gd,Udq,Ib');
  row('np 0f d7 /r r', 'PMOVMSKB', 'Gd,Nq');
  row('66 0f d7 /r r', 'PMOVMSKB', 'Gd,Udq');
  row('np 0f f7 /r r', 'MASKMOVQ', 'Pq,Nq');
  row('66 0f f7 /r r', 'MASKMOVDQU', 'Vdq,Udq');
}

function moveRows(row: Row): void {
  row('np 0f 6e /r', 'MOVD', 'Pd,Ey');
  row('66 0f 6e /r', 'MOVD', 'Vd,Ey');
  row('np 0f 7e /r', 'MOVD', 'Ey,Pd');
  row('66 0f 7e /r', 'MOVD', 'Ey,Vd');
  row('np 0f 6f /r', 'MOVQ', 'Pq,Qq');
  row('np 0f 7f /r', 'MOVQ', 'Qq,Pq');
  row('f3 0f 7e /r', 'MOVQ', 'Vq,Wq');
  row('66 0f d6 /r', 'MOVQ', 'Wq,Vq');
  row('f3 0f d6 /r r', 'MOVQ2DQ', 'Vdq,Nq');
  row('f2 0f d6 /r r', 'MOVDQ2Q', 'Pq,Uq');
  for (const [prefix, form] of [
    ['np', 'PS'],
    ['66', 'PD'],
  ] as const) {
    const x = form.toLowerCase();
    row(`${prefix} 0f 10 /r`, `MOVU${form}`, `V${x},W${x}`);
    row(`${prefix} 0f 11 /r`, `MOVU${form}`, `W${x},V${x}`);
    row(`${prefix} 0f 28 /r`, `MOVA${form}`, `V${x},W${x}`);
    row(`${prefix} 0f 29 /r`, `MOVA${form}`, `W${x},V${x}`);
    row(`${prefix} 0f 2b /r m`, `MOVNT${form}`, `M${x},V${x}`);
    row(`${prefix} 0f 12 /r m`, `MOVL${form}`, 'Vq,Mq');
    row(`${prefix} 0f 13 /r m`, `MOVL${form}`, 'Mq,Vq');
    row(`${prefix} 0f 16 /r m`, `MOVH${form}`, 'Vq,Mq');
    row(`${prefix} 0f 17 /r m`, `MOVH${form}`, 'Mq,Vq');
    row(`${prefix} 0f 50 /r r`, `MOVMSK${form}`, `Gd,U${x}`);
  }
  row('np 0f 12 /r r', 'MOVHLPS', 'Vq,Uq');
  row('np 0f 16 /r r', 'MOVLHPS', 'Vq,Uq');
  row('f3 0f 10 /r', 'MOVSS', 'Vss,Wss');
  row('f3 0f 11 /r', 'MOVSS', 'Wss,Vss');
  row('f2 0f 10 /r', 'MOVSD', 'Vsd,Wsd');
  row('f2 0f 11 /r', 'MOVSD', 'Wsd,Vsd');
  row('66 0f 6f /r', 'MOVDQA', 'Vdq,Wdq');
  row('66 0f 7f /r', 'MOVDQA', 'Wdq,Vdq');
  row('f3 0f 6f /r', 'MOVDQU', 'Vdq,Wdq');
  row('f3 0f 7f /r', 'MOVDQU', 'Wdq,Vdq');
  row('f2 0f f0 /r m', 'LDDQU', 'Vdq,Mdq');
  row('np 0f e7 /r m', 'MOVNTQ', 'Mq,Pq');
  row('66 0f e7 /r m', 'MOVNTDQ', 'Mdq,Vdq');
  row('66 0f 38 2a /r m', 'MOVNTDQA', 'Vdq,Mdq');
  row('np 0f c3 /r m', 'MOVNTI', 'My,Gy');
  row('f2 0f 12 /r', 'MOVDDUP', 'Vdq,Wq');
  row('f3 0f 12 /r', 'MOVSLDUP', 'Vps,Wps');
  row('f3 0f 16 /r', 'MOVSHDUP', 'Vps,Wps');
}

function floatRows(row: Row): void {
  for (const [opcode, mnemonic] of Object.entries(FLOAT_FOUR)) {
    row(`np 0f ${opcode} /r`, `${mnemonic}PS`, 'Vps,Wps');
    row(`66 0f ${opcode} /r`, `${mnemonic}PD`, 'Vpd,Wpd');
    row(`f3 0f ${opcode} /r`, `${mnemonic}SS`, 'Vss,Wss');
    row(`f2 0f ${opcode} /r`, `${mnemonic}SD`, 'Vsd,Wsd');
  }
  for (const [opcode, mnemonic] of Object.entries(PACKED_FLOAT_BITS)) {
    row(`np 0f ${opcode} /r`, `${mnemonic}S`, 'Vps,Wps');
    row(`66 0f ${opcode} /r`, `${mnemonic}D`, 'Vpd,Wpd');
  }
  row('np 0f 52 /r', 'RSQRTPS', 'Vps,Wps');
  row('f3 0f 52 /r', 'RSQRTSS', 'Vss,Wss');
  row('np 0f 53 /r', 'RCPPS', 'Vps,Wps');
  row('f3 0f 53 /r', 'RCPSS', 'Vss,Wss');
  row('np 0f 2e /r', 'UCOMISS', 'Vss,Wss');
  row('66 0f 2e /r', 'UCOMISD', 'Vsd,Wsd');
  row('np 0f 2f /r', 'COMISS', 'Vss,Wss');
  row('66 0f 2f /r', 'COMISD', 'Vsd,Wsd');
  row('np 0f c2 /r', 'CMPPS', 'Vps,Wps,Ib');
  row('66 0f c2 /r', 'CMPPD', 'Vpd,Wpd,Ib');
  row('f3 0f c2 /r', 'CMPSS', 'Vss,Wss,Ib');
  row('f2 0f c2 /r', 'CMPSD', 'Vsd,Wsd,Ib');
  row('np 0f c6 /r', 'SHUFPS', 'Vps,Wps,Ib');
  row('66 0f c6 /r', 'SHUFPD', 'Vpd,Wpd,Ib');
  row('66 0f d0 /r', 'ADDSUBPD', 'Vpd,Wpd');
  row('f2 0f d0 /r', 'ADDSUBPS', 'Vps,Wps');
  row('66 0f 7c /r', 'HADDPD', 'Vpd,Wpd');
  row('f2 0f 7c /r', 'HADDPS', 'Vps,Wps');
  row('66 0f 7d /r', 'HSUBPD', 'Vpd,Wpd');
  row('f2 0f 7d /r', 'HSUBPS', 'Vps,Wps');
}

function conversionRows(row: Row): void {
  row('np 0f 2a /r', 'CVTPI2PS', 'Vps,Qpi');
  row('66 0f 2a /r', 'CVTPI2PD', 'Vpd,Qpi');
  row('f3 0f 2a /r', 'CVTSI2SS', 'Vss,Ey');
  row('f2 0f 2a /r', 'CVTSI2SD', 'Vsd,Ey');
  row('np 0f 2c /r', 'CVTTPS2PI', 'Ppi,Wq');
  row('66 0f 2c /r', 'CVTTPD2PI', 'Ppi,Wpd');
  row('f3 0f 2c /r', 'CVTTSS2SI', 'Gy,Wss');
  row('f2 0f 2c /r', 'CVTTSD2SI', 'Gy,Wsd');
  row('np 0f 2d /r', 'CVTPS2PI', 'Ppi,Wq');
  row('66 0f 2d /r', 'CVTPD2PI', 'Ppi,Wpd');
  row('f3 0f 2d /r', 'CVTSS2SI', 'Gy,Wss');
  row('f2 0f 2d /r', 'CVTSD2SI', 'Gy,Wsd');
  row('np 0f 5a /r', 'CVTPS2PD', 'Vpd,Wq');
  row('66 0f 5a /r', 'CVTPD2PS', 'Vps,Wpd');
  row('f3 0f 5a /r', 'CVTSS2SD', 'Vsd,Wss');
  row('f2 0f 5a /r', 'CVTSD2SS', 'Vss,Wsd');
  row('np 0f 5b /r', 'CVTDQ2PS', 'Vps,Wdq');
  row('66 0f 5b /r', 'CVTPS2DQ', 'Vdq,Wps');
  row('f3 0f 5b /r', 'CVTTPS2DQ', 'Vdq,Wps');
  row('66 0f e6 /r', 'CVTTPD2DQ', 'Vdq,Wpd');
  row('f2 0f e6 /r', 'CVTPD2DQ', 'Vdq,Wpd');
  row('f3 0f e6 /r', 'CVTDQ2PD', 'Vpd,Wq');
}

function sse4Rows(row: Row): void {
  Object.keys(EXTENDING).forEach((kind, i) => {
    const operand = { 8: 'Wq', 4: 'Wd', 2: 'Ww' }[EXTENDING[kind as ExtendingKind]];
    row(`66 0f 38 2${i} /r`, `PMOVSX${kind.toUpperCase()}`, `Vdq,${operand}`);
    row(`66 0f 38 3${i} /r`, `PMOVZX${kind.toUpperCase()}`, `Vdq,${operand}`);
  });
  row('66 0f 38 17 /r', 'PTEST', 'Vdq,Wdq');
  row('66 0f 38 41 /r', 'PHMINPOSUW', 'Vdq,Wdq');
  row('f2 0f 38 f0 /r', 'CRC32', 'Gy,Eb');
  row('f2 0f 38 f1 /r', 'CRC32', 'Gy,Ev');
  row('66 0f 3a 08 /r', 'ROUNDPS', 'Vps,Wps,Ib');
  row('66 0f 3a 09 /r', 'ROUNDPD', 'Vpd,Wpd,Ib');
  row('66 0f 3a 0a /r', 'ROUNDSS', 'Vss,Wss,Ib');
  row('66 0f 3a 0b /r', 'ROUNDSD', 'Vsd,Wsd,Ib');
  row('66 0f 3a 0c /r', 'BLENDPS', 'Vps,Wps,Ib');
  row('66 0f 3a 0d /r', 'BLENDPD', 'Vpd,Wpd,Ib');
  row('66 0f 3a 0e /r', 'PBLENDW', 'Vdq,Wdq,Ib');
  row('np 0f 3a 0f /r', 'PALIGNR', 'Pq,Qq,Ib');
  row('66 0f 3a 0f /r', 'PALIGNR', 'Vdq,Wdq,Ib');
  row('66 0f 3a 14 /r r', 'PEXTRB', 'Rd,Vdq,Ib');
  row('66 0f 3a 14 /r m', 'PEXTRB', 'Mb,Vdq,Ib');
  row('66 0f 3a 15 /r r', 'PEXTRW', 'Rd,Vdq,Ib');
  row('66 0f 3a 15 /r m', 'PEXTRW', 'Mw,Vdq,Ib');
  row('66 0f 3a 16 /r', 'PEXTRD', 'Ey,Vdq,Ib');
  row('66 0f 3a 17 /r', 'EXTRACTPS', 'Ed,Vdq,Ib');
  row('66 0f 3a 20 /r r', 'PINSRB', 'Vdq,Rd,Ib');
  row('66 0f 3a 20 /r m', 'PINSRB', 'Vdq,Mb,Ib');
  row('66 0f 3a 21 /r r', 'INSERTPS', 'Vdq,Udq,Ib');
  row('66 0f 3a 21 /r m', 'INSERTPS', 'Vdq,Md,Ib');
  row('66 0f 3a 22 /r', 'PINSRD', 'Vdq,Ey,Ib');
  row('66 0f 3a 40 /r', 'DPPS', 'Vps,Wps,Ib');
  row('66 0f 3a 41 /r', 'DPPD', 'Vpd,Wpd,Ib');
  row('66 0f 3a 42 /r', 'MPSADBW', 'Vdq,Wdq,Ib');
  row('66 0f 3a 60 /r', 'PCMPESTRM', 'Vdq,Wdq,Ib');
  row('66 0f 3a 61 /r', 'PCMPESTRI', 'Vdq,Wdq,Ib');
  row('66 0f 3a 62 /r', 'PCMPISTRM', 'Vdq,Wdq,Ib');
  row('66 0f 3a 63 /r', 'PCMPISTRI', 'Vdq,Wdq,Ib');
}

export function simdRows(row: Row): void {
  moveRows(row);
  integerRows(row);
  floatRows(row);
  conversionRows(row);
  sse4Rows(row);
}

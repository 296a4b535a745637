/** A vCPU's state in KVM's structures. */
import type { StructValues } from '#util/struct.ts';
import type { DescriptorTableRegister, SegmentRegister, SpecialRegisters } from '../registers.ts';
import type { Dtable, Segment, Sregs } from './abi-structs.ts';

const bit = (value: boolean): number => (value ? 1 : 0);

function segmentOf(register: SegmentRegister): StructValues<typeof Segment> {
  const { base, limit, selector, type, dpl } = register;
  return {
    baseAddress: base,
    limit,
    selector,
    type,
    present: bit(register.present),
    dpl,
    db: bit(register.defaultBig),
    s: bit(register.codeOrData),
    l: bit(register.longMode),
    g: bit(register.granular),
    avl: bit(register.available),
    unusable: bit(register.unusable),
    padding: 0,
  };
}

const tableOf = ({ base, limit }: DescriptorTableRegister): StructValues<typeof Dtable> => ({
  baseAddress: base,
  limit,
  padding: [0, 0, 0],
});

/** Without pending interrupts. */
export function sregsOf(special: SpecialRegisters): StructValues<typeof Sregs> {
  const { cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt, ...control } = special;
  return {
    cs: segmentOf(cs),
    ds: segmentOf(ds),
    es: segmentOf(es),
    fs: segmentOf(fs),
    gs: segmentOf(gs),
    ss: segmentOf(ss),
    tr: segmentOf(tr),
    ldt: segmentOf(ldt),
    gdt: tableOf(gdt),
    idt: tableOf(idt),
    ...control,
    interruptBitmap: [0n, 0n, 0n, 0n],
  };
}

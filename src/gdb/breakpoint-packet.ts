/** The packets Z and z, which set and remove breakpoints. */
import { BREAKPOINT_KINDS, type Breakpoint, isOfCode } from '#hypervisor/debug.ts';
import { addressOf, numberOf } from './numbers.ts';

/** `TYPE,ADDRESS,KIND`. `unknown`: a type that is none of ours, or with conditions and commands, which are not taken. */
export function breakpointOf(text: string): Breakpoint | 'unknown' | undefined {
  const [place = '', ...further] = text.split(';');
  const [type, addressText, sizeText, ...rest] = place.split(',');
  if (type === undefined || !/^[0-9]$/.test(type) || rest.length > 0) return undefined;
  const kind = BREAKPOINT_KINDS[Number(type)];
  if (kind === undefined || further.length > 0) return 'unknown';
  const address = addressOf(addressText);
  const size = numberOf(sizeText);
  if (address === undefined || size === undefined) return undefined;
  // Of code it says how the instruction is encoded, which is of no concern here.
  return { kind, address, sizeBytes: isOfCode({ kind }) ? 1 : size };
}

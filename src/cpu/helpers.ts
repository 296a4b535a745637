/** All helpers in the order in which records number them. */
import type { Cpu } from './cpu.ts';
import { arithmeticHelpers } from './helpers/arithmetic.ts';
import { type Helper, HelperContext } from './helpers/context.ts';
import { floatHelpers } from './helpers/float.ts';
import { simdHelpers } from './helpers/simd.ts';
import { stringHelpers } from './helpers/strings.ts';
import { systemHelpers } from './helpers/system.ts';
import { HELPER_NAMES, type HelperName } from './isa/helper-names.ts';

export function createHelpers(cpu: Cpu): readonly Helper[] {
  const context = new HelperContext(cpu);
  const helpers: Record<HelperName, Helper> = {
    ...arithmeticHelpers(context),
    ...floatHelpers(context),
    ...simdHelpers(context),
    ...stringHelpers(context),
    ...systemHelpers(context),
  };
  return HELPER_NAMES.map((name) => helpers[name]);
}

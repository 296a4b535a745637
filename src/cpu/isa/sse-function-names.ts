/** Floating-point operations of SSE that helpers do, by the names under which `float/sse.ts` has them; a record holds the place in this list. */
import {
  sseApproximate,
  sseArithmetic,
  sseCompare,
  sseComparison,
  sseConvert,
  sseDotProduct,
  sseRound,
} from '../float/sse.ts';

export const SSE_FUNCTIONS = {
  ...sseArithmetic,
  ...sseApproximate,
  ...sseConvert,
  ...sseComparison,
  ...sseCompare,
  ...sseRound,
  ...sseDotProduct,
} as const;
export type SseFunctionName = keyof typeof SSE_FUNCTIONS;
export const SSE_FUNCTION_NAMES = Object.keys(SSE_FUNCTIONS) as readonly SseFunctionName[];

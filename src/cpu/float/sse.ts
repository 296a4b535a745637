/**
 * SSE to SSE4.2 floating point: every operation by its mnemonic, and what a caller needs to use them. Conventions:
 * sse-view.ts. Sources: Intel SDM vol. 1 §4.8, §10, §11.5 and appendix E; vol. 2 for each instruction.
 */
export { sseApproximate } from './sse-approximate.ts';
export { type SseFunction, type SseImmediateFunction, sseArithmetic, sseDotProduct } from './sse-arithmetic.ts';
export { comparisonEflags, sseCompare, sseComparison } from './sse-compare.ts';
export { sseConvert } from './sse-convert.ts';
export { sseRound } from './sse-round.ts';
export { createSseView, isUnmasked, MXCSR, type SseView } from './sse-view.ts';

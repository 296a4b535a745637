/**
 * As cpu-programs, on machines that compile: one everything at once, block by block; one what has run twice, with loops; and one regions of two
 * blocks at most, so that there are many ways in and out.
 */
import { JIT_DEFAULTS, type JitOptions } from '#cpu/jit/jit.ts';
import { ProgramMachine } from '../cpu-programs/machine.ts';
import { forgetful, programTarget } from '../cpu-programs/program-target.ts';

const compiling = (options: Partial<JitOptions>): ProgramMachine =>
  new ProgramMachine({ jit: { ...JIT_DEFAULTS, ...options } });

export const target = programTarget('cpu-jit', () => [
  compiling({ threshold: 0 }),
  compiling({ threshold: 2 }),
  compiling({ threshold: 1, limits: { blocks: 2, records: 40 } }),
]);

export const canary = programTarget('cpu-jit', () => [forgetful(compiling({ threshold: 0 }))]);

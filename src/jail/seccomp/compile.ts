/** Policies to seccomp filters: the way through the stages, and where the policies of the devices are. */
import { fileURLToPath } from 'node:url';
import { packageFile } from '#util/package-files.ts';
import type { Architecture } from './architecture.ts';
import { INSTRUCTIONS_MAX, type Instruction } from './bpf.ts';
import { DecisionGraph } from './decisions.ts';
import { emit } from './emitter.ts';
import { type FilterOptions, lowerRules } from './lowering.ts';
import { mistakeAt, PolicyError } from './policy-error.ts';
import { type PolicySource, resolvePolicy } from './resolver.ts';

/** The file of a policy that comes with the package, as `rng_device`. */
export function policyPath(architecture: Architecture, name: string): string {
  return fileURLToPath(packageFile(`seccomp/${architecture.name}/${name}.policy`));
}

/** What to compile: the file, for which architecture, with which default. */
export type CompileOptions = PolicySource & FilterOptions;

/**
 * Compiles a policy file to a filter, whose bytes (`encode`, bpf.ts) the kernel takes (sys/seccomp.ts). Throws PolicyError
 * with every mistake of the file and those that it includes, or when the filter has more than 4096 instructions.
 */
export function compilePolicy(options: CompileOptions): Instruction[] {
  const rules = resolvePolicy(options);
  const graph = new DecisionGraph();
  const program = emit(graph, lowerRules(graph, rules, options));
  if (program.length > INSTRUCTIONS_MAX) {
    const message = `the filter has ${program.length} instructions, the kernel takes ${INSTRUCTIONS_MAX}`;
    throw new PolicyError([mistakeAt({ file: options.path, line: 0 }, message)]);
  }
  return program;
}

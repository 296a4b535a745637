/** Rules to a graph of decisions: 64-bit comparisons by halves, a binary search for the call's number. */
import { unreachable } from '#util/assert.ts';
import { type Action, returnValue } from './action.ts';
import type { Architecture } from './architecture.ts';
import { DataWord, type Decision, type DecisionGraph } from './decisions.ts';
import type { ResolvedRule } from './resolver.ts';
import type { Atom, Condition } from './syntax.ts';

const WORD_MASK = 0xffff_ffffn;

/** Call numbers from `from` to the next range's, and what happens to them. */
interface CallRange {
  readonly from: number;
  readonly decision: Decision;
}

export class Lowering {
  readonly #graph: DecisionGraph;

  constructor(graph: DecisionGraph) {
    this.#graph = graph;
  }

  /** One comparison of a 64-bit argument. */
  atom({ argument, comparison, value }: Atom<bigint>, yes: Decision, no: Decision): Decision {
    switch (comparison) {
      case '==':
        return this.#equal(argument, value, yes, no);
      case '!=':
        return this.#equal(argument, value, no, yes);
      case '>':
        return this.#greater(argument, value, { operation: 'greater', yes, no });
      case '<=':
        return this.#greater(argument, value, { operation: 'greater', yes: no, no: yes });
      case '>=':
        return this.#greater(argument, value, { operation: 'greater-equal', yes, no });
      case '<':
        return this.#greater(argument, value, { operation: 'greater-equal', yes: no, no: yes });
      case '&':
        return this.#any(argument, value, yes, no);
      case 'in':
        return this.#any(argument, BigInt.asUintN(64, ~value), no, yes);
      default:
        return unreachable(comparison);
    }
  }

  /** A disjunction of conjunctions, its first alternative asked first. */
  condition(condition: Condition<bigint>, yes: Decision, no: Decision): Decision {
    return condition.reduceRight<Decision>(
      (otherwise, conjunction) =>
        conjunction.reduceRight<Decision>((met, atom) => this.atom(atom, met, otherwise), yes),
      no,
    );
  }

  /** A binary search over ranges that are in the order of their numbers; the first begins at 0. */
  search(ranges: readonly CallRange[]): Decision {
    const [first, second, third] = ranges;
    if (!first) throw new RangeError('no ranges');
    if (!second) return first.decision;
    // One number within a range: a single test.
    if (ranges.length === 3 && third && first.decision === third.decision && third.from === second.from + 1) {
      const question = { word: DataWord.CALL, operation: 'equal', value: second.from } as const;
      return this.#graph.test(question, second.decision, first.decision);
    }
    const middle = ranges.length >> 1;
    const upper = ranges.slice(middle);
    const question = { word: DataWord.CALL, operation: 'greater-equal', value: upper[0]?.from ?? 0 } as const;
    const yes = this.search(upper);
    return this.#graph.test(question, yes, this.search(ranges.slice(0, middle)));
  }

  #equal(argument: number, value: bigint, yes: Decision, no: Decision): Decision {
    const { low, high } = halves(argument, value);
    return this.#graph.test(
      { ...high, operation: 'equal' },
      this.#graph.test({ ...low, operation: 'equal' }, yes, no),
      no,
    );
  }

  #any(argument: number, value: bigint, yes: Decision, no: Decision): Decision {
    const { low, high } = halves(argument, value);
    return this.#graph.test(
      { ...high, operation: 'any' },
      yes,
      this.#graph.test({ ...low, operation: 'any' }, yes, no),
    );
  }

  #greater(
    argument: number,
    value: bigint,
    { operation, yes, no }: { operation: 'greater' | 'greater-equal'; yes: Decision; no: Decision },
  ): Decision {
    const { low, high } = halves(argument, value);
    const byLow = this.#graph.test({ ...low, operation }, yes, no);
    // A high half that is not greater than 0 is 0.
    const notGreater = high.value === 0 ? byLow : this.#graph.test({ ...high, operation: 'equal' }, byLow, no);
    return this.#graph.test({ ...high, operation: 'greater' }, yes, notGreater);
  }
}

function halves(argument: number, value: bigint) {
  return {
    low: { word: DataWord.low(argument), value: Number(value & WORD_MASK) },
    high: { word: DataWord.high(argument), value: Number(value >> 32n) },
  };
}

/** The ranges in which one decision holds, of ranges in order: a later one replaces one that begins at the same number. */
function joined(ranges: readonly CallRange[]): CallRange[] {
  const kept: CallRange[] = [];
  for (const range of ranges) {
    if (kept.at(-1)?.from === range.from) kept.pop();
    if (kept.at(-1)?.decision !== range.decision) kept.push(range);
  }
  return kept;
}

export interface FilterOptions {
  readonly architecture: Architecture;
  /** What happens to calls without a rule, and where a rule's condition does not hold and it returns no errno. */
  readonly defaultAction: Action;
}

/** The whole filter's first decision. `rules` are in the order of their numbers. */
export function lowerRules(graph: DecisionGraph, rules: readonly ResolvedRule[], options: FilterOptions): Decision {
  const { architecture, defaultAction } = options;
  const lowering = new Lowering(graph);
  const allow = graph.return(returnValue('allow'));
  const byDefault = graph.return(returnValue(defaultAction));
  // Whatever the default: numbers mean other calls there, and a process that makes them means to get around the filter.
  const foreign = graph.return(returnValue('kill-process'));
  const ranges: CallRange[] = [{ from: 0, decision: byDefault }];
  for (const { call, allowed, otherwise } of rules) {
    const no = otherwise === undefined ? byDefault : graph.return(returnValue({ errno: otherwise }));
    ranges.push({ from: call, decision: lowering.condition(allowed, allow, no) });
    // After the last number there is nothing.
    if (call < 0xffff_ffff) ranges.push({ from: call + 1, decision: byDefault });
  }
  if (architecture.foreignCallsFrom !== undefined) {
    ranges.push({ from: architecture.foreignCallsFrom, decision: foreign });
  }
  const arch = { word: DataWord.ARCH, operation: 'equal', value: architecture.auditArch } as const;
  return graph.test(arch, lowering.search(joined(ranges)), foreign);
}

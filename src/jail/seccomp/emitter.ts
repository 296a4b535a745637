/** A graph of decisions to classic BPF. */
import { assert } from '#util/assert.ts';
import { Code, type Instruction, OFFSET_MAX } from './bpf.ts';
import type { Decision, DecisionGraph, Operation, Test } from './decisions.ts';

const CODES = {
  equal: Code.JUMP_EQUAL,
  greater: Code.JUMP_GREATER,
  'greater-equal': Code.JUMP_GREATER_EQUAL,
  any: Code.JUMP_ANY,
} as const satisfies Record<Operation, number>;

/** Where a decision's instructions begin, counted from the program's end. */
interface Position {
  /** Where the accumulator has to hold the test's word already. */
  readonly loaded: number;
  /** Where the word is loaded; absent if every jump to it comes with the word. */
  readonly load?: number;
}

/**
 * Writes a program from its end to its beginning: BPF jumps forward alone, so that every target is known when the jump to
 * it is written.
 */
class Emitter {
  /** The last instruction first. */
  readonly #backwards: Instruction[] = [];
  readonly #positions = new Map<Decision, Position>();

  get program(): Instruction[] {
    return this.#backwards.toReversed();
  }

  /** Writes a decision before what is there. Its consequences are written. */
  add(decision: Decision, loadsWord: boolean): void {
    if (decision.kind === 'return') {
      this.#positions.set(decision, { loaded: this.#return(decision.value), load: this.#backwards.length - 1 });
      return;
    }
    const loaded = this.#jump(decision);
    if (!loadsWord) this.#positions.set(decision, { loaded });
    else
      this.#positions.set(decision, { loaded, load: this.#push({ code: Code.LOAD, jt: 0, jf: 0, k: decision.word }) });
  }

  #jump(test: Test): number {
    const no = this.#reach(test.no, test.word);
    const yes = this.#reach(test.yes, test.word);
    const jt = this.#offset(yes);
    const jf = this.#offset(no);
    assert(jt <= OFFSET_MAX && jf <= OFFSET_MAX, 'conditional jumps stay in reach');
    return this.#push({ code: CODES[test.operation], jt, jf, k: test.value });
  }

  /** A position of `target` that a jump can reach from here, one instruction more between; it may have to be made. */
  #reach(target: Decision, word: number): number {
    const position = this.#positions.get(target);
    assert(position !== undefined, 'consequences are written before the test');
    const at = target.kind === 'test' && target.word === word ? position.loaded : position.load;
    assert(at !== undefined, 'whoever comes without the word finds it loaded');
    if (this.#offset(at) < OFFSET_MAX) return at;
    if (target.kind === 'return') return this.#return(target.value);
    return this.#push({ code: Code.JUMP, jt: 0, jf: 0, k: this.#offset(at) });
  }

  #return(value: number): number {
    return this.#push({ code: Code.RETURN, jt: 0, jf: 0, k: value });
  }

  /** How many instructions lie between the next one that is written and the one at `position`. */
  #offset(position: number): number {
    return this.#backwards.length - position - 1;
  }

  #push(instruction: Instruction): number {
    return this.#backwards.push(instruction) - 1;
  }
}

/**
 * The program of `root` and what follows from it. Its length is not limited here. A word is loaded where some way to its
 * test comes without it.
 */
export function emit(graph: DecisionGraph, root: Decision): Instruction[] {
  const reachable = new Set<Decision>([root]);
  const loads = new Set<Decision>([root]);
  // In the graph's order consequences come first; this needs them last, as writing does the other way round.
  const decisions = [...graph.decisions];
  for (const decision of decisions.toReversed()) {
    if (!reachable.has(decision) || decision.kind === 'return') continue;
    for (const next of [decision.yes, decision.no]) {
      reachable.add(next);
      if (next.kind === 'test' && next.word !== decision.word) loads.add(next);
    }
  }
  const emitter = new Emitter();
  for (const decision of decisions) if (reachable.has(decision)) emitter.add(decision, loads.has(decision));
  return emitter.program;
}

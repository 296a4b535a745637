/**
 * The intermediate form of a filter: a graph of tests on 32-bit words of `struct seccomp_data` that ends in values to
 * return. Equal nodes are one node, so that the tails of many rules are shared.
 */

/** `struct seccomp_data`, uapi/linux/seccomp.h: where its words lie. Both architectures are little endian. */
export const DataWord = {
  CALL: 0,
  ARCH: 4,
  low: (argument: number) => 16 + 8 * argument,
  high: (argument: number) => 20 + 8 * argument,
} as const;

/** Unsigned tests of a word w with a value v: w == v, w > v, w >= v, (w & v) != 0. */
export type Operation = 'equal' | 'greater' | 'greater-equal' | 'any';

export interface Return {
  readonly kind: 'return';
  readonly value: number;
}

export interface Test {
  readonly kind: 'test';
  readonly word: number;
  readonly operation: Operation;
  readonly value: number;
  readonly yes: Decision;
  readonly no: Decision;
}

export type Decision = Return | Test;

/** What is asked of a word, without the consequences. */
export type Question = Pick<Test, 'word' | 'operation' | 'value'>;

const WORD_MAX = 0xffff_ffff;

/** The answer where it is the same for every word. */
function constantAnswer({ operation, value }: Question): boolean | undefined {
  if (operation === 'any' && value === 0) return false;
  if (operation === 'greater' && value === WORD_MAX) return false;
  if (operation === 'greater-equal' && value === 0) return true;
  return undefined;
}

/** Makes decisions from their consequences upward. */
export class DecisionGraph {
  readonly #numbers = new Map<Decision, number>();
  readonly #known = new Map<string, Decision>();

  /** Every decision that was made, a test after both of its consequences. */
  get decisions(): Iterable<Decision> {
    return this.#numbers.keys();
  }

  return(value: number): Decision {
    return this.#unique(`return ${value}`, () => ({ kind: 'return', value }));
  }

  /** A test, or what it comes to where its answer is known or makes no difference. */
  test(question: Question, yes: Decision, no: Decision): Decision {
    const { word, operation, value } = question;
    const answer = constantAnswer(question);
    if (answer !== undefined) return answer ? yes : no;
    // The next test of a chain often asks the same again: `arg0 == 1 || arg0 == 2` asks twice for a high half of 0.
    const same = (next: Decision): next is Test =>
      next.kind === 'test' && next.word === word && next.operation === operation && next.value === value;
    while (same(yes)) yes = yes.yes;
    while (same(no)) no = no.no;
    if (yes === no) return yes;
    const key = `${word} ${operation} ${value} ${this.#numbers.get(yes)} ${this.#numbers.get(no)}`;
    return this.#unique(key, () => ({ kind: 'test', word, operation, value, yes, no }));
  }

  #unique(key: string, make: () => Decision): Decision {
    let decision = this.#known.get(key);
    if (!decision) {
      decision = make();
      this.#known.set(key, decision);
      this.#numbers.set(decision, this.#numbers.size);
    }
    return decision;
  }
}

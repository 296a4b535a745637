/** What a policy file says: the syntax tree of minijail's policies, minijail0(5), "seccomp_filter syntax". */

/** A constant expression. */
export type Value =
  | { readonly kind: 'number'; readonly value: bigint }
  | { readonly kind: 'name'; readonly name: string; readonly line: number }
  | { readonly kind: 'complement'; readonly of: Value }
  | { readonly kind: 'union'; readonly of: readonly Value[] };

/** Unsigned comparisons of 64 bits; `&`: some bit of the value is set; `in`: no bit outside of the value is set. */
export const COMPARISONS = ['==', '!=', '<', '<=', '>', '>=', '&', 'in'] as const;
export type Comparison = (typeof COMPARISONS)[number];

/** `argN OP VALUE`. V is what a value is: an expression, or a number once it is resolved. */
export interface Atom<V> {
  /** 0 to 5. */
  readonly argument: number;
  readonly comparison: Comparison;
  readonly value: V;
}

/** A disjunction of conjunctions: `[[]]` is always true (`call: 1`), `[]` never (`call: return ERRNO`). */
export type Condition<V> = readonly (readonly Atom<V>[])[];

/** What happens to one system call: it is allowed where the condition holds, else fails with `otherwise`. */
export interface Rule {
  readonly kind: 'rule';
  /** The call's name, or its number. */
  readonly call: string | number;
  readonly line: number;
  readonly allowed: Condition<Value>;
  /** An errno; without it the policy's default action is taken. */
  readonly otherwise?: Value;
}

/** `@include FILE`. */
export interface Include {
  readonly kind: 'include';
  readonly path: string;
  readonly line: number;
}

export type Statement = Rule | Include;

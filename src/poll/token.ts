import { assert } from '#util/assert.ts';
import { type FieldType, u64 } from '#util/struct.ts';

/**
 * How a token becomes the 64 bits that epoll keeps for a descriptor. `u64` (bigint) and `u64AsNumber` of #util/struct.ts are
 * token types; `namedTokens` and `encodedTokens` make further ones.
 */
export type TokenType<Token> = FieldType<Token>;

/** Tokens that are some names, kept as their index: `namedTokens('exit', 'console', 'timer')`. */
export function namedTokens<const Name extends string>(...names: readonly Name[]): TokenType<Name> {
  const indexes = new Map(names.map((name, index) => [name, index]));
  assert(indexes.size === names.length, 'every name once');
  return {
    size: 8,
    alignment: 8,
    get: (view, offset) => {
      const name = names[view.getUint32(offset, true)];
      assert(name !== undefined && view.getUint32(offset + 4, true) === 0, 'a token that was registered');
      return name;
    },
    set: (view, offset, name) => {
      const index = indexes.get(name);
      assert(index !== undefined, 'a token of the list');
      view.setUint32(offset, index, true);
      view.setUint32(offset + 4, 0, true);
    },
  };
}

/** Tokens of any shape, by their own encoding in 64 bits. `decode` gets exactly what `encode` returned. */
export function encodedTokens<Token>(codec: {
  readonly encode: (token: Token) => bigint;
  readonly decode: (raw: bigint) => Token;
}): TokenType<Token> {
  return {
    size: 8,
    alignment: 8,
    get: (view, offset) => codec.decode(u64.get(view, offset)),
    set: (view, offset, token) => {
      const raw = codec.encode(token);
      assert(raw >= 0n && raw < 2n ** 64n, 'an encoded token fits in 64 bits');
      u64.set(view, offset, raw);
    },
  };
}

/**
 * The value grammar of crosvm's structured options: `key=value,key,key="a, b"`. A bare key has no value; a value may stand
 * in single or double quotes, where a backslash takes the next character as it is.
 */
export interface KeyValue {
  readonly key: string;
  readonly value: string | undefined;
}

export interface ParsedKeyValues {
  readonly pairs: readonly KeyValue[];
  /** What the text has that the grammar has not; the pairs before it are still there. */
  readonly problems: readonly string[];
}

/** Never throws. Keys are not checked for being known or given once. */
export function parseKeyValues(text: string): ParsedKeyValues {
  const pairs: KeyValue[] = [];
  const problems: string[] = [];
  let at = 0;
  for (;;) {
    const key = /[^=,]*/y;
    key.lastIndex = at;
    const name = key.exec(text)?.[0] ?? '';
    at += name.length;
    let value: string | undefined;
    if (text[at] === '=') {
      const scanned = scanValue(text, at + 1);
      if (scanned === undefined) return { pairs, problems: [...problems, 'a quote is not closed'] };
      value = scanned.value;
      at = scanned.end;
      if (at < text.length && text[at] !== ',') return { pairs, problems: [...problems, 'text after a closing quote'] };
    }
    if (name === '') problems.push(text === '' ? 'is empty' : 'a key is missing between commas or before =');
    else pairs.push({ key: name, value });
    if (at >= text.length) return { pairs, problems };
    at += 1;
  }
}

/** The value that starts at `start` and the index after it; undefined when its quote is not closed. */
function scanValue(text: string, start: number): { value: string; end: number } | undefined {
  const quote = text[start];
  if (quote !== '"' && quote !== "'") {
    const comma = text.indexOf(',', start);
    const end = comma === -1 ? text.length : comma;
    return { value: text.slice(start, end), end };
  }
  let value = '';
  for (let at = start + 1; at < text.length; at++) {
    const character = text[at];
    if (character === quote) return { value, end: at + 1 };
    if (character === '\\') at += 1;
    value += text[at] ?? '';
  }
  return undefined;
}

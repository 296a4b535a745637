/** Tokens of a policy file to its statements. Each line is parsed for itself, so that all mistakes come up together. */
import { type LogicalLine, logicalLines, type Token } from './lexer.ts';
import { type Mistake, mistakeAt } from './policy-error.ts';
import { type Atom, COMPARISONS, type Comparison, type Condition, type Statement, type Value } from './syntax.ts';

export interface ParsedFile {
  readonly statements: readonly Statement[];
  readonly mistakes: readonly Mistake[];
}

/** Longest policy file, in UTF-16 units: a filter of 4096 instructions cannot come of more. */
const TEXT_LENGTH_MAX = 2 ** 18;
/** Nesting of parentheses in a constant expression. */
const DEPTH_MAX = 16;

/** Leaves the parsing of one line. */
class LineMistake extends Error {
  readonly line: number;
  constructor(token: { readonly line: number }, message: string) {
    super(message);
    this.line = token.line;
  }
}

/** A token's text for a message, of one line whatever it is. */
function shown(token: Token): string {
  return token.kind === 'end' ? token.text : JSON.stringify(token.text);
}

/** The tokens of one logical line. */
class TokenReader {
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  peek(): Token {
    // The last token, of kind `end`, is never consumed.
    return this.#tokens[Math.min(this.#at, this.#tokens.length - 1)] as Token;
  }

  next(): Token {
    const token = this.peek();
    this.#at++;
    return token;
  }

  /** Consumes the next token if it is this text. */
  accept(text: string): boolean {
    if (this.peek().kind === 'end' || this.peek().text !== text) return false;
    this.#at++;
    return true;
  }

  expect(text: string, after: string): void {
    if (!this.accept(text))
      throw new LineMistake(this.peek(), `expected ${text} after ${after}, not ${shown(this.peek())}`);
  }
}

/** A number in C's notation: decimal, 0x hexadecimal, 0 octal; negative ones as 64-bit two's complement. */
function numberOf(token: Token): bigint {
  const match = /^(-?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))$/.exec(token.text);
  if (!match) throw new LineMistake(token, `${shown(token)} is not a number`);
  const [, sign, hexadecimal, octal, decimal] = match;
  const magnitude = BigInt(
    hexadecimal !== undefined ? `0x${hexadecimal}` : octal !== undefined ? `0o${octal}` : `${decimal}`,
  );
  if (sign ? magnitude > 2n ** 63n : magnitude >= 2n ** 64n) {
    throw new LineMistake(token, `${shown(token)} does not fit in 64 bits`);
  }
  return BigInt.asUintN(64, sign ? -magnitude : magnitude);
}

/** NAME, NUMBER, `~` TERM or `(` VALUE `)`. */
function term(reader: TokenReader, depth: number): Value {
  const token = reader.next();
  if (depth > DEPTH_MAX) throw new LineMistake(token, `a constant is nested deeper than ${DEPTH_MAX}`);
  if (token.kind === 'number') return { kind: 'number', value: numberOf(token) };
  if (token.kind === 'name') return { kind: 'name', name: token.text, line: token.line };
  if (token.kind === 'symbol' && token.text === '~') return { kind: 'complement', of: term(reader, depth + 1) };
  if (token.kind === 'symbol' && token.text === '(') {
    const inner = value(reader, depth + 1);
    reader.expect(')', 'the constant in parentheses');
    return inner;
  }
  throw new LineMistake(token, `expected a constant, not ${shown(token)}`);
}

/** TERM { `|` TERM }: the complement binds closer than the union. */
function value(reader: TokenReader, depth = 0): Value {
  const first = term(reader, depth);
  if (reader.peek().text !== '|') return first;
  const of = [first];
  while (reader.accept('|')) of.push(term(reader, depth));
  return { kind: 'union', of };
}

function isComparison(text: string): text is Comparison {
  return (COMPARISONS as readonly string[]).includes(text);
}

/** `argN OP VALUE`. */
function atom(reader: TokenReader): Atom<Value> {
  const token = reader.next();
  const [, digits] = /^arg(\d+)$/.exec(token.text) ?? [];
  if (digits === undefined) throw new LineMistake(token, `expected arg0 to arg5, not ${shown(token)}`);
  if (!/^[0-5]$/.test(digits)) throw new LineMistake(token, `a system call has no ${token.text}, only arg0 to arg5`);
  const operator = reader.next();
  if (!isComparison(operator.text)) {
    throw new LineMistake(
      operator,
      `expected one of ${COMPARISONS.join(' ')} after ${token.text}, not ${shown(operator)}`,
    );
  }
  return { argument: Number(digits), comparison: operator.text, value: value(reader) };
}

/** ATOM { `&&` ATOM } { `||` ATOM { `&&` ATOM } }. */
function condition(reader: TokenReader): Condition<Value> {
  const disjunction: Atom<Value>[][] = [];
  do {
    const conjunction = [atom(reader)];
    while (reader.accept('&&')) conjunction.push(atom(reader));
    disjunction.push(conjunction);
  } while (reader.accept('||'));
  return disjunction;
}

/** What stands after `call:`. */
function body(reader: TokenReader): { allowed: Condition<Value>; otherwise?: Value } {
  if (reader.accept('return')) return { allowed: [], otherwise: value(reader) };
  const start = reader.peek();
  if (start.kind === 'number') {
    if (start.text !== '1') throw new LineMistake(start, `expected 1, return or arg0 to arg5, not ${shown(start)}`);
    reader.next();
    return { allowed: [[]] };
  }
  if (!start.text.startsWith('arg')) {
    throw new LineMistake(start, `expected 1, return or arg0 to arg5, not ${shown(start)}`);
  }
  const allowed = condition(reader);
  if (!reader.accept(';')) return { allowed };
  reader.expect('return', ';');
  return { allowed, otherwise: value(reader) };
}

/** `call: BODY`. */
function rule(tokens: readonly Token[]): Statement {
  const reader = new TokenReader(tokens);
  const call = reader.next();
  if (call.kind !== 'name' && call.kind !== 'number') {
    throw new LineMistake(call, `expected a system call, not ${shown(call)}`);
  }
  const number = call.kind === 'number' ? numberOf(call) : 0n;
  if (number >= 2n ** 32n) throw new LineMistake(call, `${shown(call)} is no system call`);
  reader.expect(':', call.text);
  const parsed = body(reader);
  const rest = reader.peek();
  if (rest.kind !== 'end') throw new LineMistake(rest, `did not expect ${shown(rest)} here`);
  return { kind: 'rule', call: call.kind === 'name' ? call.text : Number(number), line: call.line, ...parsed };
}

function directive(line: Extract<LogicalLine, { kind: 'directive' }>): Statement | undefined {
  if (line.argument === '') throw new LineMistake(line, `@${line.name} needs a file`);
  if (line.argument.includes('\0')) throw new LineMistake(line, 'a file name contains a NUL character');
  if (line.name === 'include') return { kind: 'include', path: line.argument, line: line.line };
  // It orders minijail's linear search by how often calls are made; the search here is binary.
  if (line.name === 'frequency') return undefined;
  if (line.name === 'default')
    throw new LineMistake(line, '@default is not supported: whoever applies a policy chooses it');
  throw new LineMistake(
    line,
    `unknown directive ${JSON.stringify(`@${line.name}`)}: there are @include and @frequency`,
  );
}

function statement(line: LogicalLine): Statement | undefined {
  if (line.kind === 'mistake') throw new LineMistake(line, line.message);
  return line.kind === 'directive' ? directive(line) : rule(line.tokens);
}

/** Parses one file's text. Never throws for what the text is; `file` names it in messages. */
export function parsePolicy(text: string, file: string): ParsedFile {
  if (text.length > TEXT_LENGTH_MAX) {
    const message = `the policy has ${text.length} characters, more than ${TEXT_LENGTH_MAX}`;
    return { statements: [], mistakes: [mistakeAt({ file, line: 0 }, message)] };
  }
  const statements: Statement[] = [];
  const mistakes: Mistake[] = [];
  for (const line of logicalLines(text)) {
    try {
      const parsed = statement(line);
      if (parsed) statements.push(parsed);
    } catch (error) {
      if (!(error instanceof LineMistake)) throw error;
      mistakes.push(mistakeAt({ file, line: error.line }, error.message));
    }
  }
  return { statements, mistakes };
}

/** Policy text to logical lines of tokens: comments, continuation by a backslash, directives. */

export interface Token {
  readonly kind: 'name' | 'number' | 'symbol' | 'other' | 'end';
  readonly text: string;
  /** The physical line, from 1. */
  readonly line: number;
}

/** A statement's tokens, closed by one of kind `end`; or a directive, whose argument is the text after its name. */
export type LogicalLine =
  | { readonly kind: 'tokens'; readonly tokens: readonly Token[] }
  | { readonly kind: 'directive'; readonly name: string; readonly argument: string; readonly line: number }
  | { readonly kind: 'mistake'; readonly message: string; readonly line: number };

const TOKEN =
  /(?<space>\s+)|(?<name>[A-Za-z_]\w*)|(?<number>-?\d\w*)|(?<symbol>[=!<>]=|\|\||&&|[<>&|~():;])|(?<other>.)/gsu;

function tokensOf(text: string, line: number): Token[] {
  const tokens: Token[] = [];
  for (const { 0: matched, groups } of text.matchAll(TOKEN)) {
    const kind = (['name', 'number', 'symbol', 'other'] as const).find((name) => groups?.[name] !== undefined);
    if (kind !== undefined) tokens.push({ kind, text: matched, line });
  }
  return tokens;
}

/** A physical line without its comment, and whether the next line continues it. */
function strip(text: string): { code: string; comment: boolean; continued: boolean } {
  const hash = text.indexOf('#');
  const code = (hash < 0 ? text : text.slice(0, hash)).trimEnd();
  const continued = text.trimEnd().endsWith('\\');
  return { code: continued && hash < 0 ? code.slice(0, -1) : code, comment: hash >= 0, continued };
}

const COMMENT_CONTINUED = 'a comment ends in a backslash, which does not continue it: leave the backslash out';

/** Splits a policy's text. Never throws: what cannot be a token is one of kind `other`. */
export function logicalLines(text: string): LogicalLine[] {
  const lines: LogicalLine[] = [];
  let open: Token[] = [];
  let continues = false;
  text.split('\n').forEach((physical, index) => {
    const line = index + 1;
    const { code, comment, continued } = strip(physical);
    // minijail goes on with the comment, others with the rule; who reads the file cannot tell which.
    if (comment && continued) lines.push({ kind: 'mistake', message: COMMENT_CONTINUED, line });
    const directive = continues ? null : /^\s*@(\S*)\s*(.*)$/s.exec(code);
    if (directive) {
      const [, name = '', argument = ''] = directive;
      if (continued && !comment) lines.push({ kind: 'mistake', message: 'a directive is one line', line });
      else lines.push({ kind: 'directive', name, argument: argument.trim(), line });
      return;
    }
    open = open.length === 0 ? tokensOf(code, line) : open.concat(tokensOf(code, line));
    continues = continued && !comment;
    if (continues || open.length === 0) return;
    lines.push({ kind: 'tokens', tokens: [...open, { kind: 'end', text: 'the end of the line', line }] });
    open = [];
  });
  if (continues)
    lines.push({ kind: 'mistake', message: 'the last line ends in a backslash', line: text.split('\n').length });
  return lines;
}

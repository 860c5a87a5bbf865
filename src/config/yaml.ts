// Reads the YAML of a config, or of one value. Trusts nothing: what would exhaust the stack is refused before it is parsed.

import { Lexer, LineCounter, Parser, parseDocument } from 'yaml';

/** What is wrong with a text, on any number of lines; where, if it lies at one place. */
export interface YamlProblem {
  readonly problem: string;
  /** From 1. */
  readonly place?: { readonly line: number; readonly column: number };
}

/** Maps and lists in each other, and what the parser keeps beside them: a config has six. */
export const MOST_LEVELS = 64;

/** Where the YAML library's own words would not help. */
const MISTAKES: Record<string, string> = {
  DUPLICATE_KEY: 'this key is given a second time; remove one of the two',
  MULTIPLE_DOCS: 'a second document starts here; expected one config a file',
  NON_STRING_KEY: 'expected the name of a key, got a map or a list',
};

/** The value of a text; null where there is none. */
export function readYaml(text: string): { readonly value: unknown } | YamlProblem {
  const deep = findTooDeep(text);
  if (deep) return deep;
  const lineCounter = new LineCounter();
  const options = { lineCounter, prettyErrors: false, stringKeys: true, logLevel: 'error' } as const;
  const document = parseDocument(text, options);
  const fault = document.errors[0] ?? document.warnings[0];
  if (fault) return problemAt(fault.pos[0], lineCounter, MISTAKES[fault.code] ?? fault.message);
  try {
    return { value: document.toJS() ?? null };
  } catch (error) {
    // Aliases that would grow without bound, or have no anchor.
    return { problem: (error as Error).message };
  }
}

/**
 * Where a text goes below MOST_LEVELS: the library composes and converts level by level, and V8 ends the process where a
 * regular expression meets the end of the stack. Its lexer and parser keep a stack of their own.
 */
function findTooDeep(text: string): YamlProblem | undefined {
  const lines = new LineCounter();
  lines.addNewLine(0);
  const parser = new Parser(lines.addNewLine);
  for (const lexeme of new Lexer().lex(text)) {
    for (const _ of parser.next(lexeme));
    if (parser.stack.length <= MOST_LEVELS) continue;
    return problemAt(
      parser.offset,
      lines,
      `expected at most ${MOST_LEVELS} levels of maps and lists, got more`,
    );
  }
  return undefined;
}

function problemAt(offset: number, lines: LineCounter, problem: string): YamlProblem {
  const { line, col } = lines.linePos(offset);
  return { problem, place: { line, column: col } };
}

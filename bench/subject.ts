// A process that is measured: it says once what it is, then answers requests one at a time, a line of JSON each way on
// its standard streams. Ours and the peers in Python are such processes, so that a peak of memory is that of one of
// them, and both sides of a pair can be alive while only one works.

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fromPackage } from '../src/package-root.ts';

export interface Command {
  readonly program: string;
  readonly arguments: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

/** A script of this folder, compiled. */
export function nodeCommand(script: string, ...parameters: readonly unknown[]): Command {
  const path = fromPackage('dist', 'bench', `${script}.js`);
  return {
    program: process.execPath,
    arguments: [path, ...parameters.map((value) => JSON.stringify(value))],
  };
}

/** The process said that it cannot do what was asked, or ended. */
export class SubjectError extends Error {
  override readonly name = 'SubjectError';
  /** The name that it was started with. */
  readonly subject: string;
  readonly reason: string;

  constructor(subject: string, reason: string) {
    super(`${subject} ${reason}`);
    this.subject = subject;
    this.reason = reason;
  }
}

/** Characters of what a process wrote to its standard error. */
const KEPT_ERRORS = 4000;
/** How long a process may take to end by itself, in milliseconds. */
const GRACE = 2000;

export class Subject<Introduction, Request, Answer> {
  readonly introduction: Introduction;
  readonly #process: ChildProcess;
  readonly #next: () => Promise<unknown>;
  readonly #closed: Promise<unknown>;

  private constructor(
    process: ChildProcess,
    next: () => Promise<unknown>,
    closed: Promise<unknown>,
    introduction: Introduction,
  ) {
    this.#process = process;
    this.#next = next;
    this.#closed = closed;
    this.introduction = introduction;
  }

  /** @throws SubjectError, as `ask`. */
  static async start<Introduction, Request, Answer>(
    name: string,
    { program, arguments: parameters, environment }: Command,
  ): Promise<Subject<Introduction, Request, Answer>> {
    const child = spawn(program, parameters, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    let errors = '';
    child.stderr.on('data', (chunk) => {
      errors = (errors + chunk).slice(-KEPT_ERRORS);
    });
    // Its end is told by `close`.
    child.stdin.on('error', () => {});
    const ended = new Promise<never>((_, reject) => {
      child.on('error', ({ message }) => reject(new SubjectError(name, `did not start: ${message}`)));
      child.on('close', (code, signal) => {
        const end = signal ? `ended by ${signal}` : `ended with exit code ${code}`;
        const said = errors.trim();
        reject(new SubjectError(name, said ? `${end}: ${said}` : end));
      });
    });
    // Of interest only while an answer is awaited.
    const closed = ended.catch(() => {});
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const next = async () => {
      for (;;) {
        const line = await Promise.race([lines.next(), ended]);
        if (line.done) return ended;
        // Libraries may print, too.
        if (!line.value.startsWith('{')) continue;
        const { error, answer } = JSON.parse(line.value) as { error?: string; answer?: unknown };
        if (error !== undefined) throw new SubjectError(name, `failed: ${error}`);
        return answer;
      }
    };
    try {
      return new Subject(child, next, closed, (await next()) as Introduction);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  async ask(request: Request): Promise<Answer> {
    this.#process.stdin!.write(`${JSON.stringify(request)}\n`);
    return (await this.#next()) as Answer;
  }

  /** Politely, so that it can tidy up; by force where it is busy. */
  async end(): Promise<void> {
    this.#process.stdin!.end();
    const forced = setTimeout(() => this.#process.kill('SIGKILL'), GRACE);
    await this.#closed;
    clearTimeout(forced);
  }
}

/** The other end: introduces this process, answers until its input ends, then ends it. */
export async function serve<Request, Answer>(
  introduce: () => Promise<unknown>,
  answer: (request: Request) => Promise<Answer> | Answer,
): Promise<void> {
  const say = async (make: () => unknown) => {
    try {
      process.stdout.write(`${JSON.stringify({ answer: await make() })}\n`);
    } catch (error) {
      const { message } = error instanceof Error ? error : new Error(String(error));
      process.stdout.write(`${JSON.stringify({ error: message })}\n`);
    }
  };
  await say(introduce);
  for await (const line of createInterface({ input: process.stdin })) {
    await say(() => answer(JSON.parse(line) as Request));
  }
  process.exit();
}

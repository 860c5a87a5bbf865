// What reading something that may be anything must end in: a value, or one line that says what is wrong. In bounded time.

/** One that says no, and nothing else. */
type Refusal = abstract new (...args: never[]) => Error;

const LONGEST_MESSAGE = 600;
// biome-ignore lint/suspicious/noControlCharactersInRegex: none may come through
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;
/** Of a stack trace, or a library's own. */
const FOREIGN = /\bat .+:\d+:\d+\)?$|undefined|\[object|Invalid input|Too (small|big)/;
/** Of all threads of the process, so that other processes do not count. */
const MOST_CPU_SECONDS = 1;

export type Outcome<Value> = { readonly value: Value } | { readonly refusal: string };

/** @throws what is no refusal, or none of one short line, or took too long. */
export async function outcomeOf<Value>(
  refusals: readonly Refusal[],
  work: () => Value | Promise<Value>,
  limit = MOST_CPU_SECONDS,
): Promise<Outcome<Value>> {
  const before = process.cpuUsage();
  const outcome = await ended(refusals, work);
  const { user, system } = process.cpuUsage(before);
  const seconds = (user + system) / 1e6;
  if (seconds > limit) throw new Error(`expected an end within ${limit} s, took ${seconds} s`);
  return outcome;
}

async function ended<Value>(
  refusals: readonly Refusal[],
  work: () => Value | Promise<Value>,
): Promise<Outcome<Value>> {
  try {
    return { value: await work() };
  } catch (error) {
    if (!refusals.some((refusal) => error instanceof refusal)) throw error;
    const { message } = error as Error;
    checkLine(message);
    return { refusal: message };
  }
}

function checkLine(message: string): void {
  const expectation =
    (message === '' && 'some words') ||
    (message.length > LONGEST_MESSAGE && `at most ${LONGEST_MESSAGE} characters, got ${message.length}`) ||
    (CONTROL.test(message) && 'one line without control characters') ||
    (FOREIGN.test(message) && 'words for the user');
  if (!expectation) return;
  throw new Error(`expected a message of ${expectation}: ${JSON.stringify(message.slice(0, 2000))}`);
}

/** How many were accepted, and refused, of each kind. */
export class Tally {
  readonly #counts = new Map<string, { accepted: number; refused: number }>();

  count(kind: string, outcome: Outcome<unknown>): void {
    const counts = this.#counts.get(kind) ?? { accepted: 0, refused: 0 };
    counts['value' in outcome ? 'accepted' : 'refused']++;
    this.#counts.set(kind, counts);
  }

  get acceptedShare(): number {
    const all = [...this.#counts.values()];
    const accepted = all.reduce((sum, counts) => sum + counts.accepted, 0);
    return accepted / all.reduce((sum, counts) => sum + counts.accepted + counts.refused, 0);
  }

  toString(): string {
    return [...this.#counts]
      .map(([kind, { accepted, refused }]) => `${kind}: ${accepted} accepted, ${refused} refused`)
      .join('; ');
  }
}

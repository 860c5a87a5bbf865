// Medians, and measurements that alternate so that a machine which drifts drifts for both sides.

/** Of a value that was measured several times. */
export interface Spread {
  readonly median: number;
  readonly smallest: number;
  readonly largest: number;
}

/** The middle value; of an even number the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2;
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), smallest: Math.min(...values), largest: Math.max(...values) };
}

/** Of numerators[i] / denominators[i]: two measurements of one pair were made next to each other. */
export function ratioOfPairs(numerators: readonly number[], denominators: readonly number[]): Spread {
  return spreadOf(numerators.map((value, pair) => value / denominators[pair]));
}

/**
 * Measures two sides `pairs` times in turn. The other one is first in every second pair: a measurement may leave the
 * machine warmer, or slower, than it found it.
 *
 * @param report called after each pair.
 */
export async function alternate<A, B>(
  pairs: number,
  measureA: () => Promise<A>,
  measureB: () => Promise<B>,
  report: (pair: number, a: A, b: B) => void,
): Promise<{ readonly a: readonly A[]; readonly b: readonly B[] }> {
  const [as, bs]: [A[], B[]] = [[], []];
  for (let pair = 0; pair < pairs; pair++) {
    let b = pair % 2 === 1 ? await measureB() : undefined;
    const a = await measureA();
    b ??= await measureB();
    as.push(a);
    bs.push(b);
    report(pair, a, b);
  }
  return { a: as, b: bs };
}

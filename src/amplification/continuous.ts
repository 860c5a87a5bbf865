// A rate for every layer, from its z-score, in place of a threshold that splits the layers into amplified and plain ones.

/**
 * `bound ** clamp(z / threshold, -1, 1)`: what layers of a z of at least the threshold, those of case 1, are amplified by
 * is `bound`, as without this; the average layer keeps its rate; and a layer as far below the average as another is above
 * it is slowed as much as that one is sped up. Since the mean of z is 0, the geometric mean of the factors is 1 where
 * none is clamped: rate is moved between layers, and the network as a whole does not just get a higher one.
 *
 * @param threshold above 0.
 * @param bound above 0.
 * @returns a factor from 1/bound to bound.
 */
export function continuousFactor(z: number, threshold: number, bound: number): number {
  return bound ** Math.min(1, Math.max(-1, z / threshold));
}

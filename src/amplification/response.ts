// What becomes of the layers that an analysis chose: a factor for each, on what `apply` names, until the next choice.

import { continuousFactor } from './continuous.ts';
import { FROZEN } from './freezing.ts';

/** amplify: the phase's factor, eqs. (2), (3). freeze: see freezing.ts. continuous: see continuous.ts. */
export type Response = 'amplify' | 'freeze' | 'continuous';

/** What a layer is called under each. */
export const PARTICIPLES = { amplify: 'amplified', freeze: 'frozen', continuous: 'scaled' } as const;

/** Of a chosen layer. `bound`: the phase's factor. */
export function factorOf(
  { response, threshold }: { readonly response: Response; readonly threshold: number },
  z: number,
  bound: number,
): number {
  switch (response) {
    case 'amplify':
      return bound;
    case 'freeze':
      return FROZEN;
    case 'continuous':
      return continuousFactor(z, threshold, bound);
    default:
      return response satisfies never;
  }
}

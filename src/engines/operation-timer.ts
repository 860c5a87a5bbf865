// Times the operations of a pass for `ReplicaOptions.profile`.

import type { OperationTiming, ReplicaOptions } from './engine.ts';

/** What an operation is called: a node of the graph, or something beside it. */
type Named = Pick<OperationTiming, 'name' | 'op'> & { readonly layer?: { readonly name: string } };

/** Operations follow each other: each begins where the one before it ended. */
export class OperationTimer {
  readonly #profile: ReplicaOptions['profile'];
  #start: number;

  constructor(profile: ReplicaOptions['profile']) {
    this.#profile = profile;
    this.#start = profile ? microseconds() : 0;
  }

  /** The operation that ran since the last call. */
  ends({ name, op, layer }: Named, phase: OperationTiming['phase']): void {
    if (!this.#profile) return;
    const now = microseconds();
    this.#profile({
      ...{ name, op, phase, start: this.#start, duration: now - this.#start },
      ...(layer && { layer: layer.name }),
    });
    // What the listener takes belongs to nobody.
    this.#start = microseconds();
  }
}

const microseconds = () => 1000 * performance.now();

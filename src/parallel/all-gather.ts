// What the workers' replicas tell each other within a step, in shared memory: the sums of synchronised batch norms.

import type { Config } from '../config/schema.ts';
import type { AllGather } from '../engines/engine.ts';
import type { Graph } from '../models/graph.ts';
import type { Control } from './control.ts';

/** Whether batch norms of a run's workers take their statistics together: one worker has all there is. */
export const synchronisesBatchNorm = ({
  syncBatchNorm,
  devices,
}: Pick<Config, 'syncBatchNorm' | 'devices'>): boolean => syncBatchNorm && devices.length > 1;

/** Numbers in the memory of a gather of the graph's batch norms: two sums a channel and a count, twice. */
export function gatherLength(graph: Graph, worldSize: number): number {
  const channels = graph.nodes.map((node) => (node.op === 'batchNorm' ? node.shape.at(-1)! : 0));
  return 2 * worldSize * (2 * Math.max(...channels) + 1);
}

/**
 * One barrier a call. Calls write to the two halves of `memory` in turn: whoever writes to one for the second time has
 * met all others at the barrier of the call between, and they have read it by then.
 *
 * @throws AbortedError when the run was aborted.
 */
export function createAllGather(memory: Float64Array, rank: number, control: Control): AllGather {
  const { worldSize } = control;
  const half = memory.length / 2;
  let calls = 0;
  return (own) => {
    const length = worldSize * own.length;
    if (length > half)
      throw new RangeError(`expected at most ${half / worldSize} numbers, got ${own.length}`);
    const start = (calls++ % 2) * half;
    memory.set(own, start + rank * own.length);
    control.barrier();
    return memory.subarray(start, start + length);
  };
}

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

/** Above the length of every row. */
const LONGEST = 2 ** 20;

/** Numbers in the memory of a gather of the graph's batch norms: two sums a channel, a count and a tag, twice. */
export function gatherLength(graph: Graph, worldSize: number): number {
  const channels = graph.nodes.map((node) => (node.op === 'batchNorm' ? node.shape.at(-1)! : 0));
  return 2 * worldSize * (2 * Math.max(...channels) + 2);
}

/**
 * One barrier a call. Calls write to the two halves of `memory` in turn: whoever writes to one for the second time has
 * met all others at the barrier of the call between, and they have read it by then. Rows are tagged, since barriers are not:
 * workers that met at different places would take each other's old numbers.
 *
 * @throws AbortedError when the run was aborted.
 */
export function createAllGather(memory: Float64Array, rank: number, control: Control): AllGather {
  const { worldSize } = control;
  const half = memory.length / 2;
  let calls = 0;
  return (own) => {
    const most = half / worldSize - 1;
    if (own.length > most) throw new RangeError(`expected at most ${most} numbers, got ${own.length}`);
    const start = (calls % 2) * half;
    const tags = memory.subarray(start, start + worldSize);
    const rows = memory.subarray(start + worldSize, start + worldSize * (1 + own.length));
    const tag = ++calls * LONGEST + own.length;
    tags[rank] = tag;
    rows.set(own, rank * own.length);
    control.enter('gathering');
    control.barrier();
    control.enter('computing');
    const other = tags.findIndex((value) => value !== tag);
    if (other >= 0) {
      throw new Error(
        `expected worker ${other} at the batch norm where worker ${rank} is (tag ${tag}), got it elsewhere (tag ${tags[other]})`,
      );
    }
    return rows;
  };
}

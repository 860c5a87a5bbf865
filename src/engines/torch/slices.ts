// In which parts replicas reduce their gradients with each other while the backward sweep goes on. Pure; it is
// native/cuda/device_replica.cpp that sends them.

import type { Plan, PlanStep } from './plan.ts';

/** A run of the flat vector that can be sent behind the backward computation of a step. */
export interface Slice {
  /** Position of that step in the plan. */
  readonly step: number;
  readonly start: number;
  readonly end: number;
}

/** In numbers. */
export interface SliceSizes {
  /** At least so many go first, so that something is under way early; and at most so many last, when nothing hides them. */
  readonly small: number;
  /** At least so many go at once in between: NCCL would take longer over smaller ones in all. */
  readonly large: number;
}

/**
 * PyTorch's DistributedDataParallel sends 1 MiB first, then up to 25 MiB, for networks between machines too. GPUs of one
 * machine move 8 MiB over NVLink in less than 0.1 ms, a few times what a collective costs by itself.
 */
export const SLICE_SIZES: SliceSizes = { small: 2 ** 20 / 4, large: 8 * (2 ** 20 / 4) };

/**
 * Slices in the order in which they are sent: from the end of the vector to its start, each number in one of them. What a
 * slice holds is complete behind its step: all steps that have their parameters there have run.
 *
 * @param length of the flat vector.
 */
export function slicesOf(
  { steps }: Pick<Plan, 'steps'>,
  length: number,
  sizes: SliceSizes = SLICE_SIZES,
): readonly Slice[] {
  // The sweep comes by at the steps from the last to the first.
  const tensors = steps
    .flatMap((step, position) => parametersOf(step).map(({ offset }) => ({ offset, position })))
    .sort((a, b) => b.offset - a.offset);
  const slices: Slice[] = [];
  let end = length;
  let step = steps.length - 1;
  for (const [i, { offset, position }] of tensors.entries()) {
    // Not always that of the tensor: steps do not all run in the order in which their parameters lie.
    step = Math.min(step, position);
    const next = tensors[i + 1];
    // What is complete by then belongs to it.
    if (next && next.position >= step) continue;
    const start = next ? offset : 0;
    const enough = slices.length === 0 || start <= sizes.small ? sizes.small : sizes.large;
    if (next && end - start < enough) continue;
    slices.push({ step, start, end });
    end = start;
  }
  return slices;
}

const parametersOf = ({ weight, bias }: PlanStep) =>
  [weight, bias].filter((parameter) => parameter !== undefined);

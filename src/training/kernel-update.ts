// The update by an engine's kernels: what differs between segments and options is folded into a few factors a run.

import type { UpdateKernels } from '../engines/engine.ts';
import type { Updater } from './update.ts';

export function kernelUpdater(kernels: UpdateKernels): Updater {
  return {
    update({ weights, velocity, gradients, accumulators }, segments, options) {
      const { learningRate, momentum, weightDecay, nesterov, clipScale, measureWeightDecay } = options;
      const runs = segments.flatMap(({ range, gradientFactor, rateFactor }) => [
        ...range,
        ...[clipScale * gradientFactor, weightDecay, learningRate * rateFactor],
      ]);
      kernels.update({
        ...{ weights, velocity, gradients, ...accumulators, momentum, nesterov },
        runs: Float64Array.from(runs),
        measuredDecay: measureWeightDecay ? weightDecay : 0,
      });
    },

    squaredNorm(gradients, segments) {
      const norms = new Float64Array(segments.length);
      kernels.squaredNorms(gradients, Float64Array.from(segments.flatMap(({ range }) => range)), norms);
      return norms.reduce((sum, norm) => sum + norm, 0);
    },

    allFinite: (vector) => kernels.allFinite(vector),
  };
}

// The update by an engine's kernels: what differs between segments and options is folded into a few factors a run.

import type { Engine, UpdateKernels } from '../engines/engine.ts';
import { portableUpdater, type Updater } from './update.ts';

/** By its kernels, where an engine brings some. */
export function updaterOf({ updateKernels }: Pick<Engine, 'updateKernels'>): Updater {
  return updateKernels ? kernelUpdater(updateKernels) : portableUpdater;
}

export function kernelUpdater(kernels: UpdateKernels): Updater {
  return {
    update({ weights, velocity, gradients, accumulators }, segments, options) {
      const { learningRate, momentum, weightDecay, nesterov, clipScale, measureWeightDecay } = options;
      const runs = segments.flatMap(({ range, tensor, gradientFactor, rateFactor }) => {
        const local = options.localRates ? options.localRates[tensor] : 1;
        return [...range, local * clipScale * gradientFactor, local * weightDecay, learningRate * rateFactor];
      });
      kernels.update({
        ...{ weights, velocity, gradients, ...accumulators, momentum, nesterov },
        runs: Float64Array.from(runs),
        measuredDecay: measureWeightDecay ? weightDecay : 0,
      });
    },

    squaredNorms(parts, segments, norms) {
      const found = new Float64Array(segments.length);
      kernels.squaredNorms(parts, Float64Array.from(segments.flatMap(({ range }) => range)), found);
      norms.fill(0);
      for (const [index, { tensor }] of segments.entries()) norms[tensor] += found[index];
    },

    allFinite: (vector) => kernels.allFinite(vector),
  };
}

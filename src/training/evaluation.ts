// Images through one replica, and what the predictions say: accuracies by class, and what is taken for what.

import type { Samples } from '../data/dataset.ts';
import { largestPass, passesOf } from '../data/sampling.ts';
import type { Replica } from '../engines/engine.ts';

export interface Evaluation {
  /** Mean cross-entropy in nats; null where it is not finite. */
  readonly loss: number | null;
  /** 0..1. */
  readonly accuracy: number;
  /** By sample, in their order: the class, or -1 where the model gives none. */
  readonly predictions: Int32Array;
}

export interface EvaluationOptions {
  readonly batchSize: number;
  readonly microBatch?: number;
  /** Of the run: its passes and the order of its sums give its numbers to the bit. */
  readonly worldSize: number;
  /** Called behind each pass with the samples done. */
  readonly onPass?: (done: number) => void;
}

/** Evaluates the samples, in the passes in which the workers of a run do. */
export function evaluate(replica: Replica, samples: Samples, options: EvaluationOptions): Evaluation {
  const { split, indices } = samples;
  const { batchSize, microBatch, worldSize, onPass } = options;
  const passSize = largestPass({ batch: batchSize, worldSize, microBatch });
  const predictions = new Int32Array(indices.length);
  let lossSum = 0;
  let correct = 0;
  for (let rank = 0; rank < worldSize; rank++) {
    let shareLoss = 0;
    for (const [shareStart, shareEnd] of passesOf({ batch: indices.length, rank, worldSize })) {
      for (let start = shareStart; start < shareEnd; start += passSize) {
        const end = Math.min(start + passSize, shareEnd);
        const result = replica.evaluate({ split, indices: indices.subarray(start, end) });
        predictions.set(result.predictions, start);
        shareLoss += result.lossSum;
        correct += result.correct;
        onPass?.(end);
      }
    }
    lossSum += shareLoss;
  }
  const loss = lossSum / indices.length;
  return { loss: Number.isFinite(loss) ? loss : null, accuracy: correct / indices.length, predictions };
}

/** counts[label][prediction]; a sample without a prediction is in no column. */
export function confusionMatrix(
  labels: ArrayLike<number>,
  predictions: Int32Array,
  classes: number,
): readonly (readonly number[])[] {
  const counts = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  for (const [sample, prediction] of predictions.entries()) {
    if (prediction >= 0) counts[labels[sample]][prediction]++;
  }
  return counts;
}

export interface ClassAccuracy {
  readonly class: number;
  readonly samples: number;
  readonly correct: number;
  /** 0..1; null of a class without samples. */
  readonly accuracy: number | null;
}

/** @param confusions as `confusionMatrix` makes them. */
export function classAccuracies(
  labels: ArrayLike<number>,
  confusions: readonly (readonly number[])[],
): readonly ClassAccuracy[] {
  const samples = new Array<number>(confusions.length).fill(0);
  for (let i = 0; i < labels.length; i++) samples[labels[i]]++;
  return confusions.map((row, label) => ({
    class: label,
    samples: samples[label],
    correct: row[label],
    accuracy: samples[label] > 0 ? row[label] / samples[label] : null,
  }));
}

export interface Confusion {
  readonly label: number;
  readonly prediction: number;
  readonly samples: number;
}

/** The mistakes that were made, the most frequent first, equals by label and prediction. */
export function confusionsByFrequency(confusions: readonly (readonly number[])[]): readonly Confusion[] {
  return confusions
    .flatMap((row, label) => row.map((samples, prediction) => ({ label, prediction, samples })))
    .filter(({ label, prediction, samples }) => label !== prediction && samples > 0)
    .sort((a, b) => b.samples - a.samples);
}

// A model's weights and running statistics as a safetensors file that PyTorch loads, and back.

import { readFileSync } from 'node:fs';
import { oneLine } from '../config/messages.ts';
import type { Normalisation } from '../data/dataset.ts';
import { UsageError } from '../errors.ts';
import type { Graph } from '../models/graph.ts';
import { fromStateDict, type ModelState, toStateDict } from '../models/state-dict.ts';
import { decodeSafetensors, encodeSafetensors } from './safetensors.ts';

/** What the metadata say besides what the graph says. */
export interface WeightsDescription {
  /** What the model's channel counts are multiplied by. */
  readonly width: number;
  /** What images are shifted and scaled by before these weights see them. */
  readonly normalisation: Normalisation;
}

/**
 * The bytes of the file: the same for the same numbers. Its metadata name the model, its width and classes, and the
 * normalisation as two JSON lists; `format: pt` is what PyTorch's loaders ask for.
 *
 * @param state as a graph lays it out.
 */
export function encodeWeights(
  graph: Graph,
  state: ModelState,
  { width, normalisation: { mean, std } }: WeightsDescription,
): Uint8Array {
  const metadata = {
    format: 'pt',
    model: graph.name,
    width: String(width),
    classes: String(graph.classes),
    mean: JSON.stringify(mean),
    std: JSON.stringify(std),
  };
  return encodeSafetensors({
    metadata: new Map(Object.entries(metadata)),
    tensors: toStateDict(graph, state),
  });
}

/** @throws UsageError, one line, for what is no safetensors file, or none of this model. */
export function decodeWeights(graph: Graph, bytes: Uint8Array): ModelState {
  return fromStateDict(graph, decodeSafetensors(bytes).tensors);
}

/**
 * Weights to start a run from: those of `gradamp export`, or of a PyTorch model with the same names.
 * @throws UsageError, one line with the file's name, where it cannot be read or is none of this model.
 */
export function readInitialWeights(file: string, graph: Graph): ModelState {
  const bytes = readBytes(file);
  try {
    return decodeWeights(graph, bytes);
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(oneLine(`${file}: ${error.message}`));
    throw error;
  }
}

function readBytes(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reasons: Record<string, string> = {
      ENOENT: 'no such file; expected the path of a safetensors file',
      ENOTDIR: 'no such file; expected the path of a safetensors file',
      EISDIR: 'is a folder; expected the path of a safetensors file',
      EACCES: 'may not be read; check its permissions',
    };
    throw new UsageError(oneLine(`${file}: ${reasons[code ?? ''] ?? `cannot be read (${message})`}`));
  }
}

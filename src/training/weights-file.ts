// A model's weights and running statistics as a safetensors file that PyTorch loads, and back.

import { readFileSync } from 'node:fs';
import { oneLine } from '../config/messages.ts';
import { IMAGE_CHANNELS, type Normalisation } from '../data/dataset.ts';
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

export interface FileWeights extends ModelState {
  /** Of the images that the weights were trained on, where the file tells it. */
  readonly normalisation?: Normalisation;
}

/** @throws UsageError, one line, for what is no safetensors file, or none of this model. */
export function decodeWeights(graph: Graph, bytes: Uint8Array): FileWeights {
  const { metadata, tensors } = decodeSafetensors(bytes);
  return { ...fromStateDict(graph, tensors), normalisation: normalisationIn(metadata) };
}

/**
 * Weights to start a run from: those of `gradamp export`, or of a PyTorch model with the same names.
 * @throws UsageError, one line with the file's name, where it cannot be read or is none of this model.
 */
export function readInitialWeights(file: string, graph: Graph): FileWeights {
  const bytes = readBytes(file);
  try {
    return decodeWeights(graph, bytes);
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(oneLine(`${file}: ${error.message}`));
    throw error;
  }
}

/** Undefined where the metadata, which may be another program's, do not hold what `encodeWeights` writes. */
function normalisationIn(metadata: ReadonlyMap<string, string>): Normalisation | undefined {
  const [mean, std] = ['mean', 'std'].map((key) => channelsOf(metadata.get(key)));
  return mean && std && { mean, std };
}

function channelsOf(text = ''): readonly number[] | undefined {
  try {
    const values: unknown = JSON.parse(text);
    const valid = Array.isArray(values) && values.length === IMAGE_CHANNELS && values.every(Number.isFinite);
    return valid ? values : undefined;
  } catch {
    return undefined;
  }
}

/** Of pixels / 255: published figures are rounded to three or four digits. */
const SAME_NORMALISATION = 0.001;

/** Where images are not shifted and scaled as the weights have seen them: what is told about it, in one line. */
export function normalisationWarning(
  file: string,
  { normalisation }: FileWeights,
  ofData: Normalisation,
): string | undefined {
  if (!normalisation) return undefined;
  const far = (a: readonly number[], b: readonly number[]) =>
    a.some((value, channel) => Math.abs(value - b[channel]) > SAME_NORMALISATION);
  const { mean, std } = normalisation;
  if (!far(mean, ofData.mean) && !far(std, ofData.std)) return undefined;
  const rounded = (values: readonly number[]) => `[${values.map((value) => value.toFixed(4)).join(', ')}]`;
  const words = (given: Normalisation) => `mean ${rounded(given.mean)} and deviation ${rounded(given.std)}`;
  return oneLine(
    `init: expected weights of images with the data set's ${words(ofData)}, got ${words(normalisation)} in ${file}; training goes on with the data set's`,
  );
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

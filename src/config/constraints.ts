// The checks of a config that span several keys: each value is right by itself, and they do not go together.

import { show } from './messages.ts';
import type { AmplificationSettings, ConfigDocument } from './schema.ts';

interface Problem {
  /** The key that is to be changed. */
  readonly path: PropertyKey[];
  readonly message: string;
}

/** The checks that look at more than one value. */
export function* problemsBetweenKeys(document: ConfigDocument): Generator<Problem> {
  const { schedule, devices, batchSize, microBatch, syncBatchNorm, dumpGradients } = document;
  const { nesterov, momentum, lars, amplification } = document;
  if (nesterov && momentum === 0) {
    yield {
      path: ['nesterov'],
      message: 'expected a momentum above 0 with nesterov, got 0; set momentum: 0.9',
    };
  }
  const { learningRate } = document;
  const epochs = schedule[schedule.length - 1][0];
  if (learningRate !== 'phases' && learningRate.warmup >= epochs) {
    yield {
      path: ['learningRate', 'warmup'],
      message: `expected less than the ${epochs} epochs of the schedule, got ${learningRate.warmup}; shorten the warm-up`,
    };
  }
  if (learningRate !== 'phases' && learningRate.warmup === 0) {
    if (learningRate.policy === 'one-cycle') {
      yield {
        path: ['learningRate', 'warmup'],
        message: `expected more than 0 epochs with policy one-cycle, whose first half it is, got 0; for example warmup: ${Number((0.3 * epochs).toPrecision(2))}`,
      };
    } else if (learningRate.start !== undefined) {
      yield {
        path: ['learningRate', 'start'],
        message: `expected a start only with a warm-up, got ${learningRate.start} with warmup: 0; leave it out or set warmup`,
      };
    }
  }
  if (amplification !== 'none') yield* problemsOfAmplification(amplification, lars !== undefined);
  for (let index = 1; index < schedule.length; index++) {
    const [before, end] = [schedule[index - 1][0], schedule[index][0]];
    if (end > before) continue;
    yield {
      path: ['schedule', index, 0],
      message:
        `expected phase ${index + 1} to end after epoch ${before}, where phase ${index} ends, got ${end}; ` +
        'phases follow each other, each with the last epoch it holds',
    };
  }
  yield* problemsOfDevices(document);
  const workers = devices.length;
  if (batchSize < workers) {
    yield {
      path: ['batchSize'],
      message: `expected at least one image for each of the ${workers} devices, got ${batchSize}; use fewer devices or a larger batch`,
    };
  } else if (microBatch !== undefined && Math.ceil(batchSize / microBatch) < workers) {
    const largest = Math.ceil(batchSize / (workers - 1)) - 1;
    yield {
      path: ['microBatch'],
      message: `expected at most ${largest}, so that a batch of ${batchSize} has a pass for each of the ${workers} devices, got ${microBatch}; use fewer devices or a smaller microBatch`,
    };
  }
  if (syncBatchNorm && microBatch !== undefined) {
    yield {
      path: ['syncBatchNorm'],
      message: `expected false with microBatch, got true; one takes the statistics of batch norm over passes of ${microBatch} images, the other over the whole batch, so set microBatch: null or leave syncBatchNorm out`,
    };
  }
  if (dumpGradients && dumpGradients[0] > dumpGradients[1]) {
    yield {
      path: ['dumpGradients'],
      message: `expected a first step that is not after the last, got ${show(dumpGradients)}`,
    };
  }
}

/** What the devices cannot do, or the engine that runs on them. */
function* problemsOfDevices(document: ConfigDocument): Generator<Problem> {
  const { devices, engine, backend, precision, cudaGraph, collective } = document;
  const cuda = devices.find((device) => device !== 'cpu');
  if (cuda !== undefined && devices.includes('cpu')) {
    yield {
      path: ['devices'],
      message: `expected processors or GPUs, got cpu and ${cuda}; every step would wait for the slowest, so use one kind`,
    };
    return;
  }
  const tfjs = engine === 'tfjs' || (engine === 'auto' && backend !== 'wasm');
  const place = tfjs ? `with ${engine === 'tfjs' ? 'engine tfjs' : `backend ${backend}`}` : 'on cpu';
  const onGpu = cuda !== undefined && !tfjs;
  if (precision !== 'float32' && !onGpu) {
    const reasons = {
      tf32: 'processors have no hardware for it',
      bfloat16: 'processors are slower with it than with float32',
    };
    const reason = tfjs ? 'only engine torch has it, on GPUs' : reasons[precision];
    yield { path: ['precision'], message: `expected float32 ${place}, got ${precision}; ${reason}` };
  }
  if (cudaGraph === 'on' && !onGpu) {
    yield {
      path: ['cudaGraph'],
      message: `expected auto or off ${place}, got on; only engine torch records graphs, on GPUs`,
    };
  }
  if (collective === 'nccl') {
    const twice = devices.find((device, index) => devices.indexOf(device) !== index);
    if (!onGpu) {
      yield {
        path: ['collective'],
        message: `expected auto or shared-memory ${place}, got nccl, which joins GPUs of engine torch; set collective: auto`,
      };
    } else if (twice !== undefined) {
      yield {
        path: ['collective'],
        message: `expected auto or shared-memory with two workers on ${twice}, got nccl, which hangs where workers share a GPU; set collective: auto`,
      };
    }
  }
}

/** What of an amplification does not go together, or not with LARS. */
function* problemsOfAmplification(amplification: AmplificationSettings, lars: boolean): Generator<Problem> {
  const { ratio, reselect, selection, pooling, apply, response } = amplification;
  if (ratio !== undefined && selection !== 'random') {
    yield {
      path: ['amplification', 'ratio'],
      message: `expected a ratio only with selection random, got it with ${selection}; leave it out`,
    };
  }
  if (reselect !== 'phase' && apply === 'backpropagated') {
    yield {
      path: ['amplification', 'reselect'],
      message: `expected phase with apply backpropagated, got ${reselect}; a re-selection would measure gradients that hold the factors of the one before, and not raw ones`,
    };
  }
  if (pooling === 'tensor' && apply === 'backpropagated') {
    yield {
      path: ['amplification', 'apply'],
      message:
        'expected gradient or learning-rate where single tensors are chosen, got backpropagated; use pooling: layer',
    };
  }
  if (response !== 'amplify') yield* problemsOfResponse(amplification);
  if (lars && apply === 'backpropagated') {
    yield {
      path: ['amplification', 'apply'],
      message:
        'expected gradient or learning-rate beside lars, got backpropagated; lars divides by the norms of the gradients, and so would undo it',
    };
  }
}

/** What makes no sense beside a response of its own. */
function* problemsOfResponse({
  response,
  apply,
  selection,
  threshold,
}: AmplificationSettings): Generator<Problem> {
  if (response === 'freeze' && apply !== 'learning-rate') {
    yield {
      path: ['amplification', 'apply'],
      message: `expected learning-rate with response freeze, got ${apply}; without a gradient, momentum and weight decay would still move a layer`,
    };
  }
  if (response === 'continuous') {
    if (apply === 'backpropagated') {
      yield {
        path: ['amplification', 'apply'],
        message:
          'expected gradient or learning-rate with response continuous, got backpropagated; a layer would get the factors of all behind it too',
      };
    }
    if (selection !== 'all') {
      yield {
        path: ['amplification', 'selection'],
        message: `expected all with response continuous, which gives every candidate a factor of its own, got ${selection}; set selection: all`,
      };
    }
    if (threshold <= 0) {
      yield {
        path: ['amplification', 'threshold'],
        message: `expected a threshold above 0 with response continuous, which divides z by it, got ${threshold}`,
      };
    }
  }
}

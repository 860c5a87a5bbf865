// Placeholder until the native replica is merged.

import type { EvaluationResult, PassResult, Replica, ReplicaOptions } from '../engine.ts';
import type { NativeAddon } from './addon.ts';

export class TorchReplica implements Replica {
  constructor(addon: NativeAddon, options: ReplicaOptions & { readonly device: string }) {
    throw new Error(`no native replica for ${options.device} with libtorch ${addon.build.libtorch} yet`);
  }

  gradient(): PassResult {
    throw new Error('no native replica yet');
  }

  evaluate(): EvaluationResult {
    throw new Error('no native replica yet');
  }

  memory() {
    return { tensors: 0, bytes: 0 };
  }

  dispose(): void {}
}

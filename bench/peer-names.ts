// The peers by name; see peers.ts.

export const PEERS = [
  'torch',
  'torch-channels-last',
  'torch-compile',
  'torch-compile-graph',
  'torch-cuda-graph',
  'torch-ddp',
  'tfjs-stock',
] as const;
export type Peer = (typeof PEERS)[number];

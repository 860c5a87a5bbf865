// Small graphs around each operation, for the engines' tests.

import { type Graph, GraphBuilder, type Value } from '../../src/models/graph.ts';

export const CLASSES = 5;

/** Width of the maps, and the pool that makes them from images. */
const POOLS = {
  1: { kernel: 32 },
  2: { kernel: 16 },
  4: { kernel: 8 },
  7: { kernel: 6, stride: 4 },
  8: { kernel: 4 },
} as const;

/** A small graph around the operation under test: behind a convolution, so that its input gradient counts. */
function around(
  size: keyof typeof POOLS,
  operation: (g: GraphBuilder, x: Value) => Value,
  filters = 6,
): Graph {
  const g = new GraphBuilder('test');
  const pooled = g.averagePool(g.input([32, 32, 3]), POOLS[size]);
  const x = operation(g, g.conv2d('first', pooled, { filters, kernel: 3, padding: 1, bias: true }));
  const end = x.shape[0] > 1 ? g.averagePool(x, { kernel: x.shape[0] }) : x;
  return g.build(g.linear('linear', g.flatten(end), { features: CLASSES }));
}

export const cases: Record<string, Graph> = {
  'linear and a global average pool': around(8, (_, x) => x),
  relu: around(8, (g, x) => g.relu(x)),
  'batch norm': around(8, (g, x) => g.batchNorm('bn', x)),
  'batch norm, ReLU, batch norm': around(7, (g, x) => g.batchNorm('bn2', g.relu(g.batchNorm('bn', x)))),
  'max pool': around(8, (g, x) => g.maxPool(x, { kernel: 2 })),
  'overlapping max pool of an odd map': around(7, (g, x) => g.maxPool(x, { kernel: 3, stride: 2 })),
  'max pool of every other element': around(8, (g, x) => g.maxPool(x, { kernel: 1, stride: 2 })),
  'average pool of every other element': around(7, (g, x) => g.averagePool(x, { kernel: 1, stride: 2 })),
  'average pool': around(8, (g, x) => g.relu(g.averagePool(x, { kernel: 2 }))),
  'overlapping average pool that leaves a rest': around(8, (g, x) =>
    g.relu(g.averagePool(x, { kernel: 3, stride: 2 })),
  ),
  'pools of one element': around(8, (g, x) => g.maxPool(g.averagePool(x, { kernel: 1 }), { kernel: 1 })),
  'residual add': around(8, (g, x) =>
    g.relu(g.add(g.conv2d('conv', x, { filters: 6, kernel: 3, padding: 1 }), x)),
  ),
  'a value added to itself': around(8, (g, x) => g.relu(g.add(x, x))),
  'residual block with a projection': around(8, (g, x) => {
    const y = g.batchNorm(
      'bn',
      g.conv2d('conv', g.relu(x), { filters: 9, kernel: 3, stride: 2, padding: 1 }),
    );
    return g.relu(
      g.add(y, g.batchNorm('bn2', g.conv2d('shortcut', x, { filters: 9, kernel: 1, stride: 2 }))),
    );
  }),
};
for (const size of [7, 8] as const) {
  for (const kernel of [1, 3]) {
    for (const stride of [1, 2]) {
      for (const padding of kernel === 1 ? [0] : [0, 1]) {
        for (const bias of [false, true]) {
          const options = { filters: 10, kernel, stride, padding, bias };
          const name = `convolution ${kernel}x${kernel}, stride ${stride}, padding ${padding}, bias ${bias}, of a ${size}x${size} map`;
          cases[name] = around(size, (g, x) => g.relu(g.conv2d('conv', x, options)));
        }
      }
    }
  }
}

// For torch alone: channels that the native convolutions take: Winograd's in tiles of 4x4, of 2x2 on the small maps, and what lies over
// a map's border; with other strides and kernels, products of matrices.
export const wideCases: Record<string, Graph> = {};
for (const size of [1, 2, 4, 7, 8] as const) {
  for (const bias of [false, true]) {
    const options = { filters: 64, kernel: 3, padding: 1, bias };
    wideCases[`convolution 3x3 of 32 to 64 channels, bias ${bias}, of a ${size}x${size} map`] = around(
      size,
      (g, x) => g.conv2d('conv', x, options),
      32,
    );
  }
}
for (const [kernel, stride, padding] of [
  [3, 2, 1],
  [3, 1, 0],
  [1, 1, 0],
  [1, 2, 0],
]) {
  for (const size of [7, 8] as const) {
    const options = { filters: 64, kernel, stride, padding, bias: size === 7 };
    wideCases[
      `convolution ${kernel}x${kernel} of 32 to 64 channels, stride ${stride}, padding ${padding}, of a ${size}x${size} map`
    ] = around(size, (g, x) => g.conv2d('conv', x, options), 32);
  }
}

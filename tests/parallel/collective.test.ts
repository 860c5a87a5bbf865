// How gradients come together, by the devices and the key `collective`.

import { expect, test } from 'vitest';
import { collectiveOf } from '../../src/parallel/collective.ts';

test.each([
  [['cpu'], 'auto', 'none'],
  [['cuda:0'], 'auto', 'none'],
  [['cuda:0'], 'nccl', 'none'],
  [['cpu', 'cpu'], 'auto', 'shared-memory'],
  [['cuda:0', 'cuda:0'], 'auto', 'shared-memory'],
  [['cuda:0', 'cuda:1', 'cuda:0'], 'auto', 'shared-memory'],
  [['cuda:1', 'cuda:0'], 'auto', 'nccl'],
  [['cuda:1', 'cuda:0'], 'nccl', 'nccl'],
  [['cuda:1', 'cuda:0'], 'shared-memory', 'shared-memory'],
] as const)('devices %j with collective %s: %s', (devices, collective, expected) => {
  expect(collectiveOf({ devices, collective })).toBe(expected);
});

// The kernels for processors without AVX2, which few machines take by themselves: their panels are narrower, so that other
// numbers of channels reach Winograd's tiles.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { relativeDifference } from '../fixtures.ts';
import { it } from './fixtures.ts';

interface Answer {
  readonly description: string;
  readonly gradients: Readonly<Record<string, string>>;
}

function gradients(environment: Readonly<Record<string, string>>): Answer {
  const script = fileURLToPath(new URL('gradients.mjs', import.meta.url));
  const env = { ...process.env, ...environment };
  const { stdout, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8', env });
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

const numbers = (text: string) => new Float32Array(Uint8Array.from(Buffer.from(text, 'base64')).buffer);

it('the baseline kernels give the gradients of the best ones, of 8, 24 and 40 channels too', () => {
  const best = gradients({});
  const baseline = gradients({ ATEN_CPU_CAPABILITY: 'default' });
  expect(baseline.description).toContain('baseline');
  expect(Object.keys(baseline.gradients)).toHaveLength(18);
  for (const [name, text] of Object.entries(baseline.gradients)) {
    expect(relativeDifference(numbers(text), numbers(best.gradients[name])), name).toBeLessThan(1e-5);
  }
});

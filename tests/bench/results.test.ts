import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { provenance, saveResult } from '../../bench/results.ts';

it('a result is saved under device, date and what it measures, with device and versions in it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gradamp-results-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const result = {
    ...provenance('step resnet8 batch 16'),
    date: '2026-01-31',
    machine: { processor: 'ACME (R) 7 @ 2.5GHz', cores: 4, memoryBytes: 8, gpus: [], system: 'Linux' },
    n: 5,
  };
  const file = saveResult(join(folder, 'new'), result);
  expect(file).toBe(join(folder, 'new', 'acme-r-7-2.5ghz-4-cores-2026-01-31-step-resnet8-batch-16.json'));
  expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(result);
  expect(result.versions).toMatchObject({ gradamp: '0.1.0', node: process.versions.node });
});

it('a folder that cannot be written is wrong input', () => {
  expect(() => saveResult('/dev/null/results', provenance('step'))).toThrow(
    /^--save: expected a folder that can be written, got \/dev\/null\/results: E/,
  );
});

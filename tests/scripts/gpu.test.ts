// bench/gpu.sh: stages, in a packed folder whose programs are stand-ins that note how they were called. A Python that has
// torch, and a GPU, are pretended too.

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fromPackage } from '../../src/package-root.ts';

let folder: string;
const at = (...parts: string[]) => join(folder, ...parts);

/** Notes its name, arguments and library path in calls.txt, then does `rest`. */
function program(path: string, rest = ''): void {
  const [name] = path.split('/').slice(-1);
  const note = `echo "${name} $*" >> "${at('calls.txt')}"; echo "$LD_LIBRARY_PATH" > "${at('libraries.txt')}"`;
  writeFileSync(at(path), `#!/bin/sh\n${note}\n${rest}\n`);
  chmodSync(at(path), 0o755);
}

const calls = () =>
  existsSync(at('calls.txt')) ? readFileSync(at('calls.txt'), 'utf8').trim().split('\n') : [];
const results = (ending: string) =>
  readdirSync(at('results'))
    .filter((name) => name.endsWith(ending))
    .sort();

function gpu(line: string, environment: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(
    'bash',
    [at('bench', 'gpu.sh'), ...line.split(' ').filter(Boolean)],
    {
      encoding: 'utf8',
      env: {
        ...process.env,
        PATH: [at('path'), process.env.PATH].join(delimiter),
        OUT: at('results'),
        ...environment,
      },
    },
  );
  return { status, stdout, stderr };
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradamp-gpu-'));
  for (const name of ['bench', 'bin', 'path', 'results']) mkdirSync(at(name));
  cpSync(fromPackage('bench', 'gpu.sh'), at('bench', 'gpu.sh'));
  program('bin/gradamp', 'echo "{}"');
  program('bin/node');
  program('path/python3', 'echo /torch/lib:/nvidia/cublas/lib');
  program('path/nvidia-smi');
});
afterEach(() => rmSync(folder, { recursive: true }));

test('help tells stages and environment, and runs nothing', () => {
  const { status, stdout } = gpu('--help');
  expect(status).toBe(0);
  expect(stdout).toMatch(/^usage: bench\/gpu.sh \[--again\] \[--list\] \[stage \.\.\.\]\n/);
  for (const name of ['build', 'parity', 'bench-<model>', 'many', 'run', 'STAGE_SECONDS']) {
    expect(stdout).toContain(`\n  ${name}`);
  }
  expect(calls()).toEqual([]);
});

describe('wrong input is one line, exit code 2, before anything runs', () => {
  test.each([
    ['bild', {}, /^gpu\.sh: expected stages of build tests parity .* many run, got bild\n$/],
    ['build --agian', {}, /^gpu\.sh: expected --again, --list, --help or stages, got --agian\n$/],
    ['build', { PAIRS: '0' }, /^gpu\.sh: PAIRS: expected a whole number of at least 1, got 0\n$/],
    ['run', { EPOCHS: '9' }, /^gpu\.sh: EPOCHS: expected at least 15, .*, got 9\n$/],
  ])('gpu.sh %s %o', (line, environment, message) => {
    const { status, stderr } = gpu(line, environment);
    expect(stderr).toMatch(message);
    expect(status).toBe(2);
    expect(calls()).toEqual([]);
  });
});

test('a folder that was not packed is told, and so is a Python without torch', () => {
  program('path/python3', 'echo expected a python3 that has torch >&2; exit 1');
  expect(gpu('parity')).toEqual({
    ...{ status: 1, stdout: '' },
    stderr: 'expected a python3 that has torch\ngpu.sh: python3 cannot be used\n',
  });
  rmSync(at('bin', 'node'));
  expect(gpu('parity').stderr).toMatch(
    /^gpu\.sh: expected the folder that scripts\/pack\.mjs packs, found no bin\/node/,
  );
});

test("a stage leaves a result and a log, and sees the libraries of python3's torch", () => {
  const { status, stdout } = gpu('parity', { LD_LIBRARY_PATH: '/mine' });
  expect(stdout).toMatch(/^gpu\.sh: parity \.\.\.\n\nparity +\d+ s {2}done\n$/);
  expect(status).toBe(0);
  expect(readdirSync(at('results')).sort()).toEqual(['parity-report.json', 'parity.json', 'parity.log']);
  expect(JSON.parse(readFileSync(at('results', 'parity.json'), 'utf8'))).toMatchObject({ stage: 'parity' });
  expect(readFileSync(at('libraries.txt'), 'utf8')).toBe('/torch/lib:/nvidia/cublas/lib:/mine\n');
  expect(calls().at(-1)).toMatch(
    /^gradamp bench parity --device cuda .* --precisions float32,tf32,bfloat16 --json$/,
  );
});

test('a stage that has a result is skipped, and repeated with --again', () => {
  gpu('parity');
  const before = calls().filter((call) => call.startsWith('gradamp')).length;
  const skipped = gpu('parity');
  expect(skipped.status).toBe(0);
  expect(skipped.stdout).toContain('skipped: it has a result');
  expect(gpu('--list').stdout).toContain('parity: done\npeak\n');
  expect(calls().filter((call) => call.startsWith('gradamp'))).toHaveLength(before);
  expect(gpu('--again parity').stdout).toContain('done');
  expect(calls().filter((call) => call.startsWith('gradamp'))).toHaveLength(before + 1);
});

test('a stage that fails does not stop the others, has no result, and makes the exit code 1', () => {
  program('bin/gradamp', 'case "$*" in *parity*) echo no GPU >&2; exit 3;; esac; echo "{}"');
  const { status, stdout } = gpu('parity analysis');
  expect(status).toBe(1);
  expect(stdout).toContain('  no GPU\n');
  expect(stdout).toMatch(/\nparity +\d+ s {2}FAILED: exit code 3; see .*parity\.log\n/);
  expect(stdout).toMatch(/\nanalysis +\d+ s {2}done\n/);
  expect(results('.json')).toEqual(['analysis-resnet18.json', 'analysis.json', 'failed-parity.json']);
  const failure = JSON.parse(readFileSync(at('results', 'failed-parity.json'), 'utf8'));
  expect(failure).toMatchObject({ stage: 'parity', reason: 'exit code 3' });
  program('bin/gradamp', 'echo "{}"');
  expect(gpu('parity').status).toBe(0);
  expect(existsSync(at('results', 'failed-parity.json'))).toBe(false);
});

test('parity fails where a gradient is too far, and its JSON, which says which, is kept', () => {
  program('bin/gradamp', 'echo \'{"fine":false}\'; exit 1');
  const { status, stdout } = gpu('parity');
  expect(status).toBe(1);
  expect(stdout).toMatch(/\nparity +\d+ s {2}FAILED: exit code 1; see /);
  expect(results('.json')).toEqual(['failed-parity.json', 'parity-report.json']);
  expect(readFileSync(at('results', 'parity-report.json'), 'utf8')).toBe('{"fine":false}\n');
});

test('a stage is ended at its limit', () => {
  program('bin/gradamp', 'exec sleep 30');
  const { status, stdout } = gpu('parity', { STAGE_SECONDS: '1' });
  expect(stdout).toMatch(/\nparity +\d s {2}FAILED: over 1 s; see /);
  expect(status).toBe(1);
});

test('a comparison stage goes on behind the comparisons that are there; compile is a peer of the largest in bfloat16', () => {
  program('bin/gradamp', 'case "$*" in *"--batch 512 --precision tf32"*) exit 1;; esac; echo "{}"');
  expect(gpu('bench-resnet18').status).toBe(1);
  expect(results('.json')).toEqual([
    'failed-bench-resnet18.json',
    'peers-resnet18-128-bfloat16.json',
    'peers-resnet18-128-tf32.json',
    'peers-resnet18-512-bfloat16.json',
  ]);
  const peers = (batch: number, precision: string) => {
    const call = calls().find((call) => call.includes(`--batch ${batch} --precision ${precision}`));
    return /--peers (\S+)/.exec(call!)![1];
  };
  expect(peers(128, 'bfloat16')).toBe('torch-channels-last,torch-cuda-graph');
  expect(peers(512, 'bfloat16')).toBe(
    'torch-channels-last,torch-cuda-graph,torch-compile,torch-compile-graph',
  );
  rmSync(at('calls.txt'));
  program('bin/gradamp', 'echo "{}"');
  expect(gpu('bench-resnet18').status).toBe(0);
  expect(calls().filter((call) => call.startsWith('gradamp'))).toHaveLength(1);
  // The table, of what there is.
  expect(calls().at(-1)).toMatch(/^node dist\/bench\/gpu-report\.js .*results$/);
});

test("the run's phases are those of the paper, scaled", () => {
  program(
    'bin/gradamp',
    'case "$1" in train) mkdir -p runs/params1; cd runs/params1; touch config.yaml metrics.csv timings.jsonl selections.jsonl;; esac; echo "{}"',
  );
  expect(gpu('run', { EPOCHS: '30' }).status).toBe(0);
  expect(calls().filter((call) => call.startsWith('gradamp'))).toEqual([
    'gradamp data synthesize --out data/synthetic --force',
    expect.stringContaining(
      '--set schedule=[[10, 0.1, false, 1], [20, 0.1, true, 2], [26, 0.01, true, 2], [30, 0.01, false, 1]]',
    ),
  ]);
  expect(existsSync(at('results', 'selections.jsonl'))).toBe(true);
});

test('a packed addon that loads is taken; another is replaced by one that is compiled', () => {
  mkdirSync(at('build', 'native'), { recursive: true });
  writeFileSync(at('build', 'native', 'gradamp.node'), '');
  expect(gpu('build').status).toBe(0);
  expect(calls()).not.toContain('node scripts/native/build.mjs');
  program(
    'bin/node',
    `case "$*" in *scripts/native/build.mjs) touch "${at('built')}";; esac; test -e "${at('built')}"`,
  );
  expect(gpu('--again build').status).toBe(0);
  expect(calls()).toContain('node scripts/native/build.mjs');
});

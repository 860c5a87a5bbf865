// The command line as a user meets it: the compiled program, its output and its exit codes.

import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));
const CONFIG = 'model: resnet8\ndataset: cifar10\nschedule: [[1, 0.1, false, 1]]\n';

/** Every command starts here, and what it must not write would be found here. */
const folder = mkdtempSync(join(tmpdir(), 'gradamp-cli-'));

beforeAll(() => {
  if (!existsSync(MAIN)) throw new Error('expected a build; run `npm test`, or `npm run build` before');
  writeFileSync(join(folder, 'run.yaml'), CONFIG);
});
afterAll(() => rmSync(folder, { recursive: true }));

function gradamp(...options: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...options], {
    cwd: folder,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

describe('wrong input is one line, exit code 2 and nothing written', () => {
  const MODELS = 'vgg19, resnet18, resnet34, resnet50, resnet101, resnet8, resnet20';

  test.each([
    ['modls', "unknown command 'modls' (Did you mean models?)"],
    ['train run.yaml --seed 3', "unknown option '--seed' (Did you mean --set?)"],
    [
      'train',
      'config: expected a YAML file, got none; for example configs/quickstart.yaml, or --resume <run>',
    ],
    ['train run.yaml other.yaml', "too many arguments for 'train'. Expected 1 argument but got 2."],
    [
      'train nowhere.yaml',
      'nowhere.yaml: no such file; expected the path of a YAML config such as configs/quickstart.yaml',
    ],
    ['train run.yaml --set batchsize=3', '--set: unknown key batchsize; did you mean batchSize?'],
    [
      'train run.yaml --set model=resnet81',
      `--set: model: expected ${MODELS}, or { name, width }, got "resnet81"; did you mean resnet8?`,
    ],
    ['models resnet81', `model: expected ${MODELS}, got "resnet81"; did you mean resnet8?`],
    [
      'models --width 0',
      "option '--width <factor>' argument '0' is invalid. Expected a number above 0, at most 16.",
    ],
    [
      'data synthesize --dataset mnist',
      "option '--dataset <name>' argument 'mnist' is invalid. Allowed choices are cifar10, cifar100.",
    ],
    [
      'data download cifar01',
      "command-argument value 'cifar01' is invalid for argument 'dataset'. Allowed choices are cifar10, cifar100. Did you mean cifar10?",
    ],
    [
      'bench step --model resnet81',
      `option '--model <name>' argument 'resnet81' is invalid. Allowed choices are ${MODELS}. Did you mean resnet8?`,
    ],
    ['help trian', "unknown command 'trian' (Did you mean train?)"],
    ['data help dowload', "unknown command 'dowload' (Did you mean download?)"],
    [
      'data synthesize --seed -1',
      "option '--seed <n>' argument '-1' is invalid. Expected a whole number from 0 to 4294967295.",
    ],
    ['data synthesise', "unknown command 'synthesise' (Did you mean synthesize?)"],
  ])('gradamp %s', (line, message) => {
    expect(gradamp(...line.split(' '))).toEqual({ status: 2, stdout: '', stderr: `gradamp: ${message}\n` });
    expect(readdirSync(folder)).toEqual(['run.yaml']);
  });

  test('missing data are named with the command that makes them', () => {
    const { status, stdout, stderr } = gradamp('train', 'run.yaml', '--set', 'dataDir=nodata');
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(/^gradamp: nodata: .*gradamp data synthesize --dataset cifar10 --out nodata.*\n$/);
    expect(readdirSync(folder)).toEqual(['run.yaml']);
  });

  test('no command at all prints the help', () => {
    const { status, stderr } = gradamp();
    expect(status).toBe(2);
    expect(stderr).toMatch(/^Usage: gradamp \[options\] \[command\]\n/);
  });
});

test('help and version are no errors', () => {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  expect(gradamp('--version')).toEqual({ status: 0, stdout: `${manifest.version}\n`, stderr: '' });
  const { status, stdout, stderr } = gradamp('--help');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const help = gradamp('help', 'data', 'download');
  expect(help.status).toBe(0);
  expect(help.stdout).toMatch(/^Usage: gradamp data download \[options\] <dataset>\n/);
  for (const command of ['train', 'lr-find', 'quickstart', 'models', 'data', 'doctor'])
    expect(stdout).toContain(`\n  ${command} `);
});

describe('gradamp models', () => {
  test('lists the models with the sizes of the paper’s', () => {
    const { status, stdout } = gradamp('models');
    expect(status).toBe(0);
    expect(stdout).toContain(
      'resnet18               11,173,962   11,220,132     0.555 G         20/20/1          41\n',
    );
    const models = JSON.parse(gradamp('models', '--json').stdout);
    expect(models.map((model: { name: string }) => model.name)).toEqual([
      'vgg19',
      'resnet18',
      'resnet34',
      'resnet50',
      'resnet101',
      'resnet8',
      'resnet20',
    ]);
    expect(models[0]).toMatchObject({ parameters: { 10: 20_040_522, 100: 20_086_692 }, candidates: 33 });
  });

  test('prints the layers of one, with totals', () => {
    const { status, stdout } = gradamp('models', 'resnet8', '--width', '0.5', '--classes', '100');
    expect(status).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toBe(
      'resnet8, width 0.5, 100 classes; shapes as [O, I, kh, kw] and [height, width, channels]',
    );
    expect(lines[4]).toBe('conv1                conv2d       8x3x3x3   32x32x8         216     221,184  yes');
    expect(lines.at(-3)).toBe(
      'linear               linear        100x32       100       3,300       3,200  yes',
    );
    expect(lines.at(-1)).toMatch(/^19 layers +22,924 +3,239,040 {2}19 of 19$/);
  });

  test('ends quietly when its reader goes away', async () => {
    const child = spawn(process.execPath, [MAIN, 'models', 'resnet101', '--json'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.destroy();
    let errors = '';
    child.stderr.on('data', (chunk) => {
      errors += chunk;
    });
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect({ code, errors }).toEqual({ code: 0, errors: '' });
  });
});

describe('gradamp quickstart', () => {
  const RUNS = 'runs/quickstart-comparison';
  let place: string;
  beforeEach(() => {
    place = mkdtempSync(join(tmpdir(), 'gradamp-quickstart-'));
  });
  afterEach(() => rmSync(place, { recursive: true }));
  const at = (path: string) => join(place, path);
  const put = (path: string, text: string) => {
    mkdirSync(join(at(path), '..'), { recursive: true });
    writeFileSync(at(path), text);
  };
  const run = (...options: string[]) =>
    spawnSync(process.execPath, [MAIN, ...options], { cwd: place, encoding: 'utf8' });
  const makeData = (images: number) =>
    run('data', 'synthesize', '--out', 'data/quickstart', '--train', `${images}`, '--test', '10');

  test('trains twice and compares, replaces its earlier runs and leaves others alone', () => {
    makeData(64);
    put(`${RUNS}/original/config.yaml`, 'dataset: cifar10\ndataDir: data/quickstart\n');
    put(`${RUNS}/original/earlier.log`, '');
    put('runs/quickstart/original/thesis.tex', 'of somebody');
    const { status, stdout, stderr } = run('quickstart');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^data: data\/quickstart \(already there\)$/m);
    for (const name of ['original', 'amplified']) {
      expect(stdout).toMatch(new RegExp(`^done: 12 epochs in .*; files in ${RUNS}/${name}$`, 'm'));
      expect(readFileSync(at(`${RUNS}/${name}/config.yaml`), 'utf8')).toContain(
        '\ndataDir: data/quickstart\n',
      );
    }
    expect(stdout).toMatch(/^Files: runs\/quickstart-comparison\/\{original,amplified\}\/ with /m);
    expect(existsSync(at(`${RUNS}/original/earlier.log`))).toBe(false);
    expect(readdirSync(at('runs/quickstart'))).toEqual(['original']);
    expect(readdirSync(at('runs/quickstart/original'))).toEqual(['thesis.tex']);
    // Two trainings, beside whatever else the machine does.
  }, 180_000);

  test('that is stopped says how far it came and where the files are', async () => {
    makeData(640);
    const child = spawn(process.execPath, [MAIN, 'quickstart'], { cwd: place });
    let output = '';
    child.stdout.on('data', (chunk) => {
      if (!output.includes('run original') && `${output}${chunk}`.includes('run original'))
        child.kill('SIGINT');
      output += chunk;
    });
    const status = await new Promise((resolve) => child.on('close', resolve));
    expect(status).toBe(130);
    expect(output.trimEnd().split('\n').at(-1)).toMatch(
      new RegExp(
        `^stopped: \\d+ complete epochs in .*; files in ${RUNS}/original; go on with: gradamp train --resume ${RUNS}/original$`,
      ),
    );
    expect(existsSync(at(`${RUNS}/original/summary.json`))).toBe(true);
  });

  test('fills an empty data folder, and never removes what is no run of its own', () => {
    mkdirSync(at('data/quickstart'), { recursive: true });
    put(`${RUNS}/amplified/config.yaml`, 'dataDir: data/cifar10\n');
    const { status, stdout, stderr } = run('quickstart');
    expect(stdout).toBe('data: synthesising 1600 training and 500 test images into data/quickstart\n');
    expect(stderr).toBe(
      `gradamp: ${RUNS}/amplified: expected no folder, or the run of an earlier quickstart, found something else; move it away\n`,
    );
    expect(status).toBe(2);
    expect(readdirSync(at('data/quickstart'))).toContain('synthetic.json');
    expect(readdirSync(at(`${RUNS}/amplified`))).toEqual(['config.yaml']);
  });

  test('does not train on a data folder that holds something else', () => {
    put('data/quickstart/thesis.tex', '');
    const { status, stderr } = run('quickstart');
    expect(status).toBe(2);
    expect(stderr).toMatch(/^gradamp: data\/quickstart: expected CIFAR-10 .*found neither.*\n$/);
  });
});

describe('gradamp data', () => {
  const out = join(folder, 'set');
  afterAll(() => rmSync(out, { recursive: true, force: true }));
  const make = (...options: string[]) =>
    gradamp('data', 'synthesize', '--out', out, '--train', '20', '--test', '10', ...options);

  test('makes a set, keeps it from being made again by accident, and tells what is in it', () => {
    const made = make('--seed', '3');
    expect(made).toMatchObject({ status: 0, stderr: '' });
    expect(made.stdout).toMatch(
      /: 20 training and 10 test images \(synthetic cifar10, seed 3\) in [\d.]+ s\n$/,
    );
    const bytes = readFileSync(join(out, 'test_batch.bin'));
    const set = { dataset: 'cifar10', train: 20, test: 10, seed: 3 };
    const printed = make('--seed', '3', '--force', '--json');
    expect(JSON.parse(printed.stdout)).toEqual({ folder: out, ...set, seconds: expect.any(Number) });
    expect(readFileSync(join(out, 'test_batch.bin')).equals(bytes)).toBe(true);

    expect(make('--seed', '4')).toEqual({
      status: 2,
      stdout: '',
      stderr: `gradamp: ${out}: holds a synthetic set already; choose another --out, or replace it with --force\n`,
    });
    expect(readFileSync(join(out, 'test_batch.bin')).equals(bytes)).toBe(true);
    expect(make('--seed', '4', '--force').status).toBe(0);
    expect(readFileSync(join(out, 'test_batch.bin')).equals(bytes)).toBe(false);

    const info = gradamp('data', 'info', out);
    expect(info.status).toBe(0);
    expect(info.stdout).toContain(`${out}: cifar10, 10 classes, synthetic, seed 4\n`);
    expect(info.stdout).toContain('train      20        2\ntest       10        1\n');
    expect(JSON.parse(gradamp('data', 'info', out, '--json').stdout)).toMatchObject({
      dataset: 'cifar10',
      classes: 10,
      train: 20,
      test: 10,
      synthetic: true,
      description: { seed: 4 },
    });
  });

  test('says of a file in place of the folder that it is one', () => {
    expect(gradamp('data', 'synthesize', '--out', 'run.yaml')).toEqual({
      status: 2,
      stdout: '',
      stderr: 'gradamp: run.yaml: expected a new or empty folder, got a file; choose another\n',
    });
  });

  test('never replaces what is not synthetic, even with --force', () => {
    const real = join(folder, 'real');
    mkdirSync(real);
    writeFileSync(join(real, 'test_batch.bin'), 'precious');
    const { status, stderr } = gradamp('data', 'synthesize', '--out', real, '--force');
    expect(status).toBe(2);
    expect(stderr).toMatch(/^gradamp: .*it may be the real data; choose another\n$/);
    expect(readFileSync(join(real, 'test_batch.bin'), 'utf8')).toBe('precious');
    rmSync(real, { recursive: true });
  });
});

describe('gradamp doctor', () => {
  test('tells what the machine has and which engines load, and why others do not', () => {
    const { status, stdout } = gradamp('doctor', '--json');
    expect(status).toBe(0);
    const { machine, engines, gpus, data } = JSON.parse(stdout);
    expect(machine).toMatchObject({ node: process.versions.node, nodeProblem: null, wasmSimd: true });
    expect(machine.cores).toBeGreaterThan(0);
    expect(Object.keys(gpus)).toEqual(['builtFor', 'driver', 'devices', 'problem']);
    expect(data).toEqual([]);
    const byName = Object.fromEntries(engines.map((engine: { name: string }) => [engine.name, engine]));
    expect(byName['tfjs wasm']).toMatchObject({ loads: true });
    expect(byName['tfjs cpu']).toMatchObject({ loads: true });
    for (const engine of engines) {
      if (!engine.loads) expect(engine.reason).toMatch(/\w/);
      expect(engine.reason ?? '').not.toMatch(/^ended|\n/);
    }
  });
});

test('output that the disk does not take is a fault, not a reader that has gone', () => {
  // Node writes to a file by fs.writeSync.
  const broken = `import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
const { writeSync } = fs;
fs.writeSync = (descriptor, ...rest) => {
  if (descriptor === 1) throw Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO' });
  return writeSync(descriptor, ...rest);
};
syncBuiltinESMExports();`;
  const output = openSync(join(folder, 'models.json'), 'w');
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--import', `data:text/javascript,${encodeURIComponent(broken)}`, MAIN, 'models', '--json'],
    { cwd: folder, encoding: 'utf8', stdio: ['ignore', output, 'pipe'] },
  );
  closeSync(output);
  rmSync(join(folder, 'models.json'));
  expect(stderr).toContain('Error: EIO: i/o error, write');
  expect(status).toBe(1);
});

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { configDocument, loadConfig } from '../../src/config/load.ts';

const folder = mkdtempSync(join(tmpdir(), 'gradamp-extends-'));
afterAll(() => rmSync(folder, { recursive: true }));
mkdirSync(join(folder, 'sub'));

const write = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

write(
  'base.yaml',
  `
model: resnet8
dataset: cifar10
devices: [cpu, cpu]
schedule: [[4, 0.1, false, 1], [8, 0.1, true, 2]]
amplification: { measure: Gprime, threshold: 0.7 }
`,
);

describe('extends', () => {
  test('takes what the file leaves out from the other, map by map', () => {
    const config = loadConfig(
      write('sub/run.yaml', 'extends: ../base.yaml\nseed: 3\namplification: { threshold: 2 }\n'),
    );
    expect(config).toMatchObject({
      model: { name: 'resnet8', width: 1 },
      devices: ['cpu', 'cpu'],
      seed: 3,
      amplification: { measure: 'Gprime', threshold: 2 },
    });
  });

  test('replaces lists and single values as a whole', () => {
    const config = loadConfig(
      write(
        'whole.yaml',
        'extends: base.yaml\ndevices: [cpu]\nschedule: [[2, 0.1, false, 1]]\namplification: none\n',
      ),
    );
    expect(config.devices).toEqual(['cpu']);
    expect(config.schedule).toHaveLength(1);
    expect(config.amplification).toBe('none');
  });

  test('switches off with null what the other says', () => {
    const base =
      'extends: base.yaml\nclipNorm: 1\nlars: {}\namplification: { selection: random, ratio: 0.5 }\n';
    write('optional.yaml', base);
    const top = write('off.yaml', 'extends: optional.yaml\nlars: null\namplification: { ratio: null }\n');
    const { amplification, clipNorm, ...config } = loadConfig(top);
    expect(clipNorm).toBe(1);
    expect(config).not.toHaveProperty('lars');
    expect(amplification).toMatchObject({ selection: 'random', threshold: 0.7 });
    expect(amplification).not.toHaveProperty('ratio');
    expect(loadConfig(write('on.yaml', 'extends: off.yaml\nlars: { trust: 1 }\n')).lars?.trust).toBe(1);
  });

  test('leaves the name of the run to each file', () => {
    const named = write('named.yaml', 'extends: base.yaml\nname: first\n');
    expect(loadConfig(named).name).toBe('first');
    const unnamed = write('unnamed.yaml', 'extends: named.yaml\nseed: 1\n');
    expect(loadConfig(unnamed)).not.toHaveProperty('name');
    expect(loadConfig(unnamed, { set: ['name=second'] }).name).toBe('second');
    const again = write('again.yaml', 'extends: unnamed.yaml\nname: third\n');
    expect(loadConfig(again)).toMatchObject({ name: 'third', seed: 1 });
  });

  test('may go over several files, and the command line over all of them', () => {
    write('middle.yaml', 'extends: base.yaml\nseed: 3\nbatchSize: 64\n');
    const top = write('top.yaml', 'extends: middle.yaml\nseed: 4\n');
    expect(loadConfig(top, { set: ['batchSize=32'] })).toMatchObject({
      seed: 4,
      batchSize: 32,
      dataset: 'cifar10',
    });
  });

  test('is resolved in what a run writes', () => {
    const top = write('resolved.yaml', 'extends: base.yaml\n');
    expect(configDocument(loadConfig(top))).not.toContain('extends');
  });

  test.each([
    ['a file that is not there', 'extends: nowhere.yaml\n', /nowhere\.yaml: no such file/],
    [
      'itself',
      'extends: wrong.yaml\n',
      /wrong\.yaml: extends: expected another file, got one that extends this one$/,
    ],
    ['no path', 'extends: [a]\n', /wrong\.yaml: extends: expected the path of a config, got \["a"\]$/],
  ])('refuses %s', (_, text, message) => {
    expect(() => loadConfig(write('wrong.yaml', text))).toThrow(message);
    expect(() => loadConfig(join(folder, 'wrong.yaml'))).toThrow(
      expect.objectContaining({ name: 'UsageError' }),
    );
  });
});

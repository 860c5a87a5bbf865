// `gradamp config schema`: an editor with it accepts what gradamp accepts.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { configSchema } from '../../src/cli/config.ts';
import { documentSchema, MODEL_NAMES } from '../../src/config/schema.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));

test('the schema has every key, refuses others, and needs those without defaults, or a base', () => {
  const { properties, anyOf, additionalProperties } = configSchema();
  expect(Object.keys(properties ?? {})).toEqual(['extends', ...Object.keys(documentSchema.shape)]);
  expect(additionalProperties).toBe(false);
  expect(anyOf).toEqual([{ required: ['model', 'dataset', 'schedule'] }, { required: ['extends'] }]);
});

test('a model is a name, or a name with a width', () => {
  expect(configSchema().properties?.model).toMatchObject({
    anyOf: [
      { type: 'string', enum: [...MODEL_NAMES] },
      { type: 'object', required: ['name'], additionalProperties: false },
    ],
  });
});

test('a phase is four values, and a range is a range', () => {
  expect(configSchema().properties?.schedule).toMatchObject({
    type: 'array',
    minItems: 1,
    items: { type: 'array', prefixItems: [{ type: 'integer', minimum: 1 }, {}, { type: 'boolean' }, {}] },
  });
  expect(configSchema().properties?.momentum).toMatchObject({
    anyOf: [{ default: 0.9, minimum: 0, exclusiveMaximum: 1 }, { type: 'null' }],
  });
});

test('what may be left out may be null, in maps too, and nothing else', () => {
  const { properties } = configSchema();
  expect(properties?.lars).toMatchObject({
    anyOf: [{ properties: { trust: { anyOf: [{ type: 'number' }, { type: 'null' }] } } }, { type: 'null' }],
  });
  expect(properties?.dataset).toEqual({ type: 'string', enum: ['cifar10', 'cifar100'] });
});

test('the command prints it', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'config', 'schema'], {
    encoding: 'utf8',
  });
  expect([status, stderr]).toEqual([0, '']);
  expect(JSON.parse(stdout)).toEqual(JSON.parse(JSON.stringify(configSchema())));
  expect(JSON.parse(stdout).$schema).toBe('https://json-schema.org/draft/2020-12/schema');
});

test('a misspelt command is one line that names the nearest', () => {
  const { status, stderr } = spawnSync(process.execPath, [MAIN, 'config', 'shema'], { encoding: 'utf8' });
  expect([status, stderr]).toEqual([2, "gradamp: unknown command 'shema' (Did you mean schema?)\n"]);
});

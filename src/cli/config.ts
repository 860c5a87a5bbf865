// `gradamp config schema`: what an editor needs to complete and check configs.

import { Command } from 'commander';
import { z } from 'zod';
import { documentSchema } from '../config/schema.ts';

export function configCommand(): Command {
  const schema = new Command('schema')
    .description('print the JSON Schema of config files, for editors')
    .action(() => {
      process.stdout.write(`${JSON.stringify(configSchema(), null, 2)}\n`);
    });
  return new Command('config').description('about config files').addCommand(schema);
}

/**
 * JSON Schema, draft 2020-12. Checks that span several keys are not in it: `--dry-run` makes them. A file that extends
 * another may leave out what that one has; null is for what may be left out, and means that it is.
 */
export function configSchema(): z.core.JSONSchema.JSONSchema {
  const {
    properties,
    required = [],
    ...schema
  } = z.toJSONSchema(documentSchema, {
    io: 'input',
    override: ({ zodSchema, jsonSchema: { properties = {}, required = [] } }) => {
      if (zodSchema._zod.def.type !== 'object') return;
      for (const key of Object.keys(properties).filter((key) => !required.includes(key))) {
        properties[key] = { anyOf: [properties[key] as z.core.JSONSchema.JSONSchema, { type: 'null' }] };
      }
    },
  });
  const base = { type: 'string', description: 'the path of a config that this one changes' } as const;
  return {
    title: 'gradamp config',
    ...schema,
    properties: { extends: base, ...properties },
    anyOf: [{ required }, { required: ['extends'] }],
  };
}

#!/usr/bin/env node
// The command line: lists the commands, and turns every end of a command into an exit code:
// 0 done, 1 a fault of the program or the machine, 2 wrong input, 3 a run that diverged, 129 (its
// terminal was closed), 130 and 143 asked to stop; a thread that nothing ends makes it 137.

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { nearest } from '../config/messages.ts';
import { UsageError } from '../errors.ts';
import { fromPackage } from '../package-root.ts';
import { benchCommand } from './bench.ts';
import { leaveClosedTerminals, outliveReaders } from './closed-terminal.ts';
import { configCommand } from './config.ts';
import { dataCommand } from './data.ts';
import { doctorCommand } from './doctor.ts';
import { evaluateCommand } from './evaluate.ts';
import { exportCommand } from './export.ts';
import { initCommand } from './init.ts';
import { findCommand } from './lr-find.ts';
import { modelsCommand } from './models.ts';
import { quickstartCommand } from './quickstart.ts';
import { trainCommand } from './train.ts';

const commands = [
  initCommand(),
  trainCommand(),
  evaluateCommand(),
  exportCommand(),
  findCommand(),
  quickstartCommand(),
  modelsCommand(),
  dataCommand(),
  configCommand(),
  doctorCommand(),
  benchCommand(),
];

function createProgram(): Command {
  const program = new Command('gradamp')
    .description(
      'Trains CIFAR models on worker threads and amplifies the gradients of layers that keep their direction.',
    )
    .version(JSON.parse(readFileSync(fromPackage('package.json'), 'utf8')).version)
    .configureOutput({ outputError: (text, write) => write(`gradamp: ${asOneLine(text)}\n`) })
    .exitOverride();
  adopt(program, commands);
  return program;
}

/** In place of commander's, which takes an unknown name for none. */
function helpCommand(parent: Command): Command {
  return new Command('help')
    .description('show the help of a command')
    .argument('[command...]')
    .action((path: readonly string[]) => {
      let command: Command = parent;
      for (const name of path) {
        const found = command.commands.find((child) => child.name() === name);
        if (!found) {
          const names = command.commands.map((child) => child.name());
          const near = nearest(name, names);
          const hint = near === undefined ? '' : ` (Did you mean ${near}?)`;
          command.error(`error: unknown command '${name}'${hint}`);
        }
        command = found;
      }
      command.help();
    });
}

/** Adds commands with the settings of the one above them, which commander gives only to those it makes itself. */
function adopt(parent: Command, children: readonly Command[]): void {
  for (const child of children) {
    child.copyInheritedSettings(parent);
    if (!parent.commands.includes(child)) parent.addCommand(child);
    if (child.commands.length > 0) adopt(child, child.commands);
  }
  parent.helpCommand(false).addCommand(helpCommand(parent).copyInheritedSettings(parent));
}

const asOneLine = (text: string) =>
  text
    .trim()
    .replace(/^error: /, '')
    .replaceAll('\n', ' ');

/** Faults whose message says all there is to say. */
const ONE_LINE = new Set(['DivergedError', 'HungError']);

/** What the user caused is one line; of anything else the place where it happened, on whatever thread, helps. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof UsageError || ONE_LINE.has(error.name)) return error.message;
  const { message, cause, stack } = error;
  return cause instanceof Error ? `${message}\n${cause.stack}` : (stack ?? message);
}

function exitCodeOf(error: unknown): number {
  // Commander has said what it had to say.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  // Asked to stop, it had nothing to show yet; the signal has set the code.
  if (error instanceof Error && error.name === 'AbortError' && process.exitCode)
    return Number(process.exitCode);
  process.stderr.write(`gradamp: ${describe(error)}\n`);
  if (error instanceof UsageError) return 2;
  return error instanceof Error && error.name === 'DivergedError' ? 3 : 1;
}

outliveReaders();
try {
  await createProgram().parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
  // A thread that never returns from native code: the program would wait for it.
  if (error instanceof Error && 'stuck' in error && error.stuck) process.kill(process.pid, 'SIGKILL');
}
leaveClosedTerminals();

// Runs the commands that a set-up consists of, quietly: their output is shown only where they fail.

import { spawn } from 'node:child_process';

/** A command that failed, or something that a set-up lacks: its message is for users, without a stack. */
export class SetupError extends Error {}

/** Lines of a failed command that are shown. */
const SHOWN_LINES = 40;

/** @returns a function that prints a line of the program `program`. */
export const speaker = (program) => (line) => process.stdout.write(`${program}: ${line}\n`);

/**
 * Runs a command without its output; of one that fails, throws with the end of it.
 *
 * @param program whose line it is, for example `setup`.
 */
export function run(program, title, [command, ...parameters], options) {
  const say = speaker(program);
  say(`${title} ...`);
  const started = Date.now();
  const seconds = () => ((Date.now() - started) / 1000).toFixed(0);
  const lines = [];
  const ticker = process.stdout.isTTY
    ? setInterval(() => process.stdout.write(`\r${program}: ${title} ... ${seconds()} s`), 1000)
    : undefined;
  return new Promise((resolve, reject) => {
    const shell = process.platform === 'win32' && command === 'npm';
    const child = spawn(command, parameters, { stdio: ['ignore', 'pipe', 'pipe'], shell, ...options });
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => lines.push(String(chunk)));
    const stop = (signal) => {
      child.kill(signal);
      process.exit(1);
    };
    process.once('SIGINT', stop);
    process.once('SIGTERM', stop);
    const end = (failure) => {
      clearInterval(ticker);
      process.off('SIGINT', stop);
      process.off('SIGTERM', stop);
      if (ticker) process.stdout.write('\r\x1b[K');
      const output = lines.join('').trimEnd().split('\n').slice(-SHOWN_LINES).join('\n');
      if (failure) reject(new SetupError(`${title} failed: ${failure}${output && `\n${output}`}`));
      else resolve(say(`${title}: done in ${seconds()} s`));
    };
    child.on('error', (error) => end(error.message));
    child.on('close', (code, signal) =>
      end(code === 0 ? '' : signal ? `ended by ${signal}` : `exit code ${code}`),
    );
  });
}

// `restarts: N`: a run as a process of its own, started again from its last checkpoint where it fails by whatever
// cause: a fault, a crash in native code, a killer for want of memory, a hung device.

import { spawn } from 'node:child_process';
import { constants } from 'node:os';

/** Of the run's process: it does not supervise in turn. */
const MARK = 'GRADAMP_SUPERVISED';

/** That ask a run to stop: Ctrl-C, `kill`, and a terminal that is closed. */
export const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export const isSupervised = (): boolean => process.env[MARK] !== undefined;

export interface SuperviseOptions {
  readonly restarts: number;
  /** Arguments of the program, for the first time. */
  readonly first: readonly string[];
  /** Behind a failure. */
  readonly again: () => readonly string[];
  readonly notice: (text: string) => void;
}

/**
 * Runs until the run is complete, was stopped or refused, or has failed more often than it may.
 * @returns the exit code.
 */
export async function supervise({ restarts, first, again, notice }: SuperviseOptions): Promise<number> {
  let args = first;
  for (let failures = 0; ; failures++) {
    const end = await runOnce(args);
    if (!isFailure(end)) return end.code;
    if (failures === restarts) {
      notice(
        `gave up after ${restarts} ${restarts === 1 ? 'restart' : 'restarts'}: the run ${describe(end)}`,
      );
      return end.code;
    }
    args = again();
    notice(`the run ${describe(end)}; restart ${failures + 1} of ${restarts} from its last checkpoint`);
  }
}

interface End {
  /** 128 + the number of the signal, where one ended it. */
  readonly code: number;
  readonly signal?: NodeJS.Signals;
  /** Asked to stop, by way of this process; one that had just begun ends by the signal itself. */
  readonly asked: boolean;
}

/** Done, wrong input, diverged (it would again), or asked to stop: none of these is mended by a restart. */
const FINAL = new Set([0, 2, 3, ...SIGNALS.map((name) => 128 + constants.signals[name])]);

const isFailure = ({ code, signal, asked }: End) => !asked && (signal !== undefined || !FINAL.has(code));

const describe = ({ code, signal }: End) =>
  signal ? `was ended by ${signal}` : `failed with exit code ${code}`;

function runOnce(args: readonly string[]): Promise<End> {
  let asked = false;
  const forward = (signal: NodeJS.Signals) => {
    asked = true;
    child.kill(signal);
  };
  // Before the process is there: a signal that comes between is heard behind it.
  for (const name of SIGNALS) process.on(name, forward);
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1], ...args], {
    stdio: 'inherit',
    env: { ...process.env, [MARK]: String(process.pid) },
  });
  return new Promise<End>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) =>
      resolve(signal ? { code: 128 + constants.signals[signal], signal, asked } : { code: code ?? 1, asked }),
    );
  }).finally(() => {
    for (const name of SIGNALS) process.off(name, forward);
  });
}

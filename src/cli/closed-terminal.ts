// A terminal that is closed while the program works on: what is written to it is lost, and is no fault.

import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import { isatty } from 'node:tty';

/** Standard input, output and error, as far as they are a terminal's when the program starts. */
const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor));

/** A reader that goes away (`| head`, a closed terminal) ends neither a training run nor anything else with an error. */
export function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (!isGone(error, terminals.includes(stream.fd))) throw error;
    });
  }
}

/** A pipe whose reader has gone says EPIPE, a closed terminal EIO, which of a file is a fault of the disk. */
const isGone = ({ code }: NodeJS.ErrnoException, terminal: boolean) =>
  code === 'EPIPE' || (terminal && code === 'EIO');

/** The last of a program: Node puts terminals back as they were, and ends by SIGABRT where one is closed. */
export function leaveClosedTerminals(): void {
  for (const descriptor of terminals) {
    if (isatty(descriptor)) continue;
    closeSync(descriptor);
    // Gets the number that has just become free.
    openSync(devNull, 'r+');
  }
}

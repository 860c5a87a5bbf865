import { expect, it } from 'vitest';
import { type Command, Subject } from '../../bench/subject.ts';

const program = (code: string): Command => ({ program: process.execPath, arguments: ['-e', code] });

const ECHO = `
  console.log('a library says hello');
  console.log(JSON.stringify({ answer: 'ready' }));
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const request = JSON.parse(line);
    if (request === 'die') { console.error('out of luck'); process.exit(3); }
    console.log(JSON.stringify(request === 'refuse' ? { error: 'not today' } : { answer: [request] }));
  });`;

it('a process introduces itself and answers; what else it prints is left alone', async () => {
  const subject = await Subject.start<string, unknown, unknown>('echo', program(ECHO));
  expect(subject.introduction).toBe('ready');
  expect(await subject.ask({ steps: 2 })).toEqual([{ steps: 2 }]);
  await expect(subject.ask('refuse')).rejects.toThrow(/^echo failed: not today$/);
  expect(await subject.ask(1)).toEqual([1]);
  await subject.end();
});

it('the end of a process is an error with its name, exit code and last words', async () => {
  const subject = await Subject.start<string, unknown, unknown>('echo', program(ECHO));
  await expect(subject.ask('die')).rejects.toMatchObject({
    subject: 'echo',
    reason: 'ended with exit code 3: out of luck',
  });
  await subject.end();
});

it('a program that is not there is an error with its name', async () => {
  const missing = Subject.start('peer', { program: 'no-such-program', arguments: [] });
  await expect(missing).rejects.toThrow('peer did not start: spawn no-such-program ENOENT');
});

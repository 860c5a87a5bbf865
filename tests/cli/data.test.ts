// `gradamp data download` and `verify` as a user meets them: what they print, and their exit codes.

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, expect, describe as group, test, vi } from 'vitest';
import { createDownloadDisplay, runDownload } from '../../src/cli/data.ts';
import { writeCifar } from '../../src/data/cifar-writer.ts';
import { describe, ENTRIES, packEntries, sendFile, serve } from '../data/download-fixtures.ts';
import { randomSet, temporaryFolder } from '../data/fixtures.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));
const ARCHIVE = 'cifar-10-binary.tar.gz';
const BYTES = packEntries(ENTRIES);

beforeAll(() => {
  if (!existsSync(MAIN)) throw new Error('expected a build; run `npm test`, or `npm run build` before');
});

/** Runs the program; `onOutput` sees what it has written so far. */
function gradamp(line: string, onOutput: (text: string, stop: () => void) => void = () => {}) {
  const child = spawn(process.execPath, [MAIN, ...line.split(' ')], { stdio: ['ignore', 'pipe', 'pipe'] });
  const written = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (chunk) => {
      written[name] += chunk;
      onOutput(written[name], () => child.kill('SIGINT'));
    });
  }
  return new Promise<{ status: number | null; stdout: string; stderr: string }>((resolve) => {
    child.on('close', (status) => resolve({ status, ...written }));
  });
}

group('wrong arguments are one line and exit code 2', () => {
  test.each([
    ['data download', "missing required argument 'dataset'"],
    [
      'data download mnist',
      "command-argument value 'mnist' is invalid for argument 'dataset'. Allowed choices are cifar10, cifar100.",
    ],
    [
      'data download cifar10 --from ftp://host/file',
      "option '--from <url>' argument 'ftp://host/file' is invalid. Expected an address that starts with http:// or https://.",
    ],
    [
      'data verify nowhere',
      "nowhere: expected the files of CIFAR-10 or CIFAR-100 in it or in their archives' folders, found none; get them with `gradamp data download cifar10`",
    ],
  ])('gradamp %s', async (line, message) => {
    expect(await gradamp(line)).toEqual({ status: 2, stdout: '', stderr: `gradamp: ${message}\n` });
  });
});

group('a download that fails is one line and exit code 1', () => {
  test('where the server has no such file', async () => {
    const { url } = await serve((_, response) => response.writeHead(404).end());
    const out = temporaryFolder();
    expect(await gradamp(`data download cifar10 --out ${out} --from ${url}`)).toEqual({
      status: 1,
      stdout: '',
      stderr: `gradamp: ${url}: expected the archive, got 404 Not Found; name a mirror with --from\n`,
    });
  });

  test('where there is no server, which is asked for the official name', async () => {
    const { url, close } = await serve(() => {});
    await close();
    const folder = new URL('/', url).href;
    const { status, stdout, stderr } = await gradamp(
      `data download cifar10 --out ${temporaryFolder()} --from ${folder} --json`,
    );
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(/^gradamp: .*\/cifar-10-binary\.tar\.gz: the connection was refused .*\n$/);
  });

  test('where the archive is corrupt, which is removed', async () => {
    const out = temporaryFolder();
    const part = join(out, `${ARCHIVE}.part`);
    writeFileSync(part, '');
    truncateSync(part, 170_052_171);
    const { status, stdout, stderr } = await gradamp(`data download cifar10 --out ${out}`);
    expect({ status, stdout }).toEqual({ status: 1, stdout: `comparing the md5 of ${part}\n` });
    expect(stderr).toMatch(
      /^gradamp: .*: wrong md5: expected c32a1d4ab5d03f1284b67883e8d87530, got .* was removed; repeat the command\n$/,
    );
    expect(readdirSync(out)).toEqual([]);
  });
});

test('Ctrl-C keeps what came, and the next download goes on there', async () => {
  const total = 170_052_171;
  const sizes: (string | undefined)[] = [];
  const { url } = await serve((request, response) => {
    sizes.push(request.headers.range);
    const start = Number(/\d+/.exec(request.headers.range ?? '0')?.[0]);
    const contentRange = { 'content-range': `bytes ${start}-${total - 1}/${total}` };
    response.writeHead(start > 0 ? 206 : 200, {
      'content-length': total - start,
      ...(start > 0 && contentRange),
    });
    response.write(Buffer.alloc(2 ** 20));
  });
  const out = temporaryFolder();
  const part = join(out, `${ARCHIVE}.part`);
  const interrupt = (text: string, stop: () => void) => {
    if (!text.startsWith('downloading ')) return;
    const waiting = setInterval(() => {
      if (!existsSync(part) || statSync(part).size % 2 ** 20 > 0 || statSync(part).size === 0) return;
      clearInterval(waiting);
      stop();
    }, 20);
  };
  const line = `data download cifar10 --out ${out} --from ${url}`;
  expect(await gradamp(line, interrupt)).toEqual({
    status: 130,
    stdout: `downloading ${url} (162 MiB)\n`,
    stderr: `gradamp: interrupted; ${part} is kept: repeat the command and the download goes on\n`,
  });
  expect(statSync(part).size).toBe(2 ** 20);
  const again = await gradamp(line, interrupt);
  expect(again).toMatchObject({ status: 130, stdout: `downloading ${url} (162 MiB, from 1 MiB on)\n` });
  expect(sizes).toEqual([undefined, `bytes=${2 ** 20}-`]);
});

group('a download that ends well', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  const recorded = () => {
    const lines: string[] = [];
    return { lines, write: (text: string) => lines.push(text) > 0 };
  };

  test('tells its steps in plain lines, and that there is nothing to do the second time', async () => {
    const { url } = await serve(sendFile(BYTES));
    const out = temporaryFolder();
    const first = recorded();
    const size = `${Math.round(BYTES.length / 1024)} KiB`;
    await runDownload(describe(BYTES, url), { out }, first);
    expect(first.lines).toEqual([
      `downloading ${url} (${size})\n`,
      `100%, ${size} of ${size}\n`,
      `comparing the md5 of ${out}/test-set.tar.gz.part\n`,
      `unpacking ${out}/test-set.tar.gz.part\n`,
      expect.stringMatching(/\/test-set: Test set, sizes and md5 as published, in [\d.]+ s\n$/),
    ]);
    const second = recorded();
    await runDownload(describe(BYTES, url), { out }, second);
    expect(second.lines).toEqual([
      `${out}/test-set: Test set, there already, sizes and md5 as published; nothing to download\n`,
    ]);
    expect(process.exitCode).toBeUndefined();
  });

  test('prints JSON alone on the standard output', async () => {
    const { url } = await serve(sendFile(BYTES));
    const out = temporaryFolder();
    const stdout = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    await runDownload(describe(BYTES, url), { out, json: true }, recorded());
    expect(stdout.mock.calls.map(([text]) => JSON.parse(String(text)))).toEqual([
      { archive: 'Test set', folder: join(out, 'test-set'), status: 'downloaded' },
    ]);
  });
});

group('the progress', () => {
  const MIB = 2 ** 20;
  const played = (stream: { isTTY?: boolean; columns?: number }) => {
    const lines: string[] = [];
    let now = 0;
    const output = { ...stream, write: (text: string) => lines.push(text) > 0 };
    const { show, close } = createDownloadDisplay(output, () => now);
    show({ kind: 'transfer', url: 'URL', offset: 40 * MIB, total: 160 * MIB });
    for (const received of [60, 80, 100, 120, 140, 160]) {
      now += 10_000;
      show({ kind: 'progress', received: received * MIB, total: 160 * MIB });
    }
    show({ kind: 'retry', reason: 'the connection broke', delay: 2000 });
    close();
    return lines;
  };

  test('is a plain line every 15 seconds where the output is no terminal', () => {
    expect(played({})).toEqual([
      'downloading URL (160 MiB, from 40 MiB on)\n',
      '50%, 80 MiB of 160 MiB, 2.0 MiB/s, 40 s left\n',
      '75%, 120 MiB of 160 MiB, 2.0 MiB/s, 20 s left\n',
      '100%, 160 MiB of 160 MiB\n',
      'the connection broke; tries again in 2.0 s\n',
    ]);
  });

  test('is one line with a bar on a terminal, no wider than that', () => {
    // 37.5% of 20 columns, rounded like the percentage beside it.
    vi.stubEnv('TERM', 'xterm');
    const lines = played({ isTTY: true, columns: 80 });
    vi.unstubAllEnvs();
    expect(lines.slice(0, 4)).toEqual([
      '\r\x1b[K',
      'downloading URL (160 MiB, from 40 MiB on)\n',
      '\r━━━━━━━━──────────── 38%, 60 MiB of 160 MiB, 2.0 MiB/s, 50 s left\x1b[K',
      '\r━━━━━━━━━━────────── 50%, 80 MiB of 160 MiB, 2.0 MiB/s, 40 s left\x1b[K',
    ]);
    expect(lines.slice(-3)).toEqual(['\r\x1b[K', 'the connection broke; tries again in 2.0 s\n', '\r\x1b[K']);
    vi.stubEnv('TERM', 'xterm');
    expect(played({ isTTY: true, columns: 30 })[2]).toBe('\r━━━━━━━━──────────── 38%, 60 \x1b[K');
    vi.unstubAllEnvs();
  });
});

group('gradamp data verify', () => {
  test('prints a line a file and ends with 1 where they are not the published ones', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'train.bin'), 'short');
    const { status, stdout, stderr } = await gradamp(`data verify ${folder}`);
    expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
    expect(stdout).toBe(`${folder}: cifar100

file                    result
──────────────────────  ─────────────────────────────────────
train.bin               wrong size: expected 153700000, got 5
test.bin                missing
coarse_label_names.txt  missing
fine_label_names.txt    missing

4 of 4 are not as published; get them again with \`gradamp data download cifar100\`
`);
    const json = await gradamp(`data verify ${folder} --json`);
    expect(json.status).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({
      folder,
      sets: [{ dataset: 'cifar100', ok: false, files: [{ name: 'train.bin', found: 5 }, {}, {}, {}] }],
    });
  });

  test('says of a synthetic set that it is one', async () => {
    const folder = join(temporaryFolder(), 'set');
    await writeCifar(folder, randomSet('cifar10', { train: 10, test: 5 }));
    expect(await gradamp(`data verify ${folder}`)).toEqual({
      status: 0,
      stdout: `${folder}: synthetic cifar10; sizes and labels are right, and there is no more to check\n`,
      stderr: '',
    });
    writeFileSync(join(folder, 'test_batch.bin'), readFileSync(join(folder, 'test_batch.bin')).fill(255));
    const damaged = await gradamp(`data verify ${folder}`);
    expect(damaged).toMatchObject({ status: 1, stderr: '' });
    expect(damaged.stdout).toMatch(/test_batch\.bin: record 1: expected a class label in 0\.\.9, got 255/);
  });
});

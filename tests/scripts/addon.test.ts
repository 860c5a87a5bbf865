// scripts/native/addon.mjs: which builds of the addon are taken, and what is said of the others. The addons here are
// small ones of C, compiled on the spot: where there is no compiler, no addon can be built, and these tests are skipped
// (CI checks that it has one).

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { addonFile, inspectAddon, listDevices, sourceHash } from '../../scripts/native/addon.mjs';

const HEADERS = fileURLToPath(new URL('../../node_modules/node-api-headers/include', import.meta.url));
const compiler = spawnSync('cc', ['--version']).status === 0 ? 'cc' : undefined;

let folder: string;
let sources: string;
const at = (path: string) => join(folder, path);
const file = () => addonFile(folder);
const inspect = () => inspectAddon(folder, { sources });

function writeInfo(changes: object = {}): void {
  const libtorch = { version: '2.1.0', from: 'system', library: at('libtorch_cpu.so') };
  const info = { libtorch, compiler: 'cc 1', cuda: null, sources: sourceHash(sources), ...changes };
  writeFileSync(at('build-info.json'), JSON.stringify(info));
}

/** Compiles `code` to a shared library. */
function compile(path: string, code: string, ...options: string[]): void {
  writeFileSync(`${path}.c`, code);
  const command = ['-shared', '-fPIC', '-I', HEADERS, '-o', path, `${path}.c`, ...options];
  const { status, stderr } = spawnSync(compiler!, command, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

/** An addon that says it was compiled for libtorch 2.1.0 and runs on `libtorch`. */
const addonCode = (libtorch: string) => `
#include <node_api.h>
static void set(napi_env env, napi_value object, const char* key, const char* text) {
  napi_value value;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value);
  napi_set_named_property(env, object, key, value);
}
napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  napi_value build;
  napi_create_object(env, &build);
  set(env, build, "libtorch", "${libtorch}");
  set(env, build, "compiledFor", "2.1.0");
  set(env, build, "instructionSet", "avx2");
  napi_set_named_property(env, exports, "build", build);
  return exports;
}
`;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradamp-addon-'));
  sources = at('sources');
  mkdirSync(join(sources, 'kernels'), { recursive: true });
  writeFileSync(join(sources, 'a.cpp'), '1');
  writeFileSync(join(sources, 'kernels', 'b.cpp'), '1');
  writeFileSync(at('libtorch_cpu.so'), '');
  writeInfo();
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

test('a folder without an addon', () => {
  expect(inspect()).toEqual({ problem: `${file()}: not there` });
});

test.each([['{'], ['null'], ['{}'], ['{"libtorch":{}}']])('a damaged build-info.json: %s', (text) => {
  writeFileSync(file(), 'garbage');
  writeFileSync(at('build-info.json'), text);
  expect(inspect()).toEqual({ problem: `${at('build-info.json')}: missing or damaged` });
});

test('a build of other sources: changed, new or renamed', () => {
  writeFileSync(file(), 'garbage');
  const stale = { problem: `${file()}: built from other sources than those that are here` };
  writeFileSync(join(sources, 'kernels', 'b.cpp'), '2');
  expect(inspect()).toEqual(stale);
  writeInfo();
  expect(inspect()).not.toEqual(stale);
  writeFileSync(join(sources, 'c.cpp'), '1');
  expect(inspect()).toEqual(stale);
  writeInfo();
  rmSync(join(sources, 'c.cpp'));
  expect(inspect()).toEqual(stale);
});

test('a build for a libtorch that is gone', () => {
  writeFileSync(file(), 'garbage');
  rmSync(at('libtorch_cpu.so'));
  expect(inspect()).toEqual({
    problem: `${file()}: built for the libtorch 2.1.0 in ${folder}, which is gone`,
  });
});

test('a relocatable build whose libtorch is in no folder of LD_LIBRARY_PATH', () => {
  writeFileSync(file(), 'garbage');
  writeInfo({
    relocatable: true,
    libtorch: { version: '2.1.0', from: 'python', library: 'libtorch_cpu.so' },
  });
  vi.stubEnv('LD_LIBRARY_PATH', at('sources'));
  expect(inspect()).toEqual({
    problem: `${file()}: built for the libtorch 2.1.0 of LD_LIBRARY_PATH, where no libtorch_cpu.so is`,
  });
});

test('a file that is no library', () => {
  writeFileSync(file(), 'garbage');
  expect(inspect()).toEqual({ problem: `${file()}: ${file()}: file too short` });
});

describe.skipIf(!compiler)('an addon that a compiler made', () => {
  test('is taken, and not loaded again until it, its libtorch or Node changes', () => {
    compile(file(), addonCode('2.1.0'));
    const build = { libtorch: '2.1.0', compiledFor: '2.1.0', instructionSet: 'avx2' };
    expect(inspect()).toMatchObject({ build, info: { libtorch: { version: '2.1.0' } } });
    for (const changed of [file(), at('libtorch_cpu.so')]) {
      const note = JSON.parse(readFileSync(at('probe.json'), 'utf8'));
      expect(note.build).toEqual(build);
      // What is noted is what is told.
      writeFileSync(
        at('probe.json'),
        JSON.stringify({ ...note, build: { ...build, instructionSet: 'avx512' } }),
      );
      expect(inspect().build?.instructionSet).toBe('avx512');
      utimesSync(changed, 1, 1);
      expect(inspect().build?.instructionSet).toBe('avx2');
      writeFileSync(at('probe.json'), 'damaged');
      expect(inspect().build?.instructionSet).toBe('avx2');
    }
  });

  test('for one libtorch does not run on another', () => {
    compile(file(), addonCode('2.2.0'));
    expect(inspect()).toEqual({
      problem: `${file()}: built for libtorch 2.1.0, but ${at('libtorch_cpu.so')} is 2.2.0`,
    });
  });

  test('that is relocatable takes the libtorch of LD_LIBRARY_PATH, if it is of the same version', () => {
    const moved = { version: '2.1.0', from: 'python', library: 'libtorch_cpu.so' };
    mkdirSync(at('elsewhere'));
    writeFileSync(at('elsewhere/libtorch_cpu.so'), '');
    vi.stubEnv('LD_LIBRARY_PATH', `${at('sources')}:${at('elsewhere')}`);
    writeInfo({ relocatable: true, libtorch: moved });
    compile(file(), addonCode('2.1.0'));
    expect(inspect()).toMatchObject({ build: { libtorch: '2.1.0' }, info: { libtorch: moved } });
    compile(file(), addonCode('2.2.0'));
    expect(inspect()).toEqual({
      problem: `${file()}: built for libtorch 2.1.0, but ${at('elsewhere/libtorch_cpu.so')} is 2.2.0`,
    });
  });

  test('with CUDA is asked for its devices every time', () => {
    const devices = (body: string) => `
      #define napi_register_module_v1 registerBuild
      ${addonCode('2.1.0')}
      #undef napi_register_module_v1
      static napi_value cudaDevices(napi_env env, napi_callback_info info) { ${body} }
      napi_value napi_register_module_v1(napi_env env, napi_value exports) {
        napi_value list;
        napi_create_function(env, "cudaDevices", NAPI_AUTO_LENGTH, cudaDevices, NULL, &list);
        napi_set_named_property(env, exports, "cudaDevices", list);
        return registerBuild(env, exports);
      }`;
    const one =
      'napi_value list, gpu; napi_create_array(env, &list); napi_create_object(env, &gpu);' +
      'set(env, gpu, "name", "NVIDIA H100"); napi_set_element(env, list, 0, gpu); return list;';
    compile(file(), addonCode('2.1.0'));
    expect(listDevices(folder)).toEqual({ devices: [] });
    compile(file(), devices(one));
    expect(listDevices(folder)).toEqual({ devices: [{ name: 'NVIDIA H100' }] });
    compile(file(), devices('napi_throw_error(env, NULL, "CUDA error: unknown\\nmore"); return NULL;'));
    expect(listDevices(folder)).toEqual({ problem: `${file()}: CUDA error: unknown` });
    compile(file(), devices('__builtin_trap(); return NULL;'));
    expect(listDevices(folder)).toEqual({ problem: `${file()}: loading it ended by SIGILL` });
  });

  test('linked against a library that is gone is told with its name', () => {
    compile(at('libgone.so'), 'int gone(void) { return 1; }');
    const code = `int gone(void); int use(void) { return gone(); }\n${addonCode('2.1.0')}`;
    compile(file(), code, '-L', folder, '-lgone');
    rmSync(at('libgone.so'));
    expect(inspect()).toEqual({
      problem: `${file()}: libgone.so: cannot open shared object file: No such file or directory`,
    });
  });

  test('that lacks a function is told with its name', () => {
    compile(file(), `int gone(void); int (*used)(void) = gone;\n${addonCode('2.1.0')}`);
    expect(inspect().problem).toMatch(/^\S+gradamp\.node: \S+gradamp\.node: undefined symbol: gone$/);
  });

  test.each([
    ['abort();', 'SIGABRT'],
    ['*(volatile int*)0 = 1;', 'SIGSEGV'],
  ])('that crashes when it is loaded (%s) takes only the probe with it', (code, signal) => {
    const crash = `#include <stdlib.h>\n__attribute__((constructor)) static void crash(void) { ${code} }`;
    compile(file(), `${crash}\n${addonCode('2.1.0')}`);
    expect(inspect()).toEqual({ problem: `${file()}: loading it ended by ${signal}` });
  });

  test('that ends its process is told with what it wrote last', () => {
    const end = 'fputs("first\\nno such processor\\n", stderr); fflush(stderr); _exit(3);';
    const code = `#include <stdio.h>\n#include <unistd.h>\n__attribute__((constructor)) static void end(void) { ${end} }`;
    compile(file(), `${code}\n${addonCode('2.1.0')}`);
    expect(inspect()).toEqual({
      problem: `${file()}: loading it ended with exit code 3: no such processor`,
    });
  });
});

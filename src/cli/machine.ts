// What this machine has that a training run cares about.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, freemem, release, totalmem, type } from 'node:os';
import { join } from 'node:path';
import { fromPackage } from '../package-root.ts';

export interface Machine {
  readonly node: string;
  /** Why this Node will not do; null where it does. */
  readonly nodeProblem: string | null;
  readonly system: string;
  readonly processor: string;
  /** Threads that this process may run at the same time. */
  readonly cores: number;
  /** Vector instructions that the engines use, as the processor names them. */
  readonly vectorInstructions: readonly string[];
  readonly wasmSimd: boolean;
  /** Bytes. */
  readonly memory: { readonly total: number; readonly free: number };
  /** As NVIDIA's driver lists them. */
  readonly gpus: readonly string[];
  /** Its version, for example `570.86.15`; null without one. */
  readonly nvidiaDriver: string | null;
}

const VECTOR_INSTRUCTIONS = ['avx2', 'fma', 'avx512f', 'avx512_bf16', 'amx_bf16', 'asimd', 'sve'];
const NVIDIA_FOLDER = '/proc/driver/nvidia/gpus';
const NVIDIA_VERSION = '/proc/driver/nvidia/version';

export function describeMachine(): Machine {
  return {
    node: process.versions.node,
    nodeProblem: nodeProblem(process.versions.node),
    system: `${type()} ${release()}, ${process.arch}`,
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    vectorInstructions: vectorInstructions(),
    wasmSimd: hasWasmSimd(),
    memory: { total: totalmem(), free: freemem() },
    gpus: nvidiaGpus(),
    nvidiaDriver: existsSync(NVIDIA_VERSION) ? driverVersion(readFileSync(NVIDIA_VERSION, 'utf8')) : null,
  };
}

/** `version` as `20.11.1`; package.json tells the oldest, as `>=20.11`. */
export function nodeProblem(version: string): string | null {
  const { engines } = JSON.parse(readFileSync(fromPackage('package.json'), 'utf8'));
  const oldest: string = engines.node.replace('>=', '');
  const [oldestMajor, oldestMinor] = oldest.split('.').map(Number);
  const [major, minor] = version.split('.').map(Number);
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return null;
  return `too old: expected ${oldest} or newer`;
}

/** Linux tells them; elsewhere the list is empty. */
function vectorInstructions(): readonly string[] {
  if (!existsSync('/proc/cpuinfo')) return [];
  const flags =
    /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1].split(' ') ?? [];
  return VECTOR_INSTRUCTIONS.filter((name) => flags.includes(name));
}

/** Whether this Node compiles `i8x16.splat` of a constant. */
function hasWasmSimd(): boolean {
  const code = [0x41, 0x00, 0xfd, 0x0f, 0x1a, 0x0b];
  const header = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
  const sections = [0x01, 0x04, 0x01, 0x60, 0x00, 0x00, 0x03, 0x02, 0x01, 0x00];
  const body = [0x0a, code.length + 3, 0x01, code.length + 1, 0x00];
  return WebAssembly.validate(Uint8Array.from([...header, ...sections, ...body, ...code]));
}

/** @param text what the driver says of itself: `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  ...`. */
export function driverVersion(text: string): string | null {
  return /Kernel Module.*?(\d+\.\d+(?:\.\d+)*)/.exec(text)?.[1] ?? null;
}

function nvidiaGpus(): readonly string[] {
  if (!existsSync(NVIDIA_FOLDER)) return [];
  return readdirSync(NVIDIA_FOLDER).map((gpu) => {
    const information = join(NVIDIA_FOLDER, gpu, 'information');
    const model = existsSync(information) ? /^Model:\s*(.*)$/m.exec(readFileSync(information, 'utf8')) : null;
    return model?.[1] ?? gpu;
  });
}

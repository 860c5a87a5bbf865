// The types of addon.mjs.

export interface BuildInfo {
  readonly libtorch: {
    readonly version: string;
    readonly from: 'LIBTORCH' | 'python' | 'system';
    /** The file that holds ATen. */
    readonly library: string;
  };
  readonly compiler: string;
  /** Whether that libtorch has kernels for GPUs. */
  readonly cuda: boolean;
  readonly instructionSets: readonly string[];
  /** SHA-256 of the addon's sources. */
  readonly sources: string;
}

export interface AddonBuild {
  readonly libtorch: string;
  readonly compiledFor: string;
  readonly instructionSet: 'avx512' | 'avx2' | 'baseline';
}

export type Inspection =
  | { readonly build: AddonBuild; readonly info: BuildInfo; readonly problem?: undefined }
  | { readonly build?: undefined; readonly info?: undefined; readonly problem: string };

export function addonFolder(environment?: NodeJS.ProcessEnv): string;
export function addonFile(folder: string): string;
/** See addon.mjs. */
export function inspectAddon(folder: string, options?: { readonly sources?: string }): Inspection;

/** Of the addon's sources. */
export function sourceHash(folder?: string): string;

// The types of addon.mjs.

export interface BuildInfo {
  readonly libtorch: {
    readonly version: string;
    readonly from: 'LIBTORCH' | 'python' | 'system';
    /** The file that holds ATen; of a relocatable build its name alone. */
    readonly library: string;
  };
  /** Whether its libraries are those of `LD_LIBRARY_PATH`. */
  readonly relocatable?: boolean;
  readonly compiler: string;
  /** The version of CUDA that it was built with; null where it is for processors alone. */
  readonly cuda: string | null;
  /** Why, though that libtorch has CUDA. */
  readonly cudaProblem: string | null;
  readonly instructionSets: readonly string[];
  /** SHA-256 of the addon's sources. */
  readonly sources: string;
}

export interface AddonBuild {
  readonly libtorch: string;
  readonly compiledFor: string;
  readonly instructionSet: 'avx512' | 'avx2' | 'baseline';
  /** The version of CUDA that it was compiled for; none of an addon for processors alone. */
  readonly cuda?: string | null;
  /** The newest version of CUDA that the GPUs' driver has; none without a driver. */
  readonly driver?: string | null;
}

/** As CUDA describes it. */
export interface CudaDevice {
  readonly name: string;
  readonly memoryBytes: number;
  readonly computeCapability: readonly [major: number, minor: number];
  readonly multiprocessors: number;
}

export type DeviceList =
  | { readonly devices: readonly CudaDevice[]; readonly problem?: undefined }
  | { readonly devices?: undefined; readonly problem: string };

export type Inspection =
  | { readonly build: AddonBuild; readonly info: BuildInfo; readonly problem?: undefined }
  | { readonly build?: undefined; readonly info?: undefined; readonly problem: string };

export function addonFolder(environment?: NodeJS.ProcessEnv): string;
export function addonFile(folder: string): string;
/** See addon.mjs. */
export function inspectAddon(folder: string, options?: { readonly sources?: string }): Inspection;

/** See addon.mjs. */
export function listDevices(folder: string): DeviceList;

/** Of the addon's sources. */
export function sourceHash(folder?: string): string;

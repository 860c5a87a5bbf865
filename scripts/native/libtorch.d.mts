// The types of libtorch.mjs.

/** What a build with CUDA takes. */
export interface CudaToolkit {
  /** Of the headers, for example `13.0`. */
  readonly version: string;
  readonly include: readonly string[];
  readonly libraries: readonly string[];
  readonly problem?: undefined;
}

export interface Libtorch {
  readonly source: 'LIBTORCH' | 'python' | 'system';
  /** For people. */
  readonly where: string;
  readonly version: string;
  readonly include: readonly string[];
  readonly libraries: readonly string[];
  readonly library: string;
  /** Null where it has no kernels for GPUs; a problem where what a build with CUDA takes is not here. */
  readonly cuda: CudaToolkit | { readonly problem: string } | null;
  readonly oldStrings: boolean;
}

/** See libtorch.mjs. */
export function findLibtorch(options: {
  readonly root: string;
  readonly environment?: NodeJS.ProcessEnv;
  readonly prefixes?: readonly string[];
}): { readonly found?: Libtorch; readonly tried: readonly string[] };

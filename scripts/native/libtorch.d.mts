// The types of libtorch.mjs.

export interface Libtorch {
  readonly source: 'LIBTORCH' | 'python' | 'system';
  /** For people. */
  readonly where: string;
  readonly version: string;
  readonly include: readonly string[];
  readonly libraries: readonly string[];
  readonly library: string;
  readonly cuda: boolean;
  readonly oldStrings: boolean;
}

/** See libtorch.mjs. */
export function findLibtorch(options: {
  readonly root: string;
  readonly environment?: NodeJS.ProcessEnv;
  readonly prefixes?: readonly string[];
}): { readonly found?: Libtorch; readonly tried: readonly string[] };

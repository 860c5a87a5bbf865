// The heap of the wasm backend: what of its Emscripten module is used, and scratch memory on it.

export interface WasmModule {
  /** Replaced when the heap grows: never keep it, or a view of its buffer, across an allocation. */
  readonly HEAPU8: Uint8Array;
  readonly asm: { readonly memory: WebAssembly.Memory };
  _malloc(bytes: number): number;
  _free(address: number): void;
}

/** Bytes of a float32. */
export const FLOAT = 4;

/** Working set of one block of images: half of a small second-level cache. */
const BLOCK_BYTES = 256 * 1024;

/** Images to treat together when each needs `imageBytes` of scratch. */
export const imagesInBlock = (imageBytes: number, images: number): number =>
  Math.min(images, Math.max(1, Math.floor(BLOCK_BYTES / imageBytes)));

/** Makes an allocation that fails throw: tfjs would take address 0 for the result, and write there. */
export function checkAllocations(wasm: WasmModule): void {
  // Emscripten replaces its exports at their first call.
  wasm._free(wasm._malloc(1));
  const { _malloc } = wasm;
  wasm._malloc = (bytes) => {
    // A size is an unsigned 32-bit number on the other side.
    const address = bytes < 2 ** 32 ? _malloc(bytes) >>> 0 : 0;
    if (bytes > 0 && address === 0) {
      throw new Error(
        `the wasm heap, at most 4 GiB, has no ${bytes} bytes left; set a smaller microBatch or batchSize`,
      );
    }
    return address;
  };
}

/** Runs `work` with a piece of the heap, of any content, for each size in bytes (of at least 1). */
export function withScratch(
  wasm: WasmModule,
  sizes: readonly number[],
  work: (addresses: readonly number[]) => void,
): void {
  const addresses: number[] = [];
  try {
    for (const bytes of sizes) addresses.push(wasm._malloc(bytes));
    work(addresses);
  } finally {
    for (const address of addresses) wasm._free(address);
  }
}

export function zero(wasm: WasmModule, address: number, bytes: number): void {
  wasm.HEAPU8.fill(0, address, address + bytes);
}

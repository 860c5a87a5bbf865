// The precisions by name, as a config and a peer are told.

export const PRECISIONS = ['float32', 'tf32', 'bfloat16'] as const;
export type PrecisionName = (typeof PRECISIONS)[number];

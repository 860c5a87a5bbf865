// A batch as a model sees it, from the bytes of a data set.

#pragma once

#include "replica.h"

/** Writes [batch.size, 32, 32, 3]: gathered, cropped, flipped, normalised; as src/data/augmentation.ts. */
void assemble(const Batch& batch, const Normalisation& normalisation, float* images);
void assemble(const Batch& batch, const Normalisation& normalisation, double* images);

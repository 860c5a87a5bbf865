// Memory as a GPU gives it: with whatever lies there.

#pragma once

/** From here on, all that tensors are allocated is full of NaN (as float, double and bfloat16), or of -1. */
void fillWithGarbage();

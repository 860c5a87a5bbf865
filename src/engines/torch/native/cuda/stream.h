// What shared code asks of the GPU that the calling thread works on.

#pragma once

namespace cuda {

/** Waits until the current stream has done all that it was given. */
void synchronise();

}  // namespace cuda

// libtorch's memory on the host. A step asks for the same sizes as the one before it: large blocks that are freed are
// kept for it, on huge pages, since page faults on fresh memory cost a good part of a step.

#pragma once

/** Takes the place of libtorch's allocator for the rest of the process; the second call and later ones do nothing. */
void installAllocator();

/** Gives back the blocks that nothing uses. */
void releaseMemory();

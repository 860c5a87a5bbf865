// The vector instructions of this processor.

#pragma once

enum class InstructionSet { baseline, avx2, avx512 };

/** The best set that the processor and its operating system support. */
InstructionSet instructionSet();

const char* nameOf(InstructionSet set);

// The vector instructions of this processor.

#pragma once

enum class InstructionSet { baseline, avx2, avx512 };

/** The best set that the processor and its operating system support; less where ATEN_CPU_CAPABILITY says so. */
InstructionSet instructionSet();

const char* nameOf(InstructionSet set);

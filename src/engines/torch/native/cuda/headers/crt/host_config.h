// Of GCC and Clang there is nothing to configure but `__THROW`, which the C library defines. See README.md.

#pragma once

#include <features.h>

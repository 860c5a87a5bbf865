// Clang's parallel regions on the OpenMP runtime that libtorch brings. Clang compiles them for LLVM's runtime, by the
// names below, while libtorch comes with GNU's; with both in one process the threads of one would compete with those of
// the other. What at::parallel_for uses of OpenMP is here, and no more: a region without clauses.

#if defined(__clang__)

#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <utility>

extern "C" {

int omp_get_thread_num();
void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags);

/** The body of a region takes two numbers of its thread, then a pointer for each variable that it uses. */
using Body = void (*)(int32_t*, int32_t*, ...);
}

namespace {

constexpr int MOST_VARIABLES = 12;

struct Region {
  Body body;
  int count;
  void* variables[MOST_VARIABLES];
};

template <typename>
using Pointer = void*;

template <size_t... I>
void call(const Region& region, std::index_sequence<I...>) {
  if (region.count != sizeof...(I)) {
    if constexpr (sizeof...(I) < MOST_VARIABLES) return call(region, std::make_index_sequence<sizeof...(I) + 1>());
    std::abort();
  }
  // It is not variadic itself: this is how it was defined.
  using Defined = void (*)(int32_t*, int32_t*, Pointer<std::integral_constant<size_t, I>>...);
  int32_t thread = omp_get_thread_num();
  reinterpret_cast<Defined>(region.body)(&thread, &thread, region.variables[I]...);
}

void run(void* region) { call(*static_cast<const Region*>(region), std::index_sequence<>()); }

}  // namespace

extern "C" {

int32_t __kmpc_global_thread_num(void*) { return omp_get_thread_num(); }

void __kmpc_fork_call(void*, int32_t count, Body body, ...) {
  if (count > MOST_VARIABLES) std::abort();
  Region region{body, count, {}};
  va_list variables;
  va_start(variables, body);
  for (int32_t i = 0; i < count; i++) region.variables[i] = va_arg(variables, void*);
  va_end(variables);
  GOMP_parallel(run, &region, 0, 0);
}
}

#endif

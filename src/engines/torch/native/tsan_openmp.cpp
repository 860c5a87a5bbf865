// For builds with ThreadSanitizer (scripts/native/sanitize.mjs): tells it where the addon's parallel regions begin and
// end. It cannot see so in an OpenMP runtime, which is not instrumented; without this everything that a region wrote, and
// other code reads after it, is taken for a race.

#if defined(__SANITIZE_THREAD__)

#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

namespace {

using Body = void (*)(void*);

struct Region {
  Body body;
  void* data;
  /** Their addresses stand for what happened before the region, and in it. */
  char before;
  char inside;
};

void run(void* argument) {
  auto& region = *static_cast<Region*>(argument);
  __tsan_acquire(&region.before);
  region.body(region.data);
  __tsan_release(&region.inside);
}

}  // namespace

extern "C" {

/** What a compiler calls for a region; hidden, so that only those of the addon come here and not to the runtime's. */
void GOMP_parallel(Body body, void* data, unsigned threads, unsigned flags) {
  using Parallel = void (*)(Body, void*, unsigned, unsigned);
  static const auto parallel = reinterpret_cast<Parallel>(dlsym(RTLD_NEXT, "GOMP_parallel"));
  Region region{body, data, 0, 0};
  __tsan_release(&region.before);
  parallel(run, &region, threads, flags);
  __tsan_acquire(&region.inside);
}
}

#endif

#include "assembly.h"

namespace {
template <typename T>
void assembleAs(const Batch& batch, const Normalisation& n, T* images) {
  for (int64_t i = 0; i < batch.size; i++) {
    const auto down = batch.top ? batch.top[i] - 4 : 0, right = batch.left ? batch.left[i] - 4 : 0;
    for (int y = 0; y < 32; y++)
      for (int x = 0; x < 32; x++)
        for (int c = 0; c < 3; c++) {
          const int sy = y + down, sx = (batch.flip && batch.flip[i] ? 31 - x : x) + right;
          const int byte = sy < 0 || sy > 31 || sx < 0 || sx > 31 ? 0 : batch.images[batch.indices[i] * 3072 + c * 1024 + sy * 32 + sx];
          images[((i * 32 + y) * 32 + x) * 3 + c] = static_cast<T>(static_cast<float>((byte / 255.0 - n.mean[c]) / n.std[c]));
        }
  }
}
}  // namespace
void assemble(const Batch& b, const Normalisation& n, float* images) { assembleAs(b, n, images); }
void assemble(const Batch& b, const Normalisation& n, double* images) { assembleAs(b, n, images); }

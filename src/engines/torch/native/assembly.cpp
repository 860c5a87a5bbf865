#include "assembly.h"

#include <cstring>

namespace {

constexpr uint8_t BLACK[IMAGE_SIZE] = {};

template <typename T>
void assembleSample(const PixelTable& table, const uint8_t* image, int64_t top, int64_t left, bool mirrored,
                    T* target) {
  // A row of each plane with its black borders, which stay as they are.
  uint8_t rows[IMAGE_CHANNELS][IMAGE_SIZE + 2 * PADDING] = {};
  const int64_t first = mirrored ? left + IMAGE_SIZE - 1 : left;
  const int64_t step = mirrored ? -1 : 1;
  for (int64_t y = top - PADDING; y < top - PADDING + IMAGE_SIZE; y++) {
    const bool inside = y >= 0 && y < IMAGE_SIZE;
    for (int64_t c = 0; c < IMAGE_CHANNELS; c++) {
      const uint8_t* source = inside ? image + c * PLANE_PIXELS + y * IMAGE_SIZE : BLACK;
      std::memcpy(rows[c] + PADDING, source, IMAGE_SIZE);
    }
    for (int64_t x = 0, from = first; x < IMAGE_SIZE; x++, from += step) {
      for (int64_t c = 0; c < IMAGE_CHANNELS; c++) *target++ = table.values[c][rows[c][from]];
    }
  }
}

}  // namespace

PixelTable::PixelTable(const Normalisation& normalisation) {
  const auto& [mean, std] = normalisation;
  for (int64_t c = 0; c < IMAGE_CHANNELS; c++) {
    for (int byte = 0; byte < 256; byte++) values[c][byte] = static_cast<float>((byte / 255.0 - mean[c]) / std[c]);
  }
}

template <typename T>
void assemble(const PixelTable& table, const Batch& batch, int64_t first, int64_t last, T* images) {
  const bool augmented = batch.top != nullptr;
  for (int64_t i = first; i < last; i++) {
    assembleSample(table, batch.images + batch.indices[i] * IMAGE_PIXELS, augmented ? batch.top[i] : PADDING,
                   augmented ? batch.left[i] : PADDING, augmented && batch.flip[i] == 1, images + i * IMAGE_PIXELS);
  }
}

template void assemble(const PixelTable&, const Batch&, int64_t, int64_t, float*);
template void assemble(const PixelTable&, const Batch&, int64_t, int64_t, double*);

// The samples of one pass, in memory; src/data/dataset.ts describes the layouts.

#pragma once

#include <array>
#include <cstdint>

constexpr int64_t IMAGE_SIZE = 32;
constexpr int64_t IMAGE_CHANNELS = 3;
constexpr int64_t PLANE_PIXELS = IMAGE_SIZE * IMAGE_SIZE;
constexpr int64_t IMAGE_PIXELS = IMAGE_CHANNELS * PLANE_PIXELS;
/** Black pixels added on every side before the crop. */
constexpr int64_t PADDING = 4;

/** By channel, of pixels scaled to 0..1. */
struct Normalisation {
  std::array<double, IMAGE_CHANNELS> mean;
  std::array<double, IMAGE_CHANNELS> std;
};

/** Pointers into typed arrays, valid as long as the JavaScript object that they were read from; or to the same on a GPU. */
struct Batch {
  /** Of the whole split: [splitSize, 3, 32, 32] and [splitSize]. */
  const uint8_t* images;
  const uint8_t* labels;
  int64_t splitSize;
  /** Positions in the split: of each sample of the batch. */
  const uint32_t* indices;
  int64_t size;
  /** First row and column in the padded image, 0..8, and 1 where mirrored; all three are null without augmentation. */
  const uint8_t* top;
  const uint8_t* left;
  const uint8_t* flip;
};

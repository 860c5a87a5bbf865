// Batches against those of the CPU (assembly.h): every crop, mirrored and not.

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/randint.h>

#include <bit>
#include <iterator>

#include "assembly.h"
#include "cuda/kernels.h"
#include "check.h"
#include "launch.h"

namespace {

constexpr int64_t SPLIT = 7;
constexpr uint8_t CROPS = 2 * PADDING + 1;

/** One sample for each crop that there is, mirrored and not. */
struct Crops {
  std::vector<uint8_t> top;
  std::vector<uint8_t> left;
  std::vector<uint8_t> flip;
  std::vector<uint32_t> indices;

  Crops() {
    for (uint8_t i = 0; i < CROPS; i++) {
      for (uint8_t k = 0; k < CROPS; k++) {
        for (uint8_t mirrored = 0; mirrored < 2; mirrored++) {
          indices.push_back(static_cast<uint32_t>(top.size() * 5 % SPLIT));
          top.push_back(i);
          left.push_back(k);
          flip.push_back(mirrored);
        }
      }
    }
  }
};

void checkType(Check& check, at::ScalarType type, bool augmented) {
  const PixelTable table({{0.49, 0.48, 0.45}, {0.25, 0.24, 0.26}});
  const auto images = at::randint(256, {SPLIT, IMAGE_PIXELS}, at::kByte);
  const Crops crops;
  const auto size = augmented ? static_cast<int64_t>(crops.indices.size()) : 20;
  const Batch batch = {
      .images = images.data_ptr<uint8_t>(),
      .labels = nullptr,
      .splitSize = SPLIT,
      .indices = crops.indices.data(),
      .size = size,
      .top = augmented ? crops.top.data() : nullptr,
      .left = augmented ? crops.left.data() : nullptr,
      .flip = augmented ? crops.flip.data() : nullptr,
  };
  auto values = table;
  const auto tensor = at::from_blob(values.values, {IMAGE_CHANNELS, 256}, at::kFloat);
  const auto results = check.inAnyOrder([&] { return std::vector{cuda::assemble(batch, tensor, type)}; });
  check.launched({type == at::kFloat ? "assemble_float" : "assemble_bfloat16"});
  const auto want = at::empty({size, IMAGE_CHANNELS, IMAGE_SIZE, IMAGE_SIZE}, at::kFloat, at::MemoryFormat::ChannelsLast);
  assemble(table, batch, 0, size, want.data_ptr<float>());
  check.same("images", results[0], want.to(type));
  check.holds("channels_last", results[0].is_contiguous(at::MemoryFormat::ChannelsLast));
}

/** Ties, what overflows or is no number, and what is next to nothing. */
constexpr uint32_t BITS[] = {
    0x3f808000, 0x3f818000, 0xbf818000, 0x3f807fff, 0x3f808001, 0x7f7fffff, 0xff7fffff, 0x7f800000,
    0x7fc00000, 0x7f800001, 0x7fffffff, 0xffffffff, 0x00008000, 0x00008001, 0x80018000, 0x00000001,
};

/** By a table of such numbers. */
void checkRounding(Check& check) {
  const auto table = at::empty({IMAGE_CHANNELS, 256}, at::kFloat);
  for (int64_t i = 0; i < table.numel(); i++) table.data_ptr<float>()[i] = std::bit_cast<float>(BITS[i % std::size(BITS)]);
  auto images = at::empty({1, IMAGE_PIXELS}, at::kByte);
  for (int64_t i = 0; i < IMAGE_PIXELS; i++) images.data_ptr<uint8_t>()[i] = static_cast<uint8_t>(i);
  const uint32_t index = 0;
  Batch batch = {};
  batch.images = images.data_ptr<uint8_t>();
  batch.indices = &index;
  batch.size = 1;
  const auto got = cuda::assemble(batch, table, at::kBFloat16);
  const auto want = cuda::assemble(batch, table, at::kFloat).to(at::kBFloat16);
  check.same("NaN", got.isnan(), want.isnan());
  check.same("numbers", got.nan_to_num(0), want.nan_to_num(0));
}

}  // namespace

void checkAssembly() {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const std::string suffix = type == at::kFloat ? ", float32" : ", bfloat16";
    check("images, as they are" + suffix, [&](Check& check) { checkType(check, type, false); });
    check("images, all crops" + suffix, [&](Check& check) { checkType(check, type, true); });
  }
  check("rounding to bfloat16", checkRounding);
}

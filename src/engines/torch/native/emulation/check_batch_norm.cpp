// Batch norm with addition and ReLU against ATen's in float64 (operations.h), by one worker.

#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "../cuda/kernels.h"
#include "../operations.h"
#include "check.h"
#include "launch.h"
#include "layer.h"

namespace {

constexpr double TOLERANCE = 1e-5;
/** Where x and the mean, both multiplied by much, may take each other away: with next to no deviation. */
constexpr double LOOSE_TOLERANCE = 3e-4;
constexpr double FACTOR = 1.25;

struct Form {
  std::vector<int64_t> shape;
  int multiprocessors;
  double mean = 0;
  bool aligned = true;
};

/** One row, many blocks, several tiles; of vectors and, where the channels do not divide, of single numbers. */
const std::vector<Form> FORMS = {
    {{1, 8, 1, 1}, 2},      {{1, 3, 1, 1}, 2},     {{5, 5, 1, 1}, 1},        {{2, 1032, 2, 2}, 1},
    {{3, 64, 5, 5}, 2, 50}, {{2, 65, 7, 3}, 3},    {{9, 16, 16, 16}, 4, -3}, {{20, 100, 8, 8}, 3},
    {{5, 256, 9, 9}, 2},    {{70, 1, 9, 9}, 2, 4}, {{3, 16, 12, 12}, 3, 0, false},
};

int64_t rowsOf(const Form& form) { return form.shape[0] * form.shape[2] * form.shape[3]; }

double toleranceOf(const Form& form) { return rowsOf(form) == 1 ? LOOSE_TOLERANCE : TOLERANCE; }

struct Kind {
  bool relu;
  bool residual;
};

constexpr Kind KINDS[] = {{false, false}, {true, false}, {false, true}, {true, true}};

/** Calls body(form, kind) for all of them. */
template <typename Body>
void forAll(Body body) {
  for (const auto& form : FORMS) {
    emulation::setMultiprocessorCount(form.multiprocessors);
    for (const auto& kind : KINDS) body(form, kind);
  }
}

struct Maps {
  at::Tensor x;
  at::Tensor residual;

  Maps(const Form& form, const Kind& kind, at::ScalarType type)
      : x(randomMap(form.shape, type, form.mean)),
        residual(kind.residual ? randomMap(form.shape, type) : at::Tensor()) {}
};

at::Tensor doubles(const at::Tensor& tensor) { return tensor.to(at::kDouble); }

/** What follows a batch norm in a step. */
at::Tensor finished(const Kind& kind, at::Tensor y, const at::Tensor& residual) {
  if (kind.residual) y.add_(doubles(residual));
  return kind.relu ? at::relu(y) : y;
}

/** A kernel's name for these maps. */
std::string named(const std::string& kernel, const Form& form, at::ScalarType type) {
  const auto width = type == at::kFloat ? 4 : 8;
  const auto vector = form.aligned && form.shape[1] % width == 0;
  return kernel + (type == at::kFloat ? "_float" : "_bfloat16") + (vector ? "Vector" : "");
}

void checkForward(Check& check, at::ScalarType type) {
  forAll([&](const Form& form, const Kind& kind) {
    const Layer layer(form.shape[1], kind.relu, kind.residual, form.aligned);
    const Maps maps(form, kind, type);
    const auto results = check.inAnyOrder([&] {
      auto vectors = layer.copy();
      vectors.counters = at::zeros({COUNTERS}, at::kInt);
      Saved saved;
      const auto y = cuda::normalise(layer.step, maps.x, maps.residual, vectors, saved);
      return std::vector{y, vectors.statistics, saved.mean, saved.inverseDeviation, vectors.counters};
    });
    // Gamma and beta need to be aligned only where they are read.
    check.launched({named("moments", {form.shape, 0}, type),
                    named(kind.residual ? "normaliseAndAdd" : "normalise", form, type)});
    const auto reference = layer.copy(at::kDouble);
    Saved saved;
    const auto y = normalise(layer.step, doubles(maps.x), reference, saved);
    check.close("y", results[0], finished(kind, y, maps.residual), toleranceOf(form));
    check.close("running statistics", results[1], reference.statistics, TOLERANCE);
    check.close("mean", results[2], saved.mean, TOLERANCE);
    check.close("1 / deviation", results[3], saved.inverseDeviation, TOLERANCE);
    check.same("counters", results[4], at::zeros({COUNTERS}, at::kInt));
  });
}

void checkAgain(Check& check, at::ScalarType type) {
  forAll([&](const Form& form, const Kind& kind) {
    if (kind.residual) return;
    const Layer layer(form.shape[1], kind.relu, false, form.aligned);
    const Maps maps(form, kind, type);
    Saved saved;
    const auto y = cuda::normalise(layer.step, maps.x, {}, layer.copy(), saved);
    const auto results = check.inAnyOrder(
        [&] { return std::vector{cuda::normaliseAgain(layer.step, maps.x, layer.vectors, saved)}; });
    check.launched({named("normalise", form, type)});
    check.same("y", results[0], y);
  });
}

void checkRunning(Check& check, at::ScalarType type) {
  forAll([&](const Form& form, const Kind& kind) {
    const Layer layer(form.shape[1], kind.relu, kind.residual, form.aligned);
    const Maps maps(form, kind, type);
    const auto results = check.inAnyOrder([&] {
      const auto vectors = layer.copy();
      const auto y = cuda::normaliseWithRunning(layer.step, maps.x, maps.residual, vectors);
      return std::vector{y, vectors.statistics};
    });
    check.launched({"runningStatistics", named(kind.residual ? "normaliseAndAdd" : "normalise", form, type)});
    const auto y = normaliseWithRunning(layer.step, doubles(maps.x), layer.copy(at::kDouble));
    check.close("y", results[0], finished(kind, y, maps.residual), TOLERANCE);
    check.same("running statistics", results[1], layer.vectors.statistics);
  });
}

void checkBackward(Check& check, at::ScalarType type, bool sole, bool accumulates) {
  forAll([&](const Form& form, const Kind& kind) {
    const Layer layer(form.shape[1], kind.relu, kind.residual, form.aligned);
    const Maps maps(form, kind, type);
    Saved saved;
    const auto y = cuda::normalise(layer.step, maps.x, maps.residual, layer.copy(), saved);
    const auto given = randomMap(form.shape, type);
    const auto passed = kind.relu ? given.mul(y.gt(0)) : given;
    const auto results = check.inAnyOrder([&] {
      auto vectors = layer.copy();
      vectors.accumulates = accumulates;
      auto dy = given.clone();
      const auto held = sole ? at::Tensor() : dy;
      const auto output = kind.residual ? y : at::Tensor();
      const auto dx = cuda::normaliseBackward(layer.step, maps.x, output, dy, FACTOR, vectors, saved);
      if (held.defined()) check.same("what others hold", held, given);
      // Without a residual, dx may have taken the place of dy.
      return std::vector{dx, vectors.gradient, kind.residual ? dy : passed};
    });
    const auto sums = !kind.relu ? "gradientSums" : kind.residual ? "gradientSumsByOutput" : "gradientSumsAgain";
    check.launched({named(sums, form, type),
                    named(kind.relu && !kind.residual ? "inputGradientAgain" : "inputGradient", form, type)});
    auto reference = layer.copy(at::kDouble);
    Saved savedReference;
    normalise(layer.step, doubles(maps.x), reference, savedReference);
    if (!accumulates) {
      for (const auto& parameter : {*layer.step.weight, *layer.step.bias}) viewOf(reference.gradient, parameter).zero_();
    }
    const auto dx = normaliseBackward(layer.step, doubles(maps.x), doubles(passed).mul(FACTOR), reference, savedReference);
    if (rowsOf(form) > 1) {
      check.close("dx", results[0], dx, toleranceOf(form));
    } else {
      check.close("dy, and a dx that is 0 but for rounding", results[0].add(given), given, toleranceOf(form));
    }
    check.close("gradient", results[1], reference.gradient, TOLERANCE);
    check.close("what passed the ReLU", results[2], passed, 0);
  });
}

/** Of a channel with a NaN in it, no number is left, behind a ReLU either; the other channels have theirs. */
void checkNaN(Check& check, at::ScalarType type) {
  emulation::setMultiprocessorCount(2);
  const Layer layer(16, true, false);
  auto x = randomMap({3, 16, 6, 6}, type);
  x[1][5][2][3] = NAN;
  const auto results = check.inAnyOrder([&] {
    Saved saved;
    return std::vector{cuda::normalise(layer.step, x, {}, layer.copy(), saved)};
  });
  const auto lost = results[0].isnan().sum({0, 2, 3});
  for (int64_t c = 0; c < 16; c++) check.holds("NaN", lost[c].item().toLong() == (c == 5 ? 3 * 6 * 6 : 0));
}

}  // namespace

void checkBatchNorm() {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const std::string suffix = type == at::kFloat ? ", float32" : ", bfloat16";
    check("batch norm, forward" + suffix, [&](Check& check) { checkForward(check, type); });
    check("batch norm, forward again" + suffix, [&](Check& check) { checkAgain(check, type); });
    check("batch norm, running statistics" + suffix, [&](Check& check) { checkRunning(check, type); });
    check("batch norm, NaN" + suffix, [&](Check& check) { checkNaN(check, type); });
    check("batch norm, backward" + suffix, [&](Check& check) { checkBackward(check, type, true, true); });
    check("batch norm, backward, shared dy, first pass" + suffix,
          [&](Check& check) { checkBackward(check, type, false, false); });
  }
}

// Batch norm with addition and ReLU against ATen's in float64 (operations.h), by one worker.

#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "cuda/kernels.h"
#include "operations.h"
#include "check.h"
#include "launch.h"
#include "layer.h"

namespace {

constexpr double TOLERANCE = 1e-5;
/** Where x and the mean, both multiplied by much, may take each other away: with next to no deviation. */
constexpr double LOOSE_TOLERANCE = 1e-4;
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

/** As on an H100: in each of their sums, more blocks than the threads of the last one add up at once. */
const Form MANY_BLOCKS = {{5, 128, 32, 32}, 132};

struct Kind {
  bool relu;
  bool residual;
};

constexpr Kind KINDS[] = {{false, false}, {true, false}, {false, true}, {true, true}};

struct Case {
  Form form;
  Kind kind;
  at::ScalarType type;

  int64_t channels() const { return form.shape[1]; }
  int64_t rows() const { return form.shape[0] * form.shape[2] * form.shape[3]; }
  double tolerance() const { return rows() == 1 ? LOOSE_TOLERANCE : TOLERANCE; }

  /** A kernel's name; `channelwise`: it reads gamma and beta, which may not lie as vectors want them. */
  std::string named(const std::string& kernel, bool channelwise = true) const {
    const auto width = type == at::kFloat ? 4 : 8;
    const auto vector = (form.aligned || !channelwise) && channels() % width == 0;
    return kernel + (type == at::kFloat ? "_float" : "_bfloat16") + (vector ? "Vector" : "");
  }

  std::string normalising() const { return named(kind.residual ? "normaliseAndAdd" : "normalise"); }
};

struct Inputs {
  Layer layer;
  at::Tensor x;
  at::Tensor residual;

  explicit Inputs(const Case& given)
      : layer(given.channels(), given.kind.relu, given.kind.residual, given.form.aligned),
        x(randomMap(given.form.shape, given.type, given.form.mean)),
        residual(given.kind.residual ? randomMap(given.form.shape, given.type) : at::Tensor()) {
    emulation::setMultiprocessorCount(given.form.multiprocessors);
  }
};

at::Tensor doubles(const at::Tensor& tensor) { return tensor.to(at::kDouble); }

/** What follows a batch norm in a step. */
at::Tensor finished(const Kind& kind, at::Tensor y, const at::Tensor& residual) {
  if (kind.residual) y.add_(doubles(residual));
  return kind.relu ? at::relu(y) : y;
}

void checkForward(Check& check, const Case& given) {
  const Inputs inputs(given);
  const auto& layer = inputs.layer;
  const auto results = check.inAnyOrder([&] {
    auto vectors = layer.copy();
    vectors.counters = at::zeros({COUNTERS}, at::kInt);
    Saved saved;
    const auto y = cuda::normalise(layer.step, inputs.x, inputs.residual, vectors, saved);
    return std::vector{y, vectors.statistics, saved.mean, saved.inverseDeviation, vectors.counters};
  });
  check.launched({given.named("moments", false), given.normalising()});
  const auto reference = layer.copy(at::kDouble);
  Saved saved;
  const auto y = normalise(layer.step, doubles(inputs.x), reference, saved);
  check.close("y", results[0], finished(given.kind, y, inputs.residual), given.tolerance());
  check.close("running statistics", results[1], reference.statistics, TOLERANCE);
  check.close("mean", results[2], saved.mean, TOLERANCE);
  check.close("1 / deviation", results[3], saved.inverseDeviation, TOLERANCE);
  check.same("counters", results[4], at::zeros({COUNTERS}, at::kInt));
}

void checkAgain(Check& check, const Case& given) {
  if (given.kind.residual) return;
  const Inputs inputs(given);
  const auto& layer = inputs.layer;
  Saved saved;
  const auto y = cuda::normalise(layer.step, inputs.x, {}, layer.copy(), saved);
  const auto results = check.inAnyOrder(
      [&] { return std::vector{cuda::normaliseAgain(layer.step, inputs.x, layer.vectors, saved)}; });
  check.launched({given.normalising()});
  check.same("y", results[0], y);
}

void checkRunning(Check& check, const Case& given) {
  const Inputs inputs(given);
  const auto& layer = inputs.layer;
  const auto results = check.inAnyOrder([&] {
    const auto vectors = layer.copy();
    const auto y = cuda::normaliseWithRunning(layer.step, inputs.x, inputs.residual, vectors);
    return std::vector{y, vectors.statistics};
  });
  check.launched({"runningStatistics", given.normalising()});
  const auto y = normaliseWithRunning(layer.step, doubles(inputs.x), layer.copy(at::kDouble));
  check.close("y", results[0], finished(given.kind, y, inputs.residual), TOLERANCE);
  check.same("running statistics", results[1], layer.vectors.statistics);
}

/** `first`: of the first pass of a step, whose gradient takes the place of what is there; `shared`: others hold dy. */
void checkBackward(Check& check, const Case& given, bool first, bool shared) {
  const auto [relu, added] = given.kind;
  const Inputs inputs(given);
  const auto& layer = inputs.layer;
  Saved saved;
  const auto y = cuda::normalise(layer.step, inputs.x, inputs.residual, layer.copy(), saved);
  const auto gradient = randomMap(given.form.shape, given.type);
  const auto passed = relu ? gradient.mul(y.gt(0)) : gradient;
  const auto results = check.inAnyOrder([&, added = added] {
    auto vectors = layer.copy();
    vectors.accumulates = !first;
    auto dy = gradient.clone();
    const auto held = shared ? dy : at::Tensor();
    const auto output = added ? y : at::Tensor();
    const auto dx = cuda::normaliseBackward(layer.step, inputs.x, output, dy, FACTOR, vectors, saved);
    if (shared) check.same("what others hold", held, gradient);
    // Without a residual, dx may have taken the place of dy.
    return std::vector{dx, vectors.gradient, added ? dy : passed};
  });
  const auto sums = !relu ? "gradientSums" : added ? "gradientSumsByOutput" : "gradientSumsAgain";
  check.launched({given.named(sums), given.named(relu && !added ? "inputGradientAgain" : "inputGradient")});
  auto reference = layer.copy(at::kDouble);
  reference.accumulates = !first;
  Saved exact;
  normalise(layer.step, doubles(inputs.x), reference, exact);
  const auto dx = normaliseBackward(layer.step, doubles(inputs.x), doubles(passed).mul(FACTOR), reference, exact);
  if (given.rows() > 1) {
    check.close("dx", results[0], dx, TOLERANCE);
  } else {
    check.close("dy, and a dx that is 0 but for rounding", results[0].add(gradient), gradient, LOOSE_TOLERANCE);
  }
  check.close("gradient", results[1], reference.gradient, TOLERANCE);
  check.close("what passed the ReLU", results[2], passed, 0);
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

std::string named(const std::string& what, at::ScalarType type) {
  return "batch norm, " + what + (type == at::kFloat ? ", float32" : ", bfloat16");
}

/** Of all forms and kinds. */
void checkAll(const std::string& name, at::ScalarType type, const std::function<void(Check&, const Case&)>& body) {
  check(named(name, type), [&](Check& check) {
    for (const auto& form : FORMS) {
      for (const auto& kind : KINDS) body(check, {form, kind, type});
    }
  });
}

}  // namespace

void checkBatchNorm() {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    checkAll("forward", type, checkForward);
    checkAll("forward again", type, checkAgain);
    checkAll("running statistics", type, checkRunning);
    checkAll("backward", type, [](Check& check, const Case& given) { checkBackward(check, given, false, false); });
    checkAll("backward, shared dy, first pass", type,
             [](Check& check, const Case& given) { checkBackward(check, given, true, true); });
    check(named("many blocks", type), [&](Check& check) {
      checkForward(check, {MANY_BLOCKS, {true, false}, type});
      checkBackward(check, {MANY_BLOCKS, {true, false}, type}, false, false);
    });
    check(named("NaN", type), [&](Check& check) { checkNaN(check, type); });
  }
}

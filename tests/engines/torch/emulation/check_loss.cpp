// Loss, predictions and the totals of a step: against those of the CPU in float64 (loss.h), and loops.

#include <ATen/ops/empty.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include <cmath>

#include "cuda/kernels.h"
#include "loss.h"
#include "check.h"
#include "launch.h"

namespace {

constexpr double TOLERANCE = 1e-5;
constexpr int64_t SPLIT = 500;

struct Form {
  int64_t samples;
  int64_t classes;
  double smoothing;
  /** Of the logits. */
  double deviation = 3;
};

const std::vector<Form> FORMS = {
    {1, 10, 0}, {3, 2, 0.1}, {4, 33, 0}, {57, 10, 0.1}, {130, 100, 0.2}, {9, 1, 0}, {16, 10, 0, 60},
};

struct Samples {
  at::Tensor labels;
  at::Tensor indices;

  explicit Samples(const Form& form)
      : labels(at::randint(form.classes, {SPLIT}, at::kByte)), indices(at::randint(SPLIT, {form.samples}, at::kInt)) {}

  /** From `first` on. */
  Batch batch(int64_t first, int64_t size) const {
    Batch batch = {};
    batch.labels = labels.data_ptr<uint8_t>();
    batch.splitSize = SPLIT;
    batch.indices = reinterpret_cast<const uint32_t*>(indices.data_ptr<int32_t>()) + first;
    batch.size = size;
    return batch;
  }
};

std::string named(at::ScalarType type) { return type == at::kFloat ? "crossEntropy_float" : "crossEntropy_bfloat16"; }

void checkGradient(Check& check, at::ScalarType type) {
  for (const auto& form : FORMS) {
    const Samples samples(form);
    const auto batch = samples.batch(0, form.samples);
    const LossOptions options = {1.0 / 48, form.smoothing};
    const auto logits = at::randn({form.samples, form.classes}, at::kFloat).mul_(form.deviation).to(type);
    const auto results = check.inAnyOrder([&] {
      auto losses = at::empty({form.samples}, at::kFloat);
      auto hits = at::empty({form.samples}, at::kFloat);
      const auto gradient =
          cuda::softmaxCrossEntropy(logits, batch, options, losses.data_ptr<float>(), hits.data_ptr<float>());
      return std::vector{gradient, losses, hits};
    });
    check.launched({named(type)});
    const auto doubles = logits.to(at::kDouble);
    check.close("gradient", results[0], softmaxCrossEntropy(doubles, batch, options).gradient, TOLERANCE);
    auto losses = at::empty({form.samples}, at::kDouble);
    auto hits = at::empty({form.samples}, at::kDouble);
    for (int64_t i = 0; i < form.samples; i++) {
      const auto one = softmaxCrossEntropy(doubles.narrow(0, i, 1), samples.batch(i, 1), options).result;
      losses.data_ptr<double>()[i] = one.lossSum;
      hits.data_ptr<double>()[i] = static_cast<double>(one.correct);
    }
    check.close("losses", results[1], losses, TOLERANCE);
    check.close("hits", results[2], hits, 0);
  }
}

/** With the logits that the comments on Loss name: equal ones, infinite ones, and such that are no numbers. */
void checkPredictions(Check& check, at::ScalarType type) {
  for (const auto& form : FORMS) {
    const Samples samples(form);
    const auto batch = samples.batch(0, form.samples);
    auto logits = at::randn({form.samples, form.classes}, at::kFloat);
    auto* numbers = logits.data_ptr<float>();
    for (int64_t i = 0; i < form.samples * form.classes; i++) {
      if (i % 7 == 3) numbers[i] = NAN;
      if (i % 5 == 1) numbers[i] = 4;
      if (i % 11 == 2) numbers[i] = -INFINITY;
      if (i / form.classes % 6 == 5) numbers[i] = NAN;
    }
    logits = logits.to(type);
    const auto results = check.inAnyOrder([&] {
      auto losses = at::empty({2, form.samples}, at::kFloat);
      auto predictions = at::empty({form.samples}, at::kInt);
      auto* data = losses.data_ptr<float>();
      cuda::classify(logits, batch, data, data + form.samples, predictions.data_ptr<int32_t>());
      return std::vector{losses, predictions};
    });
    check.launched({named(type)});
    auto predictions = at::empty({form.samples}, at::kInt);
    classify(logits.to(at::kDouble), batch, predictions.data_ptr<int32_t>());
    check.same("predictions", results[1], predictions);
    for (int64_t i = 0; i < form.samples; i++) {
      const auto label = batch.labels[batch.indices[i]];
      const auto want = predictions.data_ptr<int32_t>()[i] == label ? 1.0f : 0.0f;
      check.holds("hit", results[0].data_ptr<float>()[form.samples + i] == want);
    }
  }
}

void checkLosses(Check& check, at::ScalarType type) {
  for (const auto& form : FORMS) {
    const Samples samples(form);
    const auto logits = at::randn({form.samples, form.classes}, at::kFloat).mul_(form.deviation).to(type);
    auto losses = at::empty({2, form.samples}, at::kFloat);
    auto predictions = at::empty({form.samples}, at::kInt);
    auto want = at::empty({form.samples}, at::kDouble);
    auto* data = losses.data_ptr<float>();
    cuda::classify(logits, samples.batch(0, form.samples), data, data + form.samples, predictions.data_ptr<int32_t>());
    for (int64_t i = 0; i < form.samples; i++) {
      int32_t prediction;
      const auto one = classify(logits.to(at::kDouble).narrow(0, i, 1), samples.batch(i, 1), &prediction);
      want.data_ptr<double>()[i] = one.lossSum;
    }
    check.close("losses", losses[0], want, TOLERANCE);
  }
}

void checkTotals(Check& check, int64_t samples, bool skipped) {
  const auto losses = at::randn({samples}, at::kFloat);
  const auto hits = at::randint(2, {samples}, at::kFloat);
  const auto statistics = at::randn({1300}, at::kFloat);
  const auto before = at::randn({1300}, at::kFloat);
  const int32_t nonFinite = skipped;
  const auto results = check.inAnyOrder([&] {
    auto totals = at::tensor({1.5, 2.0, 30.0, 4.0, 5.0, 6.0}, at::kDouble);
    static_assert(sizeof(StepTotals) == 6 * sizeof(double));
    const auto kept = statistics.clone();
    cuda::finishStep(losses.data_ptr<float>(), hits.data_ptr<float>(), samples, &nonFinite, kept.data_ptr<float>(),
                     before.data_ptr<float>(), kept.numel(), reinterpret_cast<StepTotals*>(totals.data_ptr<double>()));
    return std::vector{totals, kept};
  });
  check.launched({"finishStep"});
  const auto lossSum = losses.to(at::kDouble).sum().item().toDouble();
  const auto correct = hits.sum().item().toDouble();
  const auto count = static_cast<double>(samples);
  const auto want = skipped ? at::tensor({1.5, 2.0, 30.0, 4.0, 6.0, 7.0}, at::kDouble)
                            : at::tensor({1.5 + lossSum, 2 + correct, 30 + count, 5.0, 5.0, 0.0}, at::kDouble);
  check.close("totals", results[0], want, 1e-14);
  check.same("statistics", results[1], skipped ? before : statistics);
}

}  // namespace

void checkLoss() {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const std::string suffix = type == at::kFloat ? ", float32" : ", bfloat16";
    check("loss, with the gradient" + suffix, [&](Check& check) { checkGradient(check, type); });
    check("loss, without it" + suffix, [&](Check& check) { checkLosses(check, type); });
    check("predictions" + suffix, [&](Check& check) { checkPredictions(check, type); });
  }
  for (const auto skipped : {false, true}) {
    check(skipped ? "totals, of a skipped step" : "totals", [&](Check& check) {
      for (const int64_t samples : {1, 31, 700}) checkTotals(check, samples, skipped);
    });
  }
}

#include "check.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <stdexcept>

#include "launch.h"

namespace {

/** Half of the distance of two bfloat16, by their size. */
constexpr double BFLOAT16_ROUNDING = 1.0 / 256;

int passed = 0;
int failed = 0;

[[noreturn]] void fail(const std::string& what, const std::string& why) { throw std::runtime_error(what + ": " + why); }

std::string textOf(const at::Tensor& tensor) {
  std::ostringstream text;
  text << tensor.scalar_type() << ' ' << tensor.sizes();
  return text.str();
}

/** In the order of their indices. */
std::vector<double> numbersOf(const at::Tensor& tensor) {
  const auto doubles = tensor.to(at::kDouble).contiguous();
  const auto* data = doubles.data_ptr<double>();
  return {data, data + doubles.numel()};
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

void Check::close(const std::string& what, const at::Tensor& got, const at::Tensor& want, double tolerance) {
  comparisons_++;
  if (got.sizes() != want.sizes()) fail(what, "expected " + textOf(want) + ", got " + textOf(got));
  const auto a = numbersOf(got);
  const auto b = numbersOf(want);
  double largest = 0;
  for (const auto value : b) largest = std::max(largest, std::abs(value));
  const auto rounding = got.scalar_type() == at::kBFloat16 ? BFLOAT16_ROUNDING : 0;
  for (size_t i = 0; i < a.size(); i++) {
    const auto difference = std::abs(a[i] - b[i]);
    // Written so that NaN is no number that is close.
    if (!(difference <= tolerance * largest + rounding * std::abs(b[i]))) {
      std::ostringstream text;
      text << "expected " << b[i] << ", got " << a[i] << " at " << i << " of " << textOf(got) << "; the largest is "
           << largest << ", the tolerance " << tolerance;
      fail(what, text.str());
    }
    if (largest > 0) largestDifference_ = std::max(largestDifference_, difference / largest);
  }
}

void Check::same(const std::string& what, const at::Tensor& got, const at::Tensor& want) {
  comparisons_++;
  if (got.scalar_type() != want.scalar_type() || got.sizes() != want.sizes()) {
    fail(what, "expected " + textOf(want) + ", got " + textOf(got));
  }
  const auto a = got.contiguous();
  const auto b = want.contiguous();
  const auto size = static_cast<size_t>(want.element_size());
  const auto* bytes = static_cast<const char*>(a.data_ptr());
  const auto* expected = static_cast<const char*>(b.data_ptr());
  for (int64_t i = 0; i < want.numel(); i++) {
    const auto offset = static_cast<size_t>(i) * size;
    if (std::memcmp(bytes + offset, expected + offset, size) == 0) continue;
    std::ostringstream text;
    text << "expected the same bits, got " << numbersOf(got)[i] << " instead of " << numbersOf(want)[i] << " at " << i
         << " of " << textOf(want);
    fail(what, text.str());
  }
}

void Check::holds(const std::string& what, bool condition) {
  comparisons_++;
  if (!condition) fail(what, "does not hold");
}

void Check::launched(const std::vector<std::string>& want) {
  comparisons_++;
  const auto got = emulation::takeLaunched();
  if (got != want) fail("launches", "expected " + joined(want) + ", got " + joined(got));
}

std::vector<at::Tensor> Check::inAnyOrder(const std::function<std::vector<at::Tensor>()>& body) {
  emulation::setOrder(emulation::Order::backward);
  const auto reversed = body();
  emulation::setOrder(emulation::Order::forward);
  emulation::takeLaunched();
  const auto results = body();
  for (size_t i = 0; i < results.size(); i++) {
    same("result " + std::to_string(i) + " in reversed order", reversed[i], results[i]);
  }
  return results;
}

void check(const std::string& name, const std::function<void(Check&)>& body) {
  Check check;
  try {
    emulation::takeLaunched();
    body(check);
    passed++;
    std::printf("ok      %s: %lld comparisons", name.c_str(), static_cast<long long>(check.comparisons()));
    if (check.largestDifference() > 0) std::printf(", largest difference %.1e", check.largestDifference());
    std::printf("\n");
  } catch (const std::exception& error) {
    failed++;
    std::printf("failed  %s: %s\n", name.c_str(), error.what());
  }
  std::fflush(stdout);
}

int summarise() {
  std::printf("%d checks passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0;
}

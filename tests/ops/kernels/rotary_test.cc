#include <cmath>
#include <vector>

#include "graph/numeric.h"
#include "gtest/gtest.h"
#include "ops/kernels/isa.h"
#include "ops/kernels/rotary_kernels.h"

namespace rondo {
namespace {

class RotaryKernelsTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > ActiveIsa()) GTEST_SKIP() << "this processor lacks " << IsaName(GetParam());
  }
};
INSTANTIATE_TEST_SUITE_P(Isas, RotaryKernelsTest, testing::Values(Isa::kBaseline, Isa::kAvx2, Isa::kAvx512),
                         [](const auto& info) { return IsaName(info.param); });

std::vector<float> Row(int64_t n, int seed) {
  std::vector<float> x(n);
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<float>((i * 7919 + seed * 104729) % 1000) / 500.0f - 1.0f;
  return x;
}

// The bits of float16 values, and what they stand for.
std::vector<uint16_t> Halves(std::vector<float>* x) {
  std::vector<uint16_t> bits;
  for (float& v : *x) {
    const Float16 half(v);
    v = static_cast<float>(half);
    bits.push_back(half.bits);
  }
  return bits;
}

TEST_P(RotaryKernelsTest, TurnsTheHalvesAgainstEachOtherForAnySize) {
  const RotaryKernels& kernels = RotaryKernelsFor(GetParam());
  for (int64_t half : {1, 3, 4, 8, 15, 16, 32, 33, 64}) {
    const std::vector<float> x = Row(2 * half, 1), cos = Row(half, 2), sin = Row(half, 3);
    std::vector<float> y(2 * half), in_place = x;
    kernels.float32(x.data(), cos.data(), sin.data(), half, y.data());
    kernels.float32(in_place.data(), cos.data(), sin.data(), half, in_place.data());
    for (int64_t i = 0; i < half; ++i) {
      EXPECT_NEAR(y[i], cos[i] * x[i] - sin[i] * x[i + half], 1e-6) << half;
      EXPECT_NEAR(y[i + half], sin[i] * x[i] + cos[i] * x[i + half], 1e-6) << half;
    }
    EXPECT_EQ(in_place, y);
  }
}

TEST_P(RotaryKernelsTest, RoundsFloat16Once) {
  const RotaryKernels& kernels = RotaryKernelsFor(GetParam());
  for (int64_t half : {1, 5, 16, 35}) {
    std::vector<float> x = Row(2 * half, 1), cos = Row(half, 2), sin = Row(half, 3);
    const std::vector<uint16_t> x16 = Halves(&x), cos16 = Halves(&cos), sin16 = Halves(&sin);
    std::vector<uint16_t> y(2 * half);
    kernels.float16(x16.data(), cos16.data(), sin16.data(), half, y.data());
    for (int64_t i = 0; i < half; ++i) {
      const auto value = [&](int64_t at) {
        Float16 v;
        v.bits = y[at];
        return static_cast<float>(v);
      };
      EXPECT_NEAR(value(i), cos[i] * x[i] - sin[i] * x[i + half], 1e-3) << half;
      EXPECT_NEAR(value(i + half), sin[i] * x[i] + cos[i] * x[i + half], 1e-3) << half;
    }
  }
}

}  // namespace
}  // namespace rondo

#include "ops/kernels/row_norm.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "ops/kernels/isa.h"

namespace rondo {
namespace {

class RowNormTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > ActiveIsa()) GTEST_SKIP() << "this processor lacks " << IsaName(GetParam());
  }
};
INSTANTIATE_TEST_SUITE_P(Isas, RowNormTest, testing::Values(Isa::kBaseline, Isa::kAvx2, Isa::kAvx512),
                         [](const auto& info) { return IsaName(info.param); });

std::vector<float> Row(int64_t n, int seed, float shift = 0) {
  std::vector<float> x(n);
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<float>((i * 7919 + seed * 104729) % 1000) / 500.0f - 1.0f + shift;
  return x;
}

TEST_P(RowNormTest, EqualsTheFormulaForAnyLength) {
  const RowNorm& norm = RowNormFor(GetParam());
  for (int64_t n : {1, 3, 8, 16, 17, 63, 64, 65, 896}) {
    // A mean that is large beside the deviations must not cancel them.
    std::vector<float> x = Row(n, 1, 100), scale = Row(n, 2), bias = Row(n, 3), y(n), z(n);
    double mean = 0, variance = 0, square = 0;
    for (float v : x) mean += v, square += static_cast<double>(v) * v;
    mean /= static_cast<double>(n);
    for (float v : x) variance += (v - mean) * (v - mean);
    variance /= static_cast<double>(n);
    float got_mean, got_inv, got_variance;
    norm.mean_variance(x.data(), n, &got_mean, &got_variance);
    EXPECT_NEAR(got_mean, mean, 1e-4);
    EXPECT_NEAR(got_variance, variance, 1e-4);
    for (bool with_scale : {false, true}) {
      for (bool with_bias : {false, true}) {
        norm.layer_norm(x.data(), with_scale ? scale.data() : nullptr, with_bias ? bias.data() : nullptr, y.data(), n,
                        0.1f, &got_mean, &got_inv);
        for (int64_t i = 0; i < n; ++i) {
          double want =
              (x[i] - mean) / std::sqrt(variance + 0.1) * (with_scale ? scale[i] : 1) + (with_bias ? bias[i] : 0);
          ASSERT_NEAR(y[i], want, 2e-4) << n;
        }
      }
      norm.rms_norm(x.data(), with_scale ? scale.data() : nullptr, y.data(), n, 0.1f, &got_inv);
      double inv = 1 / std::sqrt(square / static_cast<double>(n) + 0.1);
      EXPECT_NEAR(got_inv, inv, 1e-6);
      for (int64_t i = 0; i < n; ++i) ASSERT_NEAR(y[i], x[i] * inv * (with_scale ? scale[i] : 1), 1e-5);
    }
    norm.add(x.data(), scale.data(), bias.data(), z.data(), n);
    norm.add(x.data(), scale.data(), nullptr, x.data(), n);  // in place
    for (int64_t i = 0; i < n; ++i) ASSERT_NEAR(z[i], x[i] + bias[i], 1e-5);
  }
}

}  // namespace
}  // namespace rondo

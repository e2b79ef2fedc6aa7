// Every kernel of every instruction set that this machine has, against libm in double precision.
#include "ops/kernels/vector_math.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "graph/numeric.h"
#include "gtest/gtest.h"
#include "ops/kernels/isa.h"

namespace rondo {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");

class VectorMathTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > ActiveIsa()) GTEST_SKIP() << "this processor lacks " << IsaName(GetParam());
  }
  const VectorMath& math() const { return VectorMathFor(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Isas, VectorMathTest, testing::Values(Isa::kBaseline, Isa::kAvx2, Isa::kAvx512),
                         [](const auto& info) { return IsaName(info.param); });

// Error in units of the last place of the exact result.
double UlpError(float got, double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : 1e9;
  float nearest = static_cast<float>(want);
  if (std::isinf(nearest) || std::isinf(got)) return nearest == got ? 0 : 1e9;
  double ulp = std::max(std::abs(std::nextafter(nearest, kInf) - nearest), std::numeric_limits<float>::denorm_min());
  return std::abs(got - want) / ulp;
}

std::vector<float> Grid(float low, float high, int n = 20011) {
  std::vector<float> x(n);
  for (int i = 0; i < n; ++i) x[i] = low + (high - low) * static_cast<float>(i) / static_cast<float>(n - 1);
  return x;
}

using Apply = std::function<void(const float*, float*, int64_t)>;
using Exact = std::function<double(double)>;

// `floor`: results smaller than this in magnitude are compared by absolute error in units of the floor's last place.
void ExpectClose(const Apply& apply, const Exact& exact, const std::vector<float>& x, double max_ulp,
                 double floor = 0) {
  std::vector<float> y(x.size());
  apply(x.data(), y.data(), static_cast<int64_t>(x.size()));
  double worst = 0;
  float at = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    double want = exact(x[i]);
    double error = std::abs(want) < floor ? std::abs(y[i] - want) / (floor * 0x1p-23) : UlpError(y[i], want);
    if (error > worst) worst = error, at = x[i];
  }
  EXPECT_LE(worst, max_ulp) << "at x = " << at;
}

TEST_P(VectorMathTest, Exp) {
  ExpectClose(
      math().exp, [](double x) { return std::exp(x); }, Grid(-104, 89), 2);
  ExpectClose(
      math().exp, [](double x) { return std::exp(x); }, {kInf, -kInf, kNan, 0.0f, -0.0f, 1e30f, -1e30f}, 0.5);
  // The smallest results, and what rounds to 0.
  ExpectClose(
      math().exp, [](double x) { return std::exp(x); }, Grid(-105, -103), 0.5);
}

TEST_P(VectorMathTest, Log) {
  auto exact = [](double x) { return std::log(x); };
  ExpectClose(math().log, exact, Grid(1e-3f, 8), 2);
  ExpectClose(math().log, exact, Grid(1, 1e30f), 2);
  ExpectClose(math().log, exact, {0.0f, -0.0f, kInf, kNan, -1.0f, 1e-42f, 1.17549435e-38f, -kInf}, 1);
}

TEST_P(VectorMathTest, Tanh) {
  auto exact = [](double x) { return std::tanh(x); };
  ExpectClose(math().tanh, exact, Grid(-12, 12), 3);
  ExpectClose(math().tanh, exact, Grid(-1e-3f, 1e-3f), 2);
  ExpectClose(math().tanh, exact, {kInf, -kInf, kNan, 0.0f, 1e-40f}, 1);
}

TEST_P(VectorMathTest, Erf) {
  auto exact = [](double x) { return std::erf(x); };
  ExpectClose(math().erf, exact, Grid(-5, 5), 3);
  ExpectClose(math().erf, exact, {kInf, -kInf, kNan, 0.0f, 1e-40f}, 1);
}

TEST_P(VectorMathTest, SigmoidAndSwish) {
  ExpectClose(
      math().sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, Grid(-85, 30), 3);
  ExpectClose([&](const float* x, float* y, int64_t n) { math().swish(x, y, n, 1.702f); },
              [](double x) { return x / (1 + std::exp(-1.702f * x)); }, Grid(-8, 30), 10);
}

TEST_P(VectorMathTest, Gelu) {
  // The negative tail is a difference of nearly equal numbers: absolute accuracy there.
  ExpectClose(
      math().gelu_erf, [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }, Grid(-6, 6), 4, 0.5);
  ExpectClose(
      math().gelu_tanh,
      [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }, Grid(-6, 6),
      8, 0.05);
}

TEST_P(VectorMathTest, ExponentialUnits) {
  ExpectClose([&](const float* x, float* y, int64_t n) { math().elu(x, y, n, 1.0f); },
              [](double x) { return x < 0 ? std::expm1(x) : x; }, Grid(-20, 20), 3);
  ExpectClose([&](const float* x, float* y, int64_t n) { math().celu(x, y, n, 2.0f); },
              [](double x) { return x < 0 ? 2 * std::expm1(x / 2) : x; }, Grid(-20, 20), 3);
  ExpectClose([&](const float* x, float* y, int64_t n) { math().selu(x, y, n, 1.5f, 2.0f); },
              [](double x) { return 2 * (x < 0 ? 1.5 * std::expm1(x) : x); }, Grid(-20, 20), 3);
}

TEST_P(VectorMathTest, SoftplusMishSoftsign) {
  auto softplus = [](double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); };
  ExpectClose(math().softplus, softplus, Grid(-80, 80), 3);
  ExpectClose(
      math().mish, [&](double x) { return x * std::tanh(softplus(x)); }, Grid(-40, 40), 5);
  ExpectClose(
      math().softsign, [](double x) { return x / (1 + std::abs(x)); }, Grid(-40, 40), 1.5);
}

TEST_P(VectorMathTest, PiecewiseLinear) {
  std::vector<float> x = {-2, -0.0f, 0, 1, 5, kNan, kInf, -kInf};
  std::vector<float> y(x.size());
  math().relu(x.data(), y.data(), 8);
  EXPECT_EQ(y[0], 0);
  EXPECT_EQ(y[4], 5);
  EXPECT_TRUE(std::isnan(y[5]));
  math().clip(x.data(), y.data(), 8, -1, 2);
  EXPECT_EQ(y[0], -1);
  EXPECT_EQ(y[4], 2);
  EXPECT_TRUE(std::isnan(y[5]));
  EXPECT_EQ(y[6], 2);
  math().leaky_relu(x.data(), y.data(), 8, 0.5f);
  EXPECT_EQ(y[0], -1);
  EXPECT_EQ(y[3], 1);
  math().hard_sigmoid(x.data(), y.data(), 8, 0.25f, 0.5f);
  EXPECT_EQ(y[0], 0);
  EXPECT_EQ(y[3], 0.75f);
  EXPECT_EQ(y[6], 1);
}

TEST_P(VectorMathTest, RoundsToIntegers) {
  std::vector<float> x = Grid(-20, 20, 1001);
  for (float special : {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 8388607.5f, -8388607.5f, 1e30f, -1e30f, kInf, -kInf}) {
    x.push_back(special);
  }
  ExpectClose(
      math().floor, [](double v) { return std::floor(v); }, x, 0);
  ExpectClose(
      math().ceil, [](double v) { return std::ceil(v); }, x, 0);
  ExpectClose(
      math().round, [](double v) { return std::nearbyint(v); }, x, 0);
}

TEST_P(VectorMathTest, MaxAndMinKeepNan) {
  std::vector<float> a = {1, kNan, 3, kNan}, b = {2, 1, kNan, kNan}, y(4);
  math().max(a.data(), b.data(), y.data(), 4);
  EXPECT_EQ(y[0], 2);
  for (int i = 1; i < 4; ++i) EXPECT_TRUE(std::isnan(y[i]));
  math().min(a.data(), b.data(), y.data(), 4);
  EXPECT_EQ(y[0], 1);
  for (int i = 1; i < 4; ++i) EXPECT_TRUE(std::isnan(y[i]));
}

TEST_P(VectorMathTest, ArithmeticOfEveryLengthAndInPlace) {
  for (int64_t n = 0; n < 70; ++n) {
    std::vector<float> a(n + 1, 3), b(n + 1, 2), y(n + 1, -7);
    math().sub(a.data(), b.data(), y.data(), n);
    for (int64_t i = 0; i < n; ++i) EXPECT_EQ(y[i], 1);
    EXPECT_EQ(y[n], -7) << "wrote past the end";
    math().rdiv_scalar(a.data(), 6, a.data(), n);
    for (int64_t i = 0; i < n; ++i) EXPECT_EQ(a[i], 2);
    EXPECT_EQ(a[n], 3) << "wrote past the end";
  }
}

TEST_P(VectorMathTest, Reductions) {
  for (int64_t n : {0, 1, 5, 16, 64, 100, 1000}) {
    std::vector<float> x(n);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; ++i) {
      x[i] = static_cast<float>(i % 7) - 3;
      sum += x[i];
      squares += x[i] * x[i];
    }
    EXPECT_EQ(math().sum(x.data(), n), sum);
    EXPECT_EQ(math().sum_squares(x.data(), n), squares);
    EXPECT_EQ(math().dot(x.data(), x.data(), n), squares);
    float low, high;
    math().min_max(x.data(), n, &low, &high);
    EXPECT_EQ(high, n == 0 ? -kInf : *std::max_element(x.begin(), x.end()));
    EXPECT_EQ(low, n == 0 ? kInf : *std::min_element(x.begin(), x.end()));
    EXPECT_EQ(math().max_value(x.data(), n), high);
    std::vector<float> y(n);
    double want = 0;
    for (float v : x) want += std::exp(v - 3.0);
    EXPECT_NEAR(math().exp_sub_sum(x.data(), 3, y.data(), n), want, want * 1e-6);
  }
}

TEST_P(VectorMathTest, Float16OfEveryCodeAndRounding) {
  std::vector<uint16_t> codes(0x10000);
  for (int i = 0; i < 0x10000; ++i) codes[i] = static_cast<uint16_t>(i);
  std::vector<float> floats(codes.size());
  math().float16_to_float(codes.data(), floats.data(), 0x10000);
  for (int i = 0; i < 0x10000; ++i) {
    float want = Float16::ToFloat(codes[i]);
    if (std::isnan(want)) {
      EXPECT_TRUE(std::isnan(floats[i]));
    } else {
      ASSERT_EQ(floats[i], want) << i;
    }
  }
  std::vector<float> x;
  for (uint32_t bits = 0; bits < 0xffff0000u; bits += 0x4321) x.push_back(std::bit_cast<float>(bits));
  std::vector<uint16_t> h(x.size());
  math().float_to_float16(x.data(), h.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(h[i], Float16::FromFloat(x[i])) << x[i];
  math().float_to_bfloat16(x.data(), h.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(h[i], BFloat16::FromFloat(x[i])) << x[i];
}

TEST_P(VectorMathTest, QuantizeRoundsHalfToEvenAndSaturates) {
  std::vector<float> x = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 1e9f, -1e9f, kInf, -kInf, 1.0f, kNan};
  int64_t n = static_cast<int64_t>(x.size());
  std::vector<uint8_t> u(x.size());
  math().quantize_uint8(x.data(), u.data(), n, 1.0f, 10);
  EXPECT_EQ(u, (std::vector<uint8_t>{10, 12, 12, 10, 8, 255, 0, 255, 0, 11, 10}));
  std::vector<int8_t> s(x.size());
  math().quantize_int8(x.data(), s.data(), n, 0.5f, -1);
  EXPECT_EQ(s, (std::vector<int8_t>{0, 2, 4, -2, -4, 127, -128, 127, -128, 1, -1}));
  std::vector<float> back(x.size());
  math().dequantize_int8(s.data(), back.data(), n, 0.5f, -1);
  EXPECT_EQ(back[1], 1.5f);
}

}  // namespace
}  // namespace rondo

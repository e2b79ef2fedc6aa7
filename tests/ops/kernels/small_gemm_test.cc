#include "ops/kernels/small_gemm.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "ops/kernels/isa.h"

namespace rondo {
namespace {

class SmallGemmTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > ActiveIsa()) GTEST_SKIP() << "this processor lacks " << IsaName(GetParam());
  }
};
INSTANTIATE_TEST_SUITE_P(Isas, SmallGemmTest, testing::Values(Isa::kBaseline, Isa::kAvx2, Isa::kAvx512),
                         [](const auto& info) { return IsaName(info.param); });

float Element(int64_t i) { return static_cast<float>((i * 2654435761u) % 1000) / 500.0f - 1.0f; }

TEST_P(SmallGemmTest, EqualsTheSumOfProductsForAnyShape) {
  const SmallGemm& gemm = SmallGemmFor(GetParam());
  for (int64_t m : {1, 2, 3, 5, 6, 8, 9, 17}) {
    for (int64_t n : {1, 4, 15, 16, 17, 64, 129, 300}) {
      for (int64_t k : {0, 1, 7, 33}) {
        for (bool accumulate : {false, true}) {
          int64_t lda = k + 3, ldb = k + 1, ldc = n + 2;
          std::vector<float> a(m * lda), b(n * ldb), c(m * ldc), before, packed(gemm.PackedSize(n, k));
          for (size_t i = 0; i < a.size(); ++i) a[i] = Element(static_cast<int64_t>(i));
          for (size_t i = 0; i < b.size(); ++i) b[i] = Element(static_cast<int64_t>(i) + 77);
          for (size_t i = 0; i < c.size(); ++i) c[i] = Element(static_cast<int64_t>(i) + 31);
          before = c;
          gemm.pack(b.data(), ldb, n, k, packed.data());
          gemm.multiply(a.data(), lda, m, packed.data(), n, k, c.data(), ldc, accumulate);
          for (int64_t i = 0; i < m; ++i) {
            for (int64_t j = 0; j < ldc; ++j) {
              double want = before[i * ldc + j];
              if (j < n) {
                if (!accumulate) want = 0;
                for (int64_t p = 0; p < k; ++p) want += static_cast<double>(a[i * lda + p]) * b[j * ldb + p];
              }
              ASSERT_NEAR(c[i * ldc + j], want, 1e-5) << m << "x" << n << "x" << k << " at " << i << "," << j;
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace rondo

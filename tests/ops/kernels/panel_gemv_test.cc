#include "ops/kernels/panel_gemv.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

TEST(PanelGemvTest, MultipliesARowAndAddsWithinTheColumns) {
  for (const int64_t k : {1, 2, 3, 17, 900}) {
    for (const int64_t columns : {1, 8, 15, 16, 33, 64}) {
      const Tensor x = RandomFloats({k}, 1), panel = RandomFloats({k, kGemvColumns}, 2);
      const Tensor bias = RandomFloats({kGemvColumns}, 3), residual = RandomFloats({kGemvColumns}, 4);
      for (const bool adds : {false, true}) {
        std::vector<float> y(kGemvColumns, -7.0f);
        GetPanelGemv().run(x.data<float>(), k, panel.data<float>(), adds ? bias.data<float>() : nullptr,
                           adds ? residual.data<float>() : nullptr, columns, y.data());
        for (int64_t c = 0; c < kGemvColumns; ++c) {
          double expected = adds ? bias.data<float>()[c] + residual.data<float>()[c] : 0;
          for (int64_t i = 0; i < k; ++i) {
            expected += static_cast<double>(x.data<float>()[i]) * panel.data<float>()[i * kGemvColumns + c];
          }
          if (c >= columns) expected = -7;
          ASSERT_NEAR(y[c], expected, 1e-6 * static_cast<double>(k) + 1e-6)
              << k << " rows, column " << c << " of " << columns;
        }
      }
    }
  }
}

}  // namespace
}  // namespace rondo

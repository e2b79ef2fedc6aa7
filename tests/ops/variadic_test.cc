#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(VariadicTest, ThreeBroadcastInputs) {
  Tensor a = FloatTensor({}, {2}), b = FloatTensor({2, 1}, {1, 4}), c = FloatTensor({3}, {0, 3, 6});
  for (bool plain : {false, true}) {
    auto run = [&](const char* type) {
      return Floats(OpRunner(type, 13).Plain(plain).Input(a).Input(b).Input(c).Run()[0]);
    };
    EXPECT_THAT(run("Max"), ElementsAre(2, 3, 6, 4, 4, 6));
    EXPECT_THAT(run("Min"), ElementsAre(0, 1, 1, 0, 2, 2));
    EXPECT_THAT(run("Sum"), ElementsAre(3, 6, 9, 6, 9, 12));
    EXPECT_THAT(run("Mean"), ElementsAre(1, 2, 3, 2, 3, 4));
  }
}

TEST(VariadicTest, OneInputIsCopied) {
  EXPECT_THAT(Floats(OpRunner("Mean", 13).Input(FloatTensor({2}, {1, 2})).Run()[0]), ElementsAre(1, 2));
}

TEST(VariadicTest, MaxOfNanIsNan) {
  for (bool plain : {false, true}) {
    Tensor y = OpRunner("Max", 13)
                   .Plain(plain)
                   .Input(FloatTensor({2}, {std::nanf(""), 1}))
                   .Input(FloatTensor({2}, {1, std::nanf("")}))
                   .Run()[0];
    EXPECT_TRUE(std::isnan(y.data<float>()[0]));
    EXPECT_TRUE(std::isnan(y.data<float>()[1]));
  }
}

TEST(VariadicTest, IntegersAndScalarsFirst) {
  Tensor y = OpRunner("Max", 13)
                 .Input(Int64Tensor({}, {3}))
                 .Input(Int64Tensor({}, {5}))
                 .Input(Int64Tensor({3}, {1, 9, 2}))
                 .Run()[0];
  EXPECT_THAT(Int64s(y), ElementsAre(5, 9, 5));
}

TEST(VariadicTest, TypesMustAgree) {
  EXPECT_THAT(OpRunner("Sum", 13).Input(FloatTensor({1}, {1})).Input(Int64Tensor({1}, {1})).RunError(),
              HasSubstr("expected equal element types"));
}

}  // namespace
}  // namespace rondo

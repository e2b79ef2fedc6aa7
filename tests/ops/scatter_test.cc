#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<float> ScatterElements(absl::string_view reduction, const std::vector<int64_t>& indices) {
  return Floats(OpRunner("ScatterElements", 18)
                    .Attr("axis", int64_t{1})
                    .Attr("reduction", std::string(reduction))
                    .Input(FloatTensor({1, 4}, {1, 2, 3, 4}))
                    .Input(Int64Tensor({1, 3}, indices))
                    .Input(FloatTensor({1, 3}, {10, 20, 0.5}))
                    .Run()[0]);
}

TEST(ScatterElementsTest, Reductions) {
  EXPECT_THAT(ScatterElements("none", {1, -1, 0}), ElementsAre(0.5, 10, 3, 20));
  EXPECT_THAT(ScatterElements("add", {1, 1, 1}), ElementsAre(1, 32.5, 3, 4));
  EXPECT_THAT(ScatterElements("mul", {1, 1, 3}), ElementsAre(1, 400, 3, 2));
  EXPECT_THAT(ScatterElements("max", {0, 1, 3}), ElementsAre(10, 20, 3, 4));
  EXPECT_THAT(ScatterElements("min", {0, 1, 3}), ElementsAre(1, 2, 3, 0.5));
}

TEST(ScatterElementsTest, OtherAxesAndErrors) {
  Tensor x = FloatTensor({3, 2}, {0, 0, 0, 0, 0, 0});
  EXPECT_THAT(Floats(OpRunner("Scatter", 9)
                         .Input(x)
                         .Input(Int32Tensor({1, 2}, {2, 0}))
                         .Input(FloatTensor({1, 2}, {7, 8}))
                         .Run()[0]),
              ElementsAre(0, 8, 0, 0, 7, 0));
  EXPECT_THAT(OpRunner("ScatterElements", 16)
                  .Input(x)
                  .Input(Int64Tensor({1, 1}, {3}))
                  .Input(FloatTensor({1, 1}, {7}))
                  .RunError(),
              HasSubstr("index 3 is out of range [-3, 2] on axis 0"));
  EXPECT_THAT(OpRunner("ScatterElements", 18)
                  .Attr("reduction", std::string("avg"))
                  .Input(x)
                  .Input(Int64Tensor({1, 1}, {0}))
                  .Input(FloatTensor({1, 1}, {7}))
                  .RunError(),
              HasSubstr("got \"avg\""));
}

TEST(ScatterNdTest, RowsElementsAndReductions) {
  Tensor x = FloatTensor({3, 2}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(Floats(OpRunner("ScatterND", 11)
                         .Input(x)
                         .Input(Int64Tensor({2, 1}, {-1, 0}))
                         .Input(FloatTensor({2, 2}, {7, 8, 9, 10}))
                         .Run()[0]),
              ElementsAre(9, 10, 3, 4, 7, 8));
  EXPECT_THAT(Floats(OpRunner("ScatterND", 18)
                         .Attr("reduction", std::string("add"))
                         .Input(x)
                         .Input(Int64Tensor({3, 2}, {0, 0, 0, 0, 2, 1}))
                         .Input(FloatTensor({3}, {1, 1, 1}))
                         .Run()[0]),
              ElementsAre(3, 2, 3, 4, 5, 7));
  EXPECT_THAT(
      OpRunner("ScatterND", 11).Input(x).Input(Int64Tensor({1, 2}, {0, -3})).Input(FloatTensor({1}, {1})).RunError(),
      HasSubstr("index -3 is out of range [-2, 1] on axis 1"));
  EXPECT_THAT(
      OpRunner("ScatterND", 11).Input(x).Input(Int64Tensor({1, 1}, {0})).Input(FloatTensor({1}, {1})).RunError(),
      HasSubstr("expected rank 2"));
}

TEST(ScatterNdTest, NoUpdatesIsACopy) {
  EXPECT_THAT(Floats(OpRunner("ScatterND", 11)
                         .Input(FloatTensor({2}, {1, 2}))
                         .Input(Int64Tensor({0, 1}, {}))
                         .Input(FloatTensor({0}, {}))
                         .Run()[0]),
              ElementsAre(1, 2));
}

TEST(TensorScatterTest, LinearAndCircular) {
  Tensor cache = FloatTensor({2, 3, 1}, {0, 0, 0, 0, 0, 0}), update = FloatTensor({2, 2, 1}, {1, 2, 3, 4});
  EXPECT_THAT(Floats(OpRunner("TensorScatter", 24).Input(cache).Input(update).Input(Int64Tensor({2}, {1, 0})).Run()[0]),
              ElementsAre(0, 1, 2, 3, 4, 0));
  EXPECT_THAT(Floats(OpRunner("TensorScatter", 24)
                         .Attr("mode", std::string("circular"))
                         .Input(cache)
                         .Input(update)
                         .Input(Int64Tensor({2}, {2, 1}))
                         .Run()[0]),
              ElementsAre(2, 0, 1, 0, 3, 4));
  // A start is a position: it may be beyond the cache's length.
  EXPECT_THAT(Floats(OpRunner("TensorScatter", 24)
                         .Attr("mode", std::string("circular"))
                         .Input(cache)
                         .Input(update)
                         .Input(Int64Tensor({2}, {5, 7}))
                         .Run()[0]),
              ElementsAre(2, 0, 1, 0, 3, 4));
  EXPECT_THAT(OpRunner("TensorScatter", 24).Input(cache).Input(update).Input(Int64Tensor({2}, {0, 2})).RunError(),
              HasSubstr("write_indices[1] is 2: 2 rows do not fit the cache of 3"));
  EXPECT_THAT(Floats(OpRunner("TensorScatter", 24).Input(cache).Input(update).Run()[0]), ElementsAre(1, 2, 0, 3, 4, 0));
}

}  // namespace
}  // namespace rondo

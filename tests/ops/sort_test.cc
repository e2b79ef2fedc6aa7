#include <algorithm>
#include <cmath>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(TopKTest, EqualsTheBeginOfASortedRow) {
  Tensor x = RandomFloats({7, 301});
  for (int64_t k : {0, 1, 5, 300, 301}) {
    for (int64_t largest : {0, 1}) {
      OpRunner run("TopK", 11);
      run.Attr("largest", largest).Input(x).Constant(Int64Tensor({1}, {k})).Outputs(2);
      std::vector<Tensor> y = run.Run();
      ASSERT_EQ(y[0].dim(1), k);
      for (int64_t row = 0; row < 7 && k > 0; ++row) {
        const float* in = x.data<float>() + row * 301;
        std::vector<int64_t> order(301);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(),
                         [&](int64_t a, int64_t b) { return largest ? in[a] > in[b] : in[a] < in[b]; });
        for (int64_t i = 0; i < k; ++i) {
          ASSERT_EQ(y[1].data<int64_t>()[row * k + i], order[i]);
          ASSERT_EQ(y[0].data<float>()[row * k + i], in[order[i]]);
        }
      }
    }
  }
}

TEST(TopKTest, LowerIndexFirstAmongEqualsOnAnyAxis) {
  OpRunner run("TopK", 11);
  run.Attr("axis", int64_t{0})
      .Input(Int64Tensor({4, 2}, {1, 5, 3, 5, 3, 2, 3, 5}))
      .Input(Int64Tensor({1}, {2}))
      .Outputs(2);
  std::vector<Tensor> y = run.Run();
  EXPECT_THAT(Int64s(y[0]), ElementsAre(3, 5, 3, 5));
  EXPECT_THAT(Int64s(y[1]), ElementsAre(1, 0, 2, 1));
}

TEST(TopKTest, OldFormTakesKAsAttribute) {
  OpRunner run("TopK", 1);
  run.Attr("k", int64_t{1}).Input(FloatTensor({3}, {1, 9, 4})).Outputs(2);
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(9));
}

TEST(TopKTest, NanIsTheGreatest) {
  OpRunner run("TopK", 11);
  run.Input(FloatTensor({3}, {1, std::nanf(""), 4})).Constant(Int64Tensor({1}, {2})).Outputs(2);
  EXPECT_THAT(Int64s(run.Run()[1]), ElementsAre(1, 2));
}

TEST(TopKTest, RefusesMoreThanThereAre) {
  for (int64_t k : {4, -1}) {
    OpRunner constant("TopK", 11), fed("TopK", 11);
    constant.Input(RandomFloats({3})).Constant(Int64Tensor({1}, {k})).Outputs(2);
    EXPECT_THAT(constant.RunError(), HasSubstr("k: "));
    fed.Input(RandomFloats({3})).Input(Int64Tensor({1}, {k})).Outputs(2);
    EXPECT_THAT(fed.RunError(), HasSubstr("k: "));
  }
}

TEST(UniqueTest, SortedWithAllOutputs) {
  OpRunner run("Unique", 11);
  run.Input(FloatTensor({6}, {2, 1, 1, 3, 4, 3})).Outputs(4);
  std::vector<Tensor> y = run.Run();
  EXPECT_THAT(Floats(y[0]), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(Int64s(y[1]), ElementsAre(1, 0, 3, 4));
  EXPECT_THAT(Int64s(y[2]), ElementsAre(1, 0, 0, 2, 3, 2));
  EXPECT_THAT(Int64s(y[3]), ElementsAre(2, 1, 2, 1));
}

TEST(UniqueTest, UnsortedKeepsTheOrderOfFirstOccurrence) {
  OpRunner run("Unique", 11);
  run.Attr("sorted", int64_t{0}).Input(StringTensor({2, 2}, {"b", "a", "b", "c"})).Outputs(4);
  std::vector<Tensor> y = run.Run();
  EXPECT_THAT(std::vector<std::string>(y[0].data<std::string>(), y[0].data<std::string>() + 3),
              ElementsAre("b", "a", "c"));
  EXPECT_THAT(Int64s(y[2]), ElementsAre(0, 1, 0, 2));
}

TEST(UniqueTest, SlicesAlongAnAxis) {
  OpRunner run("Unique", 11);
  run.Attr("axis", int64_t{1}).Input(FloatTensor({2, 3}, {1, 0, 1, 2, 5, 2})).Outputs(4);
  std::vector<Tensor> y = run.Run();
  EXPECT_EQ(DimsToString(y[0].dims()), "[2, 2]");
  EXPECT_THAT(Floats(y[0]), ElementsAre(0, 1, 5, 2));
  EXPECT_THAT(Int64s(y[1]), ElementsAre(1, 0));
}

TEST(UniqueTest, OfNothingIsNothing) {
  OpRunner run("Unique", 11);
  run.Input(FloatTensor({0}, {})).Outputs(4);
  for (const Tensor& t : run.Run()) EXPECT_EQ(t.size(), 0);
}

}  // namespace
}  // namespace rondo

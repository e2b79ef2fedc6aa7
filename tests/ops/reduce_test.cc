#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");

// The sum over any axes, by counting.
std::vector<double> SumOver(const Tensor& x, const std::vector<bool>& reduce, bool keep, Dims* dims) {
  dims->clear();
  int64_t count = 1;
  for (int d = 0; d < x.rank(); ++d) {
    if (!reduce[d]) dims->push_back(x.dim(d)), count *= x.dim(d);
    if (reduce[d] && keep) dims->push_back(1);
  }
  std::vector<double> y(count);
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t rest = i, at = 0, stride = 1;
    for (int d = x.rank() - 1; d >= 0; --d) {
      int64_t index = rest % x.dim(d);
      rest /= x.dim(d);
      if (!reduce[d]) at += index * stride, stride *= x.dim(d);
    }
    y[at] += static_cast<double>(x.data<float>()[i]);
  }
  return y;
}

TEST(ReduceTest, SumsOverEveryCombinationOfAxes) {
  Tensor x = RandomFloats({3, 1, 4, 5, 17});
  for (int mask = 0; mask < 32; ++mask) {
    for (int64_t keep : {0, 1}) {
      std::vector<int64_t> axes;
      std::vector<bool> reduce(5);
      for (int d = 0; d < 5; ++d) {
        if (mask >> d & 1) axes.push_back(d % 2 == 0 ? d : d - 5), reduce[d] = true;
      }
      Dims dims;
      std::vector<double> want = SumOver(x, reduce, keep != 0, &dims);
      OpRunner run("ReduceSum", 13);
      run.Attr("keepdims", keep)
          .Attr("noop_with_empty_axes", int64_t{1})
          .Input(x)
          .Constant(Int64Tensor({static_cast<int64_t>(axes.size())}, axes));
      std::vector<Tensor> y = run.Run();
      ASSERT_EQ(DimsToString(y[0].dims()), DimsToString(dims)) << mask;
      for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(y[0].data<float>()[i], want[i], 1e-4) << mask;
    }
  }
}

TEST(ReduceTest, AxesMayArriveAtRunTime) {
  OpRunner run("ReduceMean", 18);
  run.Attr("keepdims", int64_t{0}).Input(FloatTensor({2, 3}, {1, 2, 3, 4, 5, 6})).Input(Int64Tensor({1}, {-2}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(2.5f, 3.5f, 4.5f));
}

TEST(ReduceTest, WithoutAxesReducesAll) {
  OpRunner run("ReduceProd", 18);
  run.Input(FloatTensor({2, 2}, {1, 2, 3, 4}));
  Tensor y = run.Run()[0];
  EXPECT_EQ(DimsToString(y.dims()), "[1, 1]");
  EXPECT_EQ(y.data<float>()[0], 24);
}

TEST(ReduceTest, NoopStillMapsEachElement) {
  OpRunner square("ReduceSumSquare", 18);
  square.Attr("noop_with_empty_axes", int64_t{1}).Input(FloatTensor({3}, {1, -2, 3}));
  EXPECT_THAT(Floats(square.Run()[0]), ElementsAre(1, 4, 9));
  OpRunner l1("ReduceL1", 18);
  l1.Attr("noop_with_empty_axes", int64_t{1}).Input(FloatTensor({3}, {1, -2, 3}));
  EXPECT_THAT(Floats(l1.Run()[0]), ElementsAre(1, 2, 3));
}

TEST(ReduceTest, ScalarsReduceToThemselves) {
  OpRunner run("ReduceSum", 13);
  run.Input(FloatTensor({}, {7}));
  Tensor y = run.Run()[0];
  EXPECT_EQ(y.rank(), 0);
  EXPECT_EQ(y.data<float>()[0], 7);
}

float OnEmptySet(absl::string_view type) {
  OpRunner run(type, 18);
  run.Attr("keepdims", int64_t{0}).Input(FloatTensor({2, 0}, {})).Constant(Int64Tensor({1}, {1}));
  Tensor y = run.Run()[0];
  EXPECT_EQ(y.size(), 2);
  return y.data<float>()[1];
}

TEST(ReduceTest, EmptySetsGiveTheNeutralElement) {
  EXPECT_EQ(OnEmptySet("ReduceSum"), 0);
  EXPECT_EQ(OnEmptySet("ReduceProd"), 1);
  EXPECT_EQ(OnEmptySet("ReduceMax"), -kInf);
  EXPECT_EQ(OnEmptySet("ReduceMin"), kInf);
  EXPECT_EQ(OnEmptySet("ReduceL1"), 0);
  EXPECT_EQ(OnEmptySet("ReduceL2"), 0);
  EXPECT_EQ(OnEmptySet("ReduceSumSquare"), 0);
  EXPECT_EQ(OnEmptySet("ReduceLogSum"), -kInf);
  EXPECT_EQ(OnEmptySet("ReduceLogSumExp"), -kInf);
  EXPECT_TRUE(std::isnan(OnEmptySet("ReduceMean")));
}

TEST(ReduceTest, MaxAndMinKeepNan) {
  for (const char* type : {"ReduceMax", "ReduceMin"}) {
    OpRunner rows(type, 13), columns(type, 13);
    rows.Attr("axes", std::vector<int64_t>{1}).Input(FloatTensor({2, 3}, {1, kNan, 3, kNan, 5, 6}));
    EXPECT_TRUE(std::isnan(rows.Run()[0].data<float>()[0])) << type;
    EXPECT_TRUE(std::isnan(rows.Run()[0].data<float>()[1])) << type;
    columns.Attr("axes", std::vector<int64_t>{0}).Input(FloatTensor({2, 2}, {1, kNan, kNan, 6}));
    EXPECT_TRUE(std::isnan(columns.Run()[0].data<float>()[0])) << type;
    EXPECT_TRUE(std::isnan(columns.Run()[0].data<float>()[1])) << type;
  }
}

TEST(ReduceTest, BoolsAreOrAndAnd) {
  OpRunner max("ReduceMax", 20), min("ReduceMin", 20);
  Tensor x = BoolTensor({2, 2}, {true, false, true, true});
  Tensor axes = Int64Tensor({1}, {0});
  max.Input(x).Constant(axes);
  min.Input(x).Constant(axes);
  Tensor any = max.Run()[0], all = min.Run()[0];
  EXPECT_TRUE(any.data<bool>()[0] && any.data<bool>()[1]);
  EXPECT_TRUE(all.data<bool>()[0] && !all.data<bool>()[1]);
}

TEST(ReduceTest, LogSumExpDoesNotOverflow) {
  OpRunner run("ReduceLogSumExp", 13);
  run.Input(FloatTensor({3}, {1000, 1000, -kInf}));
  EXPECT_NEAR(run.Run()[0].data<float>()[0], 1000 + std::log(2.0), 1e-3);
  OpRunner low("ReduceLogSumExp", 13);
  low.Input(FloatTensor({2}, {-kInf, -kInf}));
  EXPECT_EQ(low.Run()[0].data<float>()[0], -kInf);
}

TEST(ReduceTest, IntegersWrapAndDivideTowardsZero) {
  OpRunner sum("ReduceSum", 13), mean("ReduceMean", 13);
  sum.Input(Int32Tensor({2}, {std::numeric_limits<int32_t>::max(), 1}));
  EXPECT_EQ(sum.Run()[0].data<int32_t>()[0], std::numeric_limits<int32_t>::min());
  mean.Input(Int32Tensor({2}, {-3, -4}));
  EXPECT_EQ(mean.Run()[0].data<int32_t>()[0], -3);
}

TEST(ReduceTest, LongSumsKeepTheirPrecision) {
  OpRunner run("ReduceMean", 13);
  run.Input(FloatTensor({1 << 22}, std::vector<float>(1 << 22, 0.1f)));
  EXPECT_NEAR(run.Run()[0].data<float>()[0], 0.1f, 2e-7);
}

TEST(ReduceTest, RefusesBadAxes) {
  OpRunner out("ReduceSum", 11), twice("ReduceSum", 11);
  out.Attr("axes", std::vector<int64_t>{2}).Input(RandomFloats({2, 3}));
  EXPECT_THAT(out.RunError(), HasSubstr("2"));
  twice.Attr("axes", std::vector<int64_t>{1, -1}).Input(RandomFloats({2, 3}));
  EXPECT_THAT(twice.RunError(), HasSubstr("given twice"));
}

TEST(ArgReduceTest, PicksTheFirstOrTheLastOfEquals) {
  Tensor x = FloatTensor({2, 4}, {3, 9, 9, 1, 4, 2, 2, 4});
  OpRunner first("ArgMax", 13), last("ArgMax", 13), least("ArgMin", 13);
  first.Attr("axis", int64_t{-1}).Attr("keepdims", int64_t{0}).Input(x);
  EXPECT_THAT(Int64s(first.Run()[0]), ElementsAre(1, 0));
  last.Attr("axis", int64_t{-1}).Attr("select_last_index", int64_t{1}).Input(x);
  Tensor y = last.Run()[0];
  EXPECT_EQ(DimsToString(y.dims()), "[2, 1]");
  EXPECT_THAT(Int64s(y), ElementsAre(2, 3));
  least.Attr("axis", int64_t{0}).Input(x);
  EXPECT_THAT(Int64s(least.Run()[0]), ElementsAre(0, 1, 1, 0));
}

TEST(ArgReduceTest, LongRowsFindTheSameAsShortOnes) {
  Tensor x = RandomFloats({4, 1000});
  float* row = x.mutable_data<float>();
  row[700] = row[800] = 5;
  row[1000 + 3] = kNan;
  row[1000 + 900] = 9;
  row[2000 + 10] = kInf;
  row[2000 + 20] = -kInf;
  row[3000 + 999] = -5;
  OpRunner max("ArgMax", 13), min("ArgMin", 13);
  max.Attr("axis", int64_t{1}).Input(x);
  min.Attr("axis", int64_t{1}).Input(x);
  std::vector<int64_t> greatest = Int64s(max.Run()[0]), least = Int64s(min.Run()[0]);
  EXPECT_EQ(greatest[0], 700);
  EXPECT_EQ(greatest[1], 3);
  EXPECT_EQ(greatest[2], 10);
  EXPECT_EQ(least[1], 3);
  EXPECT_EQ(least[2], 20);
  EXPECT_EQ(least[3], 999);
}

TEST(ArgReduceTest, TheFirstNanWins) {
  OpRunner run("ArgMin", 13);
  run.Attr("axis", int64_t{0}).Input(FloatTensor({4}, {1, kNan, kNan, 0}));
  EXPECT_THAT(Int64s(run.Run()[0]), ElementsAre(1));
}

TEST(ArgReduceTest, RefusesAnEmptyAxis) {
  OpRunner run("ArgMax", 13);
  run.Attr("axis", int64_t{1}).Input(FloatTensor({2, 0}, {}));
  EXPECT_THAT(run.RunError(), HasSubstr("no elements"));
}

TEST(CumulativeTest, SumsForwardsBackwardsAndExclusively) {
  Tensor x = FloatTensor({2, 3}, {1, 2, 3, 4, 5, 6});
  auto sum = [&](int64_t axis, int64_t exclusive, int64_t reverse) {
    OpRunner run("CumSum", 14);
    run.Attr("exclusive", exclusive).Attr("reverse", reverse).Input(x).Input(Int64Tensor({}, {axis}));
    return Floats(run.Run()[0]);
  };
  EXPECT_THAT(sum(1, 0, 0), ElementsAre(1, 3, 6, 4, 9, 15));
  EXPECT_THAT(sum(-2, 0, 0), ElementsAre(1, 2, 3, 5, 7, 9));
  EXPECT_THAT(sum(1, 1, 0), ElementsAre(0, 1, 3, 0, 4, 9));
  EXPECT_THAT(sum(1, 0, 1), ElementsAre(6, 5, 3, 15, 11, 6));
  EXPECT_THAT(sum(1, 1, 1), ElementsAre(5, 3, 0, 11, 6, 0));
}

TEST(CumulativeTest, ProductAndBadAxis) {
  OpRunner run("CumProd", 26);
  run.Input(Int32Tensor({4}, {1, 2, 3, 4})).Input(Int32Tensor({1}, {0}));
  Tensor y = run.Run()[0];
  EXPECT_EQ(y.data<int32_t>()[3], 24);
  OpRunner bad("CumSum", 14);
  bad.Input(RandomFloats({3})).Input(Int64Tensor({}, {1}));
  EXPECT_THAT(bad.RunError(), HasSubstr("axis"));
}

}  // namespace
}  // namespace rondo

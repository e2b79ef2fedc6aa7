// Indices, shapes and sizes that come from data: whatever they are, an error names the value and what was expected, in
// optimised and plain kernels alike, and nothing is read, written or allocated before.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::HasSubstr;

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

Tensor X() { return FloatTensor({3, 4}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}); }
Tensor Ints(const std::vector<int64_t>& values) { return Int64Tensor({static_cast<int64_t>(values.size())}, values); }
Tensor Row(int64_t a, int64_t b) { return Int64Tensor({1, 2}, {a, b}); }

struct Case {
  OpRunner run;
  std::string error;
};

void ExpectErrors(std::vector<Case> cases) {
  for (Case& c : cases) {
    for (bool plain : {false, true}) EXPECT_THAT(c.run.Plain(plain).RunError(), HasSubstr(c.error));
  }
}

OpRunner Make(absl::string_view type, int version, std::vector<Tensor> inputs) {
  OpRunner run(type, version);
  for (Tensor& input : inputs) {
    if (input.defined()) {
      run.Input(std::move(input));
    } else {
      run.Absent();
    }
  }
  return run;
}

TEST(DataChecksTest, IndicesOutsideTheirAxis) {
  std::vector<Case> cases;
  for (int64_t index : {int64_t{3}, int64_t{-4}, kMax, kMin}) {
    const std::string error = absl::StrCat("index ", index, " is out of range [-3, 2] on axis 0");
    const Tensor updates = FloatTensor({1, 2}, {1, 1});
    cases.push_back({Make("Gather", 13, {X(), Ints({0, index})}), error});
    cases.push_back({Make("GatherElements", 13, {X(), Row(0, index)}), error});
    cases.push_back({Make("GatherND", 13, {X(), Row(index, 1)}), error});
    cases.push_back({Make("Scatter", 9, {X(), Row(0, index), updates}), error});
    cases.push_back({Make("ScatterElements", 18, {X(), Row(0, index), updates}), error});
    cases.push_back({Make("ScatterND", 18, {X(), Row(index, 0), FloatTensor({1}, {1})}), error});
  }
  cases.push_back(
      {Make("NegativeLogLikelihoodLoss", 13, {X(), Ints({0, 4, 1})}), "4 is out of range [0, 3] on axis 1"});
  cases.push_back(
      {Make("Compress", 11, {X(), BoolTensor({5}, {true, true, true, true, true})}).Attr("axis", int64_t{0}),
       "index 3 is out of range"});
  cases.push_back({Make("ReverseSequence", 10, {X(), Ints({9, 1, 1, 1})}), "sequence_lens[0] is 9, expected 0 to 3"});
  cases.push_back({Make("CumSum", 14, {X(), Int64Tensor({}, {2})}), "axis 2 is out of range [-2, 1]"});
  ExpectErrors(std::move(cases));
}

TEST(DataChecksTest, SlicesSplitsAndPads) {
  ExpectErrors({
      {Make("Slice", 13, {X(), Ints({0}), Ints({2}), Ints({0}), Ints({0})}), "expected a step other than 0"},
      {Make("Slice", 13, {X(), Ints({0}), Ints({2}), Ints({5})}), "axes: 5 is out of range [-2, 1]"},
      {Make("Slice", 13, {X(), Ints({0, 1}), Ints({2})}), "expected as many ends as starts (2), got 1"},
      {Make("Split", 13, {X(), Ints({-1, 4})}).Outputs(2), "split: expected sizes >= 0, got -1"},
      {Make("Split", 13, {X(), Ints({1, 1})}).Outputs(2), "split: the sizes add up to 2, axis 0 has 3"},
      {Make("Pad", 18, {X(), Ints({-9, 0, 0, 0})}), "pads: -9 and 0 crop more than the 3 of axis 0"},
      {Make("Pad", 18, {X(), Ints({0, 0, 0})}), "pads: expected 4 numbers for 2 axes, got 3"},
      {Make("Pad", 18, {X(), Ints({0, 0, 0, kMax})}), "added to the 4 of axis 1 overflow 64 bits"},
      {Make("TopK", 11, {X(), Ints({5})}).Outputs(2), "5 of the 4 elements on axis -1"},
      {Make("TopK", 11, {X(), Ints({-1})}).Outputs(2), "expected at least 0, got -1"},
  });
  // Extremes that are not errors.
  OpRunner all = Make("Slice", 13, {X(), Ints({kMin}), Ints({kMax}), Ints({0}), Ints({1})});
  EXPECT_EQ(FirstDifference(all.Run()[0], X()), "");
  OpRunner none = Make("Slice", 13, {X(), Ints({0}), Ints({2}), Ints({0}), Ints({kMin})});
  EXPECT_EQ(none.Run()[0].dims(), (Dims{0, 4}));
}

TEST(DataChecksTest, ShapesAndSizes) {
  const int64_t huge = int64_t{1} << 62;
  std::vector<Case> cases = {
      {Make("Reshape", 14, {X(), Ints({-1, -1})}), "at most one dim may be -1"},
      {Make("Reshape", 14, {X(), Ints({7, 2})}), "cannot reshape [3, 4] to [7, 2]"},
      {Make("Reshape", 14, {X(), Ints({-2, 6})}), "expected -1, 0 or more, got -2 for dim 0"},
      {Make("Expand", 13, {X(), Ints({-1})}), "expected dims >= 0, got -1"},
      {Make("Tile", 13, {X(), Ints({-1, 1})}), "expected numbers >= 0, got -1"},
      {Make("Tile", 13, {X(), Ints({huge, huge})}), "4611686018427387904 times the 3 of axis 0 overflows 64 bits"},
      {Make("ConstantOfShape", 9, {Ints({-1})}), "expected dims >= 0, got -1"},
      {Make("ConstantOfShape", 9, {Ints({huge})}), "exceeds the limit"},
      {Make("ConstantOfShape", 9, {Ints({huge, huge})}), "overflows 64 bits"},
      {Make("OneHot", 11, {Ints({0, 1}), Int64Tensor({}, {-1}), FloatTensor({2}, {0, 1})}), "expected a number >= 0"},
      {Make("OneHot", 11, {Ints({0, 1}), Int64Tensor({}, {kMax}), FloatTensor({2}, {0, 1})}), "overflows 64 bits"},
      {Make("Range", 11, {Int64Tensor({}, {0}), Int64Tensor({}, {5}), Int64Tensor({}, {0})}), "than 0"},
      {Make("Range", 11, {Int64Tensor({}, {kMin}), Int64Tensor({}, {kMax}), Int64Tensor({}, {1})}), "too long"},
      {Make("Range", 11, {FloatTensor({}, {0}), FloatTensor({}, {1}), FloatTensor({}, {NAN})}), "finite"},
      {Make("BlackmanWindow", 17, {Int64Tensor({}, {-3})}), "expected 0 or more, got -3"},
      {Make("CenterCropPad", 18, {X(), Ints({-1, 2})}), "expected dims >= 0, got -1"},
      {Make("Unsqueeze", 13, {X(), Ints({9})}), "axes: 9 is out of range [-3, 2]"},
      {Make("Squeeze", 13, {X(), Ints({0})}), "expected a dim of 1 to squeeze, got 3"},
      {Make("Resize", 13, {X(), Tensor(), Tensor(), Ints({-1, 4})}), "sizes[0]: expected 0 to 2147483647, got -1"},
  };
  for (float scale : {0.0f, -1.0f, NAN, INFINITY}) {
    cases.push_back({Make("Resize", 13, {X(), Tensor(), FloatTensor({2}, {scale, 1})}), "expected a positive number"});
  }
  ExpectErrors(std::move(cases));
}

TEST(DataChecksTest, NumbersWithoutAResult) {
  const Tensor bytes = Tensor::FromVector<uint8_t>(DataType::kUInt8, {3}, {1, 2, 3});
  const Tensor shifts = Tensor::FromVector<uint8_t>(DataType::kUInt8, {3}, {7, 8, 255});
  const Tensor column = Int64Tensor({2, 1}, {10, 20});
  ExpectErrors({
      {Make("Div", 14, {column, Int64Tensor({3}, {1, 2, 0})}),
       "integer division by zero at [0, 2] of the result: 10 and 0"},
      {Make("Mod", 13, {column, Int64Tensor({1}, {0})}), "integer remainder by zero at [0, 0] of the result: 10 and 0"},
      {Make("Pow", 13, {Int64Tensor({2}, {1, 0}), Int64Tensor({2}, {-1, -1})}),
       "negative power at [1] of the result: 0 and -1"},
      {Make("BitShift", 11, {bytes, shifts}).Attr("direction", std::string("LEFT")),
       "shift amount not below the width of the element type at [1] of the result: 2 and 8"},
  });
}

}  // namespace
}  // namespace rondo

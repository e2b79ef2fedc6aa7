// Transpose, Concat, Split, Slice, Expand, Tile against references that move one element at a time.
#include <algorithm>
#include <numeric>
#include <random>

#include "gmock/gmock.h"
#include "graph/numeric.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Tensor Iota(absl::Span<const int64_t> dims) {
  Tensor t = Tensor::Make(DataType::kInt32, dims);
  std::iota(t.mutable_data<int32_t>(), t.mutable_data<int32_t>() + t.size(), 0);
  return t;
}

std::vector<int32_t> Int32s(const Tensor& t) {
  EXPECT_EQ(t.dtype(), DataType::kInt32);
  return std::vector<int32_t>(t.data<int32_t>(), t.data<int32_t>() + t.size());
}

Tensor Int4s(absl::Span<const int64_t> dims, const std::vector<int>& values) {
  Tensor t = Tensor::Make(DataType::kInt4, dims);
  for (size_t i = 0; i < values.size(); ++i) SetInt4(t.mutable_data<uint8_t>(), i, values[i]);
  return t;
}
std::vector<int> Int4Values(const Tensor& t) {
  EXPECT_EQ(t.dtype(), DataType::kInt4);
  std::vector<int> values;
  for (int64_t i = 0; i < t.size(); ++i) values.push_back(GetInt4(t.data<uint8_t>(), i));
  return values;
}

// Position k of dims, as coordinates.
Dims At(const Dims& dims, int64_t k) {
  Dims at(dims.size());
  for (size_t i = dims.size(); i-- > 0;) {
    at[i] = k % dims[i];
    k /= dims[i];
  }
  return at;
}
int64_t Offset(const Dims& dims, const Dims& at) {
  int64_t offset = 0;
  for (size_t i = 0; i < dims.size(); ++i) offset = offset * dims[i] + at[i];
  return offset;
}

TEST(TransposeTest, EveryPermutationOfOddDims) {
  for (const Dims& dims : {Dims{7, 5}, Dims{33, 70}, Dims{2, 3, 5}, Dims{3, 17, 5, 19}, Dims{2, 1, 3, 4, 5}}) {
    Tensor x = Iota(dims);
    std::vector<int64_t> perm(dims.size());
    std::iota(perm.begin(), perm.end(), 0);
    do {
      Tensor y = OpRunner("Transpose", 13).Attr("perm", perm).Input(x).Run()[0];
      for (int64_t k = 0; k < y.size(); ++k) {
        const Dims to = At(y.dims(), k);
        Dims from(dims.size());
        for (size_t i = 0; i < dims.size(); ++i) from[perm[i]] = to[i];
        ASSERT_EQ(y.data<int32_t>()[k], Offset(dims, from)) << DimsToString(dims) << " at " << k;
      }
    } while (std::next_permutation(perm.begin(), perm.end()));
  }
}

TEST(TransposeTest, LargeOnesOfEveryWidth) {
  for (DataType type : {DataType::kUInt8, DataType::kFloat16, DataType::kFloat, DataType::kDouble}) {
    const int64_t bytes = ByteSize(type, 1);
    Tensor x = Tensor::Make(type, {3, 301, 1100});
    std::mt19937 rng(7);
    for (size_t i = 0; i < x.bytes(); ++i) x.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(rng());
    Tensor y = OpRunner("Transpose", 13).Attr("perm", std::vector<int64_t>{0, 2, 1}).Input(x).Run()[0];
    for (int64_t n = 0; n < 3; ++n) {
      for (int64_t i = 0; i < 301; ++i) {
        for (int64_t j = 0; j < 1100; ++j) {
          const uint8_t* a = x.data<uint8_t>() + ((n * 301 + i) * 1100 + j) * bytes;
          const uint8_t* b = y.data<uint8_t>() + ((n * 1100 + j) * 301 + i) * bytes;
          ASSERT_TRUE(std::equal(a, a + bytes, b)) << n << " " << i << " " << j;
        }
      }
    }
  }
}

TEST(TransposeTest, StringsPackedAndScalars) {
  Tensor s = OpRunner("Transpose", 13).Input(StringTensor({2, 2}, {"a", "b", "c", "d"})).Run()[0];
  EXPECT_EQ(s.data<std::string>()[1], "c");
  Tensor p = OpRunner("Transpose", 21).Input(Int4s({3, 3}, {-8, 1, 2, 3, 4, 5, 6, 7, -1})).Run()[0];
  EXPECT_THAT(Int4Values(p), ElementsAre(-8, 3, 6, 1, 4, 7, 2, 5, -1));
  EXPECT_EQ(OpRunner("Transpose", 13).Input(Iota({})).Run()[0].size(), 1);
}

TEST(TransposeTest, BadPermutations) {
  auto error = [](const std::vector<int64_t>& perm) {
    return OpRunner("Transpose", 13).Attr("perm", perm).Input(Iota({2, 3})).RunError();
  };
  EXPECT_THAT(error({0, 0}), HasSubstr("occurs twice"));
  EXPECT_THAT(error({0, 2}), HasSubstr("out of range"));
  EXPECT_THAT(error({0}), HasSubstr("expected 2 axes"));
}

TEST(ConcatTest, AxesEmptyInputsAndStrings) {
  Tensor a = Iota({2, 2}), b = Iota({2, 1});
  EXPECT_THAT(Int32s(OpRunner("Concat", 13).Attr("axis", int64_t{1}).Input(a).Input(b).Run()[0]),
              ElementsAre(0, 1, 0, 2, 3, 1));
  EXPECT_EQ(OpRunner("Concat", 13).Attr("axis", int64_t{-2}).Input(a).Input(a).Run()[0].dims(), (Dims{4, 2}));
  Tensor none = Tensor::Make(DataType::kInt32, {2, 0});
  EXPECT_THAT(Int32s(OpRunner("Concat", 13).Attr("axis", int64_t{1}).Input(none).Input(a).Run()[0]),
              ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(
      Int32s(
          OpRunner("Concat", 13).Attr("axis", int64_t{0}).Input(Tensor::Make(DataType::kInt32, {0})).Input(a).Run()[0]),
      ElementsAre(0, 1, 2, 3));
  Tensor s = OpRunner("Concat", 13)
                 .Attr("axis", int64_t{0})
                 .Input(StringTensor({1}, {"x"}))
                 .Input(StringTensor({1}, {"y"}))
                 .Run()[0];
  EXPECT_EQ(s.data<std::string>()[1], "y");
  EXPECT_THAT(Int4Values(OpRunner("Concat", 13)
                             .Attr("axis", int64_t{0})
                             .Input(Int4s({3}, {1, 2, 3}))
                             .Input(Int4s({2}, {-4, -5}))
                             .Run()[0]),
              ElementsAre(1, 2, 3, -4, -5));
}

TEST(ConcatTest, Errors) {
  EXPECT_THAT(OpRunner("Concat", 13).Attr("axis", int64_t{0}).Input(Iota({2, 2})).Input(Iota({2, 3})).RunError(),
              HasSubstr("expected [2, 2] but for axis 0, got [2, 3]"));
  EXPECT_THAT(OpRunner("Concat", 13).Input(Iota({2, 2})).RunError(), HasSubstr("axis"));
  EXPECT_THAT(OpRunner("Concat", 13).Attr("axis", int64_t{0}).Input(Iota({2})).Input(Int64Tensor({1}, {1})).RunError(),
              HasSubstr("element types"));
}

TEST(SplitTest, EveryWayToSayTheSizes) {
  Tensor x = Iota({6, 2});
  auto two = OpRunner("Split", 11).Input(x).Outputs(2).Run();
  EXPECT_EQ(two[1].dims(), (Dims{3, 2}));
  EXPECT_EQ(two[1].data<int32_t>()[0], 6);
  auto sized = OpRunner("Split", 2).Attr("split", std::vector<int64_t>{1, 5}).Input(x).Outputs(2).Run();
  EXPECT_EQ(sized[1].dims(), (Dims{5, 2}));
  auto given = OpRunner("Split", 13).Attr("axis", int64_t{1}).Input(x).Input(Int64Tensor({2}, {0, 2})).Outputs(2).Run();
  EXPECT_EQ(given[0].dims(), (Dims{6, 0}));
  EXPECT_THAT(Int32s(given[1]), testing::ElementsAreArray(Int32s(x)));
  auto uneven = OpRunner("Split", 18).Attr("num_outputs", int64_t{4}).Input(x).Outputs(4).Run();
  EXPECT_EQ(uneven[2].dims(), (Dims{2, 2}));
  EXPECT_EQ(uneven[3].dims(), (Dims{0, 2}));
}

TEST(SplitTest, Errors) {
  Tensor x = Iota({6, 2});
  EXPECT_THAT(OpRunner("Split", 13).Input(x).Outputs(4).RunError(), HasSubstr("equal parts"));
  EXPECT_THAT(OpRunner("Split", 13).Input(x).Constant(Int64Tensor({2}, {3, 4})).Outputs(2).RunError(),
              HasSubstr("add up to 7"));
  EXPECT_THAT(OpRunner("Split", 13).Input(x).Constant(Int64Tensor({2}, {7, -1})).Outputs(2).RunError(),
              HasSubstr("got -1"));
}

// Python's slice of an extent: the positions it takes.
std::vector<int64_t> PythonSlice(int64_t extent, int64_t start, int64_t end, int64_t step) {
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? extent : extent - 1;
  auto place = [&](int64_t p) { return std::clamp(p < 0 ? p + extent : p, low, high); };
  std::vector<int64_t> taken;
  for (int64_t i = place(start); step > 0 ? i < place(end) : i > place(end); i += step) taken.push_back(i);
  return taken;
}

TEST(SliceTest, FollowsPythonForAllSmallCases) {
  Tensor x = Iota({5});
  const std::vector<int64_t> positions = {-100, -6, -5, -2, -1, 0, 1, 3, 4, 5, 6, 1000};
  for (int64_t start : positions) {
    for (int64_t end : positions) {
      for (int64_t step : {-7, -2, -1, 1, 2, 9}) {
        std::vector<int64_t> expected = PythonSlice(5, start, end, step);
        Tensor y = OpRunner("Slice", 13)
                       .Input(x)
                       .Constant(Tensor::FromInt64s({start}))
                       .Constant(Tensor::FromInt64s({end}))
                       .Constant(Tensor::FromInt64s({0}))
                       .Constant(Tensor::FromInt64s({step}))
                       .Run()[0];
        ASSERT_EQ(y.size(), static_cast<int64_t>(expected.size())) << start << ":" << end << ":" << step;
        for (int64_t i = 0; i < y.size(); ++i) ASSERT_EQ(y.data<int32_t>()[i], expected[i]);
      }
    }
  }
}

TEST(SliceTest, ExtremePositionsAndSteps) {
  Tensor x = Iota({5});
  auto slice = [&](int64_t start, int64_t end, int64_t step) {
    return Int32s(OpRunner("Slice", 13)
                      .Input(x)
                      .Input(Tensor::FromInt64s({start}))
                      .Input(Tensor::FromInt64s({end}))
                      .Input(Tensor::FromInt64s({0}))
                      .Input(Tensor::FromInt64s({step}))
                      .Run()[0]);
  };
  EXPECT_THAT(slice(INT64_MAX, INT64_MIN, -2), ElementsAre(4, 2, 0));
  EXPECT_THAT(slice(INT64_MAX, INT64_MIN, INT64_MIN), ElementsAre(4));
  EXPECT_THAT(slice(INT64_MIN, INT64_MAX, INT64_MAX), ElementsAre(0));
  EXPECT_THAT(slice(INT64_MIN, INT64_MAX, 3), ElementsAre(0, 3));
}

TEST(SliceTest, SeveralAxes) {
  Tensor y = OpRunner("Slice", 1)
                 .Attr("starts", std::vector<int64_t>{1, -2})
                 .Attr("ends", std::vector<int64_t>{3, 100})
                 .Attr("axes", std::vector<int64_t>{0, 2})
                 .Input(Iota({3, 2, 4}))
                 .Run()[0];
  EXPECT_EQ(y.dims(), (Dims{2, 2, 2}));
  EXPECT_THAT(Int32s(y), ElementsAre(10, 11, 14, 15, 18, 19, 22, 23));
  EXPECT_THAT(Int4Values(OpRunner("Slice", 13)
                             .Input(Int4s({5}, {1, 2, 3, 4, 5}))
                             .Input(Tensor::FromInt64s({1}))
                             .Input(Tensor::FromInt64s({4}))
                             .Run()[0]),
              ElementsAre(2, 3, 4));
}

TEST(SliceTest, Errors) {
  auto error = [](std::vector<int64_t> starts, std::vector<int64_t> axes, std::vector<int64_t> steps) {
    return OpRunner("Slice", 13)
        .Input(Iota({5, 5}))
        .Constant(Tensor::FromInt64s(starts))
        .Constant(Tensor::FromInt64s({3, 3}))
        .Constant(Tensor::FromInt64s(axes))
        .Constant(Tensor::FromInt64s(steps))
        .RunError();
  };
  EXPECT_THAT(error({0, 0}, {0, 0}, {1, 1}), HasSubstr("occurs twice"));
  EXPECT_THAT(error({0, 0}, {0, 2}, {1, 1}), HasSubstr("out of range"));
  EXPECT_THAT(error({0, 0}, {0, 1}, {1, 0}), HasSubstr("other than 0"));
  EXPECT_THAT(error({0}, {0, 1}, {1, 1}), HasSubstr("as many ends"));
}

TEST(ExpandTest, BroadcastsBothWays) {
  Tensor y = OpRunner("Expand", 13).Input(Iota({3, 1})).Input(Tensor::FromInt64s({2, 1, 4})).Run()[0];
  EXPECT_EQ(y.dims(), (Dims{2, 3, 4}));
  for (int64_t i = 0; i < y.size(); ++i) EXPECT_EQ(y.data<int32_t>()[i], i / 4 % 3);
  EXPECT_THAT(OpRunner("Expand", 13).Input(Iota({3})).Constant(Tensor::FromInt64s({2})).RunError(),
              HasSubstr("do not broadcast"));
  EXPECT_EQ(OpRunner("Expand", 13).Input(Iota({1})).Constant(Tensor::FromInt64s({0, 1})).Run()[0].size(), 0);
  EXPECT_THAT(OpRunner("Expand", 13).Input(Iota({1})).Constant(Tensor::FromInt64s({INT64_MAX, INT64_MAX})).RunError(),
              testing::Not(""));
}

TEST(TileTest, RepeatsEachAxis) {
  Tensor y = OpRunner("Tile", 6).Input(Iota({2, 2})).Input(Tensor::FromInt64s({2, 3})).Run()[0];
  EXPECT_EQ(y.dims(), (Dims{4, 6}));
  for (int64_t i = 0; i < y.size(); ++i) EXPECT_EQ(y.data<int32_t>()[i], i / 6 % 2 * 2 + i % 6 % 2);
  Tensor old = OpRunner("Tile", 1)
                   .Input(FloatTensor({2}, {1, 2}))
                   .Input(FloatTensor({1}, {2}))
                   .Input(FloatTensor({1}, {0}))
                   .Run()[0];
  EXPECT_THAT(Floats(old), ElementsAre(1, 2, 1, 2));
  EXPECT_EQ(OpRunner("Tile", 6).Input(Iota({2})).Input(Tensor::FromInt64s({0})).Run()[0].size(), 0);
  EXPECT_THAT(OpRunner("Tile", 6).Input(Iota({2})).Constant(Tensor::FromInt64s({INT64_MAX})).RunError(),
              testing::Not(""));
}

}  // namespace
}  // namespace rondo

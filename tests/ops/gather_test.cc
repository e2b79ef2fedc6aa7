#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(GatherTest, RowsElementsAndNegativeIndices) {
  Tensor x = FloatTensor({3, 2}, {0, 1, 2, 3, 4, 5});
  EXPECT_THAT(Floats(OpRunner("Gather", 13).Input(x).Input(Int64Tensor({2}, {2, -3})).Run()[0]),
              ElementsAre(4, 5, 0, 1));
  EXPECT_THAT(
      Floats(OpRunner("Gather", 13).Attr("axis", int64_t{1}).Input(x).Input(Int32Tensor({1, 2}, {1, -1})).Run()[0]),
      ElementsAre(1, 1, 3, 3, 5, 5));
  EXPECT_EQ(OpRunner("Gather", 13).Input(x).Input(Int64Tensor({}, {1})).Run()[0].dims(), (Dims{2}));
  EXPECT_EQ(OpRunner("Gather", 13).Input(x).Input(Int64Tensor({0}, {})).Run()[0].dims(), (Dims{0, 2}));
  Tensor s = OpRunner("Gather", 13).Input(StringTensor({3}, {"a", "b", "c"})).Input(Int64Tensor({2}, {2, 0})).Run()[0];
  EXPECT_EQ(s.data<std::string>()[0], "c");
}

TEST(GatherTest, BadIndicesAreNamed) {
  auto error = [](const std::vector<int64_t>& indices) {
    return OpRunner("Gather", 13).Input(RandomFloats({151936 / 64, 2})).Input(Tensor::FromInt64s(indices)).RunError();
  };
  EXPECT_THAT(error({0, 2374}), HasSubstr("index 2374 is out of range [-2374, 2373] on axis 0"));
  EXPECT_THAT(error({INT64_MIN}), HasSubstr("is out of range"));
  EXPECT_THAT(
      OpRunner("Gather", 13).Attr("axis", INT64_MIN).Input(RandomFloats({2})).Input(Int64Tensor({1}, {0})).RunError(),
      HasSubstr("axis"));
  EXPECT_THAT(OpRunner("Gather", 13).Input(RandomFloats({0, 3})).Input(Int64Tensor({1}, {0})).RunError(),
              HasSubstr("out of range"));
}

TEST(GatherElementsTest, AnyAxis) {
  Tensor x = FloatTensor({3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  Tensor i = Int64Tensor({2, 3}, {1, 2, 0, 2, 0, -3});
  EXPECT_THAT(Floats(OpRunner("GatherElements", 13).Input(x).Input(i).Run()[0]), ElementsAre(4, 8, 3, 7, 2, 3));
  EXPECT_THAT(Floats(OpRunner("GatherElements", 13).Attr("axis", int64_t{1}).Input(x).Input(i).Run()[0]),
              ElementsAre(2, 3, 1, 6, 4, 4));
  EXPECT_THAT(OpRunner("GatherElements", 13).Input(x).Input(Int64Tensor({1, 1}, {3})).RunError(),
              HasSubstr("index 3 is out of range [-3, 2] on axis 0"));
  EXPECT_THAT(OpRunner("GatherElements", 13).Input(x).Input(Int64Tensor({1, 4}, {0, 0, 0, 0})).RunError(),
              HasSubstr("do not fit"));
}

TEST(GatherNdTest, SlicesElementsAndBatches) {
  Tensor x = FloatTensor({2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_THAT(Floats(OpRunner("GatherND", 11).Input(x).Input(Int64Tensor({2, 2}, {0, 1, -1, 0})).Run()[0]),
              ElementsAre(2, 3, 4, 5));
  EXPECT_THAT(
      Floats(
          OpRunner("GatherND", 12).Attr("batch_dims", int64_t{1}).Input(x).Input(Int64Tensor({2, 1}, {1, 0})).Run()[0]),
      ElementsAre(2, 3, 4, 5));
  EXPECT_THAT(OpRunner("GatherND", 11).Input(x).Input(Int64Tensor({1, 2}, {0, 2})).RunError(),
              HasSubstr("index 2 is out of range [-2, 1] on axis 1"));
  EXPECT_THAT(OpRunner("GatherND", 11).Input(x).Input(Int64Tensor({1, 4}, {0, 0, 0, 0})).RunError(),
              HasSubstr("last dim of 1 to 3"));
}

TEST(OneHotTest, AxesAndRanges) {
  Tensor values = FloatTensor({2}, {0, 5}), indices = Int64Tensor({3}, {0, -1, 7});
  EXPECT_THAT(Floats(OpRunner("OneHot", 11).Input(indices).Input(Int64Tensor({}, {2})).Input(values).Run()[0]),
              ElementsAre(5, 0, 0, 5, 0, 0));
  EXPECT_THAT(Floats(OpRunner("OneHot", 9)
                         .Attr("axis", int64_t{0})
                         .Input(indices)
                         .Constant(FloatTensor({1}, {2}))
                         .Input(values)
                         .Run()[0]),
              ElementsAre(5, 0, 0, 0, 0, 0));
  EXPECT_THAT(OpRunner("OneHot", 11).Input(indices).Constant(Int64Tensor({}, {-1})).Input(values).RunError(),
              HasSubstr("depth"));
}

TEST(NonZeroTest, CoordinatesInRowMajorOrder) {
  Tensor y = OpRunner("NonZero", 13).Input(FloatTensor({2, 2}, {1, 0, -0.0f, 3})).Run()[0];
  EXPECT_EQ(y.dims(), (Dims{2, 2}));
  EXPECT_THAT(Int64s(y), ElementsAre(0, 1, 0, 1));
  EXPECT_EQ(OpRunner("NonZero", 13).Input(FloatTensor({2, 2}, {0, 0, 0, 0})).Run()[0].dims(), (Dims{2, 0}));
  EXPECT_EQ(OpRunner("NonZero", 13).Input(BoolTensor({0, 3}, {})).Run()[0].dims(), (Dims{2, 0}));
}

TEST(CompressTest, AxisAndFlat) {
  Tensor x = FloatTensor({3, 2}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(
      Floats(OpRunner("Compress", 11).Attr("axis", int64_t{0}).Input(x).Input(BoolTensor({2}, {false, true})).Run()[0]),
      ElementsAre(3, 4));
  EXPECT_THAT(Floats(OpRunner("Compress", 9).Input(x).Input(BoolTensor({5}, {0, 1, 0, 0, 1})).Run()[0]),
              ElementsAre(2, 5));
  EXPECT_THAT(Floats(OpRunner("Compress", 9).Input(x).Input(BoolTensor({1}, {false})).Run()[0]), IsEmpty());
  EXPECT_THAT(OpRunner("Compress", 11).Attr("axis", int64_t{1}).Input(x).Input(BoolTensor({3}, {0, 0, 1})).RunError(),
              HasSubstr("index 2 is out of range"));
}

}  // namespace
}  // namespace rondo

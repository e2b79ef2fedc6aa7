#include "rondo/tensor.h"

#include <limits>

#include "graph/status.h"
#include "gtest/gtest.h"

namespace rondo {
namespace {

TEST(DataTypeTest, NamesRoundTrip) {
  for (int i = 1; i < kNumDataTypes; ++i) {
    DataType type = static_cast<DataType>(i);
    EXPECT_EQ(DataTypeFromName(DataTypeName(type)), type) << i;
  }
  EXPECT_EQ(DataTypeFromName("float"), DataType::kFloat);
  EXPECT_EQ(DataTypeFromName("double"), DataType::kDouble);
  EXPECT_EQ(DataTypeFromName("nothing"), DataType::kUndefined);
  EXPECT_EQ(DataTypeName(static_cast<DataType>(999)), "undefined");
  EXPECT_FALSE(IsKnownDataType(0));
  EXPECT_FALSE(IsKnownDataType(-1));
  EXPECT_FALSE(IsKnownDataType(kNumDataTypes));
}

TEST(DataTypeTest, PackedTypesRoundUpToBytes) {
  EXPECT_EQ(ByteSize(DataType::kInt4, 0), 0u);
  EXPECT_EQ(ByteSize(DataType::kInt4, 3), 2u);
  EXPECT_EQ(ByteSize(DataType::kUInt2, 5), 2u);
  EXPECT_EQ(ByteSize(DataType::kUInt2, 4), 1u);
  EXPECT_EQ(ByteSize(DataType::kFloat, 5), 20u);
  EXPECT_EQ(ByteSize(DataType::kComplex128, 2), 32u);
}

TEST(TensorTest, ElementCountRefusesNegativeAndOverflow) {
  EXPECT_EQ(*CheckedElementCount({}), 1);
  EXPECT_EQ(*CheckedElementCount({3, 0, 5}), 0);
  int64_t big = int64_t{1} << 40;
  EXPECT_EQ(*CheckedElementCount({big, big, 0}), 0);
  EXPECT_EQ(CheckedElementCount({big, big}).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(CheckedElementCount({-1}).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(CheckedElementCount({std::numeric_limits<int64_t>::min(), 0}).status().code(),
            absl::StatusCode::kOutOfRange);
}

TEST(TensorTest, ByteSizeHasALimit) {
  int64_t limit = int64_t{1} << 46;
  EXPECT_EQ(*CheckedByteSize(DataType::kUInt8, {limit}), size_t{1} << 46);
  EXPECT_FALSE(CheckedByteSize(DataType::kUInt8, {limit + 1}).ok());
  EXPECT_FALSE(CheckedByteSize(DataType::kFloat, {std::numeric_limits<int64_t>::max()}).ok());
  EXPECT_FALSE(CheckedByteSize(DataType::kString, {limit}).ok());
  EXPECT_EQ(*CheckedByteSize(DataType::kInt4, {7}), 4u);
}

TEST(TensorTest, StorageIsAlignedAndZero) {
  for (int64_t n : {0, 1, 100, 3 << 20}) {
    Tensor t = Tensor::Make(DataType::kFloat, {n});
    ASSERT_NE(t.raw(), nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(t.raw()) % 64, 0u);
    for (int64_t i = 0; i < n; i += 97) ASSERT_EQ(t.data<float>()[i], 0.0f);
  }
}

TEST(TensorTest, RefusesTensorsWithoutType) {
  EXPECT_FALSE(Tensor::Create(DataType::kUndefined, {1}).ok());
  EXPECT_FALSE(Tensor::Create(static_cast<DataType>(99), {1}).ok());
}

TEST(TensorTest, StringsAreConstructedAndCloned) {
  Tensor t = Tensor::FromVector<std::string>(DataType::kString, {2}, {"a", std::string(100, 'b')});
  Tensor copy = t.Clone();
  t.mutable_data<std::string>()[1] = "changed";
  EXPECT_EQ(copy.data<std::string>()[1], std::string(100, 'b'));
  EXPECT_EQ(copy.data<std::string>()[0], "a");
}

TEST(TensorTest, CopiesShareStorageAndReshapeKeepsIt) {
  Tensor t = Tensor::FromInt64s({1, 2, 3, 4, 5, 6});
  Tensor r = t.Reshaped({2, 3});
  EXPECT_EQ(r.raw(), t.raw());
  EXPECT_EQ(r.rank(), 2);
  EXPECT_EQ(r.dim(1), 3);
  EXPECT_EQ(r.size(), 6);
  EXPECT_EQ(DimsToString(r.dims()), "[2, 3]");
  EXPECT_EQ(DimsToString({}), "[]");
}

TEST(TensorTest, BorrowKeepsTheOwnerAlive) {
  auto owner = std::make_shared<std::vector<float>>(4, 2.5f);
  std::weak_ptr<std::vector<float>> watch = owner;
  {
    Tensor t = Tensor::Borrow(DataType::kFloat, {2, 2}, owner->data(), owner);
    owner.reset();
    EXPECT_FALSE(watch.expired());
    EXPECT_EQ(t.data<float>()[3], 2.5f);
  }
  EXPECT_TRUE(watch.expired());
}

TEST(RuntimeValueTest, TellsWhatItHolds) {
  EXPECT_TRUE(RuntimeValue().empty());
  EXPECT_TRUE(RuntimeValue(Tensor::FromInt64s({1})).is_tensor());
  EXPECT_TRUE(RuntimeValue(TensorSequence{}).is_sequence());
  EXPECT_TRUE(RuntimeValue(TensorMap{}).is_map());
}

TEST(StatusTest, AnnotatePutsTextBeforeTheMessage) {
  absl::Status s = Annotate(OutOfRange("index ", 7), "node \"n\": ");
  EXPECT_EQ(s.code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(s.message(), "node \"n\": index 7");
  EXPECT_TRUE(Annotate(absl::OkStatus(), "x").ok());
}

}  // namespace
}  // namespace rondo

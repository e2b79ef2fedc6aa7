#include "graph/declared_type.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace rondo {
namespace {

ValueType Floats(const std::vector<std::string>& dims) {
  Shape shape;
  for (const std::string& dim : dims) shape.push_back(Dim::Parse(dim));
  return ValueType::Tensor(DataType::kFloat, shape);
}

std::string Check(const ValueType& declared, const ValueType& actual) {
  return std::string(CheckDeclaredType(declared, "inferred", actual).message());
}

TEST(DeclaredTypeTest, NumbersThatDifferAreNamed) {
  EXPECT_EQ(Check(Floats({"2", "3"}), Floats({"2", "4"})),
            "declared as float32[2, 3], inferred float32[2, 4]: dim 1 cannot be both 3 and 4");
  EXPECT_EQ(Check(Floats({"n"}), Floats({"n", "1"})),
            "declared as float32[n], inferred float32[n, 1]: the rank cannot be both 1 and 2");
  EXPECT_EQ(Check(ValueType::Tensor(DataType::kInt64, Shape{2}), Floats({"2"})),
            "declared as int64[2], inferred float32[2]: the element type cannot be both int64 and float32");
}

TEST(DeclaredTypeTest, SymbolsAndWhatIsNotDeclaredContradictNothing) {
  const ValueType actual = Floats({"2", "n"});
  for (const ValueType& declared :
       {Floats({"m", "7"}), Floats({"a + b", "n"}), ValueType::Tensor(DataType::kUndefined, std::nullopt),
        ValueType::Tensor(DataType::kFloat, Shape::UnknownOfRank(2)), ValueType()}) {
    EXPECT_EQ(Check(declared, actual), "");
    EXPECT_EQ(Check(actual, declared), "");
  }
}

TEST(DeclaredTypeTest, KindsAndElementsAreCompared) {
  EXPECT_EQ(Check(ValueType::Sequence(Floats({"2"})), Floats({"2"})),
            "declared as seq(float32[2]), inferred float32[2]: it cannot be both seq(float32[2]) and float32[2]");
  EXPECT_EQ(Check(ValueType::Optional(Floats({"2"})), ValueType::Optional(Floats({"3"}))),
            "declared as optional(float32[2]), inferred optional(float32[3]): dim 0 cannot be both 2 and 3");
  EXPECT_EQ(Check(ValueType::Sequence(Floats({"n"})), ValueType::Sequence(Floats({"3"}))), "");
}

}  // namespace
}  // namespace rondo

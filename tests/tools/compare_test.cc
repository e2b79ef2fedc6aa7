#include "tools/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

Tolerance MaxRel(double tol) {
  Tolerance t;
  t.measure = Tolerance::Measure::kMaxRel;
  t.tol = tol;
  return t;
}

Tolerance RmsRel(double tol) {
  Tolerance t = MaxRel(tol);
  t.measure = Tolerance::Measure::kRmsRel;
  return t;
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(CompareTest, FirstDifferingIndexAndBothValuesAreNamed) {
  const Comparison c = CompareTensors(FloatTensor({2, 2}, {1, 2, 3.5, 9}), FloatTensor({2, 2}, {1, 2, 3, 4}), {});
  EXPECT_FALSE(c.same);
  EXPECT_EQ(c.message.find("[1, 0]: got 3.5, expected 3 (2 of 4 elements beyond"), 0u) << c.message;
}

TEST(CompareTest, AllCloseAddsBothTolerances) {
  EXPECT_TRUE(CompareTensors(FloatTensor({1}, {1.0009f}), FloatTensor({1}, {1}), {}).same);
  EXPECT_FALSE(CompareTensors(FloatTensor({1}, {1.0011f}), FloatTensor({1}, {1}), {}).same);
  EXPECT_TRUE(CompareTensors(FloatTensor({1}, {5e-8f}), FloatTensor({1}, {0}), {}).same);
  EXPECT_FALSE(CompareTensors(FloatTensor({1}, {5e-7f}), FloatTensor({1}, {0}), {}).same);
}

TEST(CompareTest, NanEqualsNanAndInfinityItself) {
  const Tensor special = FloatTensor({3}, {kNan, kInf, -kInf});
  for (const Tolerance& t : {Tolerance{}, MaxRel(1e-4), RmsRel(1e-4)}) {
    EXPECT_TRUE(CompareTensors(special, special, t).same);
    EXPECT_FALSE(CompareTensors(FloatTensor({3}, {0, kInf, -kInf}), special, t).same);
    EXPECT_FALSE(CompareTensors(FloatTensor({3}, {kNan, -kInf, -kInf}), special, t).same);
    EXPECT_FALSE(CompareTensors(special, FloatTensor({3}, {1, 1, 1}), t).same);
  }
}

TEST(CompareTest, MaxRelForgivesSmallElementsOfALargeTensor) {
  // rms of the reference is about 7: an error of 5e-4 on the small element is 7e-5 of it.
  const Tensor want = FloatTensor({2}, {10, 0.001f});
  EXPECT_TRUE(CompareTensors(FloatTensor({2}, {10, 0.0015f}), want, MaxRel(1e-4)).same);
  EXPECT_FALSE(CompareTensors(FloatTensor({2}, {10, 0.0025f}), want, MaxRel(1e-4)).same);
}

TEST(CompareTest, RmsRelLooksAtTheWholeTensor) {
  const Tensor want = FloatTensor({4}, {1, 1, 1, 1});
  const Comparison c = CompareTensors(FloatTensor({4}, {1.1f, 1, 1, 1}), want, RmsRel(0.06));
  EXPECT_TRUE(c.same);
  EXPECT_NEAR(c.error, 0.05, 1e-6);
  EXPECT_FALSE(CompareTensors(FloatTensor({4}, {1.1f, 1, 1, 1}), want, RmsRel(0.04)).same);
}

TEST(CompareTest, IntegersBoolsAndStringsAreExact) {
  EXPECT_FALSE(
      CompareTensors(Int64Tensor({1}, {(int64_t{1} << 62) + 1}), Int64Tensor({1}, {int64_t{1} << 62}), {}).same);
  EXPECT_TRUE(CompareTensors(Int64Tensor({1}, {7}), Int64Tensor({1}, {7}), {}).same);
  EXPECT_FALSE(CompareTensors(BoolTensor({2}, {true, false}), BoolTensor({2}, {true, true}), {}).same);
  const Comparison c = CompareTensors(StringTensor({1}, {"a"}), StringTensor({1}, {"b"}), {});
  EXPECT_EQ(c.message, "[0]: got \"a\", expected \"b\" (1 of 1 elements differ)");
}

TEST(CompareTest, TypesAndShapesMustMatch) {
  EXPECT_EQ(CompareTensors(FloatTensor({2}, {1, 2}), FloatTensor({1, 2}, {1, 2}), {}).message,
            "got shape [2], expected [1, 2]");
  EXPECT_EQ(CompareTensors(FloatTensor({1}, {1}), Int64Tensor({1}, {1}), {}).message,
            "got type float32, expected int64");
}

TEST(CompareTest, SequencesAreComparedElementByElement) {
  const RuntimeValue one(TensorSequence{RuntimeValue(FloatTensor({1}, {1}))});
  const RuntimeValue two(TensorSequence{RuntimeValue(FloatTensor({1}, {1})), RuntimeValue(FloatTensor({1}, {2}))});
  const RuntimeValue off(TensorSequence{RuntimeValue(FloatTensor({1}, {1})), RuntimeValue(FloatTensor({1}, {3}))});
  EXPECT_TRUE(CompareValues(two, two, {}).same);
  EXPECT_EQ(CompareValues(one, two, {}).message, "got 1 elements, expected 2");
  EXPECT_EQ(CompareValues(off, two, {}).message.find("element 1: [0]: got 3"), 0u);
  EXPECT_FALSE(CompareValues(RuntimeValue(), two, {}).same);
  EXPECT_TRUE(CompareValues(RuntimeValue(), RuntimeValue(), {}).same);
}

TEST(CompareTest, MapsHaveNoOrder) {
  const auto map = [](const std::vector<int64_t>& keys, const std::vector<float>& values) {
    const int64_t n = static_cast<int64_t>(keys.size());
    return RuntimeValue(TensorMap{Int64Tensor({n}, keys), FloatTensor({n}, values)});
  };
  EXPECT_TRUE(CompareValues(map({3, 1}, {30, 10}), map({1, 3}, {10, 30}), {}).same);
  EXPECT_EQ(CompareValues(map({3, 1}, {10, 30}), map({1, 3}, {10, 30}), {}).message.find("entries by key: [0]: got 30"),
            0u);
  EXPECT_EQ(CompareValues(map({3, 2}, {30, 10}), map({1, 3}, {10, 30}), {}).message.find("entries by key: [0]: got 2"),
            0u);
  EXPECT_EQ(CompareValues(map({3}, {30}), map({1, 3}, {10, 30}), {}).message, "got 1 entries, expected 2");
  const RuntimeValue text(TensorMap{StringTensor({2}, {"b", "a"}), Int64Tensor({2}, {2, 1})});
  const RuntimeValue same(TensorMap{StringTensor({2}, {"a", "b"}), Int64Tensor({2}, {1, 2})});
  EXPECT_TRUE(CompareValues(text, same, {}).same);
}

TEST(CheckJsonTest, ReadsMeasures) {
  const absl::StatusOr<Tolerance> t = ParseCheckJson(R"({"measure": "rms_rel", "tol": 0.02, "or": "f32compute"})");
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_EQ(t->measure, Tolerance::Measure::kRmsRel);
  EXPECT_EQ(t->tol, 0.02);
  EXPECT_TRUE(t->or_f32compute);
  EXPECT_EQ(ParseCheckJson(R"({"rtol": 0.5, "atol": 0})")->rtol, 0.5);
}

TEST(CheckJsonTest, MalformedFilesAreErrors) {
  for (const char* text :
       {"", "[]", "{", R"({"measure": "best"})", R"({"measure": "max_rel"})", R"({"measure": "max_rel", "tol": "x"})",
        R"({"measure": "max_rel", "tol": -1})", R"({"measure": 3})", R"({"or": "luck"})"}) {
    EXPECT_FALSE(ParseCheckJson(text).ok()) << text;
  }
}

}  // namespace
}  // namespace rondo

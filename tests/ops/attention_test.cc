#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

// [B, T, H * D] as [B, H, T, D].
Tensor HeadsFirst(const Tensor& x, int64_t heads) {
  const int64_t batch = x.dim(0), length = x.dim(1), size = x.dim(2) / heads;
  Tensor y = Tensor::Make(DataType::kFloat, {batch, heads, length, size});
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < length; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t d = 0; d < size; ++d) {
          y.mutable_data<float>()[((b * heads + h) * length + t) * size + d] =
              x.data<float>()[((b * length + t) * heads + h) * size + d];
        }
      }
    }
  }
  return y;
}

TEST(AttentionTest, RankThreeEqualsRankFour) {
  const Tensor q = RandomFloats({2, 5, 4 * 8}, 1), k = RandomFloats({2, 7, 2 * 8}, 2),
               v = RandomFloats({2, 7, 2 * 6}, 3);
  OpRunner three("Attention", 23), four("Attention", 23);
  three.Attr("q_num_heads", int64_t{4}).Attr("kv_num_heads", int64_t{2}).Input(q).Input(k).Input(v);
  four.Input(HeadsFirst(q, 4)).Input(HeadsFirst(k, 2)).Input(HeadsFirst(v, 2));
  const Tensor y = three.Run()[0];
  EXPECT_EQ(DimsToString(y.dims()), "[2, 5, 24]");
  EXPECT_EQ(FirstDifference(HeadsFirst(y, 4), four.Run()[0]), "");
}

TEST(AttentionTest, TiledEqualsPlain) {
  for (bool causal : {false, true}) {
    OpRunner fast("Attention", 24), plain("Attention", 24);
    for (OpRunner* run : {&fast, &plain}) {
      run->Attr("is_causal", int64_t{causal}).Attr("softcap", 3.0f);
      run->Input(RandomFloats({2, 6, 70, 16}, 1))
          .Input(RandomFloats({2, 3, 70, 16}, 2))
          .Input(RandomFloats({2, 3, 70, 16}, 3));
      run->Input(RandomFloats({6, 70, 101}, 4))
          .Input(RandomFloats({2, 3, 31, 16}, 5))
          .Input(RandomFloats({2, 3, 31, 16}, 6));
      run->Outputs(3);
    }
    const std::vector<Tensor> a = fast.Run(), b = plain.Plain().Run();
    for (int i = 0; i < 3; ++i) EXPECT_EQ(FirstDifference(a[i], b[i], 1e-4, 1e-5), "") << "output " << i;
    EXPECT_EQ(plain.implementation(), "plain");
    EXPECT_NE(fast.implementation(), "plain");
  }
}

TEST(AttentionTest, PresentIsPastThenNewRows) {
  OpRunner run("Attention", 23);
  run.Input(RandomFloats({1, 1, 1, 2}))
      .Input(FloatTensor({1, 1, 1, 2}, {5, 6}))
      .Input(FloatTensor({1, 1, 1, 2}, {7, 8}));
  run.Absent()
      .Input(FloatTensor({1, 1, 2, 2}, {1, 2, 3, 4}))
      .Input(FloatTensor({1, 1, 2, 2}, {-1, -2, -3, -4}))
      .Outputs(3);
  const std::vector<Tensor> out = run.Run();
  EXPECT_EQ(Floats(out[1]), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(Floats(out[2]), (std::vector<float>{-1, -2, -3, -4, 7, 8}));
}

TEST(AttentionTest, PastOfLengthZeroWorks) {
  OpRunner run("Attention", 23);
  run.Attr("is_causal", int64_t{1}).Input(RandomFloats({1, 2, 3, 4})).Input(RandomFloats({1, 2, 3, 4}, 2));
  const Tensor v = RandomFloats({1, 2, 3, 4}, 3);
  run.Input(v).Absent().Input(Tensor::Make(DataType::kFloat, {1, 2, 0, 4}));
  run.Input(Tensor::Make(DataType::kFloat, {1, 2, 0, 4})).Outputs(3);
  const std::vector<Tensor> out = run.Run();
  EXPECT_EQ(FirstDifference(out[2], v), "");
  // The first query sees the first key only.
  for (int i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(Floats(out[0])[i], Floats(v)[i]);
}

TEST(AttentionTest, RowsThatSeeNothingAreZero) {
  for (bool plain : {false, true}) {
    OpRunner run("Attention", 23);
    run.Input(RandomFloats({1, 1, 2, 4})).Input(RandomFloats({1, 1, 2, 4}, 2)).Input(FloatTensor({1, 1, 2, 1}, {3, 5}));
    run.Input(BoolTensor({2, 2}, {false, false, false, true})).Plain(plain);
    EXPECT_EQ(Floats(run.Run()[0]), (std::vector<float>{0, 5})) << plain;
  }
}

TEST(AttentionTest, ShortMaskExcludesTheRest) {
  OpRunner run("Attention", 24);
  run.Input(RandomFloats({1, 1, 1, 4}))
      .Input(RandomFloats({1, 1, 3, 4}, 2))
      .Input(FloatTensor({1, 1, 3, 1}, {3, 5, 7}));
  run.Input(FloatTensor({1, 1}, {0}));
  EXPECT_EQ(Floats(run.Run()[0]), (std::vector<float>{3}));
}

TEST(AttentionTest, LengthsOutsideTheCacheAreErrors) {
  for (int64_t length : {-1, 4}) {
    OpRunner run("Attention", 24);
    run.Input(RandomFloats({1, 1, 1, 4})).Input(RandomFloats({1, 1, 3, 4})).Input(RandomFloats({1, 1, 3, 4}));
    run.Absent().Absent().Absent().Input(Int64Tensor({1}, {length}));
    EXPECT_NE(run.RunError().find("out of range [0, 3]"), std::string::npos) << run.RunError();
  }
}

TEST(AttentionTest, UnusedCacheRowsAreNotRead) {
  const float nan = std::nanf("");
  OpRunner run("Attention", 24);
  run.Input(RandomFloats({1, 1, 1, 1})).Input(FloatTensor({1, 1, 3, 1}, {1, nan, nan}));
  run.Input(FloatTensor({1, 1, 3, 1}, {3, nan, nan})).Absent().Absent().Absent().Input(Int64Tensor({1}, {1}));
  EXPECT_EQ(Floats(run.Run()[0]), (std::vector<float>{3}));
}

TEST(AttentionTest, HeadsMustDivide) {
  OpRunner run("Attention", 23);
  run.Input(RandomFloats({1, 3, 1, 4})).Input(RandomFloats({1, 2, 3, 4})).Input(RandomFloats({1, 2, 3, 4}));
  EXPECT_NE(run.RunError().find("expected a multiple of the 2 key heads"), std::string::npos) << run.RunError();
}

// ---- RotaryEmbedding ----

TEST(RotaryEmbeddingTest, TurnsPairsByTheAngleOfThePosition) {
  // A quarter turn at position 1.
  OpRunner run("RotaryEmbedding", 23);
  run.Input(FloatTensor({1, 1, 2, 4}, {1, 2, 3, 4, 1, 2, 3, 4})).Input(FloatTensor({2, 2}, {1, 1, 0, 0}));
  run.Input(FloatTensor({2, 2}, {0, 0, 1, 1})).Input(Int64Tensor({1, 2}, {0, 1}));
  EXPECT_EQ(Floats(run.Run()[0]), (std::vector<float>{1, 2, 3, 4, -3, -4, 1, 2}));
}

TEST(RotaryEmbeddingTest, OneTableServesAllBatches) {
  const Tensor x = RandomFloats({2, 3, 5, 8}), cos = RandomFloats({1, 5, 4}, 2), sin = RandomFloats({1, 5, 4}, 3);
  const auto twice = [](const Tensor& t) {
    std::vector<float> values = Floats(t), both = values;
    both.insert(both.end(), values.begin(), values.end());
    return FloatTensor({2, 5, 4}, both);
  };
  OpRunner one("RotaryEmbedding", 23), two("RotaryEmbedding", 23);
  one.Input(x).Input(cos).Input(sin);
  two.Input(x).Input(twice(cos)).Input(twice(sin));
  EXPECT_EQ(FirstDifference(one.Run()[0], two.Run()[0], 0, 0), "");
}

TEST(RotaryEmbeddingTest, MicrosoftTakesPositionsSecondAndAnOffset) {
  OpRunner run("RotaryEmbedding", 1, "com.microsoft");
  run.Attr("interleaved", int64_t{1})
      .Input(FloatTensor({1, 2, 4}, {1, 2, 3, 4, 1, 2, 3, 4}))
      .Input(Int64Tensor({1}, {1}));
  run.Input(FloatTensor({3, 2}, {1, 1, 0, 0, -1, -1})).Input(FloatTensor({3, 2}, {0, 0, 1, 1, 0, 0}));
  // The head size is the tables'; positions 1 and 2: a quarter and a half turn of (1, 2) and (3, 4).
  EXPECT_EQ(Floats(run.Run()[0]), (std::vector<float>{-2, 1, -4, 3, -1, -2, -3, -4}));
}

TEST(RotaryEmbeddingTest, PositionsOutsideTheTablesAreErrors) {
  for (int64_t position : {int64_t{-1}, int64_t{2}, std::numeric_limits<int64_t>::max()}) {
    OpRunner run("RotaryEmbedding", 1, "com.microsoft");
    run.Input(RandomFloats({1, 2, 4})).Input(Int64Tensor({1}, {position}));
    run.Input(RandomFloats({2, 2})).Input(RandomFloats({2, 2}));
    EXPECT_NE(run.RunError().find("out of range [0, 1]"), std::string::npos) << run.RunError();
  }
}

}  // namespace
}  // namespace rondo

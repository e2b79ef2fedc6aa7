#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

constexpr char kMicrosoft[] = "com.microsoft";

// Rows [begin, end) of axis 1.
Tensor Rows(const Tensor& x, int64_t begin, int64_t end) {
  Tensor y = Tensor::Make(DataType::kFloat, {x.dim(0), end - begin, x.dim(2)});
  const int64_t width = x.dim(2);
  for (int64_t b = 0; b < x.dim(0); ++b) {
    std::memcpy(y.mutable_data<float>() + b * (end - begin) * width, x.data<float>() + (b * x.dim(1) + begin) * width,
                sizeof(float) * static_cast<size_t>((end - begin) * width));
  }
  return y;
}

OpRunner GatedDelta(int64_t begin, int64_t end, const Tensor* past, absl::string_view domain) {
  OpRunner run("LinearAttention", domain.empty() ? 27 : 1, domain);
  run.Attr("q_num_heads", int64_t{4}).Attr("kv_num_heads", int64_t{2});
  run.Input(Rows(RandomFloats({2, 6, 4 * 3}, 1), begin, end)).Input(Rows(RandomFloats({2, 6, 2 * 3}, 2), begin, end));
  run.Input(Rows(RandomFloats({2, 6, 2 * 5}, 3), begin, end));
  past != nullptr ? run.Input(*past) : run.Absent();
  run.Input(Rows(RandomFloats({2, 6, 2}, 4), begin, end)).Input(Rows(RandomFloats({2, 6, 1}, 5), begin, end));
  run.Outputs(2);
  return run;
}

TEST(LinearAttentionTest, ChunksEqualOnePass) {
  const std::vector<Tensor> whole = GatedDelta(0, 6, nullptr, "").Run();
  const std::vector<Tensor> first = GatedDelta(0, 4, nullptr, "").Run();
  const std::vector<Tensor> rest = GatedDelta(4, 6, &first[1], "").Run();
  EXPECT_EQ(FirstDifference(first[0], Rows(whole[0], 0, 4)), "");
  EXPECT_EQ(FirstDifference(rest[0], Rows(whole[0], 4, 6)), "");
  EXPECT_EQ(FirstDifference(rest[1], whole[1]), "");
}

TEST(LinearAttentionTest, StateWindowKeepsTheLastStates) {
  OpRunner run = GatedDelta(0, 2, nullptr, kMicrosoft);
  const Tensor states = run.Attr("state_window", int64_t{3}).Run()[1];
  ASSERT_EQ(DimsToString(states.dims()), "[3, 2, 2, 3, 5]");
  const int64_t slot = 2 * 2 * 3 * 5;
  for (int64_t i = 0; i < slot; ++i) EXPECT_EQ(states.data<float>()[i], 0);  // before the first token
  for (int64_t tokens = 1; tokens <= 2; ++tokens) {
    const Tensor state = GatedDelta(0, tokens, nullptr, "").Run()[1];
    const Tensor kept = Tensor::Borrow(DataType::kFloat, state.dims(), states.data<float>() + tokens * slot, nullptr);
    EXPECT_EQ(FirstDifference(kept, state), "");
  }
  // The last slot is what the next call reads.
  OpRunner next = GatedDelta(2, 6, &states, kMicrosoft);
  EXPECT_EQ(FirstDifference(next.Attr("state_window", int64_t{3}).Run()[0],
                            Rows(GatedDelta(0, 6, nullptr, "").Run()[0], 2, 6)),
            "");
}

TEST(LinearAttentionTest, InputsMustFitTheRule) {
  OpRunner run("LinearAttention", 27);
  run.Attr("q_num_heads", int64_t{1}).Attr("kv_num_heads", int64_t{1});
  for (int i = 0; i < 3; ++i) run.Input(RandomFloats({1, 2, 3}));
  EXPECT_NE(run.RunError().find("expected input decay to be present"), std::string::npos) << run.RunError();
}

// [B, C, L] columns [begin, end).
Tensor Columns(const Tensor& x, int64_t begin, int64_t end) {
  Tensor y = Tensor::Make(DataType::kFloat, {x.dim(0), x.dim(1), end - begin});
  for (int64_t r = 0; r < x.dim(0) * x.dim(1); ++r) {
    std::copy(x.data<float>() + r * x.dim(2) + begin, x.data<float>() + r * x.dim(2) + end,
              y.mutable_data<float>() + r * (end - begin));
  }
  return y;
}
Tensor Transposed(const Tensor& x) {  // [B, C, L] -> [B, L, C]
  Tensor y = Tensor::Make(DataType::kFloat, {x.dim(0), x.dim(2), x.dim(1)});
  for (int64_t b = 0; b < x.dim(0); ++b) {
    for (int64_t c = 0; c < x.dim(1); ++c) {
      for (int64_t l = 0; l < x.dim(2); ++l) {
        y.mutable_data<float>()[(b * x.dim(2) + l) * x.dim(1) + c] = x.data<float>()[(b * x.dim(1) + c) * x.dim(2) + l];
      }
    }
  }
  return y;
}

OpRunner CausalConv(const Tensor& x, const Tensor* past, int64_t dilation) {
  OpRunner run("CausalConvWithState", 1, kMicrosoft);
  run.Attr("dilation", dilation).Attr("activation", std::string("silu"));
  run.Input(x).Input(RandomFloats({3, 1, 4}, 2)).Input(RandomFloats({3}, 3));
  if (past != nullptr) run.Input(*past);
  run.Outputs(2);
  return run;
}

TEST(CausalConvWithStateTest, StreamingEqualsOnePass) {
  const Tensor x = RandomFloats({2, 3, 11}, 1);
  for (int64_t dilation : {1, 2}) {
    const std::vector<Tensor> whole = CausalConv(x, nullptr, dilation).Run();
    Tensor state = Tensor::Make(DataType::kFloat, {2, 3, 3 * dilation});
    for (int64_t at = 0; at < 11;) {
      const int64_t end = std::min<int64_t>(at + (at == 0 ? 1 : 4), 11);
      const std::vector<Tensor> out = CausalConv(Columns(x, at, end), &state, dilation).Run();
      EXPECT_EQ(FirstDifference(out[0], Columns(whole[0], at, end)), "");
      state = out[1];
      at = end;
    }
    EXPECT_EQ(FirstDifference(state, whole[1]), "");
  }
}

TEST(CausalConvWithStateTest, ChannelsLastIsALayoutOnly) {
  const Tensor x = RandomFloats({2, 3, 7}, 1), past = RandomFloats({2, 3, 3}, 5), past_last = Transposed(past);
  const std::vector<Tensor> first = CausalConv(x, &past, 1).Run();
  OpRunner last = CausalConv(Transposed(x), &past_last, 1);
  const std::vector<Tensor> out = last.Attr("channels_last", int64_t{1}).Run();
  EXPECT_EQ(FirstDifference(out[0], Transposed(first[0])), "");
  EXPECT_EQ(FirstDifference(out[1], Transposed(first[1])), "");
}

TEST(CausalConvWithStateTest, StateWindowKeepsTheLastStates) {
  const Tensor x = RandomFloats({2, 3, 2}, 1);
  OpRunner run = CausalConv(x, nullptr, 1);
  const Tensor states = run.Attr("state_window", int64_t{3}).Run()[1];
  ASSERT_EQ(DimsToString(states.dims()), "[3, 2, 3, 3]");
  const int64_t slot = 18;
  for (int64_t i = 0; i < slot; ++i) EXPECT_EQ(states.data<float>()[i], 0);
  for (int64_t n = 1; n <= 2; ++n) {
    const Tensor state = CausalConv(Columns(x, 0, n), nullptr, 1).Run()[1];
    EXPECT_EQ(FirstDifference(Tensor::Borrow(DataType::kFloat, state.dims(), states.data<float>() + n * slot, nullptr),
                              state),
              "");
  }
}

}  // namespace
}  // namespace rondo

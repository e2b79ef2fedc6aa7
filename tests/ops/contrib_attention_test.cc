#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

constexpr char kMicrosoft[] = "com.microsoft";

// Rows [begin, end) of axis 1 (three dims) or 2 (four).
Tensor Rows(const Tensor& x, int64_t begin, int64_t end) {
  const int axis = x.rank() - 2;
  int64_t outer = 1;
  for (int i = 0; i < axis; ++i) outer *= x.dim(i);
  const int64_t width = x.dim(x.rank() - 1), rows = x.dim(axis);
  Dims dims = x.dims();
  dims[axis] = end - begin;
  Tensor y = Tensor::Make(DataType::kFloat, dims);
  for (int64_t o = 0; o < outer; ++o) {
    std::memcpy(y.mutable_data<float>() + o * (end - begin) * width, x.data<float>() + (o * rows + begin) * width,
                sizeof(float) * static_cast<size_t>((end - begin) * width));
  }
  return y;
}

// ---- GroupQueryAttention ----

constexpr int64_t kHeads = 4, kKvHeads = 2, kSize = 8, kWidth = (kHeads + 2 * kKvHeads) * kSize;

Tensor Table(int64_t rows, bool sine) {
  Tensor t = Tensor::Make(DataType::kFloat, {rows, kSize / 2});
  for (int64_t p = 0; p < rows; ++p) {
    for (int64_t i = 0; i < kSize / 2; ++i) {
      const double angle = static_cast<double>(p) * std::pow(100.0, -2.0 * static_cast<double>(i) / kSize);
      t.mutable_data<float>()[p * kSize / 2 + i] = static_cast<float>(sine ? std::sin(angle) : std::cos(angle));
    }
  }
  return t;
}

struct Step {
  Tensor packed;  // [1, T, width]
  Tensor past_key, past_value;
  int32_t total;
};
OpRunner GroupQuery(const Step& step, std::vector<int32_t> seqlens = {}) {
  OpRunner run("GroupQueryAttention", 1, kMicrosoft);
  run.Attr("num_heads", kHeads).Attr("kv_num_heads", kKvHeads).Attr("do_rotary", int64_t{1});
  run.Input(step.packed).Absent().Absent().Input(step.past_key).Input(step.past_value);
  if (seqlens.empty()) seqlens = {step.total - 1};
  run.Input(Int32Tensor({static_cast<int64_t>(seqlens.size())}, seqlens)).Input(Int32Tensor({}, {step.total}));
  run.Constant(Table(64, false)).Constant(Table(64, true)).Outputs(3);
  return run;
}
Tensor Empty(int64_t rows = 0) { return Tensor::Make(DataType::kFloat, {1, kKvHeads, rows, kSize}); }

TEST(GroupQueryAttentionTest, StepsEqualOnePass) {
  const Tensor all = RandomFloats({1, 6, kWidth});
  const std::vector<Tensor> whole = GroupQuery({all, Empty(), Empty(), 6}).Run();
  std::vector<Tensor> state = GroupQuery({Rows(all, 0, 3), Empty(), Empty(), 3}).Run();
  EXPECT_EQ(FirstDifference(state[0], Rows(whole[0], 0, 3)), "");
  for (int t = 3; t < 6; ++t) {
    state = GroupQuery({Rows(all, t, t + 1), state[1], state[2], t + 1}).Run();
    EXPECT_EQ(FirstDifference(state[0], Rows(whole[0], t, t + 1)), "") << t;
  }
  EXPECT_EQ(FirstDifference(state[1], whole[1]), "");
  EXPECT_EQ(FirstDifference(state[2], whole[2]), "");
}

TEST(GroupQueryAttentionTest, SharedBufferUsesValidRowsOnly) {
  const Tensor all = RandomFloats({1, 5, kWidth});
  const std::vector<Tensor> whole = GroupQuery({all, Empty(), Empty(), 5}).Run();
  // Capacity 9, junk beyond what was written.
  Tensor key = RandomFloats({1, kKvHeads, 9, kSize}, 7), value = RandomFloats({1, kKvHeads, 9, kSize}, 8);
  std::vector<Tensor> state = GroupQuery({Rows(all, 0, 4), key, value, 4}).Run();
  EXPECT_EQ(DimsToString(state[1].dims()), "[1, 2, 9, 8]");
  state = GroupQuery({Rows(all, 4, 5), state[1], state[2], 5}).Run();
  EXPECT_EQ(FirstDifference(state[0], Rows(whole[0], 4, 5)), "");
  EXPECT_EQ(FirstDifference(Rows(state[1], 0, 5), whole[1]), "");
}

TEST(GroupQueryAttentionTest, PackedEqualsSeparateOperands) {
  const Tensor all = RandomFloats({1, 3, kWidth});
  Tensor q = Tensor::Make(DataType::kFloat, {1, 3, kHeads * kSize});
  Tensor k = Tensor::Make(DataType::kFloat, {1, 3, kKvHeads * kSize}), v = k.Clone();
  for (int64_t t = 0; t < 3; ++t) {
    const float* row = all.data<float>() + t * kWidth;
    std::copy(row, row + 32, q.mutable_data<float>() + t * 32);
    std::copy(row + 32, row + 48, k.mutable_data<float>() + t * 16);
    std::copy(row + 48, row + 64, v.mutable_data<float>() + t * 16);
  }
  OpRunner run("GroupQueryAttention", 1, kMicrosoft);
  run.Attr("num_heads", kHeads).Attr("kv_num_heads", kKvHeads).Attr("do_rotary", int64_t{1}).Input(q).Input(k).Input(v);
  run.Input(Empty()).Input(Empty()).Input(Int32Tensor({1}, {2})).Input(Int32Tensor({1}, {3}));
  run.Constant(Table(64, false)).Constant(Table(64, true)).Outputs(3);
  const std::vector<Tensor> a = run.Run(), b = GroupQuery({all, Empty(), Empty(), 3}).Run();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(FirstDifference(a[i], b[i]), "");
}

TEST(GroupQueryAttentionTest, TiledEqualsPlainWithEverythingOn) {
  const Step step{RandomFloats({1, 40, kWidth}), RandomFloats({1, kKvHeads, 60, kSize}, 3),
                  RandomFloats({1, kKvHeads, 60, kSize}, 4), 50};
  OpRunner fast = GroupQuery(step), plain = GroupQuery(step);
  for (OpRunner* run : {&fast, &plain}) {
    run->Attr("local_window_size", int64_t{12}).Attr("softcap", 2.0f).Absent();
    run->Input(RandomFloats({1, kHeads, 40, 50}, 5)).Input(FloatTensor({kHeads}, {-1, 0, 1, 2}));
  }
  const std::vector<Tensor> a = fast.Run(), b = plain.Plain().Run();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(FirstDifference(a[i], b[i], 1e-4, 1e-5), "");
}

TEST(GroupQueryAttentionTest, WindowCountsTheCurrentToken) {
  const Tensor all = RandomFloats({1, 4, kWidth});
  OpRunner run = GroupQuery({all, Empty(), Empty(), 4});
  const std::vector<Tensor> out = run.Attr("local_window_size", int64_t{1}).Run();
  // Each token sees itself alone: the output is its value.
  for (int64_t t = 0; t < 4; ++t) {
    for (int64_t i = 0; i < kHeads * kSize; ++i) {
      const int64_t group = i / kSize / 2;
      EXPECT_FLOAT_EQ(out[0].data<float>()[t * 32 + i], all.data<float>()[t * kWidth + 48 + group * kSize + i % kSize]);
    }
  }
}

TEST(GroupQueryAttentionTest, WindowCacheEqualsFullCache) {
  constexpr int64_t kWindow = 4, kCapacity = 6;
  const Tensor all = RandomFloats({1, 20, kWidth});
  OpRunner full = GroupQuery({all, Empty(), Empty(), 20});
  const std::vector<Tensor> whole = full.Attr("local_window_size", kWindow).Run();
  Tensor key = Empty(kCapacity), value = Empty(kCapacity);
  // Steps of several lengths, one longer than the capacity.
  for (int64_t at = 0, i = 0; at < 20; ++i) {
    const int64_t steps[] = {2, 1, 1, 1, 7, 1, 3, 1, 1, 1, 1};
    OpRunner run = GroupQuery({Rows(all, at, at + steps[i]), key, value, static_cast<int32_t>(at + steps[i])});
    const std::vector<Tensor> out =
        run.Attr("local_window_size", kWindow).Attr("sliding_window_cache", int64_t{1}).Run();
    ASSERT_EQ(FirstDifference(out[0], Rows(whole[0], at, at + steps[i])), "") << at;
    key = out[1];
    value = out[2];
    ASSERT_EQ(key.dim(2), kCapacity);
    at += steps[i];
  }
}

TEST(GroupQueryAttentionTest, PromptMayBePaddedOnTheRight) {
  const Tensor row = RandomFloats({1, 3, kWidth});
  Tensor both = Tensor::Make(DataType::kFloat, {2, 4, kWidth});
  for (int b = 0; b < 2; ++b) {
    std::memcpy(both.mutable_data<float>() + b * 4 * kWidth, row.raw(), row.bytes());
  }
  Tensor past = Tensor::Make(DataType::kFloat, {2, kKvHeads, 0, kSize});
  const std::vector<Tensor> out = GroupQuery({both, past, past, 4}, {2, 3}).Run();
  const std::vector<Tensor> alone = GroupQuery({row, Empty(), Empty(), 3}).Run();
  for (int b = 0; b < 2; ++b) {
    Tensor y = Tensor::Borrow(DataType::kFloat, {1, 3, kHeads * kSize}, out[0].data<float>() + b * 4 * kHeads * kSize,
                              nullptr);
    EXPECT_EQ(FirstDifference(y, alone[0]), "");
  }
}

TEST(GroupQueryAttentionTest, SmoothSoftmaxIsASinkOfZero) {
  const Step step{RandomFloats({1, 3, kWidth}), Empty(), Empty(), 3};
  OpRunner smooth = GroupQuery(step), sink = GroupQuery(step);
  smooth.Attr("smooth_softmax", int64_t{1});
  sink.Absent().Absent().Input(FloatTensor({kHeads}, {0, 0, 0, 0}));
  EXPECT_EQ(FirstDifference(smooth.Run()[0], sink.Run()[0]), "");
}

TEST(GroupQueryAttentionTest, BadLengthsAreErrors) {
  const Step step{RandomFloats({1, 1, kWidth}), Empty(4), Empty(4), 5};
  for (int32_t seqlen : {-2, -1, 5, 1 << 30}) {
    EXPECT_NE(GroupQuery(step, {seqlen}).RunError().find("out of range"), std::string::npos) << seqlen;
  }
  // More past rows claimed than there are.
  const Step longer{RandomFloats({1, 1, kWidth}), Empty(2), Empty(2), 5};
  EXPECT_NE(GroupQuery(longer).RunError().find("exceeds the 2 rows"), std::string::npos);
  // A position beyond the tables.
  const Step far{RandomFloats({1, 1, kWidth}), Empty(80), Empty(80), 70};
  EXPECT_NE(GroupQuery(far).RunError().find("of cos_cache"), std::string::npos);
}

// ---- MultiHeadAttention, Attention, QAttention ----

OpRunner MultiHead(const Tensor& q, const Tensor& k, const Tensor& v) {
  OpRunner run("MultiHeadAttention", 1, kMicrosoft);
  run.Attr("num_heads", int64_t{2}).Input(q).Input(k).Input(v);
  return run;
}

TEST(MultiHeadAttentionTest, EqualsOnnxAttention) {
  const Tensor q = RandomFloats({2, 3, 16}, 1), k = RandomFloats({2, 5, 16}, 2), v = RandomFloats({2, 5, 12}, 3);
  OpRunner onnx("Attention", 23);
  onnx.Attr("q_num_heads", int64_t{2}).Attr("kv_num_heads", int64_t{2}).Input(q).Input(k).Input(v);
  EXPECT_EQ(FirstDifference(MultiHead(q, k, v).Run()[0], onnx.Run()[0]), "");
}

TEST(MultiHeadAttentionTest, PackedFormsEqualSeparateOperands) {
  const Tensor q = RandomFloats({1, 3, 16}, 1), k = RandomFloats({1, 3, 16}, 2), v = RandomFloats({1, 3, 16}, 3);
  Tensor qkv = Tensor::Make(DataType::kFloat, {1, 3, 2, 3, 8}), kv = Tensor::Make(DataType::kFloat, {1, 3, 2, 2, 8});
  for (int64_t t = 0; t < 3; ++t) {
    for (int64_t i = 0; i < 16; ++i) {
      const int64_t h = i / 8, d = i % 8;
      const Tensor* parts[] = {&q, &k, &v};
      for (int64_t p = 0; p < 3; ++p) {
        qkv.mutable_data<float>()[((t * 2 + h) * 3 + p) * 8 + d] = parts[p]->data<float>()[t * 16 + i];
        if (p > 0) kv.mutable_data<float>()[((t * 2 + h) * 2 + p - 1) * 8 + d] = parts[p]->data<float>()[t * 16 + i];
      }
    }
  }
  const Tensor expected = MultiHead(q, k, v).Run()[0];
  OpRunner all("MultiHeadAttention", 1, kMicrosoft), two("MultiHeadAttention", 1, kMicrosoft);
  all.Attr("num_heads", int64_t{2}).Input(qkv);
  two.Attr("num_heads", int64_t{2}).Input(q).Input(kv);
  EXPECT_EQ(FirstDifference(all.Run()[0], expected), "");
  EXPECT_EQ(FirstDifference(two.Run()[0], expected), "");
}

TEST(MultiHeadAttentionTest, PastAndUnidirectionalEqualOnePass) {
  const Tensor q = RandomFloats({1, 5, 16}, 1), k = RandomFloats({1, 5, 16}, 2), v = RandomFloats({1, 5, 16}, 3);
  OpRunner whole = MultiHead(q, k, v);
  const std::vector<Tensor> all = whole.Attr("unidirectional", int64_t{1}).Outputs(3).Run();
  OpRunner last = MultiHead(Rows(q, 3, 5), Rows(k, 3, 5), Rows(v, 3, 5));
  last.Attr("unidirectional", int64_t{1})
      .Absent()
      .Absent()
      .Absent()
      .Input(Rows(all[1], 0, 3))
      .Input(Rows(all[2], 0, 3));
  const std::vector<Tensor> out = last.Outputs(3).Run();
  EXPECT_EQ(FirstDifference(out[0], Rows(all[0], 3, 5)), "");
  EXPECT_EQ(FirstDifference(out[1], all[1]), "");
}

TEST(MultiHeadAttentionTest, SharedBufferWritesAtThePastLength) {
  const Tensor q = RandomFloats({1, 1, 16}, 1), k = RandomFloats({1, 1, 16}, 2), v = RandomFloats({1, 1, 16}, 3);
  const Tensor past_k = RandomFloats({1, 2, 6, 8}, 4), past_v = RandomFloats({1, 2, 6, 8}, 5);
  OpRunner shared = MultiHead(q, k, v), growing = MultiHead(q, k, v);
  shared.Absent().Absent().Absent().Input(past_k).Input(past_v).Input(Int32Tensor({1}, {2})).Outputs(3);
  growing.Absent().Absent().Absent().Input(Rows(past_k, 0, 2)).Input(Rows(past_v, 0, 2)).Outputs(3);
  const std::vector<Tensor> a = shared.Run(), b = growing.Run();
  EXPECT_EQ(FirstDifference(a[0], b[0]), "");
  EXPECT_EQ(FirstDifference(Rows(a[1], 0, 3), b[1]), "");
  EXPECT_EQ(FirstDifference(Rows(a[1], 3, 6), Rows(past_k, 3, 6)), "");
}

TEST(MultiHeadAttentionTest, PaddingFormsAgree) {
  const Tensor q = RandomFloats({2, 2, 16}, 1), k = RandomFloats({2, 4, 16}, 2), v = RandomFloats({2, 4, 16}, 3);
  const std::vector<Tensor> masks = {Int32Tensor({2}, {3, 4}), Int32Tensor({2, 4}, {1, 1, 1, 0, 1, 1, 1, 1}),
                                     Int32Tensor({2, 2, 4}, {1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1})};
  std::vector<Tensor> results;
  for (const Tensor& mask : masks) results.push_back(MultiHead(q, k, v).Absent().Input(mask).Run()[0]);
  EXPECT_EQ(FirstDifference(results[0], results[1]), "");
  EXPECT_EQ(FirstDifference(results[0], results[2]), "");
  const Tensor first = MultiHead(Tensor::Borrow(DataType::kFloat, {1, 2, 16}, q.raw(), nullptr),
                                 Tensor::Borrow(DataType::kFloat, {1, 3, 16}, k.raw(), nullptr),
                                 Tensor::Borrow(DataType::kFloat, {1, 3, 16}, v.raw(), nullptr))
                           .Run()[0];
  EXPECT_EQ(FirstDifference(Tensor::Borrow(DataType::kFloat, {1, 2, 16}, results[0].raw(), nullptr), first), "");
}

// input [2, 3, 6], weights [6, 24]: heads of 4.
struct Fused {
  Tensor x = RandomFloats({2, 3, 6}, 1), w = RandomFloats({6, 24}, 2), bias = RandomFloats({24}, 3);
  // One of Q, K, V.
  Tensor Part(int part, const Tensor& w_, const Tensor& x_) const {
    Tensor y = Tensor::Make(DataType::kFloat, {2, 3, 8});
    for (int64_t r = 0; r < 6; ++r) {
      for (int64_t c = 0; c < 8; ++c) {
        float sum = bias.data<float>()[part * 8 + c];
        for (int64_t i = 0; i < 6; ++i) sum += x_.data<float>()[r * 6 + i] * w_.data<float>()[i * 24 + part * 8 + c];
        y.mutable_data<float>()[r * 8 + c] = sum;
      }
    }
    return y;
  }
  Tensor Expected(const Tensor& w_, const Tensor& x_) const {
    return MultiHead(Part(0, w_, x_), Part(1, w_, x_), Part(2, w_, x_)).Run()[0];
  }
};

TEST(FusedAttentionTest, ProjectsThenAttends) {
  const Fused f;
  for (bool constant : {false, true}) {
    OpRunner run("Attention", 1, kMicrosoft);
    run.Attr("num_heads", int64_t{2}).Input(f.x);
    constant ? run.Constant(f.w) : run.Input(f.w);
    run.Input(f.bias).Outputs(2);
    const std::vector<Tensor> out = run.Run();
    EXPECT_EQ(FirstDifference(out[0], f.Expected(f.w, f.x)), "");
    EXPECT_EQ(DimsToString(out[1].dims()), "[2, 2, 2, 3, 4]");
  }
}

TEST(FusedAttentionTest, QuantizedProjectionsFoldScalesAndZeros) {
  const Fused f;
  Tensor x = Tensor::Make(DataType::kUInt8, {2, 3, 6}), w = Tensor::Make(DataType::kInt8, {6, 24});
  Tensor xf = f.x.Clone(), wf = f.w.Clone(), w_scale = Tensor::Make(DataType::kFloat, {24}),
         w_zero = Tensor::Make(DataType::kInt8, {24});
  for (int64_t i = 0; i < 36; ++i) {
    x.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(i * 7 % 256);
    xf.mutable_data<float>()[i] = 0.01f * static_cast<float>(i * 7 % 256 - 100);
  }
  for (int64_t c = 0; c < 24; ++c) {
    w_scale.mutable_data<float>()[c] = 0.002f * static_cast<float>(c + 1);
    w_zero.mutable_data<int8_t>()[c] = static_cast<int8_t>(c - 12);
  }
  for (int64_t i = 0; i < 144; ++i) {
    const int q = static_cast<int>(i * 13 % 255) - 127;
    w.mutable_data<int8_t>()[i] = static_cast<int8_t>(q);
    wf.mutable_data<float>()[i] =
        0.002f * static_cast<float>(i % 24 + 1) * static_cast<float>(q - (static_cast<int>(i % 24) - 12));
  }
  OpRunner run("QAttention", 1, kMicrosoft);
  run.Attr("num_heads", int64_t{2})
      .Input(x)
      .Constant(w)
      .Input(f.bias)
      .Input(FloatTensor({}, {0.01f}))
      .Constant(w_scale);
  run.Absent().Input(Tensor::FromVector<uint8_t>(DataType::kUInt8, {}, {100})).Constant(w_zero);
  EXPECT_EQ(FirstDifference(run.Run()[0], f.Expected(wf, xf), 1e-4, 1e-5), "");
}

}  // namespace
}  // namespace rondo

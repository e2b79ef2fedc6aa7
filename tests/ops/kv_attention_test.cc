// rondo::KvAttention against the formula, against ONNX's Attention with a growing past, and against itself where the
// same rows lie elsewhere (behind a prefix, in a ring, in a restored session).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "graph/numeric.h"
#include "kvcache/kv_cache.h"
#include "tests/support/op_runner.h"
#include "tests/support/paths.h"
#include "tools/allocation_counter.h"

namespace rondo {
namespace {

using testing::HasSubstr;

struct Shape4 {
  int64_t heads = 4, kv_heads = 2, size = 16, v_size = 16;
};

struct Options {
  float scale = 0;  // 0: the default
  float softcap = 0;
  int64_t window = -1;
  int64_t distances = 0;  // columns of relative_bias; 0: none
  bool alibi = false, sinks = false;
  bool rank3 = false;
  DataType type = DataType::kFloat;  // of the operands
  bool plain = false;
  int threads = 2;
};

// Keys and values of one sequence so far, [position][head][size].
struct History {
  std::vector<float> k, v;
};

float Rounded(float x, DataType type) {
  if (type == DataType::kFloat16) return static_cast<float>(Float16(x));
  if (type == DataType::kBFloat16) return static_cast<float>(BFloat16(x));
  return x;
}
Tensor FromFloats(const Tensor& x, DataType type) {
  if (type == DataType::kFloat) return x;
  Tensor y = Tensor::Make(type, x.dims());
  for (int64_t i = 0; i < x.size(); ++i) {
    y.mutable_data<uint16_t>()[i] =
        type == DataType::kFloat16 ? Float16(x.data<float>()[i]).bits : BFloat16(x.data<float>()[i]).bits;
  }
  return y;
}
Tensor ToFloats(const Tensor& x) {
  if (x.dtype() == DataType::kFloat) return x;
  Tensor y = Tensor::Make(DataType::kFloat, x.dims());
  for (int64_t i = 0; i < x.size(); ++i) {
    y.mutable_data<float>()[i] = x.dtype() == DataType::kFloat16 ? static_cast<float>(x.data<Float16>()[i])
                                                                 : static_cast<float>(x.data<BFloat16>()[i]);
  }
  return y;
}

// A decoder of one attention layer: feeds random rows and knows what must come out.
class Layer {
 public:
  Layer(Shape4 shape, Options options, KvCacheConfig config = {})
      : shape_(shape), options_(options), rng_(7), history_(config.sequences + config.prompts) {
    config.layers = {{shape.kv_heads, shape.size, shape.v_size, config.layers.empty() ? -1 : config.layers[0].window}};
    if (config.decode_capacity == 0) config.decode_capacity = 2000;
    absl::StatusOr<std::shared_ptr<KvCache>> cache = KvCache::Create(config);
    EXPECT_TRUE(cache.ok()) << cache.status();
    cache_ = *cache;
    relative_ = RandomFloats({shape.heads, std::max<int64_t>(options.distances, 1)}, 21);
    alibi_ = RandomFloats({shape.heads}, 22);
    sinks_ = RandomFloats({shape.heads}, 23);
  }

  KvCache& cache() { return *cache_; }
  History& history(int segment) { return history_[segment]; }
  Options& options() { return options_; }

  // Random operands of the next step.
  void Draw(int64_t batch, int64_t rows) {
    q_ = Random(batch, shape_.heads, rows, shape_.size);
    k_ = Random(batch, shape_.kv_heads, rows, shape_.size);
    v_ = Random(batch, shape_.kv_heads, rows, shape_.v_size);
  }

  // One step with the operands drawn; Y as float32 [B, H, S, Dv].
  absl::StatusOr<Tensor> TryRun(const std::vector<int>& segments, const std::vector<int64_t>& valid) {
    const int64_t rows = q_.dim(2);
    if (absl::Status begun = cache_->BeginStep(segments, rows, valid); !begun.ok()) return begun;
    OpRunner run("KvAttention", 1, "rondo");
    run.Attr("layer", int64_t{0}).Plain(options_.plain).Threads(options_.threads);
    if (options_.scale != 0) run.Attr("scale", options_.scale);
    if (options_.softcap != 0) run.Attr("softcap", options_.softcap);
    if (options_.window >= 0) run.Attr("window", options_.window);
    if (options_.rank3) run.Attr("q_num_heads", shape_.heads).Attr("kv_num_heads", shape_.kv_heads);
    for (const Tensor* x : {&q_, &k_, &v_}) run.Input(FromFloats(options_.rank3 ? RowsFirst(*x) : *x, options_.type));
    run.Value(RuntimeValue(std::shared_ptr<RuntimeState>(cache_)), ValueType::State());
    options_.distances > 0 ? run.Input(relative_) : run.Absent();
    options_.alibi ? run.Input(alibi_) : run.Absent();
    options_.sinks ? run.Input(sinks_) : run.Absent();
    absl::StatusOr<std::vector<RuntimeValue>> outputs = run.TryRun();
    if (!outputs.ok()) return outputs.status();
    implementation_ = run.implementation();
    if (absl::Status ended = cache_->EndStep(); !ended.ok()) return ended;
    Tensor y = ToFloats((*outputs)[0].tensor());
    return options_.rank3 ? HeadsFirst(y) : y;
  }
  Tensor Run(const std::vector<int>& segments, const std::vector<int64_t>& valid) {
    absl::StatusOr<Tensor> y = TryRun(segments, valid);
    EXPECT_TRUE(y.ok()) << y.status();
    return y.ok() ? *y : Tensor();
  }

  // Draws, runs, and compares with the formula over the history; "" when equal.
  std::string Step(const std::vector<int>& segments, int64_t rows, const std::vector<int64_t>& valid,
                   double tolerance = 2e-5) {
    const int64_t batch = static_cast<int64_t>(segments.size());
    Draw(batch, rows);
    absl::StatusOr<Tensor> y = TryRun(segments, valid);
    if (!y.ok()) return std::string(y.status().message());
    return FirstDifference(*y, Expected(segments, rows, valid), 0, tolerance);
  }

  Tensor Expected(const std::vector<int>& segments, int64_t rows, const std::vector<int64_t>& valid) {
    const int64_t batch = static_cast<int64_t>(segments.size());
    Tensor expected = Tensor::Make(DataType::kFloat, {batch, shape_.heads, rows, shape_.v_size});
    for (int64_t b = 0; b < batch; ++b) {
      if (segments[b] < 0) continue;
      History& h = history_[segments[b]];
      const int64_t start = static_cast<int64_t>(h.k.size()) / (shape_.kv_heads * shape_.size);
      Remember(b, valid[b], &h);
      for (int64_t head = 0; head < shape_.heads; ++head) {
        for (int64_t i = 0; i < valid[b]; ++i) {
          const int64_t row = (b * shape_.heads + head) * rows + i;
          Formula(h, head, start + i, q_.data<float>() + row * shape_.size,
                  expected.mutable_data<float>() + row * shape_.v_size);
        }
      }
    }
    return expected;
  }

  const Tensor& q() const { return q_; }
  const Tensor& k() const { return k_; }
  const Tensor& v() const { return v_; }
  const std::string& implementation() const { return implementation_; }

 private:
  Tensor Random(int64_t batch, int64_t heads, int64_t rows, int64_t size) {
    Tensor x = RandomFloats({batch, heads, rows, size}, static_cast<int>(rng_() & 0xffffff));
    for (int64_t i = 0; i < x.size(); ++i) x.mutable_data<float>()[i] = Rounded(x.data<float>()[i] * 2, options_.type);
    return x;
  }
  static Tensor RowsFirst(const Tensor& x) {
    Tensor y = Tensor::Make(DataType::kFloat, {x.dim(0), x.dim(2), x.dim(1) * x.dim(3)});
    Permute(x, y.mutable_data<float>(), x.dim(1), x.dim(2), x.dim(3));
    return y;
  }
  Tensor HeadsFirst(const Tensor& y) const {
    Tensor x = Tensor::Make(DataType::kFloat, {y.dim(0), shape_.heads, y.dim(1), shape_.v_size});
    Permute(y, x.mutable_data<float>(), y.dim(1), shape_.heads, shape_.v_size);
    return x;
  }
  // [batch, m, n, size] -> [batch, n, m, size]
  static void Permute(const Tensor& from, float* to, int64_t m, int64_t n, int64_t size) {
    const int64_t batch = from.dim(0);
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          std::copy_n(from.data<float>() + ((b * m + i) * n + j) * size, size, to + ((b * n + j) * m + i) * size);
        }
      }
    }
  }
  void Remember(int64_t b, int64_t valid, History* h) const {
    const int64_t rows = q_.dim(2);
    for (int64_t r = 0; r < valid; ++r) {
      for (int64_t g = 0; g < shape_.kv_heads; ++g) {
        const int64_t row = (b * shape_.kv_heads + g) * rows + r;
        h->k.insert(h->k.end(), k_.data<float>() + row * shape_.size, k_.data<float>() + (row + 1) * shape_.size);
        h->v.insert(h->v.end(), v_.data<float>() + row * shape_.v_size, v_.data<float>() + (row + 1) * shape_.v_size);
      }
    }
  }
  void Formula(const History& h, int64_t head, int64_t p, const float* q, float* y) const {
    const int64_t g = head / (shape_.heads / shape_.kv_heads);
    const double scale = options_.scale != 0 ? options_.scale : 1 / std::sqrt(static_cast<double>(shape_.size));
    std::vector<double> scores, sums(shape_.v_size);
    const int64_t first = options_.window < 0 ? 0 : std::max<int64_t>(0, p - options_.window + 1);
    double total = 0;
    for (int64_t j = first; j <= p; ++j) {
      double score = 0;
      for (int64_t d = 0; d < shape_.size; ++d)
        score += double{q[d]} * h.k[(j * shape_.kv_heads + g) * shape_.size + d];
      score *= scale;
      if (options_.softcap > 0) score = options_.softcap * std::tanh(score / options_.softcap);
      if (options_.distances > 0) {
        score += relative_.data<float>()[head * options_.distances + std::min(p - j, options_.distances - 1)];
      }
      if (options_.alibi) score += double{alibi_.data<float>()[head]} * static_cast<double>(j - p);
      const double e = std::exp(score);  // scores are small here
      total += e;
      for (int64_t d = 0; d < shape_.v_size; ++d) sums[d] += e * h.v[(j * shape_.kv_heads + g) * shape_.v_size + d];
    }
    if (options_.sinks) total += std::exp(double{sinks_.data<float>()[head]});
    for (int64_t d = 0; d < shape_.v_size; ++d) y[d] = static_cast<float>(sums[d] / total);
  }

  Shape4 shape_;
  Options options_;
  std::mt19937 rng_;
  std::vector<History> history_;
  std::shared_ptr<KvCache> cache_;
  Tensor q_, k_, v_, relative_, alibi_, sinks_;
  std::string implementation_;
};

// Prefill, chunks, and steps of one row, across tile borders.
std::string FirstWrongStep(Layer& layer, double tolerance = 2e-5) {
  for (int64_t rows : {1, 70, 5, 1, 1, 130, 1, 24, 1}) {
    const std::string wrong = layer.Step({0}, rows, {rows}, tolerance);
    if (!wrong.empty()) return absl::StrCat(rows, " rows, ", layer.cache().length(0), " in all: ", wrong);
  }
  return "";
}

TEST(KvAttentionTest, EqualsTheFormulaInPrefillAndDecode) {
  for (bool plain : {false, true}) {
    for (const Shape4& shape : {Shape4{4, 2, 16, 16}, Shape4{14, 2, 64, 64}, Shape4{3, 3, 8, 24}, Shape4{6, 1, 40, 5},
                                Shape4{1, 1, 1, 1}, Shape4{8, 1, 128, 80}}) {
      Layer layer(shape, {.plain = plain});
      EXPECT_EQ(FirstWrongStep(layer), "") << shape.heads << "/" << shape.kv_heads << " heads, plain " << plain;
      EXPECT_THAT(layer.implementation(), HasSubstr(plain ? "plain" : "own:flash"));
    }
  }
}

TEST(KvAttentionTest, EveryTermOfTheScores) {
  for (bool plain : {false, true}) {
    for (const Options& options :
         {Options{.scale = 0.3f},
          {.softcap = 0.7f},
          {.distances = 1},
          {.distances = 40},
          {.distances = 1000},
          {.alibi = true},
          {.sinks = true},
          {.window = 1},
          {.window = 20},
          {.window = 64},
          {.rank3 = true},
          {.scale = 0.2f, .softcap = 2, .window = 50, .distances = 17, .alibi = true, .sinks = true, .rank3 = true}}) {
      Layer layer({4, 2, 16, 24}, options);
      layer.options().plain = plain;
      EXPECT_EQ(FirstWrongStep(layer), "") << "plain " << plain << ", window " << options.window << ", distances "
                                           << options.distances << ", softcap " << options.softcap;
    }
  }
}

TEST(KvAttentionTest, BatchesOfDifferentLengthsAndPaddingQueries) {
  for (bool plain : {false, true}) {
    Layer layer({4, 2, 16, 16}, {.plain = plain}, {.sequences = 4});
    EXPECT_EQ(layer.Step({0, 1, 2}, 90, {90, 3, 41}), "");
    EXPECT_EQ(layer.Step({2, 0}, 1, {1, 1}), "");
    EXPECT_EQ(layer.Step({3, -1, 1, 0}, 7, {7, 0, 0, 2}), "");
    EXPECT_EQ(layer.Step({0, 1, 2, 3}, 1, {1, 1, 1, 1}), "");
    EXPECT_EQ(layer.Step({-1, 2}, 1, {0, 1}), "");
    EXPECT_EQ(layer.cache().length(1), 4);
  }
}

TEST(KvAttentionTest, LongSequencesAreSplitAmongThreads) {
  for (int threads : {1, 2, 4}) {
    Layer layer({7, 1, 16, 16}, {.threads = threads}, {.sequences = 2, .decode_capacity = 3000});
    EXPECT_EQ(layer.Step({0}, 2500, {2500}, 1e-4), "");
    for (int64_t rows : {1, 1, 3, 40}) EXPECT_EQ(layer.Step({0}, rows, {rows}), "") << threads << " threads";
    EXPECT_EQ(layer.Step({0, 1}, 2, {1, 2}), "");
  }
}

// ---- ONNX's Attention with a growing past ----

TEST(KvAttentionTest, EqualsOnnxAttentionWithAGrowingPast) {
  std::mt19937 rng(3);
  const auto draw = [&](int64_t low, int64_t high) { return low + static_cast<int64_t>(rng() % (high - low + 1)); };
  for (int round = 0; round < 25; ++round) {
    Shape4 shape;
    shape.kv_heads = draw(1, 3);
    shape.heads = shape.kv_heads * draw(1, 4);
    shape.size = draw(1, 40);
    shape.v_size = draw(1, 40);
    const int64_t batch = draw(1, 3);
    Layer layer(shape, {.softcap = round % 3 == 0 ? 1.5f : 0.0f, .plain = round % 4 == 0}, {.sequences = batch});
    std::vector<int> segments;
    for (int b = 0; b < batch; ++b) segments.push_back(b);
    Tensor past_k = Tensor::Make(DataType::kFloat, {batch, shape.kv_heads, 0, shape.size});
    Tensor past_v = Tensor::Make(DataType::kFloat, {batch, shape.kv_heads, 0, shape.v_size});
    for (int step = 0; step < 4; ++step) {
      const int64_t rows = draw(1, step == 0 ? 150 : 5);
      layer.Draw(batch, rows);
      const Tensor y = layer.Run(segments, std::vector<int64_t>(batch, rows));
      OpRunner onnx("Attention", 23);
      onnx.Attr("is_causal", int64_t{1}).Attr("softcap", layer.options().softcap).Outputs(3);
      onnx.Input(layer.q()).Input(layer.k()).Input(layer.v()).Absent().Input(past_k).Input(past_v);
      const std::vector<Tensor> expected = onnx.Run();
      ASSERT_EQ(FirstDifference(y, expected[0], 0, 2e-5), "") << "round " << round << ", step " << step;
      past_k = expected[1];
      past_v = expected[2];
    }
  }
}

// ---- Types ----

TEST(KvAttentionTest, HalfOperands) {
  for (const auto& [type, tolerance] : {std::pair{DataType::kFloat16, 2e-3}, {DataType::kBFloat16, 1.6e-2}}) {
    for (bool plain : {false, true}) {
      Layer layer({4, 2, 16, 24}, {.type = type, .plain = plain}, {.dtype = type});
      EXPECT_EQ(FirstWrongStep(layer, tolerance), "") << DataTypeName(type);
    }
  }
}

// With the rows that the cache stores, the arithmetic is as exact as ever; with the rows that were given, the rounding
// of the type is what differs.
TEST(KvAttentionTest, StoredTypesAreExactOverTheirRoundedRows) {
  for (const auto& [dtype, tolerance] :
       {std::pair{DataType::kFloat16, 4e-3}, {DataType::kBFloat16, 3e-2}, {DataType::kInt8, 6e-2}}) {
    for (const Shape4& shape : {Shape4{4, 2, 16, 24}, Shape4{14, 2, 64, 64}}) {
      Layer fast(shape, {}, {.dtype = dtype}), plain(shape, {.plain = true}, {.dtype = dtype});
      for (int64_t rows : {70, 1, 1, 9, 1}) {
        fast.Draw(1, rows);
        plain.Draw(1, rows);
        const Tensor a = fast.Run({0}, {rows}), b = plain.Run({0}, {rows});
        ASSERT_EQ(FirstDifference(a, b, 0, 2e-5), "") << DataTypeName(dtype);
        ASSERT_EQ(FirstDifference(a, fast.Expected({0}, rows, {rows}), 0, tolerance), "") << DataTypeName(dtype);
      }
    }
  }
}

// ---- Where rows lie makes no difference ----

// Steps of both layers draw the same operands; "" when the outputs are equal to the last bit.
std::string FirstBitThatDiffers(Layer& a, Layer& b, int a_segment, int b_segment, const std::vector<int64_t>& steps) {
  for (int64_t rows : steps) {
    a.Draw(1, rows);
    b.Draw(1, rows);
    const std::string wrong = FirstDifference(a.Run({a_segment}, {rows}), b.Run({b_segment}, {rows}), 0, 0);
    if (!wrong.empty()) return absl::StrCat("at ", a.cache().length(a_segment), ": ", wrong);
  }
  return "";
}

TEST(KvAttentionTest, ContinuationsOfOnePrefillEqualSequencesOfTheirOwnBitByBit) {
  for (DataType dtype : {DataType::kFloat, DataType::kBFloat16, DataType::kInt8}) {
    for (int64_t prefix : {1, 50, 64, 130}) {
      const KvCacheConfig config = {.sequences = 2, .prompts = 1, .prefill_capacity = 200, .dtype = dtype};
      Layer shared({4, 2, 16, 16}, {}, config), alone({4, 2, 16, 16}, {}, config);
      ASSERT_EQ(FirstBitThatDiffers(shared, alone, 2, 0, {prefix}), "");
      ASSERT_TRUE(shared.cache().Attach(0, 2).ok());
      ASSERT_TRUE(shared.cache().Attach(1, 2).ok());
      EXPECT_EQ(FirstBitThatDiffers(shared, alone, 0, 0, {1, 1, 30, 1, 70, 1}), "") << "prefix " << prefix;
      // The other continuation has seen nothing of that.
      ASSERT_TRUE(alone.cache().Truncate(0, prefix).ok());
      EXPECT_EQ(FirstBitThatDiffers(shared, alone, 1, 0, {1, 20, 1}), "") << "prefix " << prefix;
    }
  }
}

TEST(KvAttentionTest, ARingEqualsAWholeCacheBitByBit) {
  for (int64_t window : {1, 10, 64, 100}) {
    const KvCacheConfig whole = {.sequences = 2, .prompts = 1, .prefill_capacity = 400};
    KvCacheConfig ring = whole;
    ring.layers = {{.window = window}};
    ring.max_new_rows = 40;
    Layer a({4, 2, 16, 16}, {.window = window}, ring), b({4, 2, 16, 16}, {.window = window}, whole);
    EXPECT_LE(a.cache().Info().bytes, b.cache().Info().bytes / 4);
    // A prefill in chunks, single steps over several wraps, and a continuation of such a prompt.
    EXPECT_EQ(FirstBitThatDiffers(a, b, 2, 2, {40, 40, 33, 1, 40, 7, 40, 40, 40}), "") << "window " << window;
    ASSERT_TRUE(a.cache().Attach(0, 2).ok());
    ASSERT_TRUE(b.cache().Attach(0, 2).ok());
    EXPECT_EQ(FirstBitThatDiffers(a, b, 0, 0, std::vector<int64_t>(150, 1)), "") << "window " << window;
    EXPECT_EQ(FirstBitThatDiffers(a, b, 0, 0, {40, 40, 1, 5}), "") << "window " << window;
  }
}

TEST(KvAttentionTest, ARingEqualsTheFormula) {
  KvCacheConfig config = {.max_new_rows = 130};
  config.layers = {{.window = 50}};
  for (bool plain : {false, true}) {
    Layer layer({4, 2, 16, 16}, {.window = 50, .plain = plain}, config);
    EXPECT_EQ(FirstWrongStep(layer), "");
    for (int i = 0; i < 40; ++i) ASSERT_EQ(layer.Step({0}, 9, {9}), "");
  }
}

TEST(KvAttentionTest, ASavedSequenceGoesOnBitByBit) {
  const std::string path = NewTempDir() + "/session";
  for (DataType dtype : {DataType::kFloat, DataType::kInt8}) {
    KvCacheConfig config = {.sequences = 2, .prompts = 1, .prefill_capacity = 200, .dtype = dtype};
    Layer a({4, 2, 16, 16}, {}, config), b({4, 2, 16, 16}, {}, config);
    ASSERT_EQ(FirstBitThatDiffers(a, b, 2, 2, {90}), "");
    ASSERT_TRUE(a.cache().Attach(0, 2).ok());
    ASSERT_TRUE(b.cache().Attach(0, 2).ok());
    ASSERT_EQ(FirstBitThatDiffers(a, b, 0, 0, {60}), "");
    ASSERT_TRUE(a.cache().Save(0, path).ok());
    ASSERT_TRUE(b.cache().Restore(1, path).ok());
    EXPECT_EQ(FirstBitThatDiffers(a, b, 0, 1, {1, 1, 13, 1}), "") << DataTypeName(dtype);
  }
}

TEST(KvAttentionTest, WhatLiesBeyondTheValidRowsDoesNotMatter) {
  for (DataType dtype : {DataType::kFloat, DataType::kInt8}) {
    Layer layer({4, 2, 16, 16}, {}, {.dtype = dtype});
    const float nan = std::nanf("");
    const std::vector<float> rows(2 * 500 * 16, nan);
    const KvRows bad = {rows.data(), DataType::kFloat, 500 * 16, 16};
    ASSERT_TRUE(layer.cache().Append(0, 500, {bad}, {bad}).ok());
    ASSERT_TRUE(layer.cache().Reset(0).ok());
    EXPECT_EQ(FirstWrongStep(layer, dtype == DataType::kInt8 ? 6e-2 : 2e-5), "");
  }
}

// The rows of a restored window begin within a tile; what was there before is NaN.
TEST(KvAttentionTest, WhatLiesBeforeAWindowDoesNotMatter) {
  const std::string path = NewTempDir() + "/session";
  KvCacheConfig config = {.sequences = 2, .max_new_rows = 40};
  config.layers = {{.window = 50}};
  Layer a({4, 2, 16, 16}, {.window = 50}, config), b({4, 2, 16, 16}, {.window = 50}, config);
  ASSERT_EQ(FirstBitThatDiffers(a, b, 0, 0, {40, 40, 37}), "");
  ASSERT_TRUE(a.cache().Save(0, path).ok());
  const std::vector<float> rows(2 * 500 * 16, std::nanf(""));
  const KvRows bad = {rows.data(), DataType::kFloat, 500 * 16, 16};
  ASSERT_TRUE(b.cache().Append(1, 500, {bad}, {bad}).ok());
  ASSERT_TRUE(b.cache().Restore(1, path).ok());
  EXPECT_EQ(FirstBitThatDiffers(a, b, 0, 1, {1, 1, 30, 1}), "");
}

TEST(KvAttentionTest, OneRowAtATimeEqualsTheWholePrefill) {
  Layer whole({14, 2, 64, 64}, {}), steps({14, 2, 64, 64}, {});
  whole.Draw(1, 100);
  const Tensor y = whole.Run({0}, {100});
  double largest = 0;
  for (int64_t i = 0; i < 100; ++i) {
    // Row i of the whole operands.
    const auto row = [&](const Tensor& x) {
      Tensor one = Tensor::Make(DataType::kFloat, {1, x.dim(1), 1, x.dim(3)});
      for (int64_t h = 0; h < x.dim(1); ++h) {
        std::copy_n(x.data<float>() + (h * 100 + i) * x.dim(3), x.dim(3), one.mutable_data<float>() + h * x.dim(3));
      }
      return one;
    };
    ASSERT_TRUE(steps.cache().BeginStep({0}, 1, {1}).ok());
    OpRunner run("KvAttention", 1, "rondo");
    run.Attr("layer", int64_t{0}).Input(row(whole.q())).Input(row(whole.k())).Input(row(whole.v()));
    run.Value(RuntimeValue(std::shared_ptr<RuntimeState>(std::shared_ptr<RuntimeState>(), &steps.cache())),
              ValueType::State());
    const Tensor one = run.Run()[0];
    ASSERT_TRUE(steps.cache().EndStep().ok());
    for (int64_t h = 0; h < 14; ++h) {
      for (int64_t d = 0; d < 64; ++d) {
        largest = std::max<double>(largest,
                                   std::abs(one.data<float>()[h * 64 + d] - y.data<float>()[(h * 100 + i) * 64 + d]));
      }
    }
  }
  EXPECT_LT(largest, 2e-6);
}

// ---- A plan serves every position ----

// A program of one KvAttention [1, heads, 1, size], as a decode loop holds it.
class DecodeProgram {
 public:
  explicit DecodeProgram(std::shared_ptr<KvCache> cache, const Shape4& shape) : cache_(std::move(cache)) {
    auto graph = std::make_unique<Graph>();
    std::vector<Value*> inputs;
    for (int64_t heads : {shape.heads, shape.kv_heads, shape.kv_heads}) {
      fed_.emplace_back(RandomFloats({1, heads, 1, shape.size}, static_cast<int>(fed_.size())));
      inputs.push_back(
          graph->AddInput(absl::StrCat("x", fed_.size()),
                          ValueType::Tensor(DataType::kFloat, Shape::FromDims(fed_.back().tensor().dims()))));
    }
    fed_.emplace_back(std::shared_ptr<RuntimeState>(cache_));
    inputs.push_back(graph->AddInput("cache", ValueType::State()));
    Node* node = graph->AddNode({"rondo", "KvAttention", 1}, "attention", inputs, 1);
    node->set_attribute("layer", int64_t{0});
    graph->AddOutput(node->outputs()[0]);
    ProgramOptions options;
    options.threads = 2;
    auto program = Program::Create(std::move(graph), options);
    EXPECT_TRUE(program.ok()) << program.status();
    program_ = *std::move(program);
    for (const RuntimeValue& value : fed_) pointers_.push_back(&value);
  }
  bool Step() {
    const int segment[] = {0};
    const int64_t valid[] = {1};
    if (!cache_->BeginStep(segment, 1, valid).ok()) return false;
    RuntimeValue* output = &output_;
    return program_->root().Run(pointers_, absl::MakeSpan(&output, 1), &state_).ok() && cache_->EndStep().ok();
  }
  const Program& program() const { return *program_; }

 private:
  std::shared_ptr<KvCache> cache_;
  std::unique_ptr<Program> program_;
  std::vector<RuntimeValue> fed_;
  std::vector<const RuntimeValue*> pointers_;
  RuntimeValue output_;
  RegionState state_;
};

TEST(KvAttentionTest, StepsUseOnePlanAndAllocateNothingMoreThanTheirOutput) {
  const Shape4 shape;
  auto cache = KvCache::Create({.layers = {{2, 16, 16}}, .decode_capacity = 3000});
  ASSERT_TRUE(cache.ok());
  DecodeProgram decode(*cache, shape);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(decode.Step());
  // Of the output that each run hands out: its storage's handle.
  int64_t before = AllocationCount();
  ASSERT_TRUE(decode.Step());
  const int64_t per_step = AllocationCount() - before;
  EXPECT_LE(per_step, 1);
  before = AllocationCount();
  for (int i = 0; i < 2000; ++i) {
    if (!decode.Step()) FAIL() << "step " << i;
  }
  EXPECT_EQ(AllocationCount() - before, 2000 * per_step);
  EXPECT_EQ(decode.program().root().plans().size(), 1u);
}

// ---- Errors ----

class KvAttentionErrorTest : public testing::Test {
 protected:
  KvAttentionErrorTest()
      : cache_(*KvCache::Create({.layers = {{2, 16, 8}, {2, 16, 8, 32}}, .sequences = 2, .decode_capacity = 50})) {}
  // A node that runs, but for what `change` does.
  template <typename Change>
  std::string Error(const Change& change) {
    q_ = {2, 4, 3, 16}, k_ = {2, 2, 3, 16}, v_ = {2, 2, 3, 8};
    (void)cache_->BeginStep({0, 1}, 3, {1, 1});
    OpRunner run("KvAttention", 1, "rondo");
    state_ = RuntimeValue(std::shared_ptr<RuntimeState>(cache_));
    layer_ = 0;
    extra_.clear();
    change(run);
    run.Attr("layer", layer_);
    for (const Dims& dims : {q_, k_, v_}) run.Input(RandomFloats(dims));
    run.Value(state_, ValueType::State());
    for (const Tensor& extra : extra_) extra.defined() ? run.Input(extra) : run.Absent();
    return run.RunError();
  }
  std::shared_ptr<KvCache> cache_;
  Dims q_, k_, v_;
  RuntimeValue state_;
  int64_t layer_ = 0;
  std::vector<Tensor> extra_;
};

TEST_F(KvAttentionErrorTest, TheNodeItselfRuns) {
  EXPECT_EQ(Error([](OpRunner&) {}), "");
}

TEST_F(KvAttentionErrorTest, ShapesThatContradict) {
  EXPECT_THAT(Error([&](OpRunner&) {
                q_ = {2, 3, 3, 16};
              }),
              HasSubstr("query heads 3: expected a multiple of the 2 key heads"));
  EXPECT_THAT(Error([&](OpRunner&) { k_ = {2, 2, 4, 16}; }), HasSubstr("length of K is 4, length of Q is 3"));
  EXPECT_THAT(Error([&](OpRunner&) { v_ = {1, 2, 3, 8}; }), HasSubstr("batch of V is 1, batch of Q is 2"));
  EXPECT_THAT(Error([&](OpRunner&) { k_ = {2, 2, 3, 8}; }), HasSubstr("head size of K is 8, head size of Q is 16"));
  EXPECT_THAT(Error([&](OpRunner&) { v_ = {2, 1, 3, 8}; }), HasSubstr("heads of V is 1, heads of K is 2"));
  EXPECT_THAT(Error([&](OpRunner&) { v_ = {2, 3, 16}; }), HasSubstr("expected one rank"));
  EXPECT_THAT(Error([&](OpRunner&) { extra_ = {RandomFloats({3, 5})}; }), HasSubstr("dim 0 of relative_bias is 3"));
  EXPECT_THAT(Error([&](OpRunner&) { extra_ = {RandomFloats({4, 0})}; }), HasSubstr("relative_bias has no columns"));
  EXPECT_THAT(Error([&](OpRunner&) {
                extra_ = {Tensor(), RandomFloats({5})};
              }),
              HasSubstr("dim 0 of alibi_slopes is 5"));
  EXPECT_THAT(Error([&](OpRunner&) {
                extra_ = {Tensor(), Tensor(), RandomFloats({2})};
              }),
              HasSubstr("dim 0 of sinks is 2"));
}

TEST_F(KvAttentionErrorTest, Attributes) {
  const auto rank3 = [&](int64_t q_heads, int64_t kv_heads) {
    return Error([&](OpRunner& run) {
      q_ = {2, 3, 64}, k_ = {2, 3, 32}, v_ = {2, 3, 16};
      run.Attr("q_num_heads", q_heads).Attr("kv_num_heads", kv_heads);
    });
  };
  EXPECT_EQ(rank3(4, 2), "");
  EXPECT_THAT(rank3(5, 2), HasSubstr("hidden size of Q is 64: expected a multiple of 5"));
  EXPECT_THAT(rank3(0, 2), HasSubstr("q_num_heads"));
  EXPECT_THAT(Error([&](OpRunner& run) { run.Attr("window", int64_t{0}); }), HasSubstr("\"window\" is 0"));
  EXPECT_THAT(Error([&](OpRunner& run) { run.Attr("softcap", -1.0f); }), HasSubstr("\"softcap\" is -1"));
  EXPECT_THAT(Error([&](OpRunner&) { layer_ = -1; }), HasSubstr("\"layer\" is -1"));
}

TEST_F(KvAttentionErrorTest, ACacheThatDoesNotFit) {
  EXPECT_THAT(Error([&](OpRunner&) { layer_ = 2; }), HasSubstr("layer 2: the cache has 2 layers"));
  EXPECT_THAT(Error([&](OpRunner&) { layer_ = 1; }), HasSubstr("keeps a window of 32 rows, the node's is -1"));
  EXPECT_THAT(Error([&](OpRunner& run) { layer_ = 1, run.Attr("window", int64_t{33}); }),
              HasSubstr("the node's is 33"));
  EXPECT_EQ(Error([&](OpRunner& run) { layer_ = 1, run.Attr("window", int64_t{32}); }), "");
  EXPECT_THAT(Error([&](OpRunner&) {
                v_ = {2, 2, 3, 16};
              }),
              HasSubstr("layer 0 of the cache has 2 heads of size 16 and 8, K and V have 2 of 16 and 16"));
  EXPECT_THAT(Error([&](OpRunner&) { (void)cache_->EndStep(); }), HasSubstr("the cache is in no step"));
  EXPECT_THAT(Error([&](OpRunner&) { (void)cache_->BeginStep({0}, 3, {1}); }),
              HasSubstr("the cache's step has 1 sequences of 3 rows, Q has 2 of 3"));
  EXPECT_THAT(Error([&](OpRunner&) {
                (void)cache_->BeginStep({0, 1}, 4, {1, 1});
              }),
              HasSubstr("2 sequences of 4 rows"));
  class OtherState : public RuntimeState {};
  EXPECT_THAT(
      Error([&](OpRunner&) { state_ = RuntimeValue(std::shared_ptr<RuntimeState>(std::make_shared<OtherState>())); }),
      HasSubstr("expected the state of a KV cache"));
}

TEST_F(KvAttentionErrorTest, ATensorInsteadOfACache) {
  OpRunner run("KvAttention", 1, "rondo");
  run.Attr("layer", int64_t{0});
  for (int i = 0; i < 3; ++i) run.Input(RandomFloats({1, 1, 1, 4}));
  run.Input(RandomFloats({1}));
  EXPECT_THAT(run.RunError(), HasSubstr("input 3: expected the state of a KV cache, got float32[1]"));
}

TEST(KvAttentionTest, OperandsOfOtherTypesAreRefused) {
  OpRunner run("KvAttention", 1, "rondo");
  run.Attr("layer", int64_t{0});
  for (int i = 0; i < 3; ++i) run.Input(Int64Tensor({1, 1, 1, 4}, {1, 2, 3, 4}));
  run.Value(RuntimeValue(), ValueType::State());
  EXPECT_THAT(run.RunError(), HasSubstr("float32"));
}

}  // namespace
}  // namespace rondo

// The tiled attention kernel against the reference, over the forms that operators give it.
#include "ops/kernels/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "graph/numeric.h"

namespace rondo {
namespace {

struct Case {
  int64_t batch = 2, heads = 4, kv_heads = 2, queries = 5, keys = 37, size = 16, v_size = 16;
  bool causal = false;
  int64_t left = -1, right = -1;
  float softcap = 0;
  bool bias = false, mask = false, alibi = false, sinks = false;
  int64_t first_position = 0;
  std::vector<int64_t> begin = {}, end = {};
  DataType cache_type = DataType::kFloat;
  int threads = 2;
  const char* name = "";
};

struct Aligned {
  explicit Aligned(size_t bytes) : data(std::aligned_alloc(64, (bytes + 127) / 64 * 64)) {}
  ~Aligned() { std::free(data); }
  void* data;
};

// Values of a buffer in `type`.
std::vector<char> Random(int64_t n, DataType type, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  std::vector<char> bytes(ByteSize(type, n));
  for (int64_t i = 0; i < n; ++i) {
    const float x = normal(rng);
    if (type == DataType::kFloat) reinterpret_cast<float*>(bytes.data())[i] = x;
    if (type == DataType::kFloat16) reinterpret_cast<Float16*>(bytes.data())[i] = Float16(x);
    if (type == DataType::kBFloat16) reinterpret_cast<BFloat16*>(bytes.data())[i] = BFloat16(x);
  }
  return bytes;
}

void ExpectEqualToReference(const Case& c) {
  SCOPED_TRACE(c.name);
  std::mt19937 rng(7);
  const int64_t capacity = c.keys + 3;  // a cache with unused rows: strides differ from a dense tensor's
  auto q = Random(c.batch * c.heads * c.queries * c.size, DataType::kFloat, rng);
  auto k = Random(c.batch * c.kv_heads * capacity * c.size, c.cache_type, rng);
  auto v = Random(c.batch * c.kv_heads * capacity * c.v_size, c.cache_type, rng);
  auto bias = Random(c.batch * c.queries * c.keys, DataType::kFloat, rng);
  std::vector<uint8_t> mask(c.heads * c.queries * c.keys);
  for (auto& m : mask) m = rng() % 3 != 0;
  std::vector<float> slopes(c.heads), sinks(c.heads);
  for (int64_t h = 0; h < c.heads; ++h)
    slopes[h] = 0.05f * static_cast<float>(h + 1), sinks[h] = static_cast<float>(h) - 1;
  std::vector<int64_t> positions(c.batch, c.first_position);

  AttentionInputs in;
  in.batch = c.batch;
  in.heads = c.heads;
  in.kv_heads = c.kv_heads;
  in.queries = c.queries;
  in.keys = c.keys;
  in.head_size = c.size;
  in.v_head_size = c.v_size;
  // Q and Y with positions outside heads, K and V as caches.
  in.q = {q.data(), DataType::kFloat, c.queries * c.heads * c.size, c.size, c.heads * c.size};
  in.k = {k.data(), c.cache_type, c.kv_heads * capacity * c.size, capacity * c.size, c.size};
  in.v = {v.data(), c.cache_type, c.kv_heads * capacity * c.v_size, capacity * c.v_size, c.v_size};
  in.scale = 1.0f / std::sqrt(static_cast<float>(c.size));
  in.softcap = c.softcap;
  in.causal = c.causal;
  in.left_window = c.left;
  in.right_window = c.right;
  in.first_position = positions.data();
  if (!c.begin.empty()) in.key_begin = c.begin.data();
  if (!c.end.empty()) in.key_end = c.end.data();
  if (c.bias) in.bias[0] = {bias.data(), DataType::kFloat, c.queries * c.keys, 0, c.keys, 1, c.keys};
  if (c.mask) in.bias[1] = {mask.data(), DataType::kBool, 0, c.queries * c.keys, c.keys, 1, c.keys};
  if (c.alibi) in.alibi = slopes.data();
  if (c.sinks) in.sinks = sinks.data();

  const int64_t outputs = c.batch * c.heads * c.queries * c.v_size;
  std::vector<float> fast(outputs, 9.0f), plain(outputs, -9.0f);
  in.y = {fast.data(), DataType::kFloat, c.queries * c.heads * c.v_size, c.v_size, c.heads * c.v_size};
  const AttentionPlan plan = PlanAttention(in, c.threads);
  Aligned scratch(plan.scratch_bytes);
  RunAttention(in, plan, scratch.data);
  in.y.data = plain.data();
  Aligned reference_scratch(ReferenceAttentionScratch(in, c.threads));
  ReferenceAttention(in, c.threads, reference_scratch.data);
  for (int64_t i = 0; i < outputs; ++i) {
    ASSERT_NEAR(fast[i], plain[i], 2e-5) << "at element " << i << " of " << outputs;
  }
}

TEST(AttentionKernelTest, TiledEqualsReference) {
  const std::vector<Case> cases = {
      {.name = "plain"},
      {.keys = 1, .name = "one key"},
      {.queries = 300, .keys = 300, .causal = true, .name = "prefill over several units"},
      {.queries = 30,
       .keys = 130,
       .size = 20,
       .v_size = 10,
       .causal = true,
       .first_position = 100,
       .name = "odd sizes"},
      {.queries = 1, .keys = 200, .size = 64, .v_size = 64, .causal = true, .first_position = 199, .name = "decode"},
      {.heads = 14, .queries = 1, .keys = 70, .size = 64, .v_size = 64, .name = "seven heads a group"},
      {.queries = 70, .keys = 70, .causal = true, .left = 9, .name = "causal window"},
      {.queries = 70, .keys = 70, .left = 9, .right = 70, .name = "window wider than the keys"},
      {.queries = 40, .keys = 90, .left = 3, .right = 5, .first_position = 50, .name = "two-sided window"},
      {.softcap = 5, .bias = true, .name = "cap and bias"},
      {.mask = true, .name = "mask per head"},
      {.bias = true, .mask = true, .name = "bias and mask"},
      {.alibi = true, .name = "alibi"},
      {.queries = 9, .keys = 100, .sinks = true, .name = "sinks"},
      {.queries = 8, .keys = 100, .begin = {3, 70}, .end = {50, 100}, .name = "padding on both sides"},
      {.queries = 8, .keys = 10, .begin = {5, 0}, .end = {5, 10}, .name = "nothing to see in batch 0"},
      {.queries = 6, .keys = 6, .causal = true, .first_position = -3, .name = "first rows before every key"},
      {.batch = 1,
       .queries = 1,
       .keys = 3000,
       .causal = true,
       .first_position = 2999,
       .threads = 8,
       .name = "split keys"},
      {.batch = 1,
       .queries = 1,
       .keys = 3000,
       .causal = true,
       .sinks = true,
       .first_position = 600,
       .threads = 8,
       .name = "split keys, short"},
      {.queries = 7,
       .keys = 80,
       .causal = true,
       .first_position = 73,
       .cache_type = DataType::kFloat16,
       .name = "float16 cache"},
      {.queries = 7, .keys = 80, .size = 24, .cache_type = DataType::kBFloat16, .name = "bfloat16 cache"},
  };
  for (const Case& c : cases) ExpectEqualToReference(c);
}

}  // namespace
}  // namespace rondo

// Times decode attention over a KV cache (rondo::KvAttention, one new row in each of 24 layers of a 0.5B decoder: 14
// query heads, 2 key/value heads of size 64) and prints the rate at which it reads keys and values, beside the read
// bandwidth of the machine measured in the same minute. The rate at one length must not depend on the capacity.
//
//   kv_attention_bench [--threads N] [--repeat N]
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "executor/program.h"
#include "kvcache/kv_cache.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

constexpr int64_t kLayers = 24, kHeads = 14, kKvHeads = 2, kSize = 64;

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "kv_attention_bench: %s\n", message.c_str());
  std::exit(2);
}
void OrDie(const absl::Status& status) {
  if (!status.ok()) Die(status.ToString());
}
template <typename T>
T OrDie(absl::StatusOr<T> value) {
  OrDie(value.status());
  return *std::move(value);
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// GB/s of reading one large buffer.
double ReadBandwidth() {
  constexpr int64_t kInts = int64_t{1} << 26;  // 512 MB
  static const std::vector<int64_t>* buffer = new std::vector<int64_t>(kInts, 1);
  std::vector<double> seconds;
  for (int run = 0; run < 5; ++run) {
    std::atomic<int64_t> sum{0};
    const double start = Now();
    ParallelFor(kInts, 1 << 16, [&](int64_t begin, int64_t end) {
      int64_t own = 0;
      for (int64_t i = begin; i < end; ++i) own += (*buffer)[i];
      sum += own;
    });
    seconds.push_back(Now() - start);
    if (sum != kInts) Die("the sum is wrong");
  }
  return static_cast<double>(kInts) * 8e-9 / Median(seconds);
}

std::unique_ptr<Program> MakeProgram(int threads) {
  auto graph = std::make_unique<Graph>();
  const auto type = [](int64_t heads) { return ValueType::Tensor(DataType::kFloat, Shape{1, heads, 1, kSize}); };
  Value* q = graph->AddInput("q", type(kHeads));
  Value* k = graph->AddInput("k", type(kKvHeads));
  Value* v = graph->AddInput("v", type(kKvHeads));
  Value* cache = graph->AddInput("cache", ValueType::State());
  for (int64_t i = 0; i < kLayers; ++i) {
    Node* node = graph->AddNode({"rondo", "KvAttention", 1}, absl::StrCat("layer", i), {q, k, v, cache}, 1);
    node->set_attribute("layer", i);
    q = node->outputs()[0];
  }
  graph->AddOutput(q);
  ProgramOptions options;
  options.threads = threads;
  return OrDie(Program::Create(std::move(graph), options));
}

Tensor Random(int64_t heads, int64_t rows) {
  Tensor x = Tensor::Make(DataType::kFloat, {1, heads, rows, kSize});
  uint32_t state = 1;
  for (int64_t i = 0; i < x.size(); ++i) {
    state = state * 1664525 + 1013904223;
    x.mutable_data<float>()[i] = static_cast<float>(state >> 8) / (1 << 24) - 0.5f;
  }
  return x;
}

void Measure(const Program& program, DataType dtype, int64_t length, int64_t capacity, int repeat) {
  KvCacheConfig config;
  config.layers.assign(kLayers, KvLayer{kKvHeads, kSize, kSize});
  config.decode_capacity = capacity;
  config.dtype = dtype;
  std::shared_ptr<KvCache> cache = OrDie(KvCache::Create(config));
  const Tensor rows = Random(kKvHeads, length - 1);
  const std::vector<KvRows> append(kLayers, {rows.raw(), DataType::kFloat, (length - 1) * kSize, kSize});
  OrDie(cache->Append(0, length - 1, append, append));

  const std::vector<RuntimeValue> inputs = {RuntimeValue(Random(kHeads, 1)), RuntimeValue(Random(kKvHeads, 1)),
                                            RuntimeValue(Random(kKvHeads, 1)),
                                            RuntimeValue(std::shared_ptr<RuntimeState>(cache))};
  const RuntimeValue* fed[] = {&inputs[0], &inputs[1], &inputs[2], &inputs[3]};
  RuntimeValue output;
  RuntimeValue* out[] = {&output};
  RegionState state;
  std::vector<double> seconds;
  for (int i = 0; i < repeat + 3; ++i) {
    const int segment[] = {0};
    const int64_t valid[] = {1};
    OrDie(cache->BeginStep(segment, 1, valid));  // never ended: every run is at the same position
    const double start = Now();
    OrDie(program.root().Run(fed, out, &state));
    if (i >= 3) seconds.push_back(Now() - start);
  }
  for (int64_t i = 0; i < output.tensor().size(); ++i) {
    if (!std::isfinite(output.tensor().data<float>()[i])) Die("the result is not finite");
  }
  const double median = Median(seconds);
  const double bytes = static_cast<double>(cache->Info().row_bytes) * static_cast<double>(length);
  std::printf("%-9s length %6lld capacity %6lld: %9.1f us a step (best %9.1f), %6.1f GB/s\n",
              std::string(DataTypeName(dtype)).c_str(), static_cast<long long>(length),
              static_cast<long long>(capacity), median * 1e6, *std::min_element(seconds.begin(), seconds.end()) * 1e6,
              bytes * 1e-9 / median);
}

int Main(int argc, char** argv) {
  int threads = AvailableCores(), repeat = 50;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--threads") == 0) threads = std::max(1, std::atoi(argv[i + 1]));
    if (std::strcmp(argv[i], "--repeat") == 0) repeat = std::max(1, std::atoi(argv[i + 1]));
  }
  ScopedThreads scoped(threads);
  const std::unique_ptr<Program> program = MakeProgram(threads);
  std::printf("%d threads, read bandwidth %.1f GB/s\n", threads, ReadBandwidth());
  for (DataType dtype : {DataType::kFloat, DataType::kBFloat16, DataType::kInt8}) {
    Measure(*program, dtype, 1024, 1024, repeat);
    Measure(*program, dtype, 1024, 32768, repeat);
    Measure(*program, dtype, 32768, 32768, repeat);
  }
  std::printf("read bandwidth %.1f GB/s\n", ReadBandwidth());
  return 0;
}

}  // namespace
}  // namespace rondo

int main(int argc, char** argv) { return rondo::Main(argc, argv); }

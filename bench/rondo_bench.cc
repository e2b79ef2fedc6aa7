// Times rondo on a model and prints one JSON line, for comparison with a peer in the same minute (compare.py).
//
//   rondo_bench MODEL [--shape NAME=1x128]... [--threads N] [--repeat N]
//
// Inputs are random (int64: 1 for masks, 0 for token types, else below 1000). After three unmeasured runs it checks
// that a repeated run gives the same bits and that no primitive was created; a result that fails is no measurement.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "rondo/model.h"

namespace {

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "rondo_bench: %s\n", message.c_str());
  std::exit(2);
}

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) Die(value.status().ToString());
  return *std::move(value);
}

rondo::Tensor Fill(const rondo::PortInfo& port, const std::vector<int64_t>& dims, std::mt19937& rng) {
  rondo::Tensor tensor = OrDie(rondo::Tensor::Create(port.dtype, dims));
  if (port.dtype == rondo::DataType::kFloat) {
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (int64_t i = 0; i < tensor.size(); ++i) tensor.mutable_data<float>()[i] = uniform(rng);
  } else if (port.dtype == rondo::DataType::kInt64) {
    const bool mask = port.name.find("mask") != std::string::npos;
    const bool zero = port.name.find("token_type") != std::string::npos;
    for (int64_t i = 0; i < tensor.size(); ++i) tensor.mutable_data<int64_t>()[i] = mask ? 1 : zero ? 0 : rng() % 1000;
  }
  return tensor;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) Die("usage: rondo_bench MODEL [--shape NAME=1x128]... [--threads N] [--repeat N]");
  std::map<std::string, std::vector<int64_t>> shapes;
  rondo::ModelOptions options;
  int repeat = 20;
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string key = argv[i], value = argv[i + 1];
    if (key == "--threads") options.threads = std::atoi(value.c_str());
    if (key == "--repeat") repeat = std::max(1, std::atoi(value.c_str()));
    if (key == "--shape") {
      const size_t equals = value.find('=');
      if (equals == std::string::npos) Die("--shape wants NAME=1x128");
      for (size_t p = equals; p != std::string::npos; p = value.find('x', p + 1)) {
        shapes[value.substr(0, equals)].push_back(std::atoll(value.c_str() + p + 1));
      }
    }
  }
  double start = Now();
  const rondo::Model model = OrDie(rondo::Model::Load(argv[1], options));
  const double load = Now() - start;
  std::mt19937 rng(1);
  rondo::NamedTensors inputs;
  for (const rondo::PortInfo& port : model.inputs()) {
    std::vector<int64_t> dims = shapes.count(port.name) ? shapes[port.name] : port.dims;
    for (int64_t& d : dims) d = d < 0 ? 1 : d;
    inputs.emplace_back(port.name, Fill(port, dims, rng));
  }
  rondo::Session session(model);
  start = Now();
  const rondo::NamedTensors expected = OrDie(session.Run(inputs));
  const double first = Now() - start;
  OrDie(session.Run(inputs));
  OrDie(session.Run(inputs));
  const int64_t created = model.cache_counters().creations;
  std::vector<double> seconds;
  for (int i = 0; i < repeat; ++i) {
    start = Now();
    const rondo::NamedTensors outputs = OrDie(session.Run(inputs));
    seconds.push_back(Now() - start);
    const rondo::Tensor& a = outputs[0].second.tensor();
    const rondo::Tensor& b = expected[0].second.tensor();
    if (a.bytes() != b.bytes() || std::memcmp(a.raw(), b.raw(), a.bytes()) != 0) Die("a repeated run differs");
  }
  if (model.cache_counters().creations != created) Die("a repeated run created primitives");
  std::sort(seconds.begin(), seconds.end());
  std::printf("{\"load_s\": %.3f, \"first_s\": %.6f, \"median_s\": %.6f, \"min_s\": %.6f}\n", load, first,
              seconds[seconds.size() / 2], seconds[0]);
  return 0;
}

// Solves a grid puzzle with the language model in tests/data/models/arc-mini: puzzle MODEL PROMPT.txt
//
// Greedy decoding in its plainest form. The first run takes the whole prompt [1, T] and an empty KV cache
// [1, Hkv, 0, D]; every further run takes one new token and the cache that the run before gave back.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "rondo/model.h"

namespace {

// The model's tokenizer: a token is a byte plus 3; token 0 ends the text.
constexpr int64_t kEnd = 0;
int64_t TokenOf(char byte) { return static_cast<unsigned char>(byte) + 3; }
char ByteOf(int64_t token) { return static_cast<char>(token - 3); }

rondo::Tensor Row(const std::vector<int64_t>& values) {  // [1, n]
  return rondo::Tensor::FromVector(rondo::DataType::kInt64, {1, static_cast<int64_t>(values.size())}, values);
}

// The likeliest token after the last one of logits [1, T, V].
int64_t BestToken(const rondo::Tensor& logits) {
  const int64_t vocabulary = logits.dim(2);
  const float* last = logits.data<float>() + (logits.dim(1) - 1) * vocabulary;
  return std::max_element(last, last + vocabulary) - last;
}

absl::StatusOr<std::string> Generate(const rondo::Model& model, const std::string& prompt, int max_tokens) {
  rondo::NamedTensors cache;
  for (const rondo::PortInfo& input : model.inputs()) {
    if (!absl::StartsWith(input.name, "past_key_values")) continue;
    cache.emplace_back(input.name, rondo::Tensor::Make(input.dtype, {1, input.dims[1], 0, input.dims[3]}));
  }
  std::vector<int64_t> tokens;
  for (char byte : prompt) tokens.push_back(TokenOf(byte));

  rondo::Session session(model);
  std::string answer;
  for (int64_t past = 0; max_tokens-- > 0;) {
    std::vector<int64_t> positions(tokens.size());
    std::iota(positions.begin(), positions.end(), past);
    past += static_cast<int64_t>(tokens.size());
    rondo::NamedTensors inputs = cache;
    inputs.emplace_back("input_ids", Row(tokens));
    inputs.emplace_back("attention_mask", Row(std::vector<int64_t>(past, 1)));
    inputs.emplace_back("position_ids", Row(positions));
    absl::StatusOr<rondo::NamedTensors> outputs = session.Run(inputs);
    if (!outputs.ok()) return outputs.status();
    cache.clear();
    for (auto& [name, value] : *outputs) {
      if (name == "logits") tokens = {BestToken(value.tensor())};
      if (absl::StartsWith(name, "present")) {
        cache.emplace_back(absl::StrReplaceAll(name, {{"present", "past_key_values"}}), std::move(value));
      }
    }
    if (tokens[0] == kEnd) break;
    answer.push_back(ByteOf(tokens[0]));
  }
  return answer;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: puzzle MODEL PROMPT.txt\n"), 2;
  std::ifstream file(argv[2]);
  const std::string prompt{std::istreambuf_iterator<char>(file), {}};
  if (prompt.empty()) return std::fprintf(stderr, "%s: cannot read\n", argv[2]), 2;
  absl::StatusOr<rondo::Model> model = rondo::Model::Load(argv[1]);
  if (!model.ok()) return std::fprintf(stderr, "%s\n", model.status().ToString().c_str()), 1;
  std::printf("Grids in (I) and out (O); what is the last one's output?\n\n%s", prompt.c_str());
  const absl::StatusOr<std::string> answer = Generate(*model, prompt, /*max_tokens=*/20);
  if (!answer.ok()) return std::fprintf(stderr, "%s\n", answer.status().ToString().c_str()), 1;
  std::printf("\nThe model answers:\n\n%s", answer->c_str());
  return 0;
}

// Loads a model, feeds it zeros and prints what comes out: minimal MODEL
#include <cstdio>

#include "rondo/model.h"

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: minimal MODEL\n"), 2;
  absl::StatusOr<rondo::Model> model = rondo::Model::Load(argv[1]);
  if (!model.ok()) return std::fprintf(stderr, "%s\n", model.status().ToString().c_str()), 1;

  rondo::NamedTensors inputs;
  for (const rondo::PortInfo& input : model->inputs()) {
    std::vector<int64_t> dims = input.dims;
    for (size_t i = 0; i < dims.size(); ++i) {  // symbolic dims: one of everything, and an empty cache
      if (dims[i] < 0) dims[i] = input.dim_names[i] == "past_sequence_length" ? 0 : 1;
    }
    inputs.emplace_back(input.name, rondo::Tensor::Make(input.dtype, dims));
  }

  rondo::Session session(*model);
  absl::StatusOr<rondo::NamedTensors> outputs = session.Run(inputs);
  if (!outputs.ok()) return std::fprintf(stderr, "%s\n", outputs.status().ToString().c_str()), 1;
  for (const auto& [name, value] : *outputs) {
    if (!value.is_tensor()) continue;
    std::printf("%s: %s\n", name.c_str(), rondo::DimsToString(value.tensor().dims()).c_str());
  }
  return 0;
}

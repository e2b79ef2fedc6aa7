#include "api/encoder.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "graph/status.h"

namespace rondo {
namespace {

const RuntimeValue* Find(const NamedTensors& values, absl::string_view name) {
  for (const auto& [key, value] : values) {
    if (key == name) return &value;
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<std::unique_ptr<EncoderSide>> EncoderSide::Load(const ModelFolder& folder, const ModelOptions& options) {
  RONDO_ASSIGN_OR_RETURN(Model encoder, Model::Load(folder.encoder, options));
  RONDO_ASSIGN_OR_RETURN(Model first, Model::Load(folder.first_decoder, options));
  return std::unique_ptr<EncoderSide>(new EncoderSide(std::move(encoder), std::move(first)));
}

absl::Status EncoderSide::SaveCache() const {
  RONDO_RETURN_IF_ERROR(encoder_.SaveCache());
  return first_decoder_.SaveCache();
}

absl::StatusOr<std::vector<RuntimeValue>> EncoderSide::Run(const Decoder& decoder, absl::Span<const int64_t> ids,
                                                           const NamedTensors& inputs, int64_t start_token) {
  NamedTensors known;  // everything that a decoder may ask for, by its name there
  NamedTensors fed = inputs;
  if (fed.empty()) {
    if (ids.empty()) return InvalidArgument("the encoder needs a prompt, or its inputs as files");
    Tensor tokens = Tensor::Make(DataType::kInt64, {1, static_cast<int64_t>(ids.size())});
    std::copy(ids.begin(), ids.end(), tokens.mutable_data<int64_t>());
    fed.emplace_back("input_ids", std::move(tokens));
  }
  for (const PortInfo& port : encoder_.inputs()) {
    if (port.name != "attention_mask" || Find(fed, port.name) != nullptr) continue;
    const RuntimeValue* tokens = Find(fed, "input_ids");
    if (tokens == nullptr || !tokens->is_tensor()) continue;
    Tensor mask = Tensor::Make(DataType::kInt64, tokens->tensor().dims());
    std::fill_n(mask.mutable_data<int64_t>(), mask.size(), 1);
    fed.emplace_back("attention_mask", std::move(mask));
  }
  Session session(encoder_);
  absl::StatusOr<NamedTensors> outputs = session.Run(fed);
  if (!outputs.ok()) return Annotate(outputs.status(), "encoder: ");
  if (outputs->empty() || !outputs->front().second.is_tensor() || outputs->front().second.tensor().rank() != 3) {
    return InvalidArgument("encoder: expected an output [batch, sequence, hidden]");
  }
  const Tensor& hidden = outputs->front().second.tensor();
  known.emplace_back("encoder_hidden_states", hidden);
  if (const RuntimeValue* mask = Find(fed, "attention_mask")) {
    known.emplace_back("encoder_attention_mask", *mask);
  } else {
    Tensor ones = Tensor::Make(DataType::kInt64, {hidden.dim(0), hidden.dim(1)});
    std::fill_n(ones.mutable_data<int64_t>(), ones.size(), 1);
    known.emplace_back("encoder_attention_mask", std::move(ones));
  }
  RONDO_ASSIGN_OR_RETURN(NamedTensors first, RunFirstStep(known, start_token));
  for (auto& [name, value] : first) {
    if (absl::StrContains(name, ".encoder.")) {
      known.emplace_back(absl::StrReplaceAll(name, {{"present.", "past_key_values."}}), std::move(value));
    }
  }
  std::vector<RuntimeValue> others;
  for (const int input : decoder.other_inputs()) {
    const std::string& name = decoder.program().graph().inputs()[input]->name();
    const RuntimeValue* value = Find(known, name);
    if (value == nullptr)
      return InvalidArgument("the decoder's input \"", name, "\" comes neither from the encoder ",
                             "nor from its first step");
    others.push_back(*value);
  }
  return others;
}

absl::StatusOr<NamedTensors> EncoderSide::RunFirstStep(const NamedTensors& known, int64_t start_token) {
  NamedTensors inputs;
  for (const PortInfo& port : first_decoder_.inputs()) {
    if (const RuntimeValue* value = Find(known, port.name)) {
      inputs.emplace_back(port.name, *value);
    } else if (port.name == "use_cache_branch") {
      inputs.emplace_back(port.name, Tensor::Make(DataType::kBool, {1}));
    } else if (port.name == "input_ids" || port.name == "decoder_input_ids") {
      Tensor token = Tensor::Make(DataType::kInt64, {1, 1});
      *token.mutable_data<int64_t>() = start_token;
      inputs.emplace_back(port.name, std::move(token));
    } else if (absl::StartsWith(port.name, "past_key_values") && port.dims.size() == 4) {
      // A merged decoder wants a past also where it does not read it.
      Dims dims(port.dims.begin(), port.dims.end());
      dims[0] = 1;
      dims[2] = 0;
      RONDO_ASSIGN_OR_RETURN(Tensor empty, Tensor::Create(port.dtype, dims));
      inputs.emplace_back(port.name, std::move(empty));
    } else {
      return InvalidArgument("first step of the decoder: nothing to feed input \"", port.name, "\" (", port.type, ")");
    }
  }
  Session session(first_decoder_);
  absl::StatusOr<NamedTensors> outputs = session.Run(inputs);
  if (!outputs.ok()) return Annotate(outputs.status(), "first step of the decoder: ");
  return outputs;
}

}  // namespace rondo

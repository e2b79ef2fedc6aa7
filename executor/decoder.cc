#include "executor/decoder.h"

#include <algorithm>
#include <numeric>

#include "executor/step_runner.h"
#include "graph/status.h"
#include "kvcache/residual.h"

namespace rondo {

void ChooseCacheBranch(Graph& graph, bool with_cache) {
  for (size_t i = 0; i < graph.inputs().size(); ++i) {
    Value* input = graph.inputs()[i];
    if (input->name() != "use_cache_branch" || input->type().dtype != DataType::kBool) continue;
    const ValueType& type = input->type();
    const bool scalar = type.shape.has_value() && type.shape->rank() == 0;
    Tensor choice = Tensor::Make(DataType::kBool, scalar ? Dims{} : Dims{1});
    *choice.mutable_data<uint8_t>() = with_cache ? 1 : 0;
    graph.ReplaceAllUses(input, graph.AddConstant("use_cache_branch.value", std::move(choice)));
    graph.RemoveInput(static_cast<int>(i));
    return;
  }
}

namespace {

// Makes an output of the value; returns which.
int AddCapture(Graph& graph, Value* value) {
  graph.AddOutput(value);
  return static_cast<int>(graph.outputs().size()) - 1;
}

// Makes outputs of the values with these names; returns which.
absl::StatusOr<std::vector<int>> CaptureValues(Graph& graph, const std::vector<std::string>& names) {
  std::vector<int> outputs;
  for (const std::string& name : names) {
    const auto found = std::find_if(graph.values().begin(), graph.values().end(), [&](const auto& value) {
      return value->name() == name && value->producer() != nullptr;
    });
    if (found == graph.values().end()) {
      return InvalidArgument("capture \"", name, "\": no node of the graph makes a value of that name");
    }
    outputs.push_back(AddCapture(graph, found->get()));
  }
  return outputs;
}

}  // namespace

absl::Status Decoder::CaptureBlocks(Graph& graph, const CaptureSpec& spec) {
  if (!spec.any_block()) return absl::OkStatus();
  RONDO_ASSIGN_OR_RETURN(const std::vector<Value*> stream, FindResidualStream(graph, ports_));
  std::vector<int64_t> blocks = spec.blocks;
  if (spec.all_blocks) {
    blocks.resize(stream.size());
    std::iota(blocks.begin(), blocks.end(), 0);
  }
  for (const int64_t block : blocks) {
    if (block < 0 || block >= static_cast<int64_t>(stream.size())) {
      return OutOfRange("capture of layer ", block, ": the model has layers 0 to ", stream.size() - 1);
    }
    captures_.push_back(absl::StrCat("layers.", block));
    ports_.captured.push_back(AddCapture(graph, stream[block]));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Create(std::unique_ptr<Graph> graph, const DecoderOptions& options) {
  std::unique_ptr<Decoder> decoder(new Decoder);
  ChooseCacheBranch(*graph, true);
  RONDO_ASSIGN_OR_RETURN(const std::vector<int> values, CaptureValues(*graph, options.captures.values));
  decoder->captures_ = options.captures.values;
  ProgramOptions program = options.program;
  if (program.plain && options.captures.any_block()) {
    return InvalidArgument("capture of layers: they are found in the rewritten graph, and plain has no rewrites");
  }
  bool found = false;
  std::string tokens;
  program.transform = [&](std::unique_ptr<Graph> rewritten,
                          const RewriteContext& context) -> absl::StatusOr<std::unique_ptr<Graph>> {
    RONDO_ASSIGN_OR_RETURN(decoder->ports_, FindPorts(*rewritten));
    decoder->ports_.captured = values;
    RONDO_RETURN_IF_ERROR(decoder->CaptureBlocks(*rewritten, options.captures));
    found = true;
    tokens = rewritten->inputs()[decoder->ports_.tokens]->name();
    if (!decoder->ports_.HasCache()) {
      decoder->report_.why = "the model has no cache: every step runs the whole sequence";
      return rewritten;
    }
    absl::StatusOr<LoweredDecoder> lowered = LowerDecoder(*rewritten, decoder->ports_, context, &decoder->report_);
    if (!lowered.ok() || options.growing) return rewritten;
    decoder->in_place_ = true;
    decoder->layers_ = lowered->layers;
    decoder->pads_ = lowered->pads;
    decoder->max_length_ = lowered->max_length;
    return std::move(lowered->graph);
  };
  RONDO_ASSIGN_OR_RETURN(decoder->program_, Program::Create(std::move(graph), program));
  const Graph& g = decoder->program_->graph();
  if (!found) {  // plain: no rewrites
    RONDO_ASSIGN_OR_RETURN(decoder->ports_, FindPorts(g));
    decoder->ports_.captured = values;
    decoder->report_.why = "rewrites are off";
  }
  for (size_t i = 0; i < decoder->ports_.captured.size(); ++i) {
    decoder->capture_outputs_.push_back(decoder->in_place_ ? static_cast<int>(i) + 1 : decoder->ports_.captured[i]);
  }
  const Value* logits = g.outputs()[decoder->in_place_ ? 0 : decoder->ports_.logits];
  if (logits->type().shape.has_value() && !logits->type().shape->empty() && logits->type().shape->back().known()) {
    decoder->vocabulary_ = logits->type().shape->back().value();
  }
  for (int i = 0; i < static_cast<int>(g.inputs().size()); ++i) {
    const std::string& name = g.inputs()[i]->name();
    if (!decoder->in_place_) {
      const PortRole role = decoder->ports_.roles[i];
      const bool constant_state = std::any_of(decoder->ports_.states.begin(), decoder->ports_.states.end(),
                                              [&](const StatePort& s) { return s.input == i && s.output < 0; });
      if (role == PortRole::kOther || constant_state) decoder->other_inputs_.push_back(i);
    } else if (name == tokens) {
      decoder->tokens_input_ = i;
    } else if (name == kPositionsInput) {
      decoder->positions_input_ = i;
    } else if (name == kLastInput) {
      decoder->last_input_ = i;
    } else if (name == kCacheInput) {
      decoder->cache_input_ = i;
    } else {
      decoder->other_inputs_.push_back(i);
    }
  }
  if (!decoder->in_place_ && decoder->ports_.HasCache() && !options.growing && !options.program.plain) {
    decoder->bucketed_ = PaddedPastsHold(*decoder);
    if (decoder->bucketed_) decoder->report_.level = 2;
  }
  return decoder;
}

}  // namespace rondo

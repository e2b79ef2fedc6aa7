#include "kvcache/ports.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "graph/status.h"
#include "kvcache/update.h"

namespace rondo {
namespace {

int RankOf(const Value* value) {
  const ValueType& type = value->type();
  return type.is_tensor() && type.shape.has_value() ? type.shape->rank() : -1;
}
const Dim& DimOf(const Value* value, int axis) { return (*value->type().shape)[axis]; }

// What names of a pair have in common: "past_key_values.0.key" and "present.0.key" give ".0.key".
std::string Stem(absl::string_view name) {
  for (absl::string_view prefix : {"past_key_values", "past_key", "past", "present", "input", "output", "updated_"}) {
    if (absl::ConsumePrefix(&name, prefix)) break;
  }
  for (absl::string_view suffix : {"_out", "_in"}) {
    if (absl::ConsumeSuffix(&name, suffix)) break;
  }
  return std::string(name);
}

bool FeedsSlot(const Value* value, absl::string_view type, int slot) {
  return std::any_of(value->uses().begin(), value->uses().end(),
                     [&](const Use& use) { return use.node->Is(type) && use.index == slot; });
}

class Finder {
 public:
  explicit Finder(const Graph& graph) : graph_(graph) {}

  absl::StatusOr<DecoderPorts> Find() {
    ports_.roles.assign(graph_.inputs().size(), PortRole::kOther);
    FindStates();
    FindNamedStates();
    for (size_t i = 0; i < graph_.inputs().size(); ++i) {
      if (ports_.roles[i] != PortRole::kState) ports_.roles[i] = RoleOf(graph_.inputs()[i]);
    }
    RONDO_RETURN_IF_ERROR(FindTokens());
    RONDO_RETURN_IF_ERROR(FindLogits());
    FindSymbols();
    return std::move(ports_);
  }

 private:
  bool OutputTaken(int output) const {
    return std::any_of(ports_.states.begin(), ports_.states.end(),
                       [&](const StatePort& state) { return state.output == output; });
  }

  void FindStates() {
    for (size_t i = 0; i < graph_.inputs().size(); ++i) {
      const Value* input = graph_.inputs()[i];
      if (!IsFloatingPoint(input->type().dtype) || RankOf(input) < 3) continue;
      const std::optional<CacheUpdate> update = UpdateOf(input);
      if (!update.has_value()) continue;
      const int output = OutputReachedBy(graph_, update->result, update->part);
      if (output < 0) continue;
      StatePort state{static_cast<int>(i), output, update->state_axis(), false};
      const Value* result = graph_.outputs()[output];
      state.growing = RankOf(result) == RankOf(input) && DimOf(result, state.axis) != DimOf(input, state.axis);
      ports_.states.push_back(state);
      ports_.roles[i] = PortRole::kState;
    }
  }

  void FindNamedStates() {
    for (size_t i = 0; i < graph_.inputs().size(); ++i) {
      const Value* input = graph_.inputs()[i];
      if (ports_.roles[i] == PortRole::kState || !input->type().is_tensor()) continue;
      const std::string& name = input->name();
      const bool of_encoder = absl::StrContains(name, ".encoder.");
      StatePort state{static_cast<int>(i), -1, -1, false};
      for (size_t o = 0; o < graph_.outputs().size() && !of_encoder; ++o) {
        const Value* output = graph_.outputs()[o];
        if (OutputTaken(static_cast<int>(o)) || output->type().dtype != input->type().dtype) continue;
        if (name == output->name() || Stem(name) != Stem(output->name())) continue;
        state.output = static_cast<int>(o);
        FindGrowingAxis(input, output, &state);
      }
      if (state.output < 0 && !(absl::StartsWith(name, "past") && RankOf(input) >= 3)) continue;
      ports_.states.push_back(state);
      ports_.roles[i] = PortRole::kState;
    }
  }

  // The one dim in which a pair differs. Where the output's dims are not known, rows are the second last of a cache.
  static void FindGrowingAxis(const Value* input, const Value* output, StatePort* state) {
    const int rank = RankOf(input);
    if (rank < 3) return;
    const bool unknown = RankOf(output) != rank;
    int differing = 0;
    for (int d = 0; d < rank && !unknown; ++d) {
      if (DimOf(input, d) == DimOf(output, d)) continue;
      ++differing;
      state->axis = d;
    }
    if ((unknown || differing > 1) && !DimOf(input, rank - 2).known()) {
      state->axis = rank - 2;
      differing = 1;
    }
    state->growing = differing == 1;
    if (!state->growing) state->axis = -1;
  }

  PortRole RoleOf(const Value* input) const {
    const std::string name = absl::AsciiStrToLower(input->name());
    const DataType type = input->type().dtype;
    const int rank = RankOf(input);
    const auto has = [&](absl::string_view part) { return absl::StrContains(name, part); };
    if (has("encoder") && !has("decoder")) return PortRole::kOther;
    if (FeedsSlot(input, "TensorScatter", 2)) return PortRole::kWriteIndices;
    if (FeedsSlot(input, "Attention", 6)) return PortRole::kValidLengths;
    if (rank == 4 && has("mask")) return PortRole::kMask4D;
    if (rank == 2 && has("mask")) return PortRole::kMask;
    if (!IsInteger(type)) return PortRole::kOther;
    if (rank == 2 && has("position")) return PortRole::kPositions;
    if (rank == 1 && has("position")) return PortRole::kCachePosition;
    if (rank == 1 && (has("write") || has("start"))) return PortRole::kWriteIndices;
    if (rank == 1 && (has("nonpad") || has("seqlen") || has("length"))) return PortRole::kValidLengths;
    if (rank <= 1 && (has("logits_to_keep") || has("num_logits"))) return PortRole::kKeepLogits;
    return PortRole::kOther;
  }

  absl::Status FindTokens() {
    int only = -1, count = 0;
    for (size_t i = 0; i < graph_.inputs().size(); ++i) {
      const Value* input = graph_.inputs()[i];
      if (ports_.roles[i] != PortRole::kOther || RankOf(input) != 2) continue;
      const DataType type = input->type().dtype;
      if (type != DataType::kInt64 && type != DataType::kInt32) continue;
      if (input->name() == "input_ids" || input->name() == "decoder_input_ids") ports_.tokens = static_cast<int>(i);
      only = static_cast<int>(i);
      ++count;
    }
    if (ports_.tokens < 0 && count == 1) ports_.tokens = only;
    if (ports_.tokens < 0) {
      return InvalidArgument("this is no decoder: expected one input of token ids, int64[batch, sequence], such as ",
                             "\"input_ids\", found ", count);
    }
    ports_.roles[ports_.tokens] = PortRole::kTokens;
    return absl::OkStatus();
  }

  absl::Status FindLogits() {
    for (size_t o = 0; o < graph_.outputs().size(); ++o) {
      const Value* output = graph_.outputs()[o];
      if (OutputTaken(static_cast<int>(o)) || !IsFloatingPoint(output->type().dtype)) continue;
      if (RankOf(output) != 3 && RankOf(output) != 2) continue;
      if (ports_.logits < 0 || output->name() == "logits") ports_.logits = static_cast<int>(o);
    }
    if (ports_.logits >= 0) return absl::OkStatus();
    return InvalidArgument("this is no decoder: expected an output of logits, float[batch, sequence, vocabulary]");
  }

  void FindSymbols() {
    const auto symbol = [](const Dim& dim) { return dim.IsSymbol() ? dim.ToString() : std::string(); };
    const Value* tokens = graph_.inputs()[ports_.tokens];
    ports_.batch_symbol = symbol(DimOf(tokens, 0));
    ports_.rows_symbol = symbol(DimOf(tokens, 1));
    const auto add = [](std::string name, std::vector<std::string>* to) {
      if (!name.empty() && std::find(to->begin(), to->end(), name) == to->end()) to->push_back(std::move(name));
    };
    for (const StatePort& state : ports_.states) {
      if (state.axis < 0) continue;
      add(symbol(DimOf(graph_.inputs()[state.input], state.axis)), &ports_.past_symbols);
    }
    for (size_t i = 0; i < graph_.inputs().size(); ++i) {
      const Value* input = graph_.inputs()[i];
      if (ports_.roles[i] != PortRole::kMask && ports_.roles[i] != PortRole::kMask4D) continue;
      const std::string name = symbol(DimOf(input, RankOf(input) - 1));
      if (name != ports_.rows_symbol) add(name, &ports_.total_symbols);
    }
  }

  const Graph& graph_;
  DecoderPorts ports_;
};

}  // namespace

absl::string_view PortRoleName(PortRole role) {
  switch (role) {
    case PortRole::kTokens:
      return "tokens";
    case PortRole::kMask:
      return "attention mask";
    case PortRole::kMask4D:
      return "attention mask by query";
    case PortRole::kPositions:
      return "positions";
    case PortRole::kCachePosition:
      return "cache positions";
    case PortRole::kWriteIndices:
      return "write indices";
    case PortRole::kValidLengths:
      return "valid lengths";
    case PortRole::kKeepLogits:
      return "logits to keep";
    case PortRole::kState:
      return "state";
    case PortRole::kOther:
      return "other";
  }
  return "?";
}

bool DecoderPorts::HasCache() const {
  return std::any_of(states.begin(), states.end(), [](const StatePort& state) { return state.output >= 0; });
}

absl::StatusOr<DecoderPorts> FindPorts(const Graph& graph) { return Finder(graph).Find(); }

}  // namespace rondo

#include "kvcache/lowering.h"

#include <algorithm>
#include <cmath>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"
#include "kvcache/cached_attention.h"
#include "kvcache/probe.h"

namespace rondo {
namespace {

// Removed by the lowering; nothing may need them once it is done.
bool IsRemoved(PortRole role) {
  return role == PortRole::kMask || role == PortRole::kMask4D || role == PortRole::kPositions ||
         role == PortRole::kCachePosition || role == PortRole::kWriteIndices || role == PortRole::kValidLengths ||
         role == PortRole::kKeepLogits;
}

class Lowering {
 public:
  Lowering(std::unique_ptr<Graph> graph, const DecoderPorts& ports, const RewriteContext& context, KvReport* report)
      : graph_(std::move(graph)), g_(*graph_), ports_(ports), context_(context), report_(*report) {}

  absl::StatusOr<LoweredDecoder> Run() {
    RONDO_RETURN_IF_ERROR(Infer());  // a clone has no contents yet
    AddInputs();
    RONDO_RETURN_IF_ERROR(ReplaceAttention());
    RONDO_RETURN_IF_ERROR(CheckStates());
    // What only other outputs need goes, and need not be lowered.
    for (int i = 0; i < static_cast<int>(g_.outputs().size()); ++i) {
      const bool captured = std::find(ports_.captured.begin(), ports_.captured.end(), i) != ports_.captured.end();
      if (i != ports_.logits && !captured) g_.SetOutput(i, tokens());
    }
    for (int rank : {2, 1}) {
      RONDO_RETURN_IF_ERROR(Refresh());
      RONDO_RETURN_IF_ERROR(ReplacePositions(rank));
    }
    RONDO_RETURN_IF_ERROR(Refresh());
    RONDO_RETURN_IF_ERROR(ReplaceLengths());
    RONDO_RETURN_IF_ERROR(KeepLastRow());
    RONDO_RETURN_IF_ERROR(Refresh());
    RONDO_RETURN_IF_ERROR(CheckRemoved());
    return Finish();
  }

 private:
  Value* tokens() const { return g_.inputs()[ports_.tokens]; }

  absl::Status Infer() {
    for (const auto& node : g_.nodes()) RONDO_RETURN_IF_ERROR(context_.infer(*node));
    return absl::OkStatus();
  }

  // Order, no dead nodes, types and contents of what is left; a prober that sees it.
  absl::Status Refresh() {
    RONDO_RETURN_IF_ERROR(g_.Sort());
    g_.RemoveDead();
    return Infer();
  }

  void AddInputs() {
    const Shape& ids = *tokens()->type().shape;
    positions_ = g_.AddInput(kPositionsInput, ValueType::Tensor(DataType::kInt64, ids));
    last_ = g_.AddInput(kLastInput, ValueType::Tensor(DataType::kInt64, Shape{ids[0]}));
    cache_ = g_.AddInput(kCacheInput, ValueType::State());
    // 0 keeps all rows: KeepLastRow takes the wanted one.
    for (size_t i = 0; i < ports_.roles.size(); ++i) {
      if (ports_.roles[i] != PortRole::kKeepLogits) continue;
      const ValueType& type = g_.inputs()[i]->type();
      Tensor zero = Tensor::Make(type.dtype, Dims(type.shape->rank(), 1));
      g_.ReplaceAllUses(g_.inputs()[i], g_.AddConstant("rondo.keep_all", std::move(zero)));
    }
  }

  absl::Status ReplaceAttention() {
    Prober prober(g_, all_ports(), context_);
    MaskProver masks(prober);
    std::vector<Node*> nodes;
    for (const auto& node : g_.nodes()) nodes.push_back(node.get());
    for (Node* node : nodes) {
      RONDO_ASSIGN_OR_RETURN(std::optional<CachedAttention> layer,
                             ReadCachedAttention(g_, node, positions_, masks, context_));
      if (!layer.has_value()) continue;
      covered_.insert(layer->key_state);
      covered_.insert(layer->value_state);
      RONDO_RETURN_IF_ERROR(Emit(*layer));
    }
    if (layers_.empty()) return Unimplemented("no attention over a cache was recognised");
    return absl::OkStatus();
  }

  absl::Status Emit(const CachedAttention& layer) {
    const std::string& name = layer.node->name();
    std::vector<Value*> inputs = {layer.q, layer.k, layer.v, cache_};
    const auto constant = [&](const Tensor& tensor, absl::string_view what) {
      return tensor.defined() ? g_.AddConstant(absl::StrCat(name, ".", what), tensor) : nullptr;
    };
    inputs.push_back(constant(layer.mask.relative_bias, "relative_bias"));
    inputs.push_back(constant(layer.mask.alibi_slopes, "alibi_slopes"));
    inputs.push_back(layer.sinks);
    while (inputs.back() == nullptr) inputs.pop_back();
    std::vector<std::pair<std::string, Attribute>> attributes = {{"layer", static_cast<int64_t>(layers_.size())},
                                                                 {"scale", layer.scale},
                                                                 {"softcap", layer.softcap},
                                                                 {"window", layer.layer.window}};
    if (RankOf(layer.q) == 3) {
      attributes.push_back({"q_num_heads", layer.q_heads});
      attributes.push_back({"kv_num_heads", layer.layer.kv_heads});
    }
    RONDO_ASSIGN_OR_RETURN(Node * fused, AddTyped(g_, context_, {kRondoDomain, "KvAttention", 1}, *layer.node, inputs,
                                                  1, std::move(attributes)));
    g_.ReplaceAllUses(layer.node->output(0), fused->output(0));
    layers_.push_back(layer.layer);
    report_.layers.push_back(layer.report);
    NameOutputs(layer);
    // Beyond 64 Ki positions nothing distinguishes one distance from the next; below, the graph's own tables end.
    constexpr int64_t kFar = 65536;
    if (layer.mask.proven_length < kFar) {
      max_length_ = max_length_ == 0 ? layer.mask.proven_length : std::min(max_length_, layer.mask.proven_length);
    }
    return absl::OkStatus();
  }

  // The outputs' names as the file has them: the update's result may reach them through transposes.
  void NameOutputs(const CachedAttention& layer) {
    for (const StatePort& state : ports_.states) {
      if (state.output < 0) continue;
      const std::string& name = g_.outputs()[state.output]->name();
      if (g_.inputs()[state.input] == layer.key_state) report_.layers.back().key_output = name;
      if (g_.inputs()[state.input] == layer.value_state) report_.layers.back().value_output = name;
    }
  }

  // Every state that a step changes must belong to a layer.
  absl::Status CheckStates() {
    for (const StatePort& state : ports_.states) {
      const Value* input = g_.inputs()[state.input];
      if (state.output >= 0 && !covered_.contains(input)) {
        return Unimplemented("state \"", input->name(), "\" is used by something else than a recognised attention");
      }
    }
    return absl::OkStatus();
  }

  // ---- positions ----

  // Which axis of `value` counts the new rows, when it is [batch or 1, rows] or [rows].
  bool CountsRows(const Value* value, int rank) const {
    if (RankOf(value) != rank) return false;
    const Shape& ids = *tokens()->type().shape;
    const Shape& shape = *value->type().shape;
    return shape[rank - 1] == ids[1] && (rank == 1 || shape[0] == ids[0] || shape[0] == Dim(1));
  }

  // c when every element is position + c.
  std::optional<int64_t> PositionOffset(Prober& prober, const Value* value) {
    std::optional<int64_t> offset;
    for (const ProbePoint& point : prober.Points(fixed_capacity())) {
      absl::StatusOr<Tensor> tensor = prober.Evaluate(value, point);
      if (!tensor.ok()) return std::nullopt;
      for (int64_t i = 0; i < tensor->size(); ++i) {
        double element;
        switch (tensor->dtype()) {
          case DataType::kInt64:
            element = static_cast<double>(tensor->data<int64_t>()[i]);
            break;
          case DataType::kInt32:
            element = tensor->data<int32_t>()[i];
            break;
          case DataType::kFloat:
            element = tensor->data<float>()[i];
            break;
          default:
            return std::nullopt;
        }
        const double difference = element - static_cast<double>(point.past + i % point.rows);
        if (difference != std::floor(difference) || std::fabs(difference) > 1e6) return std::nullopt;
        if (!offset.has_value()) offset = static_cast<int64_t>(difference);
        if (*offset != static_cast<int64_t>(difference)) return std::nullopt;
      }
    }
    return offset;
  }

  absl::StatusOr<Value*> PositionsPlus(int64_t offset, DataType dtype, const Node& like) {
    Value* value = positions_;
    if (offset != 0) {
      Value* constant = g_.AddConstant(absl::StrCat(like.name(), ".offset"), Tensor::FromInt64s({offset}));
      RONDO_ASSIGN_OR_RETURN(Node * add, AddTyped(g_, context_, {"", "Add", 14}, like, {value, constant}, 1));
      value = add->output(0);
    }
    if (dtype != DataType::kInt64) {
      RONDO_ASSIGN_OR_RETURN(Node * cast, AddTyped(g_, context_, {"", "Cast", 13}, like, {value}, 1,
                                                   {{"to", static_cast<int64_t>(dtype)}}));
      value = cast->output(0);
    }
    return value;
  }

  // Values that hold the new rows' positions, however they were computed, become the input that does.
  absl::Status ReplacePositions(int rank) {
    for (size_t i = 0; i < ports_.roles.size(); ++i) {
      if (ports_.roles[i] == PortRole::kPositions) g_.ReplaceAllUses(g_.inputs()[i], positions_);
    }
    RONDO_RETURN_IF_ERROR(ReplaceSharedPositions());
    Prober prober(g_, all_ports(), context_);
    absl::flat_hash_set<const Value*> done = {positions_};
    std::vector<Node*> nodes;
    for (const auto& node : g_.nodes()) nodes.push_back(node.get());
    for (Node* node : nodes) {
      RONDO_RETURN_IF_ERROR(ReplaceTableRows(node, prober, &done));
      bool needs_none = !node->Is("Shape");
      for (const Value* input : node->inputs()) {
        needs_none &= input == nullptr || !prober.Varies(input) || done.contains(input);
      }
      for (Value* output : node->outputs()) {
        if (output == nullptr || !prober.IsEnvironment(output) || !prober.Varies(output)) continue;
        if (needs_none) {
          done.insert(output);
          continue;
        }
        if (done.contains(output) || !CountsRows(output, rank)) continue;
        const std::optional<int64_t> offset = PositionOffset(prober, output);
        if (!offset.has_value()) continue;
        RONDO_ASSIGN_OR_RETURN(Value * positions, PositionsPlus(*offset, output->type().dtype, *node));
        g_.ReplaceAllUses(output, positions);
        done.insert(output);
      }
    }
    return absl::OkStatus();
  }

  // Learned positions taken by what is the same for the whole batch: table[cache_position], [rows, size], joins the
  // rows' values [batch, rows, size]. Each sequence takes its own.
  absl::Status ReplaceSharedPositions() {
    for (size_t i = 0; i < ports_.roles.size(); ++i) {
      if (ports_.roles[i] != PortRole::kCachePosition) continue;
      const std::vector<Use> uses = g_.inputs()[i]->uses();
      for (const Use& use : uses) {
        if (!use.node->Is("Gather") || use.index != 1 || use.node->IntOr("axis", 0) != 0) continue;
        const Value* rows = use.node->output(0);
        const auto joins_rows = [&](const Use& join) {
          const Value* other = join.node->input(1 - join.index);
          return (join.node->Is("Add") || join.node->Is("Mul")) && RankOf(other) == 3;
        };
        if (RankOf(rows) != 2 || !std::all_of(rows->uses().begin(), rows->uses().end(), joins_rows)) continue;
        RONDO_ASSIGN_OR_RETURN(
            Node * gather, AddTyped(g_, context_, {"", "Gather", 13}, *use.node, {use.node->input(0), positions_}, 1));
        g_.ReplaceAllUses(use.node->output(0), gather->output(0));
      }
    }
    return absl::OkStatus();
  }

  // Slice(table, past + c, past + c + rows) on the first axis takes the rows' own entries of a table of positions.
  absl::Status ReplaceTableRows(Node* node, Prober& prober, absl::flat_hash_set<const Value*>* done) {
    if (!node->Is("Slice") || node->input(0) == nullptr || !node->input(0)->is_constant()) return absl::OkStatus();
    if (RankOf(node->input(0)) != 2 || node->input(2) == nullptr || !prober.Varies(node->output(0))) {
      return absl::OkStatus();
    }
    const auto axes = IntsConstant(node->input(3)), steps = IntsConstant(node->input(4));
    if (axes.has_value() && *axes != std::vector<int64_t>{0}) return absl::OkStatus();
    if (steps.has_value() && *steps != std::vector<int64_t>{1}) return absl::OkStatus();
    const int64_t length = (*node->input(0)->type().shape)[0].value();
    std::optional<int64_t> offset;
    for (const ProbePoint& point : prober.Points(length)) {
      absl::StatusOr<Tensor> starts = prober.Evaluate(node->input(1), point);
      absl::StatusOr<Tensor> ends = prober.Evaluate(node->input(2), point);
      if (!starts.ok() || !ends.ok() || starts->size() != 1 || ends->size() != 1) return absl::OkStatus();
      if (starts->dtype() != DataType::kInt64 || ends->dtype() != DataType::kInt64) return absl::OkStatus();
      const int64_t start = *starts->data<int64_t>(), end = *ends->data<int64_t>();
      if (!offset.has_value()) offset = start - point.past;
      if (start - point.past != *offset || end - start != point.rows || start < 0) return absl::OkStatus();
    }
    if (!offset.has_value()) return absl::OkStatus();
    RONDO_ASSIGN_OR_RETURN(Value * positions, PositionsPlus(*offset, DataType::kInt64, *node));
    RONDO_ASSIGN_OR_RETURN(Node * gather,
                           AddTyped(g_, context_, {"", "Gather", 13}, *node, {node->input(0), positions}, 1));
    g_.ReplaceAllUses(node->output(0), gather->output(0));
    done->insert(node->output(0));
    const int64_t limit = length - *offset;
    max_length_ = max_length_ == 0 ? limit : std::min(max_length_, limit);
    return absl::OkStatus();
  }

  // ---- lengths ----

  // Batch and rows, read off the shape of something that goes, are read off the tokens' instead.
  absl::Status ReplaceLengths() {
    Prober prober(g_, all_ports(), context_);
    absl::flat_hash_set<const Value*> gone;
    for (size_t i = 0; i < ports_.roles.size(); ++i) {
      if (IsRemoved(ports_.roles[i]) || ports_.roles[i] == PortRole::kState) gone.insert(g_.inputs()[i]);
    }
    std::vector<Node*> nodes;
    for (const auto& node : g_.nodes()) nodes.push_back(node.get());
    for (Node* node : nodes) {
      const bool reads_gone = std::any_of(node->inputs().begin(), node->inputs().end(),
                                          [&](const Value* input) { return gone.contains(input); });
      if (!reads_gone) continue;
      for (Value* output : node->outputs()) {
        if (output == nullptr) continue;
        gone.insert(output);
        if (!prober.IsEnvironment(output) || prober.Varies(output) || !output->content().has_value()) continue;
        RONDO_ASSIGN_OR_RETURN(Value * lengths, FromTokens(*output, *node));
        if (lengths == nullptr) continue;
        g_.ReplaceAllUses(output, lengths);
        gone.erase(output);
      }
    }
    return absl::OkStatus();
  }

  // An int64 tensor of numbers, batch and rows; null when its content has others.
  absl::StatusOr<Value*> FromTokens(const Value& value, const Node& like) {
    if (value.type().dtype != DataType::kInt64 || RankOf(&value) > 1) return nullptr;
    const Shape& ids = *tokens()->type().shape;
    const bool scalar = RankOf(&value) == 0;
    RONDO_ASSIGN_OR_RETURN(Node * shape, AddTyped(g_, context_, {"", "Shape", 13}, like, {tokens()}, 1));
    std::vector<Value*> parts;
    for (const Dim& dim : *value.content()) {
      if (dim.known()) {
        Tensor number = Tensor::FromInt64s({dim.value()});
        parts.push_back(g_.AddConstant(absl::StrCat(like.name(), ".dim"), scalar ? number.Reshaped({}) : number));
        continue;
      }
      const int axis = dim == ids[0] ? 0 : dim == ids[1] ? 1 : -1;
      if (axis < 0) return nullptr;
      Tensor index = Tensor::FromInt64s({axis});
      Value* which = g_.AddConstant(absl::StrCat(like.name(), ".axis"), scalar ? index.Reshaped({}) : index);
      RONDO_ASSIGN_OR_RETURN(Node * gather,
                             AddTyped(g_, context_, {"", "Gather", 13}, like, {shape->output(0), which}, 1));
      parts.push_back(gather->output(0));
    }
    if (parts.size() == 1) return parts[0];
    if (parts.empty()) return nullptr;
    RONDO_ASSIGN_OR_RETURN(Node * concat,
                           AddTyped(g_, context_, {"", "Concat", 13}, like, parts, 1, {{"axis", int64_t{0}}}));
    return concat->output(0);
  }

  // ---- logits ----

  // The operand that carries the rows through `node`, when each row of the result depends on that row of it alone.
  static int RowOperand(const Node* node) {
    const auto constant = [&](int i) { return node->input(i) == nullptr || node->input(i)->is_constant(); };
    const bool product = IsProduct(node);
    const bool unary = node->Is("Tanh") || node->Is("Cast") || node->Is("Identity");
    const bool binary = node->Is("Mul") || node->Is("Div") || node->Is("Add") || node->Is("Sub");
    if (product || unary) {
      for (size_t i = 1; i < node->inputs().size(); ++i) {
        if (!constant(static_cast<int>(i))) return -1;
      }
      return 0;
    }
    if (!binary) return -1;
    for (int i = 0; i < 2; ++i) {
      const Value* other = node->input(1 - i);
      if (other->is_constant() && (RankOf(other) <= 1 || other->constant().size() == 1)) return i;
    }
    return -1;
  }
  static bool IsProduct(const Node* node) {
    return node->Is("MatMul") || node->Is(kRondoDomain, "MatMul") || node->Is(kRondoDomain, "QuantizedMatMul") ||
           node->Is("com.microsoft", "MatMulNBits");
  }

  // Logits are wanted of one row per sequence: the others are dropped before the product with the vocabulary.
  absl::Status KeepLastRow() {
    Value* logits = g_.outputs()[ports_.logits];
    const Dim& rows = (*tokens()->type().shape)[1];
    if (RankOf(logits) != 3) {
      return Unimplemented("logits of rank ", RankOf(logits), ", expected [batch, rows, vocabulary]");
    }
    const Dim& kept = (*logits->type().shape)[1];
    if (kept != rows) {
      if (kept != Dim(1)) return Unimplemented("logits of ", kept.ToString(), " rows, expected ", rows.ToString());
      pads_ = false;
      return absl::OkStatus();
    }
    Value* value = logits;
    Node* user = nullptr;
    int slot = 0;
    while (value->producer() != nullptr && (value == logits || value->has_one_use())) {
      Node* node = value->producer();
      const int operand = RowOperand(node);
      if (operand < 0 || RankOf(node->input(operand)) != 3) break;
      user = node;
      slot = operand;
      value = node->input(operand);
      if (IsProduct(node)) break;
    }
    const Node& like = *(user != nullptr ? user : logits->producer());
    Value* axis = g_.AddConstant(absl::StrCat(like.name(), ".row_axis"), Tensor::FromInt64s({1}));
    RONDO_ASSIGN_OR_RETURN(Node * index, AddTyped(g_, context_, {"", "Unsqueeze", 13}, like, {last_, axis}, 1));
    RONDO_ASSIGN_OR_RETURN(Node * row, AddTyped(g_, context_, {"", "GatherND", 13}, like, {value, index->output(0)}, 1,
                                                {{"batch_dims", int64_t{1}}}));
    RONDO_ASSIGN_OR_RETURN(Node * last, AddTyped(g_, context_, {"", "Unsqueeze", 13}, like, {row->output(0), axis}, 1));
    if (user != nullptr) {
      g_.SetInput(user, slot, last->output(0));
    } else {
      g_.SetOutput(ports_.logits, last->output(0));
    }
    return absl::OkStatus();
  }

  // ---- the end ----

  absl::Status CheckRemoved() {
    for (size_t i = 0; i < ports_.roles.size(); ++i) {
      const Value* input = g_.inputs()[i];
      const bool changes = ports_.roles[i] == PortRole::kState && covered_.contains(input);
      if (!changes && !IsRemoved(ports_.roles[i])) continue;
      std::vector<const Value*> reached = {input};
      for (size_t k = 0; k < reached.size(); ++k) {
        for (const Use& use : reached[k]->uses()) {
          if (!Wanted(use.node)) continue;
          return Unimplemented(use.node->Describe(), " still needs ", PortRoleName(ports_.roles[i]), " \"",
                               input->name(), "\"");
        }
      }
    }
    return absl::OkStatus();
  }
  // Does the logits output, or a captured one, depend on this node?
  bool Wanted(const Node* node) {
    if (wanted_.empty()) {
      std::vector<const Value*> reached = {g_.outputs()[ports_.logits]};
      for (const int output : ports_.captured) reached.push_back(g_.outputs()[output]);
      for (size_t i = 0; i < reached.size(); ++i) {
        const Node* producer = reached[i]->producer();
        if (producer == nullptr || !wanted_.insert(producer).second) continue;
        for (const Value* input : producer->inputs()) {
          if (input != nullptr) reached.push_back(input);
        }
      }
    }
    return wanted_.contains(node);
  }

  // A graph of its own, with the inputs and the output that are left.
  absl::StatusOr<LoweredDecoder> Finish() {
    LoweredDecoder lowered;
    lowered.graph = std::make_unique<Graph>();
    Graph& to = *lowered.graph;
    to.name = g_.name;
    std::vector<Value*> inputs;
    Value* nothing = to.AddConstant("rondo.removed", Tensor::FromInt64s({0}));
    for (size_t i = 0; i < g_.inputs().size(); ++i) {
      const Value* input = g_.inputs()[i];
      const bool role_known = i < ports_.roles.size();
      const bool kept = !role_known || ports_.roles[i] == PortRole::kTokens || ports_.roles[i] == PortRole::kOther ||
                        (ports_.roles[i] == PortRole::kState && !covered_.contains(input));
      inputs.push_back(kept ? to.AddInput(input->name(), input->type()) : nothing);
    }
    const std::vector<Value*> outputs = to.Inline(g_, inputs, "");
    Value* logits = outputs[ports_.logits];
    logits->set_name(g_.outputs()[ports_.logits]->name());
    to.AddOutput(logits);
    for (const int output : ports_.captured) to.AddOutput(outputs[output]);
    to.RemoveDead();
    for (const auto& node : to.nodes()) RONDO_RETURN_IF_ERROR(context_.infer(*node));
    RONDO_RETURN_IF_ERROR(CheckBatch(to));
    lowered.layers = layers_;
    lowered.pads = pads_;
    lowered.max_length = max_length_;
    return lowered;
  }

  // Where a file's positions are the same for all sequences, they have got a batch axis that they did not have. It must
  // meet the other batch axes and no axis of heads: so shapes are tried with numbers that are nothing else's.
  absl::Status CheckBatch(const Graph& lowered) const {
    constexpr int64_t kBatch = 7919, kRows = 7927;  // primes
    const absl::flat_hash_map<std::string, int64_t> numbers = {{ports_.batch_symbol, kBatch},
                                                               {ports_.rows_symbol, kRows}};
    const std::unique_ptr<Graph> tried = lowered.Clone();
    for (Value* input : tried->inputs()) {
      ValueType type = input->type();
      if (!type.is_tensor() || !type.shape.has_value()) continue;
      for (Dim& dim : *type.shape) {
        int64_t number;
        if (!dim.unknown() && dim.Evaluate(numbers, &number)) dim = number;
      }
      input->set_type(std::move(type));
    }
    for (const auto& node : tried->nodes()) {
      const absl::Status status = context_.infer(*node);
      if (status.ok()) continue;
      return Unimplemented("positions that all sequences of a batch share cannot be told apart: ", status.message());
    }
    return absl::OkStatus();
  }

  // Roles of all inputs, the added ones included.
  const DecoderPorts& all_ports() {
    extended_ = ports_;
    extended_.roles.resize(g_.inputs().size(), PortRole::kOther);
    return extended_;
  }
  // The smallest fixed length of a state; 0 when all grow.
  int64_t fixed_capacity() const {
    int64_t capacity = 0;
    for (const StatePort& state : ports_.states) {
      if (state.axis < 0 || state.growing) continue;
      const Dim& dim = (*g_.inputs()[state.input]->type().shape)[state.axis];
      if (dim.known()) capacity = capacity == 0 ? dim.value() : std::min(capacity, dim.value());
    }
    return capacity;
  }

  std::unique_ptr<Graph> graph_;
  Graph& g_;
  const DecoderPorts& ports_;
  DecoderPorts extended_;
  const RewriteContext& context_;
  KvReport& report_;
  Value *positions_ = nullptr, *last_ = nullptr, *cache_ = nullptr;
  absl::flat_hash_set<const Value*> covered_;  // states that belong to a layer
  absl::flat_hash_set<const Node*> wanted_;
  std::vector<KvLayer> layers_;
  bool pads_ = true;
  int64_t max_length_ = 0;
};

}  // namespace

absl::StatusOr<LoweredDecoder> LowerDecoder(const Graph& graph, const DecoderPorts& ports,
                                            const RewriteContext& context, KvReport* report) {
  absl::StatusOr<LoweredDecoder> lowered = Lowering(graph.Clone(), ports, context, report).Run();
  report->level = lowered.ok() ? 1 : 3;
  report->why = lowered.ok() ? "" : std::string(lowered.status().message());
  return lowered;
}

}  // namespace rondo

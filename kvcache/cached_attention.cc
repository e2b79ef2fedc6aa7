#include "kvcache/cached_attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"
#include "kvcache/update.h"

namespace rondo {
namespace {

bool IsIdentity(const std::vector<int64_t>& perm) {
  for (size_t i = 0; i < perm.size(); ++i) {
    if (perm[i] != static_cast<int64_t>(i)) return false;
  }
  return true;
}

int64_t IntAt(const Tensor& tensor, int64_t i) {
  return tensor.dtype() == DataType::kInt64 ? tensor.data<int64_t>()[i] : tensor.data<int32_t>()[i];
}

constexpr char kInOne[] = " (keys and values in one)";

// An update that makes an attention operand, through transposes: the operand's dim d is dim perm[d] of the node's
// layout.
struct OperandUpdate {
  CacheUpdate update;
  std::vector<int64_t> perm;
};

std::optional<OperandUpdate> UpdateBehind(Value* operand) {
  OperandUpdate found;
  found.perm.resize(std::max(RankOf(operand), 0));
  std::iota(found.perm.begin(), found.perm.end(), 0);
  for (int step = 0; step < 8 && operand->producer() != nullptr; ++step) {
    Node* node = operand->producer();
    for (int slot = 0; slot < 2; ++slot) {
      std::optional<CacheUpdate> update = UpdateAt(node, slot);
      if (update.has_value() && update->result == operand) {
        found.update = *std::move(update);
        return found;
      }
    }
    if (node->Is("Transpose")) {
      const std::vector<int64_t> p = node->IntsOr("perm", {});
      if (p.size() != found.perm.size()) return std::nullopt;
      for (int64_t& d : found.perm) d = p[d];
    } else if (!node->Is("Identity")) {
      return std::nullopt;
    }
    operand = node->input(0);
  }
  return std::nullopt;
}

class Reader {
 public:
  Reader(Graph& graph, Node* node, Value* positions, MaskProver& masks, const RewriteContext& context)
      : graph_(graph), node_(node), positions_(positions), masks_(masks), prober_(masks.prober()), context_(context) {
    layer_.node = node;
  }

  absl::StatusOr<std::optional<CachedAttention>> Read() {
    if (node_->Is("Attention")) {
      RONDO_ASSIGN_OR_RETURN(const bool cached, ReadOnnx());
      if (!cached) return std::nullopt;
    } else if (node_->Is("com.microsoft", "GroupQueryAttention") && node_->input(3) != nullptr) {
      RONDO_RETURN_IF_ERROR(ReadGroupQuery());
    } else {
      return std::nullopt;
    }
    question_.heads = layer_.q_heads;
    RONDO_ASSIGN_OR_RETURN(layer_.mask, masks_.Prove(question_));
    layer_.layer.window = layer_.mask.window;
    layer_.report.mask = layer_.mask.window < 0 ? "causal" : absl::StrCat("window ", layer_.mask.window);
    if (layer_.mask.relative_bias.defined()) absl::StrAppend(&layer_.report.mask, ", bias by distance");
    if (layer_.mask.alibi_slopes.defined()) absl::StrAppend(&layer_.report.mask, ", ALiBi");
    if (layer_.sinks != nullptr) absl::StrAppend(&layer_.report.mask, ", sinks");
    return std::move(layer_);
  }

 private:
  // ---- ai.onnx Attention, the cache inside (past_key) or before it ----
  absl::StatusOr<bool> ReadOnnx() {
    layer_.q = node_->input(0);
    const int rank = RankOf(layer_.q);
    if (rank != 3 && rank != 4) return Unimplemented("queries of unknown rank");
    if (node_->input(4) != nullptr) {
      RONDO_RETURN_IF_ERROR(ReadInner(4, &layer_.key_state));
      RONDO_RETURN_IF_ERROR(ReadInner(5, &layer_.value_state));
      layer_.k = node_->input(1);
      layer_.v = node_->input(2);
    } else {
      const std::optional<OperandUpdate> key = UpdateBehind(node_->input(1)), value = UpdateBehind(node_->input(2));
      if (!key.has_value() && !value.has_value()) return false;
      if (!key.has_value() || !value.has_value()) {
        return Unimplemented("only the ", key.has_value() ? "keys" : "values", " come from a cache");
      }
      RONDO_ASSIGN_OR_RETURN(layer_.k, ReadOuter(*key, rank));
      RONDO_ASSIGN_OR_RETURN(layer_.v, ReadOuter(*value, rank));
      layer_.key_state = key->update.state;
      layer_.value_state = value->update.state;
      layer_.report.key_output = key->update.result->name();
      layer_.report.value_output = value->update.result->name();
      if (key->update.rows_first != value->update.rows_first || key->update.circular != value->update.circular) {
        return Unimplemented("keys and values in unlike order");
      }
      question_.rows_first = key->update.rows_first;
      question_.circular = key->update.circular;
    }
    RONDO_RETURN_IF_ERROR(ReadSizes(rank, node_->IntOr("q_num_heads", 0), node_->IntOr("kv_num_heads", 0)));
    layer_.scale = node_->FloatOr("scale", 1.0f / std::sqrt(static_cast<float>(layer_.layer.head_size)));
    layer_.softcap = node_->FloatOr("softcap", 0);
    if (node_->output(3) != nullptr) return Unimplemented("the scores are an output");

    question_.mask = node_->input(3);
    question_.causal = node_->IntOr("is_causal", 0) != 0;
    question_.left_window = node_->IntOr("left_window_size", -1);
    if (node_->IntOr("right_window_size", -1) > 0) return Unimplemented("a window to the right");
    if (Value* valid = node_->input(6)) {
      question_.valid_lengths = true;
      RONDO_RETURN_IF_ERROR(Prove(valid, "nonpad_kv_seqlen", limit(), [&](const ProbePoint& p, int64_t) {
        return question_.circular ? std::min(p.past + p.rows, question_.capacity) : p.past + p.rows;
      }));
      layer_.report.length = SourcesOf(valid);
    } else if (question_.capacity > 0) {
      if (question_.causal || question_.left_window >= 0) {
        return Unimplemented("causal attention over a cache of fixed length without nonpad_kv_seqlen");
      }
      layer_.report.length = "the mask";
    } else {
      layer_.report.length = "past length + rows";
    }
    // These count columns, which are no positions once the cache has wrapped.
    if (question_.circular && (question_.causal || question_.left_window >= 0)) {
      return Unimplemented("is_causal or a window of the operator over a circular cache");
    }
    if (question_.mask != nullptr && !prober_.IsEnvironment(question_.mask)) {
      return Unimplemented("the mask depends on the tokens");
    }
    return true;
  }

  absl::Status ReadInner(int slot, const Value** state) {
    const std::optional<CacheUpdate> update = UpdateAt(node_, slot);
    if (!update.has_value()) return Unimplemented("the cache is no input of the graph, or its successor no output");
    RONDO_RETURN_IF_ERROR(CheckPart(*update));
    *state = update->state;
    (slot % 2 == 0 ? layer_.report.key_output : layer_.report.value_output) = update->result->name();
    layer_.report.form = absl::StrCat(KvFormName(update->form), update->part >= 0 ? kInOne : "");
    layer_.report.axis = update->state_axis();
    layer_.report.layout = update->part >= 0 ? "2BNSH" : "BNSH";
    layer_.report.start = "past length";
    return absl::OkStatus();
  }

  // Keys that were taken from one half of a state go back there.
  absl::Status CheckPart(const CacheUpdate& update) const {
    if (update.part < 0 || OutputReachedBy(graph_, update.result, update.part) >= 0) return absl::OkStatus();
    return Unimplemented("keys and values come out of the step in another order than they went in");
  }

  absl::StatusOr<Value*> ReadOuter(const OperandUpdate& operand, int rank) {
    const CacheUpdate& update = operand.update;
    RONDO_RETURN_IF_ERROR(CheckPart(update));
    const int rows_axis = rank == 4 ? 2 : 1;
    if (static_cast<int>(operand.perm.size()) != rank) return Unimplemented("keys of another rank than the queries");
    if (operand.perm[rows_axis] != update.axis)
      return Unimplemented("rows are added along another axis than the keys'");
    const ValueType& state = update.state->type();
    if (update.form != KvForm::kConcat) {
      const Dim& capacity = (*state.shape)[update.state_axis()];
      if (!capacity.known()) return Unimplemented("the capacity ", capacity.ToString(), " of the cache is no number");
      question_.capacity = capacity.value();
      RONDO_RETURN_IF_ERROR(ProveStart(update));
    }
    layer_.report.form = absl::StrCat(KvFormName(update.form), update.circular ? " (circular)" : "",
                                      update.rows_first ? " (new rows first)" : "", update.part >= 0 ? kInOne : "");
    layer_.report.axis = update.state_axis();
    layer_.report.start = update.start == nullptr ? "past length" : SourcesOf(update.start);
    layer_.report.layout.assign(update.part >= 0 ? rank + 1 : rank, '2');
    for (int d = 0; d < rank; ++d) {
      layer_.report.layout[update.from_state[operand.perm[d]]] = rank == 4 ? "BNSH"[d] : "BSH"[d];
    }
    if (RankOf(update.rows) != rank) return Unimplemented("new rows of another rank than the cache");
    if (IsIdentity(operand.perm)) return update.rows;
    RONDO_ASSIGN_OR_RETURN(Node * transpose, AddTyped(graph_, context_, {"", "Transpose", 13}, *node_, {update.rows}, 1,
                                                      {{"perm", operand.perm}}));
    return transpose->output(0);
  }

  // Rows beyond which a probe must not go; 0: none.
  int64_t limit() const { return question_.circular ? 0 : question_.capacity; }

  absl::Status ProveStart(const CacheUpdate& update) {
    if (update.start == nullptr) return Unimplemented("rows are written at 0 in every step");
    if (update.form == KvForm::kTensorScatter) {
      // A circular cache is written modulo its capacity, whether the index says so or not.
      if (update.circular) return ProveCircularStart(update);
      return Prove(update.start, "the write index", question_.capacity,
                   [](const ProbePoint& p, int64_t) { return p.past; });
    }
    if (update.form == KvForm::kScatterND && update.coordinates <= 1) {
      return Prove(update.start, "the index", question_.capacity,
                   [](const ProbePoint& p, int64_t i) { return p.past + i; });
    }
    if (update.form == KvForm::kScatterND) return ProveGrid(update);
    // ScatterElements: indices have the rows' shape.
    int64_t inner = 1;
    const Shape& shape = *update.start->type().shape;
    for (int d = update.axis + 1; d < shape.rank(); ++d) {
      if (!shape[d].known()) return Unimplemented("ScatterElements with symbolic inner dims");
      inner *= shape[d].value();
    }
    return Prove(update.start, "the index", question_.capacity,
                 [inner](const ProbePoint& p, int64_t i) { return p.past + i / inner % p.rows; });
  }

  absl::Status ProveCircularStart(const CacheUpdate& update) {
    const auto as_it_is = [](const ProbePoint& p, int64_t) { return p.past; };
    if (Prove(update.start, "the write index", 0, as_it_is).ok()) return absl::OkStatus();
    return Prove(update.start, "the write index", 0,
                 [&](const ProbePoint& p, int64_t) { return p.past % question_.capacity; });
  }

  // The coordinates are those of the rows, one after the other, moved by the past along the axis.
  absl::Status ProveGrid(const CacheUpdate& update) {
    const int k = update.coordinates;
    const Shape& shape = *update.rows->type().shape;
    for (int d = 1; d < k; ++d) {
      if (d != update.axis && !shape[d].known()) return Unimplemented("ScatterND with symbolic inner dims");
    }
    return Prove(update.start, "the index", question_.capacity, [&](const ProbePoint& p, int64_t i) {
      const int coordinate = static_cast<int>(i % k);
      int64_t row = i / k;
      for (int d = k - 1; d > coordinate; --d) row /= d == update.axis ? p.rows : shape[d].value();
      if (coordinate == update.axis) return p.past + row % p.rows;
      return coordinate == 0 ? row : row % shape[coordinate].value();
    });
  }

  // Every element of an integer value is what `expected` says of its flat index.
  absl::Status Prove(const Value* value, absl::string_view what, int64_t capacity,
                     absl::FunctionRef<int64_t(const ProbePoint&, int64_t)> expected) {
    for (const ProbePoint& point : prober_.Points(capacity)) {
      absl::StatusOr<Tensor> tensor = prober_.Evaluate(value, point);
      if (!tensor.ok()) return Annotate(tensor.status(), absl::StrCat(what, ": "));
      if (!tensor->defined() || (tensor->dtype() != DataType::kInt64 && tensor->dtype() != DataType::kInt32)) {
        return Unimplemented(what, " is no integer");
      }
      for (int64_t i = 0; i < tensor->size(); ++i) {
        if (IntAt(*tensor, i) == expected(point, i)) continue;
        return Unimplemented(what, " is ", IntAt(*tensor, i), " for past ", point.past, " and ", point.rows,
                             " rows, expected ", expected(point, i));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadSizes(int rank, int64_t q_heads, int64_t kv_heads) {
    const auto read = [&](const Value* value, int64_t* heads, int64_t* size) -> absl::Status {
      const Shape& shape = *value->type().shape;
      if (rank == 4) {
        if (!shape[1].known() || !shape[3].known()) return Unimplemented("heads of unknown number or size");
        *heads = shape[1].value();
        *size = shape[3].value();
      } else {
        if (!shape[2].known() || *heads <= 0) return Unimplemented("heads of unknown number or size");
        *size = shape[2].value() / *heads;
      }
      return absl::OkStatus();
    };
    layer_.q_heads = q_heads;
    int64_t q_size = 0, v_heads = kv_heads;
    layer_.layer.kv_heads = kv_heads;
    RONDO_RETURN_IF_ERROR(read(layer_.q, &layer_.q_heads, &q_size));
    RONDO_RETURN_IF_ERROR(read(layer_.k, &layer_.layer.kv_heads, &layer_.layer.head_size));
    return read(layer_.v, &v_heads, &layer_.layer.v_head_size);
  }

  // ---- com.microsoft GroupQueryAttention: projections may be packed, the rotary embedding may be inside ----
  absl::Status ReadGroupQuery() {
    enum { kQuery, kKey, kValue, kPastKey, kPastValue, kLengths, kTotal, kCos, kSin, kPositions, kBias, kSink };
    RONDO_RETURN_IF_ERROR(ReadInner(kPastKey, &layer_.key_state));
    RONDO_RETURN_IF_ERROR(ReadInnerValue(kPastValue));
    for (int i = kSink + 1; i < node_->num_formal_inputs(); ++i) {
      if (node_->input(i) != nullptr) return Unimplemented("input ", i, " (quantised cache or norms inside)");
    }
    if (node_->output(3) != nullptr) return Unimplemented("the scores are an output");
    if (node_->IntOr("causal", 1) == 0) return Unimplemented("causal 0");
    layer_.q_heads = node_->IntOr("num_heads", 0);
    layer_.layer.kv_heads = node_->IntOr("kv_num_heads", 0);
    if (layer_.q_heads <= 0 || layer_.layer.kv_heads <= 0) return Unimplemented("num_heads or kv_num_heads is missing");
    RONDO_RETURN_IF_ERROR(Prove(node_->input(kLengths), "seqlens_k", 0,
                                [](const ProbePoint& p, int64_t) { return p.past + p.rows - 1; }));
    RONDO_RETURN_IF_ERROR(Prove(node_->input(kTotal), "total_sequence_length", 0,
                                [](const ProbePoint& p, int64_t) { return p.past + p.rows; }));
    layer_.report.length = absl::StrCat("seqlens_k + 1, from ", SourcesOf(node_->input(kLengths)));
    layer_.report.start = "seqlens_k + 1 - rows";

    RONDO_RETURN_IF_ERROR(SplitProjections());
    RONDO_RETURN_IF_ERROR(ReadSizes(3, layer_.q_heads, layer_.layer.kv_heads));
    if (node_->IntOr("do_rotary", 0) != 0) {
      if (Value* ids = node_->input(kPositions)) {
        RONDO_RETURN_IF_ERROR(
            Prove(ids, "position_ids", 0, [](const ProbePoint& p, int64_t i) { return p.past + i % p.rows; }));
      }
      RONDO_ASSIGN_OR_RETURN(layer_.q, Rotate(layer_.q, layer_.q_heads));
      RONDO_ASSIGN_OR_RETURN(layer_.k, Rotate(layer_.k, layer_.layer.kv_heads));
    }
    layer_.scale = node_->FloatOr("scale", 0);
    if (layer_.scale == 0) layer_.scale = 1.0f / std::sqrt(static_cast<float>(layer_.layer.head_size));
    layer_.softcap = node_->FloatOr("softcap", 0);
    question_.mask = node_->input(kBias);
    question_.causal = true;
    const int64_t window = node_->IntOr("local_window_size", -1);
    question_.left_window = window > 0 ? window - 1 : -1;
    return ReadSinks(kSink);
  }

  absl::Status ReadInnerValue(int slot) {
    const std::optional<CacheUpdate> update = UpdateAt(node_, slot);
    if (!update.has_value()) return Unimplemented("the cache is no input of the graph, or its successor no output");
    layer_.value_state = update->state;
    layer_.report.value_output = update->result->name();
    return absl::OkStatus();
  }

  absl::Status SplitProjections() {
    layer_.q = node_->input(0);
    layer_.k = node_->input(1);
    layer_.v = node_->input(2);
    if (RankOf(layer_.q) != 3) return Unimplemented("a query of rank ", RankOf(layer_.q));
    if (layer_.k != nullptr) return absl::OkStatus();
    const Dim& hidden = (*layer_.q->type().shape)[2];
    const int64_t heads = layer_.q_heads + 2 * layer_.layer.kv_heads;
    if (!hidden.known() || hidden.value() % heads != 0) return Unimplemented("packed projections of unknown size");
    const int64_t size = hidden.value() / heads;
    Value* sizes = graph_.AddConstant(
        absl::StrCat(node_->name(), ".split"),
        Tensor::FromInt64s({layer_.q_heads * size, layer_.layer.kv_heads * size, layer_.layer.kv_heads * size}));
    RONDO_ASSIGN_OR_RETURN(Node * split, AddTyped(graph_, context_, {"", "Split", 13}, *node_, {layer_.q, sizes}, 3,
                                                  {{"axis", int64_t{2}}}));
    layer_.q = split->output(0);
    layer_.k = split->output(1);
    layer_.v = split->output(2);
    return absl::OkStatus();
  }

  absl::StatusOr<Value*> Rotate(Value* x, int64_t heads) {
    Value *cos = node_->input(7), *sin = node_->input(8);
    if (cos == nullptr || sin == nullptr || RankOf(cos) != 2 || !(*cos->type().shape)[1].known()) {
      return Unimplemented("a rotary embedding without tables");
    }
    std::vector<std::pair<std::string, Attribute>> attributes = {
        {"num_heads", heads}, {"interleaved", node_->IntOr("rotary_interleaved", 0)}};
    const int64_t rotated = 2 * (*cos->type().shape)[1].value();
    if (rotated != layer_.layer.head_size) attributes.push_back({"rotary_embedding_dim", rotated});
    RONDO_ASSIGN_OR_RETURN(Node * rotary, AddTyped(graph_, context_, {"", "RotaryEmbedding", 23}, *node_,
                                                   {x, cos, sin, positions_}, 1, std::move(attributes)));
    return rotary->output(0);
  }

  absl::Status ReadSinks(int slot) {
    layer_.sinks = node_->input(slot);
    if (layer_.sinks != nullptr && (!layer_.sinks->is_constant() || !IsFloat32(layer_.sinks))) {
      return Unimplemented("attention sinks that are no float32 constant");
    }
    if (layer_.sinks == nullptr && node_->IntOr("smooth_softmax", 0) == 1) {
      layer_.sinks =
          graph_.AddConstant(absl::StrCat(node_->name(), ".sinks"), Tensor::Make(DataType::kFloat, {layer_.q_heads}));
    }
    question_.keep_offsets = layer_.sinks != nullptr;
    return absl::OkStatus();
  }

  Graph& graph_;
  Node* node_;
  Value* positions_;
  MaskProver& masks_;
  Prober& prober_;
  const RewriteContext& context_;
  CachedAttention layer_;
  MaskQuestion question_;
};

}  // namespace

absl::StatusOr<std::optional<CachedAttention>> ReadCachedAttention(Graph& graph, Node* node, Value* positions,
                                                                   MaskProver& masks, const RewriteContext& context) {
  absl::StatusOr<std::optional<CachedAttention>> layer = Reader(graph, node, positions, masks, context).Read();
  if (!layer.ok()) return Annotate(layer.status(), absl::StrCat(node->Describe(), ": "));
  if (layer->has_value()) {
    (*layer)->report.key_input = (*layer)->key_state->name();
    (*layer)->report.value_input = (*layer)->value_state->name();
  }
  return layer;
}

}  // namespace rondo

#include "kvcache/update.h"

#include <algorithm>
#include <numeric>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_join.h"

namespace rondo {
namespace {

constexpr int kMaxSteps = 16;  // of transposes and identities in a row

bool IsCopy(const Node* node) { return node->Is("Identity") || node->Is("Transpose") || node->Is("Cast"); }

int RankOf(const Value* value) {
  const ValueType& type = value->type();
  return type.is_tensor() && type.shape.has_value() ? type.shape->rank() : -1;
}

std::vector<int64_t> PermOf(const Node* transpose, int rank) {
  std::vector<int64_t> reversed(rank);
  for (int i = 0; i < rank; ++i) reversed[i] = rank - 1 - i;
  return transpose->IntsOr("perm", reversed);
}

int NormalAxis(int64_t axis, int rank) { return static_cast<int>(axis < 0 ? axis + rank : axis); }

// The length of ScatterND's index tuples; 0 when it is not known.
int CoordinatesOf(const Value* indices) {
  if (RankOf(indices) < 1) return 0;
  const Dim& last = indices->type().shape->back();
  return last.known() ? static_cast<int>(last.value()) : 0;
}

// A grid of coordinates that covers all of the cache but some rows of one axis: the axis in which rows and cache
// differ. Rows may be flattened beside their coordinates; they are taken before that.
bool FindGridAxis(const Value* cache, CacheUpdate* update) {
  const int rank = RankOf(cache);
  Value* rows = update->rows;
  if (RankOf(rows) != rank && rows->producer() != nullptr && rows->producer()->Is("Reshape")) {
    rows = rows->producer()->input(0);
  }
  if (RankOf(rows) != rank) return false;
  update->axis = -1;
  for (int d = 0; d < rank; ++d) {
    if ((*rows->type().shape)[d] == (*cache->type().shape)[d]) continue;
    if (update->axis >= 0 || d >= update->coordinates) return false;
    update->axis = d;
  }
  update->rows = rows;
  return update->axis >= 0;
}

// Which half of a state of keys and values a Gather takes; -1: it is none that does.
int PartTaken(const Node* node) {
  if (!node->Is("Gather") || node->IntOr("axis", 0) != 0) return -1;
  const Value *whole = node->input(0), *index = node->input(1);
  if (RankOf(whole) < 4 || (*whole->type().shape)[0] != Dim(2) || !index->is_constant()) return -1;
  const Tensor& which = index->constant();
  if (which.rank() != 0) return -1;
  const int64_t part = which.dtype() == DataType::kInt64 ? *which.data<int64_t>() : *which.data<int32_t>();
  return part == 0 || part == 1 ? static_cast<int>(part) : -1;
}

bool IsGraphInput(const Value* value) { return value->producer() == nullptr && !value->is_constant(); }

}  // namespace

absl::string_view KvFormName(KvForm form) {
  switch (form) {
    case KvForm::kConcat:
      return "Concat";
    case KvForm::kTensorScatter:
      return "TensorScatter";
    case KvForm::kScatterND:
      return "ScatterND";
    case KvForm::kScatterElements:
      return "ScatterElements";
    case KvForm::kOnnxAttention:
      return "Attention";
    case KvForm::kGroupQueryAttention:
      return "GroupQueryAttention";
    case KvForm::kMultiHeadAttention:
      return "MultiHeadAttention";
    case KvForm::kPackedAttention:
      return "packed Attention";
  }
  return "?";
}

const Value* StateBehind(const Value* value, std::vector<int64_t>* perm, int* part) {
  *part = -1;
  const int rank = RankOf(value);
  if (rank < 0) return nullptr;
  perm->resize(rank);
  std::iota(perm->begin(), perm->end(), 0);
  for (int step = 0; step < kMaxSteps; ++step) {
    if (IsGraphInput(value)) return value;
    const Node* node = value->producer();
    if (node == nullptr) return nullptr;
    if (node->Is("Transpose")) {
      const std::vector<int64_t> p = PermOf(node, rank);
      if (static_cast<int>(p.size()) != rank) return nullptr;
      for (int64_t& d : *perm) d = p[d];
    } else if (const int taken = PartTaken(node); taken >= 0) {
      if (!IsGraphInput(node->input(0))) return nullptr;
      *part = taken;
      for (int64_t& d : *perm) ++d;
    } else if (!node->Is("Identity")) {
      return nullptr;
    }
    value = node->input(0);
  }
  return nullptr;
}

int OutputReachedBy(const Graph& graph, const Value* value, int part) {
  std::vector<const Value*> reached = {value};
  const auto joins = [&](const Use& use) {
    if (part < 0) return false;
    if (use.node->Is("Unsqueeze")) return use.index == 0;
    return use.node->Is("Concat") && use.index == part && use.node->inputs().size() == 2 &&
           use.node->IntOr("axis", -1) == 0;
  };
  for (size_t i = 0; i < reached.size() && i < kMaxSteps; ++i) {
    if (reached[i]->is_graph_output()) {
      const auto it = std::find(graph.outputs().begin(), graph.outputs().end(), reached[i]);
      return static_cast<int>(it - graph.outputs().begin());
    }
    for (const Use& use : reached[i]->uses()) {
      if ((use.index == 0 && IsCopy(use.node)) || joins(use)) reached.push_back(use.node->output(0));
    }
  }
  return -1;
}

std::optional<CacheUpdate> UpdateAt(Node* node, int slot) {
  CacheUpdate update;
  update.node = node;
  update.slot = slot;
  int result = 0;
  int rows_slot = -1, start_slot = -1;
  int64_t axis = -2;
  if (node->Is("Concat") && node->inputs().size() == 2) {
    update.form = KvForm::kConcat;
    rows_slot = 1 - slot;
    update.rows_first = slot == 1;
    axis = node->IntOr("axis", 0);
  } else if (node->Is("TensorScatter") && slot == 0) {
    update.form = KvForm::kTensorScatter;
    rows_slot = 1;
    start_slot = 2;
    axis = node->IntOr("axis", -2);
    update.circular = node->StringOr("mode", "linear") == "circular";
  } else if (node->Is("ScatterND") && slot == 0 && node->StringOr("reduction", "none") == "none") {
    update.form = KvForm::kScatterND;
    rows_slot = 2;
    start_slot = 1;
    update.coordinates = CoordinatesOf(node->input(1));
    if (update.coordinates == 0) return std::nullopt;
    axis = 0;
  } else if (node->Is(kRondoDomain, "ScatterRows") && slot == 0) {
    update.form = KvForm::kScatterND;
    rows_slot = 2;
    start_slot = 1;
    axis = node->IntOr("axis", 0);
  } else if (node->Is("ScatterElements") && slot == 0 && node->StringOr("reduction", "none") == "none") {
    update.form = KvForm::kScatterElements;
    rows_slot = 2;
    start_slot = 1;
    axis = node->IntOr("axis", 0);
  } else if (node->Is("Attention") && (slot == 4 || slot == 5)) {
    update.form = KvForm::kOnnxAttention;
    result = slot - 3;
  } else if (node->Is("com.microsoft", "GroupQueryAttention") && (slot == 3 || slot == 4)) {
    update.form = KvForm::kGroupQueryAttention;
    result = slot - 2;
  } else if (node->Is("com.microsoft", "MultiHeadAttention") && (slot == 6 || slot == 7)) {
    update.form = KvForm::kMultiHeadAttention;
    result = slot - 5;
  } else if (node->Is("com.microsoft", "Attention") && slot == 4) {
    update.form = KvForm::kPackedAttention;
    result = 1;
  } else {
    return std::nullopt;
  }
  update.result = node->output(result);
  if (update.result == nullptr) return std::nullopt;
  Value* operand = node->input(slot);
  if (operand == nullptr) return std::nullopt;
  update.state = StateBehind(operand, &update.from_state, &update.part);
  if (update.state == nullptr) return std::nullopt;
  const int rank = RankOf(operand);
  update.axis = NormalAxis(axis, rank);
  if (update.axis < 0 || update.axis >= rank) return std::nullopt;
  if (rows_slot >= 0) {
    update.rows = node->input(rows_slot);
    std::vector<int64_t> unused;
    int unused_part;
    if (update.rows == nullptr || update.rows->is_constant()) return std::nullopt;
    // Two states joined are no update of either.
    if (update.form == KvForm::kConcat && StateBehind(update.rows, &unused, &unused_part) != nullptr)
      return std::nullopt;
  }
  if (update.coordinates > 1 && !FindGridAxis(node->input(slot), &update)) return std::nullopt;
  if (start_slot >= 0) update.start = node->input(start_slot);
  return update;
}

std::optional<CacheUpdate> UpdateOf(const Value* input) {
  std::vector<const Value*> reached = {input};
  for (size_t i = 0; i < reached.size() && i < 8; ++i) {
    for (const Use& use : reached[i]->uses()) {
      std::optional<CacheUpdate> update = UpdateAt(use.node, use.index);
      if (update.has_value() && update->state == input) return update;
      if (use.node->Is("Transpose") || use.node->Is("Identity") || PartTaken(use.node) >= 0)
        reached.push_back(use.node->output(0));
    }
  }
  return std::nullopt;
}

std::string SourcesOf(const Value* value) {
  // Lengths that are read off shapes say where values come from only when nothing else does.
  for (const bool through_shapes : {false, true}) {
    std::vector<const Value*> reached = {value};
    absl::flat_hash_set<const Value*> seen;
    std::vector<std::string> names;
    for (size_t i = 0; i < reached.size(); ++i) {
      if (reached[i] == nullptr || !seen.insert(reached[i]).second) continue;
      const Node* node = reached[i]->producer();
      if (node == nullptr) {
        if (!reached[i]->is_constant()) names.push_back(reached[i]->name());
      } else if (through_shapes || !(node->Is("Shape") || node->Is("Size"))) {
        reached.insert(reached.end(), node->inputs().begin(), node->inputs().end());
      }
    }
    if (!names.empty()) return absl::StrJoin(names, ", ");
  }
  return "";
}

}  // namespace rondo

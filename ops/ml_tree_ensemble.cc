#include "ops/ml_tree_ensemble.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "graph/numeric.h"
#include "ops/ml_common.h"

namespace rondo {

absl::Status TreeEnsemble::Check() const {
  const int64_t count = static_cast<int64_t>(nodes.size());
  const auto is_node = [&](int32_t i) { return i >= 0 && i < count; };
  for (int64_t i = 0; i < count; ++i) {
    const Node& node = nodes[i];
    if (node.mode == Mode::kLeaf) continue;
    if (node.feature < 0) return InvalidArgument("tree node ", i, ": feature ", node.feature, " is negative");
    if (!is_node(node.on_true) || !is_node(node.on_false)) {
      return InvalidArgument("tree node ", i, ": its children do not exist");
    }
  }
  // Depth first without recursion, each node on the stack together with the child to go to next: a child that is still
  // on the path closes a circle.
  enum : uint8_t { kNew, kOnPath, kDone };
  std::vector<uint8_t> state(nodes.size(), kNew);
  std::vector<std::pair<int32_t, int>> path;
  for (int32_t root : roots) {
    if (!is_node(root)) return InvalidArgument("tree root ", root, ": there are ", count, " nodes");
    if (state[root] != kNew) continue;
    path.emplace_back(root, 0);
    state[root] = kOnPath;
    while (!path.empty()) {
      const int32_t at = path.back().first;
      const Node& node = nodes[at];
      if (node.mode == Mode::kLeaf || path.back().second == 2) {
        state[at] = kDone;
        path.pop_back();
        continue;
      }
      const int32_t child = path.back().second++ == 0 ? node.on_true : node.on_false;
      if (state[child] == kOnPath) return InvalidArgument("tree node ", at, ": its child ", child, " is its ancestor");
      if (state[child] == kDone) continue;
      state[child] = kOnPath;
      path.emplace_back(child, 0);
    }
  }
  return absl::OkStatus();
}

int64_t TreeEnsemble::features() const {
  int64_t count = 0;
  for (const Node& node : nodes) {
    if (node.mode != Mode::kLeaf) count = std::max<int64_t>(count, int64_t{node.feature} + 1);
  }
  return count;
}

const TreeEnsemble::Node& TreeEnsemble::Leaf(int32_t root, const double* x) const {
  const Node* node = &nodes[root];
  while (node->mode != Mode::kLeaf) {
    const double value = x[node->feature];
    bool result = false;
    switch (node->mode) {
      case Mode::kLeq:
        result = value <= node->value;
        break;
      case Mode::kLt:
        result = value < node->value;
        break;
      case Mode::kGte:
        result = value >= node->value;
        break;
      case Mode::kGt:
        result = value > node->value;
        break;
      case Mode::kEq:
        result = value == node->value;
        break;
      case Mode::kNeq:
        result = value != node->value;
        break;
      case Mode::kMember:
        result = std::binary_search(sets[node->set].begin(), sets[node->set].end(), value);
        break;
      case Mode::kLeaf:
        break;
    }
    if (std::isnan(value)) result = node->nan_is_true;
    node = &nodes[result ? node->on_true : node->on_false];
  }
  return *node;
}

void TreeEnsemble::Evaluate(const double* x, double* scores) const {
  const bool sum = aggregate == Aggregate::kSum || aggregate == Aggregate::kAverage;
  std::fill_n(scores, targets, sum ? 0.0 : std::numeric_limits<double>::quiet_NaN());  // NaN: no vote yet
  for (int32_t root : roots) {
    const Node& leaf = Leaf(root, x);
    for (int32_t v = leaf.on_true; v < leaf.on_false; ++v) {
      double& score = scores[votes[v].target];
      const double weight = votes[v].weight;
      if (sum) {
        score += weight;
      } else if (std::isnan(score) || (aggregate == Aggregate::kMin ? weight < score : weight > score)) {
        score = weight;
      }
    }
  }
  for (int32_t t = 0; t < targets; ++t) {
    if (aggregate == Aggregate::kAverage) scores[t] /= static_cast<double>(roots.size());
    if (std::isnan(scores[t]) && !sum) scores[t] = 0;
    if (!base.empty()) scores[t] += base[t];
  }
}

namespace {

using Mode = TreeEnsemble::Mode;

// Elements of a one-dimensional float32, float64 or float16 tensor.
absl::StatusOr<std::vector<double>> Numbers(absl::string_view attribute, const Tensor& tensor) {
  std::vector<double> numbers;
  switch (tensor.dtype()) {
    case DataType::kFloat:
      numbers.assign(tensor.data<float>(), tensor.data<float>() + tensor.size());
      return numbers;
    case DataType::kDouble:
      numbers.assign(tensor.data<double>(), tensor.data<double>() + tensor.size());
      return numbers;
    case DataType::kFloat16:
      for (int64_t i = 0; i < tensor.size(); ++i) numbers.push_back(static_cast<float>(tensor.data<Float16>()[i]));
      return numbers;
    default:
      return InvalidArgument("attribute \"", attribute, "\": expected a tensor of float32, float64 or float16, got ",
                             DataTypeName(tensor.dtype()));
  }
}

absl::StatusOr<std::vector<double>> TensorNumbers(const AttributeReader& attributes, absl::string_view name) {
  if (!attributes.Has(name)) return std::vector<double>();
  RONDO_ASSIGN_OR_RETURN(const Tensor tensor, attributes.TensorValue(name));
  return Numbers(name, tensor);
}

// `name` as floats, or `name`_as_tensor.
absl::StatusOr<std::vector<double>> ListOrTensor(const AttributeReader& attributes, absl::string_view name) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<float> list, attributes.Floats(name, {}));
  const std::string tensor = absl::StrCat(name, "_as_tensor");
  if (list.empty()) return TensorNumbers(attributes, tensor);
  if (attributes.Has(tensor)) {
    return InvalidArgument("attributes \"", name, "\" and \"", tensor, "\": expected only one of them");
  }
  return std::vector<double>(list.begin(), list.end());
}

// Ids, features and positions are kept in 32 bits.
absl::StatusOr<std::vector<int64_t>> SmallInts(const AttributeReader& attributes, absl::string_view name) {
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> list, attributes.Ints(name));
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i] < 0 || list[i] > std::numeric_limits<int32_t>::max()) {
      return InvalidArgument("attribute \"", name, "\": element ", i, " is ", list[i],
                             ", expected one of [0, 2147483647]");
    }
  }
  return list;
}

template <typename List>
absl::Status ExpectLength(absl::string_view name, const List& list, size_t expected, bool optional = false) {
  if (optional && list.empty()) return absl::OkStatus();
  return ExpectCount(name, static_cast<int64_t>(list.size()), static_cast<int64_t>(expected));
}

absl::StatusOr<Mode> ParseMode(absl::string_view name) {
  constexpr std::pair<absl::string_view, Mode> kModes[] = {
      {"BRANCH_LEQ", Mode::kLeq}, {"BRANCH_LT", Mode::kLt},   {"BRANCH_GTE", Mode::kGte}, {"BRANCH_GT", Mode::kGt},
      {"BRANCH_EQ", Mode::kEq},   {"BRANCH_NEQ", Mode::kNeq}, {"LEAF", Mode::kLeaf},
  };
  for (const auto& [text, mode] : kModes) {
    if (text == name) return mode;
  }
  return InvalidArgument("attribute \"nodes_modes\": unknown mode \"", name, "\"");
}

// A node is named by its tree and its id in it.
using NodeIndex = absl::flat_hash_map<std::pair<int64_t, int64_t>, int32_t>;

absl::StatusOr<int32_t> FindNode(const NodeIndex& index, absl::string_view what, int64_t tree, int64_t id) {
  const auto found = index.find({tree, id});
  if (found != index.end()) return found->second;
  return InvalidArgument(what, ": there is no node ", id, " in tree ", tree);
}

// Sorts the votes by their leaf and tells the leaves which are theirs.
absl::Status ReadVotes(const AttributeReader& attributes, const NodeListNames& names, int64_t targets,
                       const NodeIndex& index, TreeEnsemble* ensemble) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> ids, SmallInts(attributes, names.ids));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> node_ids, attributes.Ints(names.nodeids));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> tree_ids, attributes.Ints(names.treeids));
  RONDO_ASSIGN_OR_RETURN(const std::vector<double> weights, ListOrTensor(attributes, names.weights));
  RONDO_RETURN_IF_ERROR(ExpectLength(names.nodeids, node_ids, ids.size()));
  RONDO_RETURN_IF_ERROR(ExpectLength(names.treeids, tree_ids, ids.size()));
  RONDO_RETURN_IF_ERROR(ExpectLength(names.weights, weights, ids.size()));
  std::vector<std::pair<int32_t, size_t>> by_leaf;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= targets) {
      return OutOfRange("attribute \"", names.ids, "\": element ", i, " is ", ids[i], ", out of range [0, ",
                        targets - 1, "]");
    }
    RONDO_ASSIGN_OR_RETURN(const int32_t node, FindNode(index, names.nodeids, tree_ids[i], node_ids[i]));
    // Some converters write votes, of weight 0, for all nodes; only those of leaves are ever asked for.
    if (ensemble->nodes[node].mode == Mode::kLeaf) by_leaf.emplace_back(node, i);
  }
  std::sort(by_leaf.begin(), by_leaf.end());
  for (const auto& [node, i] : by_leaf) {
    TreeEnsemble::Node& leaf = ensemble->nodes[node];
    const int32_t at = static_cast<int32_t>(ensemble->votes.size());
    if (leaf.on_false == 0) leaf.on_true = at;
    leaf.on_false = at + 1;
    ensemble->votes.push_back({static_cast<int32_t>(ids[i]), weights[i]});
  }
  return absl::OkStatus();
}

absl::Status ExpectTargets(int64_t targets) {
  if (targets > 0 && targets <= std::numeric_limits<int32_t>::max()) return absl::OkStatus();
  return InvalidArgument("expected a positive number of targets, got ", targets);
}

}  // namespace

absl::StatusOr<TreeEnsemble> ReadNodeLists(const AttributeReader& attributes, const NodeListNames& names,
                                           int64_t targets) {
  RONDO_RETURN_IF_ERROR(ExpectTargets(targets));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> trees, attributes.Ints("nodes_treeids"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> ids, attributes.Ints("nodes_nodeids"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> features, SmallInts(attributes, "nodes_featureids"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<std::string> modes, attributes.Strings("nodes_modes"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<double> values, ListOrTensor(attributes, "nodes_values"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> on_true, attributes.Ints("nodes_truenodeids"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> on_false, attributes.Ints("nodes_falsenodeids"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> nan_is_true,
                         attributes.Ints("nodes_missing_value_tracks_true", {}));
  const size_t count = trees.size();
  if (count == 0) return InvalidArgument("attribute \"nodes_treeids\": expected at least one node");
  RONDO_RETURN_IF_ERROR(ExpectLength("nodes_nodeids", ids, count));
  RONDO_RETURN_IF_ERROR(ExpectLength("nodes_featureids", features, count));
  RONDO_RETURN_IF_ERROR(ExpectLength("nodes_modes", modes, count));
  RONDO_RETURN_IF_ERROR(ExpectLength("nodes_values", values, count));
  RONDO_RETURN_IF_ERROR(ExpectLength("nodes_truenodeids", on_true, count));
  RONDO_RETURN_IF_ERROR(ExpectLength("nodes_falsenodeids", on_false, count));
  RONDO_RETURN_IF_ERROR(ExpectLength("nodes_missing_value_tracks_true", nan_is_true, count, /*optional=*/true));

  TreeEnsemble ensemble;
  ensemble.targets = static_cast<int32_t>(targets);
  ensemble.nodes.resize(count);
  NodeIndex index;
  absl::flat_hash_map<int64_t, int32_t> first;  // node of each tree, its root
  for (size_t i = 0; i < count; ++i) {
    const int32_t at = static_cast<int32_t>(i);
    if (!index.emplace(std::make_pair(trees[i], ids[i]), at).second) {
      return InvalidArgument("attribute \"nodes_nodeids\": node ", ids[i], " occurs twice in tree ", trees[i]);
    }
    if (first.emplace(trees[i], at).second) ensemble.roots.push_back(at);
  }
  for (size_t i = 0; i < count; ++i) {
    TreeEnsemble::Node& node = ensemble.nodes[i];
    RONDO_ASSIGN_OR_RETURN(node.mode, ParseMode(modes[i]));
    if (node.mode == Mode::kLeaf) continue;
    node.value = values[i];
    node.feature = static_cast<int32_t>(features[i]);
    node.nan_is_true = !nan_is_true.empty() && nan_is_true[i] != 0;
    RONDO_ASSIGN_OR_RETURN(node.on_true, FindNode(index, "attribute \"nodes_truenodeids\"", trees[i], on_true[i]));
    RONDO_ASSIGN_OR_RETURN(node.on_false, FindNode(index, "attribute \"nodes_falsenodeids\"", trees[i], on_false[i]));
  }
  RONDO_RETURN_IF_ERROR(ensemble.Check());
  RONDO_RETURN_IF_ERROR(ReadVotes(attributes, names, targets, index, &ensemble));
  RONDO_ASSIGN_OR_RETURN(ensemble.base, ListOrTensor(attributes, "base_values"));
  return ensemble;
}

namespace {

// The members of each set: a list of lists with a NaN behind each.
absl::StatusOr<std::vector<std::vector<double>>> SplitSets(const std::vector<double>& members) {
  std::vector<std::vector<double>> sets;
  std::vector<double> set;
  for (double member : members) {
    if (!std::isnan(member)) {
      set.push_back(member);
      continue;
    }
    std::sort(set.begin(), set.end());
    sets.push_back(std::exchange(set, {}));
  }
  if (!set.empty()) return InvalidArgument("attribute \"membership_values\": expected a NaN at the end");
  return sets;
}

absl::StatusOr<std::vector<uint8_t>> ReadModes5(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(const Tensor tensor, attributes.TensorValue("nodes_modes"));
  if (tensor.dtype() != DataType::kUInt8) {
    return InvalidArgument("attribute \"nodes_modes\": expected a tensor of uint8, got ", DataTypeName(tensor.dtype()));
  }
  std::vector<uint8_t> modes(tensor.data<uint8_t>(), tensor.data<uint8_t>() + tensor.size());
  for (uint8_t mode : modes) {
    if (mode > static_cast<uint8_t>(Mode::kMember)) {
      return InvalidArgument("attribute \"nodes_modes\": mode ", static_cast<int>(mode), ": expected one of [0, 6]");
    }
  }
  return modes;
}

}  // namespace

absl::StatusOr<TreeEnsemble> ReadTreeEnsemble5(const AttributeReader& attributes) {
  TreeEnsemble ensemble;
  RONDO_ASSIGN_OR_RETURN(const int64_t targets, attributes.Int("n_targets"));
  RONDO_RETURN_IF_ERROR(ExpectTargets(targets));
  ensemble.targets = static_cast<int32_t>(targets);
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> features, SmallInts(attributes, "nodes_featureids"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<uint8_t> modes, ReadModes5(attributes));
  RONDO_ASSIGN_OR_RETURN(const std::vector<double> splits, TensorNumbers(attributes, "nodes_splits"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> on_true, SmallInts(attributes, "nodes_truenodeids"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> on_false, SmallInts(attributes, "nodes_falsenodeids"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> true_leaf, attributes.Ints("nodes_trueleafs"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> false_leaf, attributes.Ints("nodes_falseleafs"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> nan_is_true,
                         attributes.Ints("nodes_missing_value_tracks_true", {}));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> leaf_targets, SmallInts(attributes, "leaf_targetids"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<double> leaf_weights, TensorNumbers(attributes, "leaf_weights"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> roots, SmallInts(attributes, "tree_roots"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<double> members, TensorNumbers(attributes, "membership_values"));
  RONDO_ASSIGN_OR_RETURN(ensemble.sets, SplitSets(members));
  const size_t count = features.size();
  RONDO_RETURN_IF_ERROR(ExpectLength("nodes_modes", modes, count));
  RONDO_RETURN_IF_ERROR(ExpectLength("nodes_splits", splits, count));
  RONDO_RETURN_IF_ERROR(ExpectLength("nodes_truenodeids", on_true, count));
  RONDO_RETURN_IF_ERROR(ExpectLength("nodes_falsenodeids", on_false, count));
  RONDO_RETURN_IF_ERROR(ExpectLength("nodes_trueleafs", true_leaf, count));
  RONDO_RETURN_IF_ERROR(ExpectLength("nodes_falseleafs", false_leaf, count));
  RONDO_RETURN_IF_ERROR(ExpectLength("nodes_missing_value_tracks_true", nan_is_true, count, /*optional=*/true));
  RONDO_RETURN_IF_ERROR(ExpectLength("leaf_weights", leaf_weights, leaf_targets.size()));

  // The leaves follow the nodes; each has one vote.
  const auto child = [&](absl::string_view name, int64_t id, int64_t leaf) -> absl::StatusOr<int32_t> {
    const size_t among = leaf != 0 ? leaf_targets.size() : count;
    if (static_cast<size_t>(id) >= among) {
      return OutOfRange("attribute \"", name, "\": ", id, " is out of range [0, ", static_cast<int64_t>(among) - 1,
                        "] of the ", leaf != 0 ? "leaves" : "nodes");
    }
    return static_cast<int32_t>(leaf != 0 ? count + id : id);
  };
  int32_t sets = 0;
  for (size_t i = 0; i < count; ++i) {
    TreeEnsemble::Node node;
    node.value = splits[i];
    node.feature = static_cast<int32_t>(features[i]);
    node.mode = static_cast<Mode>(modes[i]);
    if (node.mode == Mode::kMember) node.set = sets++;
    node.nan_is_true = !nan_is_true.empty() && nan_is_true[i] != 0;
    RONDO_ASSIGN_OR_RETURN(node.on_true, child("nodes_truenodeids", on_true[i], true_leaf[i]));
    RONDO_ASSIGN_OR_RETURN(node.on_false, child("nodes_falsenodeids", on_false[i], false_leaf[i]));
    ensemble.nodes.push_back(node);
  }
  if (sets != static_cast<int32_t>(ensemble.sets.size())) {
    return InvalidArgument("attribute \"membership_values\": expected ", sets, " sets, one per node of mode 6, got ",
                           ensemble.sets.size());
  }
  for (size_t i = 0; i < leaf_targets.size(); ++i) {
    if (leaf_targets[i] >= targets) {
      return OutOfRange("attribute \"leaf_targetids\": element ", i, " is ", leaf_targets[i], ", out of range [0, ",
                        targets - 1, "]");
    }
    const int32_t vote = static_cast<int32_t>(i);
    TreeEnsemble::Node leaf;
    leaf.on_true = vote;
    leaf.on_false = vote + 1;
    ensemble.nodes.push_back(leaf);
    ensemble.votes.push_back({static_cast<int32_t>(leaf_targets[i]), leaf_weights[i]});
  }
  for (size_t i = 0; i < roots.size(); ++i) {
    if (static_cast<size_t>(roots[i]) >= count) {
      return OutOfRange("attribute \"tree_roots\": element ", i, " is ", roots[i], ", out of range [0, ",
                        static_cast<int64_t>(count) - 1, "]");
    }
    ensemble.roots.push_back(static_cast<int32_t>(roots[i]));
  }
  if (roots.empty()) return InvalidArgument("attribute \"tree_roots\": expected at least one tree");
  RONDO_RETURN_IF_ERROR(ensemble.Check());
  return ensemble;
}

}  // namespace rondo

// Ensembles of decision trees as the operators of ai.onnx.ml run them: nodes in one array, leaves that vote for
// targets. Built from a model's attributes, which may hold anything: Check finds children that do not exist and
// circles, so that every walk from a root ends in a leaf.
#ifndef RONDO_OPS_ML_TREE_ENSEMBLE_H_
#define RONDO_OPS_ML_TREE_ENSEMBLE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "ops/op.h"

namespace rondo {

struct TreeEnsemble {
  enum class Mode : uint8_t { kLeq, kLt, kGte, kGt, kEq, kNeq, kMember, kLeaf };
  struct Node {
    double value = 0;     // compared with the feature
    int32_t feature = 0;  // kMember: value is unused, and `set` is the node's set of members
    int32_t on_true = 0;  // the next node; kLeaf: its votes are [on_true, on_false)
    int32_t on_false = 0;
    int32_t set = 0;
    Mode mode = Mode::kLeaf;
    bool nan_is_true = false;
  };
  struct Vote {
    int32_t target = 0;
    double weight = 0;
  };
  enum class Aggregate { kAverage, kSum, kMin, kMax };

  std::vector<Node> nodes;
  std::vector<int32_t> roots;
  std::vector<Vote> votes;
  std::vector<std::vector<double>> sets;  // sorted
  std::vector<double> base;               // one per target, or none
  int32_t targets = 0;
  Aggregate aggregate = Aggregate::kSum;

  // InvalidArgument where a child or a root is no node, a feature is negative, or a node is its own descendant.
  absl::Status Check() const;
  // The features that rows must have.
  int64_t features() const;
  // scores[target] for one row of at least features() numbers. Targets without a vote are 0 before the base is added.
  void Evaluate(const double* x, double* scores) const;

 private:
  const Node& Leaf(int32_t root, const double* x) const;
};

// TreeEnsembleClassifier and TreeEnsembleRegressor, versions 1 and 3, name what votes by "class" and "target".
struct NodeListNames {
  absl::string_view ids, nodeids, treeids, weights;
};
// Reads nodes_*, the votes, and base_values; what ends in _as_tensor may stand for the list without. `targets` bounds
// the votes' targets.
absl::StatusOr<TreeEnsemble> ReadNodeLists(const AttributeReader& attributes, const NodeListNames& names,
                                           int64_t targets);
// TreeEnsemble-5.
absl::StatusOr<TreeEnsemble> ReadTreeEnsemble5(const AttributeReader& attributes);

}  // namespace rondo

#endif  // RONDO_OPS_ML_TREE_ENSEMBLE_H_

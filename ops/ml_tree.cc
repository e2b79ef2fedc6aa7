// Tree ensembles of ai.onnx.ml: TreeEnsembleClassifier and TreeEnsembleRegressor (1, 3), TreeEnsemble (5).
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "graph/numeric.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/ml_common.h"
#include "ops/ml_tree_ensemble.h"

namespace rondo {
namespace {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

// What a walk down a tree costs, nanoseconds.
constexpr int64_t kTreeCost = 50;

// Rows of input 0, which have all features that the trees look at.
absl::StatusOr<MlRows> InferTreeRows(const InferContext& ctx, const TreeEnsemble& ensemble) {
  RONDO_ASSIGN_OR_RETURN(const MlRows rows, InferRows(ctx, 0));
  if (rows.columns.known() && rows.columns.value() < ensemble.features()) {
    return InvalidArgument("input 0: the trees look at feature ", ensemble.features() - 1, ", but there are only ",
                           rows.columns.value());
  }
  return rows;
}

absl::Status ExpandBase(TreeEnsemble* ensemble) {
  if (ensemble->base.size() == 1) ensemble->base.resize(ensemble->targets, ensemble->base[0]);
  if (ensemble->base.empty()) return absl::OkStatus();
  return ExpectCount("base_values", static_cast<int64_t>(ensemble->base.size()), ensemble->targets);
}

// A kernel that writes each row's transformed scores to output 0.
template <typename T>
std::unique_ptr<Kernel> MakeScores(TreeEnsemble ensemble, PostTransform transform, const MlRowLoop& loop) {
  return MakeKernel([ensemble = std::move(ensemble), transform, loop](RunContext& run) {
    T* y = run.out<T>(0);
    loop.Run(run, [&](int64_t n, const double* x, double* scores) {
      ensemble.Evaluate(x, scores);
      ApplyPostTransform(transform, absl::MakeSpan(scores, ensemble.targets));
      for (int64_t t = 0; t < ensemble.targets; ++t) {
        if constexpr (std::is_same_v<T, Float16>) {
          y[n * ensemble.targets + t] = Float16(static_cast<float>(scores[t]));
        } else {
          y[n * ensemble.targets + t] = static_cast<T>(scores[t]);
        }
      }
    });
    return absl::OkStatus();
  });
}

// ---- TreeEnsembleRegressor ------------------------------------------------------------------------------------------
// Y [N, n_targets] = post_transform(aggregate over the trees of their leaf's votes for the target + base_values)
//   X [N, F] or [F] numbers; Y float. Attributes: nodes_*, target_* (a vote: tree, node, target, weight), base_values:
//   none, one for all or one per target; aggregate_function = SUM (AVERAGE over all trees, MIN, MAX). A NaN takes the
//   branch that nodes_missing_value_tracks_true names. From 3 on *_as_tensor, with doubles.

absl::StatusOr<TreeEnsemble> ReadRegressor(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(const int64_t targets, attributes.Int("n_targets"));
  RONDO_ASSIGN_OR_RETURN(
      TreeEnsemble ensemble,
      ReadNodeLists(attributes, {"target_ids", "target_nodeids", "target_treeids", "target_weights"}, targets));
  RONDO_RETURN_IF_ERROR(ExpandBase(&ensemble));
  RONDO_ASSIGN_OR_RETURN(const std::string aggregate, attributes.String("aggregate_function", "SUM"));
  if (aggregate == "AVERAGE") {
    ensemble.aggregate = TreeEnsemble::Aggregate::kAverage;
  } else if (aggregate == "MIN") {
    ensemble.aggregate = TreeEnsemble::Aggregate::kMin;
  } else if (aggregate == "MAX") {
    ensemble.aggregate = TreeEnsemble::Aggregate::kMax;
  } else if (aggregate != "SUM") {
    return InvalidArgument("attribute \"aggregate_function\": expected AVERAGE, SUM, MIN or MAX, got \"", aggregate,
                           "\"");
  }
  return ensemble;
}

absl::Status InferRegressor(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kMlNumbers));
  RONDO_ASSIGN_OR_RETURN(const TreeEnsemble ensemble, ReadRegressor(ctx.attributes));
  RONDO_RETURN_IF_ERROR(ReadPostTransform(ctx.attributes).status());
  RONDO_ASSIGN_OR_RETURN(const MlRows rows, InferTreeRows(ctx, ensemble));
  ctx.SetOutput(0, DataType::kFloat, Shape{rows.rows, Dim(ensemble.targets)});
  return absl::OkStatus();
}

KernelOr PrepareRegressor(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(TreeEnsemble ensemble, ReadRegressor(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(const PostTransform transform, ReadPostTransform(ctx.attributes));
  const int64_t cost = kTreeCost * static_cast<int64_t>(ensemble.roots.size());
  RONDO_ASSIGN_OR_RETURN(const MlRowLoop loop, MlRowLoop::Plan(ctx, ensemble.targets, cost));
  return MakeScores<float>(std::move(ensemble), transform, loop);
}

// ---- TreeEnsembleClassifier -----------------------------------------------------------------------------------------
// Z [N, E] = post_transform(sum over the trees of their leaf's votes for the class + base_values); Y = the label of the
// largest (the first of equals).
// Binary: at most two labels and all votes for one class give one score s, which is the second class's; the scores are
// [1 - s, s] without a transform and for PROBIT, [-s, s] else. With only one label, Y is 0 or "" where the first is
// larger.
//   X [N, F] or [F] numbers; Y [N] int64 or string; Z float. Attributes: nodes_*, class_*, base_values: none or one per
//   class (binary: one, or two of which the second counts); classlabels_int64s or classlabels_strings.

struct TreeClassifier {
  TreeEnsemble ensemble;
  MlLabels labels;
  PostTransform transform = PostTransform::kNone;
  bool binary = false;

  int64_t width() const { return binary ? 2 : labels.size(); }
};

absl::StatusOr<TreeClassifier> ReadClassifier(const AttributeReader& attributes) {
  TreeClassifier classifier;
  RONDO_ASSIGN_OR_RETURN(classifier.labels, ReadLabels(attributes, "classlabels_int64s", "classlabels_strings"));
  RONDO_ASSIGN_OR_RETURN(classifier.transform, ReadPostTransform(attributes));
  if (classifier.labels.empty()) {
    return InvalidArgument("attribute \"classlabels_int64s\" or \"classlabels_strings\": expected one of them");
  }
  RONDO_ASSIGN_OR_RETURN(classifier.ensemble,
                         ReadNodeLists(attributes, {"class_ids", "class_nodeids", "class_treeids", "class_weights"},
                                       classifier.labels.size()));
  TreeEnsemble& ensemble = classifier.ensemble;
  std::vector<TreeEnsemble::Vote>& votes = ensemble.votes;
  const bool one_class =
      std::all_of(votes.begin(), votes.end(), [&](const auto& vote) { return vote.target == votes[0].target; });
  classifier.binary = classifier.labels.size() <= 2 && one_class;
  if (classifier.binary) {
    ensemble.targets = 1;
    for (TreeEnsemble::Vote& vote : votes) vote.target = 0;
    if (ensemble.base.size() == 2) ensemble.base.erase(ensemble.base.begin());
  }
  if (ensemble.base.empty()) return classifier;
  RONDO_RETURN_IF_ERROR(ExpectCount("base_values", static_cast<int64_t>(ensemble.base.size()), ensemble.targets));
  return classifier;
}

absl::Status InferClassifier(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kMlNumbers));
  RONDO_ASSIGN_OR_RETURN(const TreeClassifier classifier, ReadClassifier(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(const MlRows rows, InferTreeRows(ctx, classifier.ensemble));
  ctx.SetOutput(0, classifier.labels.dtype(), Shape{rows.rows});
  ctx.SetOutput(1, DataType::kFloat, Shape{rows.rows, Dim(classifier.width())});
  return absl::OkStatus();
}

KernelOr PrepareClassifier(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(TreeClassifier classifier, ReadClassifier(ctx.attributes));
  const int64_t cost = kTreeCost * static_cast<int64_t>(classifier.ensemble.roots.size());
  RONDO_ASSIGN_OR_RETURN(const MlRowLoop loop, MlRowLoop::Plan(ctx, classifier.width(), cost));
  return MakeKernel([classifier = std::move(classifier), loop](RunContext& run) {
    Tensor* labels = run.has_output(0) ? &run.output(0) : nullptr;
    float* z = run.has_output(1) ? run.out<float>(1) : nullptr;
    const int64_t width = classifier.width();
    const PostTransform transform = classifier.transform;
    loop.Run(run, [&](int64_t n, const double* x, double* scores) {
      classifier.ensemble.Evaluate(x, scores);
      if (classifier.binary) {
        const bool complement = transform == PostTransform::kNone || transform == PostTransform::kProbit;
        scores[1] = scores[0];
        scores[0] = complement ? 1 - scores[1] : -scores[1];
      }
      ApplyPostTransform(transform, absl::MakeSpan(scores, width));
      if (z != nullptr) std::copy_n(scores, width, z + n * width);
      if (labels == nullptr) return;
      const int64_t best = std::max_element(scores, scores + width) - scores;
      classifier.labels.Store(classifier.labels.size() == 1 && classifier.binary ? best - 1 : best, n, labels);
    });
    return absl::OkStatus();
  });
}

// ---- TreeEnsemble ---------------------------------------------------------------------------------------------------
// Y [N, n_targets] = post_transform(aggregate over the trees of their leaf's weight for its target).
//   X [N, F] float, double or float16; Y: same type. Attributes: nodes_* (comparisons; children are nodes or, where
//   nodes_trueleafs / nodes_falseleafs say so, leaves), leaf_*, tree_roots, membership_values: the sets of the nodes
//   with BRANCH_MEMBER in their order, a NaN behind each; aggregate_function = 1 (0 AVERAGE, 1 SUM, 2 MIN, 3 MAX);
//   post_transform = 0 (NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO, PROBIT).

absl::StatusOr<int64_t> ReadEnum(const AttributeReader& attributes, absl::string_view name, int64_t fallback,
                                 int64_t last) {
  RONDO_ASSIGN_OR_RETURN(const int64_t value, attributes.Int(name, fallback));
  if (value >= 0 && value <= last) return value;
  return InvalidArgument("attribute \"", name, "\": expected one of [0, ", last, "], got ", value);
}

absl::StatusOr<TreeEnsemble> ReadEnsemble(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(TreeEnsemble ensemble, ReadTreeEnsemble5(attributes));
  RONDO_ASSIGN_OR_RETURN(const int64_t aggregate, ReadEnum(attributes, "aggregate_function", 1, 3));
  ensemble.aggregate = static_cast<TreeEnsemble::Aggregate>(aggregate);
  return ensemble;
}

absl::StatusOr<PostTransform> ReadTransform(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(const int64_t transform, ReadEnum(attributes, "post_transform", 0, 4));
  return static_cast<PostTransform>(transform);
}

absl::Status InferEnsemble(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, {DataType::kFloat, DataType::kDouble, DataType::kFloat16}));
  RONDO_ASSIGN_OR_RETURN(const TreeEnsemble ensemble, ReadEnsemble(ctx.attributes));
  RONDO_RETURN_IF_ERROR(ReadTransform(ctx.attributes).status());
  RONDO_ASSIGN_OR_RETURN(const MlRows rows, InferTreeRows(ctx, ensemble));
  ctx.SetOutput(0, ctx.dtype(0), Shape{rows.rows, Dim(ensemble.targets)});
  return absl::OkStatus();
}

KernelOr PrepareEnsemble(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(TreeEnsemble ensemble, ReadEnsemble(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(const PostTransform transform, ReadTransform(ctx.attributes));
  const int64_t cost = kTreeCost * static_cast<int64_t>(ensemble.roots.size());
  RONDO_ASSIGN_OR_RETURN(const MlRowLoop loop, MlRowLoop::Plan(ctx, ensemble.targets, cost));
  return DispatchResult<KernelOr>(TypeList<float, double, Float16>(), ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    return MakeScores<typename decltype(tag)::type>(std::move(ensemble), transform, loop);
  });
}

const OpDef kRows[] = {
    {.domain = kMlDomain, .type = "TreeEnsemble", .since = 5, .infer = InferEnsemble, .prepare = PrepareEnsemble},
    {.domain = kMlDomain,
     .type = "TreeEnsembleClassifier",
     .outputs = {1, 2},
     .infer = InferClassifier,
     .prepare = PrepareClassifier},
    {.domain = kMlDomain, .type = "TreeEnsembleRegressor", .infer = InferRegressor, .prepare = PrepareRegressor},
};

}  // namespace

absl::Span<const OpDef> MlTreeFamily() { return kRows; }

}  // namespace rondo

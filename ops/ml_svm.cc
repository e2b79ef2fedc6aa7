// Support vector machines of ai.onnx.ml: SVMClassifier and SVMRegressor, with the conventions of libsvm, from which the
// attributes come: classes vote in pairs, and probabilities are coupled from the pairs' sigmoids (Wu, Lin and Weng
// 2004, second method).
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "ops/families.h"
#include "ops/ml_common.h"

namespace rondo {
namespace {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

// K(a, b):  LINEAR a b;  POLY (gamma a b + coef0)^degree;  RBF e^(-gamma |a - b|^2);  SIGMOID tanh(gamma a b + coef0)
struct SvmKernel {
  enum class Type { kLinear, kPoly, kRbf, kSigmoid };
  Type type = Type::kLinear;
  double gamma = 0, coef0 = 0, degree = 0;

  double operator()(const double* a, const float* b, int64_t n) const {
    double sum = 0;
    if (type == Type::kRbf) {
      for (int64_t i = 0; i < n; ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
      return std::exp(-gamma * sum);
    }
    for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
    if (type == Type::kPoly) return std::pow(gamma * sum + coef0, degree);
    if (type == Type::kSigmoid) return std::tanh(gamma * sum + coef0);
    return sum;
  }
};

// What both operators have: a kernel function, `vectors` support vectors of one length, or none: then the coefficients
// themselves are the weights of a linear model.
struct SvmSpec {
  SvmKernel kernel;
  int64_t vectors = 0;
  std::vector<float> support, coefficients, rho;
  PostTransform transform = PostTransform::kNone;
};

absl::StatusOr<SvmKernel> ReadKernel(const AttributeReader& attributes) {
  SvmKernel kernel;
  RONDO_ASSIGN_OR_RETURN(const std::string type, attributes.String("kernel_type", "LINEAR"));
  if (type == "POLY") {
    kernel.type = SvmKernel::Type::kPoly;
  } else if (type == "RBF") {
    kernel.type = SvmKernel::Type::kRbf;
  } else if (type == "SIGMOID") {
    kernel.type = SvmKernel::Type::kSigmoid;
  } else if (type != "LINEAR") {
    return InvalidArgument("attribute \"kernel_type\": expected LINEAR, POLY, RBF or SIGMOID, got \"", type, "\"");
  }
  RONDO_ASSIGN_OR_RETURN(const std::vector<float> parameters, attributes.Floats("kernel_params", {}));
  if (parameters.empty()) return kernel;
  RONDO_RETURN_IF_ERROR(ExpectCount("kernel_params", static_cast<int64_t>(parameters.size()), 3));
  kernel.gamma = parameters[0];
  kernel.coef0 = parameters[1];
  kernel.degree = std::trunc(parameters[2]);
  return kernel;
}

absl::StatusOr<SvmSpec> ReadSvm(const AttributeReader& attributes, int64_t vectors) {
  SvmSpec spec;
  spec.vectors = vectors;
  RONDO_ASSIGN_OR_RETURN(spec.kernel, ReadKernel(attributes));
  RONDO_ASSIGN_OR_RETURN(spec.support, attributes.Floats("support_vectors", {}));
  RONDO_ASSIGN_OR_RETURN(spec.coefficients, attributes.Floats("coefficients"));
  RONDO_ASSIGN_OR_RETURN(spec.rho, attributes.Floats("rho"));
  RONDO_ASSIGN_OR_RETURN(spec.transform, ReadPostTransform(attributes));
  if (spec.coefficients.empty()) return InvalidArgument("attribute \"coefficients\" is empty");
  if (spec.rho.empty()) return InvalidArgument("attribute \"rho\" is empty");
  const int64_t support = static_cast<int64_t>(spec.support.size());
  if (vectors > 0 && (support == 0 || support % vectors != 0)) {
    return InvalidArgument("attribute \"support_vectors\": expected a multiple of the ", vectors, " vectors, got ",
                           support, " elements");
  }
  return spec;
}

absl::Status ExpectFeatures(const Dim& columns, int64_t features) {
  if (!columns.known() || columns.value() == features) return absl::OkStatus();
  return InvalidArgument("input 0: expected ", features, " features as the attributes have, got ", columns.value());
}

// ---- SVMRegressor ---------------------------------------------------------------------------------------------------
// s = sum_j coefficients[j] K(x, support_vectors[j]) + rho[0], or coefficients x + rho[0] when n_supports is 0.
// Y [N, 1] = post_transform(s); with one_class = 1: s > 0 ? 1 : -1.
//   X [N, C] or [C] numbers; Y float.

absl::StatusOr<SvmSpec> ReadSvmRegressor(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(const int64_t vectors, attributes.Int("n_supports", 0));
  if (vectors < 0) return InvalidArgument("attribute \"n_supports\": expected a number, got ", vectors);
  RONDO_ASSIGN_OR_RETURN(SvmSpec spec, ReadSvm(attributes, vectors));
  if (vectors > 0) {
    RONDO_RETURN_IF_ERROR(ExpectCount("coefficients", static_cast<int64_t>(spec.coefficients.size()), vectors));
  } else {
    // The weights themselves are the only "vector", with coefficient 1.
    spec.vectors = 1;
    spec.support = std::exchange(spec.coefficients, {1.0f});
    spec.kernel = SvmKernel();
  }
  return spec;
}

absl::Status InferSvmRegressor(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kMlNumbers));
  RONDO_ASSIGN_OR_RETURN(const SvmSpec spec, ReadSvmRegressor(ctx.attributes));
  RONDO_RETURN_IF_ERROR(ctx.attributes.Flag("one_class", false).status());
  RONDO_ASSIGN_OR_RETURN(const MlRows rows, InferRows(ctx, 0));
  RONDO_RETURN_IF_ERROR(ExpectFeatures(rows.columns, static_cast<int64_t>(spec.support.size()) / spec.vectors));
  ctx.SetOutput(0, DataType::kFloat, Shape{rows.rows, Dim(1)});
  return absl::OkStatus();
}

KernelOr PrepareSvmRegressor(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(SvmSpec spec, ReadSvmRegressor(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(const bool one_class, ctx.attributes.Flag("one_class", false));
  const int64_t cost = static_cast<int64_t>(spec.support.size());
  RONDO_ASSIGN_OR_RETURN(const MlRowLoop loop, MlRowLoop::Plan(ctx, 0, cost));
  return MakeKernel([spec = std::move(spec), one_class, loop](RunContext& run) {
    float* y = run.out<float>(0);
    const int64_t columns = loop.columns();
    loop.Run(run, [&](int64_t n, const double* x, double*) {
      double sum = spec.rho[0];
      for (int64_t j = 0; j < spec.vectors; ++j) {
        sum += spec.coefficients[j] * spec.kernel(x, spec.support.data() + j * columns, columns);
      }
      if (one_class) sum = sum > 0 ? 1 : -1;
      if (!one_class) ApplyPostTransform(spec.transform, absl::MakeSpan(&sum, 1));
      y[n] = static_cast<float>(sum);
    });
    return absl::OkStatus();
  });
}

// ---- SVMClassifier --------------------------------------------------------------------------------------------------
// With support vectors, E classes: every pair i < j has a decision
//   d_ij = sum over i's vectors of coefficients[j - 1][v] K(x, v) + sum over j's of coefficients[i][v] K(x, v) + rho_ij
// that is a vote for i where it is positive, else for j; Y is the label with most votes (the first of equals). Scores
// are the decisions (two classes: [-d, d]), or with prob_a and prob_b the probabilities of the classes.
// Without (vectors_per_class empty): scores are coefficients[e] x + rho[0], Y the label of the largest.
// Z = post_transform(scores).
//   X [N, C] or [C] numbers; Y [N] int64 or string; Z [N, E], or [N, E (E - 1) / 2] for the decisions of more than two.
//   coefficients [E - 1, V] over the V vectors of all classes in order, or [E, C]; rho, prob_a, prob_b [E (E - 1) / 2].

struct SvmClassifierSpec : SvmSpec {
  MlLabels labels;
  std::vector<int64_t> first_vector;  // of each class, and the end
  std::vector<float> prob_a, prob_b;

  bool linear() const { return vectors == 0; }
  bool probabilities() const { return !prob_a.empty(); }
  int64_t classes() const { return labels.size(); }
  int64_t pairs() const { return classes() * (classes() - 1) / 2; }
  int64_t features() const {
    return static_cast<int64_t>(linear() ? coefficients.size() / classes() : support.size() / vectors);
  }
  int64_t width() const {
    if (linear() || probabilities()) return classes();
    return classes() == 2 ? 2 : pairs();
  }
};

absl::StatusOr<SvmClassifierSpec> ReadSvmClassifier(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> per_class, attributes.Ints("vectors_per_class", {}));
  std::vector<int64_t> first = {0};
  for (size_t i = 0; i < per_class.size(); ++i) {
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
    if (per_class[i] < 0 || per_class[i] > kMost - first.back()) {
      return InvalidArgument("attribute \"vectors_per_class\": element ", i, " is ", per_class[i]);
    }
    first.push_back(first.back() + per_class[i]);
  }
  RONDO_ASSIGN_OR_RETURN(SvmSpec svm, ReadSvm(attributes, first.back()));
  SvmClassifierSpec spec{std::move(svm), {}, std::move(first), {}, {}};
  RONDO_ASSIGN_OR_RETURN(spec.labels, ReadLabels(attributes, "classlabels_ints", "classlabels_strings"));
  RONDO_ASSIGN_OR_RETURN(spec.prob_a, attributes.Floats("prob_a", {}));
  RONDO_ASSIGN_OR_RETURN(spec.prob_b, attributes.Floats("prob_b", {}));
  const int64_t classes = spec.classes();
  if (classes < (spec.linear() ? 1 : 2)) {
    return InvalidArgument("attribute \"classlabels_ints\" or \"classlabels_strings\": expected at least ",
                           spec.linear() ? 1 : 2, " labels, got ", classes);
  }
  const int64_t coefficients = static_cast<int64_t>(spec.coefficients.size());
  if (spec.linear()) {
    if (coefficients % classes != 0) {
      return InvalidArgument("attribute \"coefficients\": expected a multiple of the ", classes, " classes, got ",
                             coefficients, " elements");
    }
    spec.prob_a.clear();
    spec.prob_b.clear();
    return spec;
  }
  RONDO_RETURN_IF_ERROR(ExpectCount("vectors_per_class", static_cast<int64_t>(per_class.size()), classes));
  RONDO_RETURN_IF_ERROR(ExpectCount("rho", static_cast<int64_t>(spec.rho.size()), spec.pairs()));
  RONDO_RETURN_IF_ERROR(ExpectCount("coefficients", coefficients, (classes - 1) * spec.vectors));
  if (!spec.prob_a.empty() || !spec.prob_b.empty()) {
    RONDO_RETURN_IF_ERROR(ExpectCount("prob_a", static_cast<int64_t>(spec.prob_a.size()), spec.pairs()));
    RONDO_RETURN_IF_ERROR(ExpectCount("prob_b", static_cast<int64_t>(spec.prob_b.size()), spec.pairs()));
  }
  return spec;
}

absl::Status InferSvmClassifier(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kMlNumbers));
  RONDO_ASSIGN_OR_RETURN(const SvmClassifierSpec spec, ReadSvmClassifier(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(const MlRows rows, InferRows(ctx, 0));
  RONDO_RETURN_IF_ERROR(ExpectFeatures(rows.columns, spec.features()));
  ctx.SetOutput(0, spec.labels.dtype(), Shape{rows.rows});
  ctx.SetOutput(1, DataType::kFloat, Shape{rows.rows, Dim(spec.width())});
  return absl::OkStatus();
}

// Probabilities p of k classes from r[i k + j], the probability of i against j. `work` holds k k + k numbers.
void CoupleProbabilities(int64_t k, const double* r, double* p, double* work) {
  double* q = work;
  double* qp = work + k * k;
  for (int64_t t = 0; t < k; ++t) {
    p[t] = 1.0 / static_cast<double>(k);
    q[t * k + t] = 0;
    for (int64_t j = 0; j < k; ++j) {
      if (j == t) continue;
      q[t * k + t] += r[j * k + t] * r[j * k + t];
      q[t * k + j] = -r[j * k + t] * r[t * k + j];
    }
  }
  const double enough = 0.005 / static_cast<double>(k);
  for (int64_t turn = 0; turn < std::max<int64_t>(100, k); ++turn) {
    double pqp = 0;
    for (int64_t t = 0; t < k; ++t) {
      qp[t] = 0;
      for (int64_t j = 0; j < k; ++j) qp[t] += q[t * k + j] * p[j];
      pqp += p[t] * qp[t];
    }
    double worst = 0;
    for (int64_t t = 0; t < k; ++t) worst = std::max(worst, std::abs(qp[t] - pqp));
    if (worst < enough) return;
    for (int64_t t = 0; t < k; ++t) {
      const double diff = (pqp - qp[t]) / q[t * k + t];
      p[t] += diff;
      pqp = (pqp + diff * (diff * q[t * k + t] + 2 * qp[t])) / (1 + diff) / (1 + diff);
      for (int64_t j = 0; j < k; ++j) {
        qp[j] = (qp[j] + diff * q[t * k + j]) / (1 + diff);
        p[j] /= 1 + diff;
      }
    }
  }
}

class SvmClassifierKernel final : public Kernel {
 public:
  SvmClassifierKernel(SvmClassifierSpec spec, MlRowLoop loop) : spec_(std::move(spec)), loop_(loop) {}

  // Doubles of work for each row: the scores, and for votes the pieces that Vote takes.
  static int64_t Work(const SvmClassifierSpec& spec) {
    const int64_t k = spec.classes();
    return spec.width() + (spec.linear() ? 0 : spec.vectors + spec.pairs() + k) +
           (spec.probabilities() ? 2 * k * k + k : 0);
  }

  absl::Status Run(RunContext& run) const override {
    Tensor* labels = run.has_output(0) ? &run.output(0) : nullptr;
    float* z = run.has_output(1) ? run.out<float>(1) : nullptr;
    const int64_t width = spec_.width();
    loop_.Run(run, [&](int64_t n, const double* x, double* scores) {
      const int64_t winner = spec_.linear() ? Linear(x, scores) : Vote(x, scores, scores + width);
      ApplyPostTransform(spec_.transform, absl::MakeSpan(scores, width));
      if (z != nullptr) std::copy_n(scores, width, z + n * width);
      if (labels != nullptr) spec_.labels.Store(winner, n, labels);
    });
    return absl::OkStatus();
  }

 private:
  // Both give the scores and return the winning class.
  int64_t Linear(const double* x, double* scores) const {
    const SvmKernel dot;
    const int64_t columns = loop_.columns();
    for (int64_t e = 0; e < spec_.classes(); ++e) {
      scores[e] = dot(x, spec_.coefficients.data() + e * columns, columns) + spec_.rho[0];
    }
    // One class: a score that is not positive is none of it.
    if (spec_.classes() == 1) return scores[0] > 0 ? 0 : -1;
    return std::max_element(scores, scores + spec_.classes()) - scores;
  }

  int64_t Vote(const double* x, double* scores, double* work) const {
    const int64_t k = spec_.classes(), columns = loop_.columns();
    double* similar = work;
    double* decisions = similar + spec_.vectors;
    double* votes = decisions + spec_.pairs();
    for (int64_t v = 0; v < spec_.vectors; ++v) {
      similar[v] = spec_.kernel(x, spec_.support.data() + v * columns, columns);
    }
    std::fill_n(votes, k, 0.0);
    int64_t pair = 0;
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = i + 1; j < k; ++j, ++pair) {
        const double d = spec_.rho[pair] + Weighted(similar, i, j - 1) + Weighted(similar, j, i);
        decisions[pair] = d;
        votes[d > 0 ? i : j] += 1;
      }
    }
    if (spec_.probabilities()) {
      Probabilities(decisions, scores, votes + k);
    } else if (k == 2) {
      scores[0] = -decisions[0];
      scores[1] = decisions[0];
    } else {
      std::copy_n(decisions, spec_.pairs(), scores);
    }
    return std::max_element(votes, votes + k) - votes;
  }

  // The similarities to the vectors of class `of` under row `row` of the coefficients.
  double Weighted(const double* similar, int64_t of, int64_t row) const {
    double sum = 0;
    for (int64_t v = spec_.first_vector[of]; v < spec_.first_vector[of + 1]; ++v) {
      sum += spec_.coefficients[row * spec_.vectors + v] * similar[v];
    }
    return sum;
  }

  void Probabilities(const double* decisions, double* scores, double* work) const {
    constexpr double kLeast = 1e-7;
    const int64_t k = spec_.classes();
    double* r = work;
    int64_t pair = 0;
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = i + 1; j < k; ++j, ++pair) {
        const double p = 1 / (1 + std::exp(decisions[pair] * spec_.prob_a[pair] + spec_.prob_b[pair]));
        r[i * k + j] = std::isnan(p) ? 0.5 : std::clamp(p, kLeast, 1 - kLeast);
        r[j * k + i] = 1 - r[i * k + j];
      }
    }
    CoupleProbabilities(k, r, scores, work + k * k);
  }

  SvmClassifierSpec spec_;
  MlRowLoop loop_;
};

KernelOr PrepareSvmClassifier(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(SvmClassifierSpec spec, ReadSvmClassifier(ctx.attributes));
  const int64_t cost = static_cast<int64_t>(spec.support.size() + 2 * spec.coefficients.size());
  RONDO_ASSIGN_OR_RETURN(const MlRowLoop loop, MlRowLoop::Plan(ctx, SvmClassifierKernel::Work(spec), cost));
  return std::make_unique<SvmClassifierKernel>(std::move(spec), loop);
}

const OpDef kRows[] = {
    {.domain = kMlDomain,
     .type = "SVMClassifier",
     .outputs = {1, 2},
     .infer = InferSvmClassifier,
     .prepare = PrepareSvmClassifier},
    {.domain = kMlDomain, .type = "SVMRegressor", .infer = InferSvmRegressor, .prepare = PrepareSvmRegressor},
};

}  // namespace

absl::Span<const OpDef> MlSvmFamily() { return kRows; }

}  // namespace rondo

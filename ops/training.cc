// One step of an optimizer: Adagrad, Adam and Momentum of ai.onnx.preview.training.
//
// All three take a learning rate R, an update count T, and groups of n tensors each: the values X, their gradients G,
// and the optimizer's memory of past gradients. They return the groups but the gradients, updated. Tensors of one index
// have one shape and type; those of different indices are independent of each other.
#include <cmath>
#include <string>
#include <utility>

#include "ops/dispatch.h"
#include "ops/elementwise.h"
#include "ops/families.h"
#include "ops/parallel.h"
#include "ops/runtime_values.h"

namespace rondo {
namespace {

constexpr absl::string_view kDomain = "ai.onnx.preview.training";
constexpr int kMaxGroups = 4;

// The scalars of one step, as one optimizer needs them.
struct StepScalars {
  double rate = 0;  // R, adjusted
  int64_t count = 0;
};

// `groups` input groups, in the order X, G, memories; outputs are the groups without G.
absl::Status InferOptimizer(InferContext& ctx, int groups) {
  const int tensors = ctx.num_inputs() - 2;
  const int n = tensors / groups;
  if (n == 0 || tensors % groups != 0) {
    return InvalidArgument("expected R, T and ", groups, " tensors for each optimized one, got ", ctx.num_inputs(),
                           " inputs");
  }
  if (ctx.num_outputs() != n * (groups - 1)) {
    return InvalidArgument("expected ", n * (groups - 1), " outputs for ", n, " optimized tensors, got ",
                           ctx.num_outputs());
  }
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    if (!ctx.has_input(i)) return InvalidArgument("input ", i, " is required, but absent");
    if (i == 1) {
      RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kInt64}));
    } else {
      RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kFloat, DataType::kDouble}));
    }
  }
  for (int i = 0; i < n; ++i) {
    ValueType type = ctx.input_type(2 + i);
    for (int g = 1; g < groups; ++g) {
      const int other = 2 + g * n + i;
      RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(other, 2 + i));
      if (!ctx.has_shape(other) || !type.shape.has_value()) continue;
      const Shape &a = *type.shape, &b = ctx.shape(other);
      bool differ = a.rank() != b.rank();
      for (int d = 0; !differ && d < a.rank(); ++d) {
        differ = a[d].known() && b[d].known() && a[d].value() != b[d].value();
      }
      if (differ) {
        return InvalidArgument("input ", other, ": expected the shape of input ", 2 + i, ", ", a.ToString(), ", got ",
                               b.ToString());
      }
    }
    for (int g = 0; g < groups - 1; ++g) ctx.SetOutputType(g * n + i, type);
  }
  return absl::OkStatus();
}

absl::StatusOr<StepScalars> ReadScalars(const RunContext& ctx) {
  StepScalars scalars;
  const Tensor& rate = ctx.input(0);
  if (rate.size() != 1) return InvalidArgument("R: expected one number, got ", DimsToString(rate.dims()));
  scalars.rate = rate.dtype() == DataType::kDouble ? *rate.data<double>() : *rate.data<float>();
  RONDO_ASSIGN_OR_RETURN(scalars.count, ScalarInt(ctx.input(1), "T"));
  return scalars;
}

// An optimizer `rule` has: int kGroups; the constants of its attributes; Scalars(StepScalars) -> what its loop needs;
// Update(scalars, in[], out[]): one element, in = X, G, memories, out = X, memories.
template <typename Rule>
std::unique_ptr<Kernel> MakeOptimizer(Rule rule) {
  return MakeKernel([rule](RunContext& ctx) -> absl::Status {
    RONDO_ASSIGN_OR_RETURN(const StepScalars read, ReadScalars(ctx));
    const auto scalars = rule.Scalars(read);
    const int n = (ctx.num_inputs() - 2) / Rule::kGroups;
    for (int i = 0; i < n; ++i) {
      const Tensor& x = ctx.input(2 + i);
      for (int g = 1; g < Rule::kGroups; ++g) {
        const Tensor& other = ctx.input(2 + g * n + i);
        if (other.dims() != x.dims()) {
          return InvalidArgument("input ", 2 + g * n + i, ": expected ", DimsToString(x.dims()), ", got ",
                                 DimsToString(other.dims()));
        }
      }
      RONDO_RETURN_IF_ERROR(DispatchResult<absl::Status>(TypeList<float, double>(), x.dtype(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        const T* from[kMaxGroups];
        T* to[kMaxGroups];
        for (int g = 0; g < Rule::kGroups; ++g) from[g] = ctx.in<T>(2 + g * n + i);
        for (int g = 0; g < Rule::kGroups - 1; ++g) to[g] = ctx.has_output(g * n + i) ? ctx.out<T>(g * n + i) : nullptr;
        ParallelFor(x.size(), kScalarGrain, [&](int64_t begin, int64_t end) {
          for (int64_t k = begin; k < end; ++k) {
            T in[kMaxGroups], out[kMaxGroups];
            for (int g = 0; g < Rule::kGroups; ++g) in[g] = from[g][k];
            rule.Update(scalars, in, out);
            for (int g = 0; g < Rule::kGroups - 1; ++g) {
              if (to[g] != nullptr) to[g][k] = out[g];
            }
          }
        });
        return absl::OkStatus();
      }));
    }
    return absl::OkStatus();
  });
}

// ---- Adagrad --------------------------------------------------------------------------------------------------------
// g = norm_coefficient X + G;  H' = H + g^2;  X' = X - R / (1 + T decay_factor) g / (sqrt(H') + epsilon)
//   inputs R, T, X..., G..., H...; outputs X'..., H'...; attributes decay_factor, epsilon, norm_coefficient = 0.

struct Adagrad {
  static constexpr int kGroups = 3;
  float decay, epsilon, norm;
  double Scalars(const StepScalars& s) const { return s.rate / (1 + static_cast<double>(s.count) * decay); }
  template <typename T>
  void Update(double rate, const T* in, T* out) const {
    const T g = T(norm) * in[0] + in[1];
    out[1] = in[2] + g * g;
    out[0] = in[0] - T(rate) * g / (std::sqrt(out[1]) + T(epsilon));
  }
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareAdagrad(PrepareContext& ctx) {
  Adagrad rule;
  RONDO_ASSIGN_OR_RETURN(rule.decay, ctx.attributes.Float("decay_factor", 0.0f));
  RONDO_ASSIGN_OR_RETURN(rule.epsilon, ctx.attributes.Float("epsilon", 0.0f));
  RONDO_ASSIGN_OR_RETURN(rule.norm, ctx.attributes.Float("norm_coefficient", 0.0f));
  return MakeOptimizer(rule);
}

// ---- Adam -----------------------------------------------------------------------------------------------------------
// g = norm_coefficient X + G;  V' = alpha V + (1 - alpha) g;  H' = beta H + (1 - beta) g^2
// X' = (1 - norm_coefficient_post) (X - r V' / (sqrt(H') + epsilon)),
//   r = T > 0 ? R sqrt(1 - beta^T) / (1 - alpha^T) : R
//   inputs R, T, X..., G..., V..., H...; outputs X'..., V'..., H'...; attributes alpha = 0.9, beta = 0.999,
//   epsilon, norm_coefficient, norm_coefficient_post = 0.

struct Adam {
  static constexpr int kGroups = 4;
  float alpha, beta, epsilon, norm, norm_post;
  double Scalars(const StepScalars& s) const {
    if (s.count <= 0) return s.rate;
    const double t = static_cast<double>(s.count);
    return s.rate * std::sqrt(1 - std::pow(double{beta}, t)) / (1 - std::pow(double{alpha}, t));
  }
  template <typename T>
  void Update(double rate, const T* in, T* out) const {
    const T g = T(norm) * in[0] + in[1];
    out[1] = T(alpha) * in[2] + (1 - T(alpha)) * g;
    out[2] = T(beta) * in[3] + (1 - T(beta)) * g * g;
    out[0] = (1 - T(norm_post)) * (in[0] - T(rate) * out[1] / (std::sqrt(out[2]) + T(epsilon)));
  }
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareAdam(PrepareContext& ctx) {
  Adam rule;
  RONDO_ASSIGN_OR_RETURN(rule.alpha, ctx.attributes.Float("alpha", 0.9f));
  RONDO_ASSIGN_OR_RETURN(rule.beta, ctx.attributes.Float("beta", 0.999f));
  RONDO_ASSIGN_OR_RETURN(rule.epsilon, ctx.attributes.Float("epsilon", 0.0f));
  RONDO_ASSIGN_OR_RETURN(rule.norm, ctx.attributes.Float("norm_coefficient", 0.0f));
  RONDO_ASSIGN_OR_RETURN(rule.norm_post, ctx.attributes.Float("norm_coefficient_post", 0.0f));
  return MakeOptimizer(rule);
}

// ---- Momentum -------------------------------------------------------------------------------------------------------
// g = norm_coefficient X + G;  V' = alpha V + (T > 0 ? beta : 1) g
// mode "standard": X' = X - R V';  "nesterov": X' = X - R (g + alpha V')
//   inputs R, T, X..., G..., V...; outputs X'..., V'...; attributes alpha, beta, mode, norm_coefficient, all required.

struct Momentum {
  static constexpr int kGroups = 3;
  float alpha, beta, norm;
  bool nesterov;
  std::pair<double, float> Scalars(const StepScalars& s) const { return {s.rate, s.count > 0 ? beta : 1.0f}; }
  template <typename T>
  void Update(const std::pair<double, float>& scalars, const T* in, T* out) const {
    const T g = T(norm) * in[0] + in[1];
    out[1] = T(alpha) * in[2] + T(scalars.second) * g;
    out[0] = in[0] - T(scalars.first) * (nesterov ? g + T(alpha) * out[1] : out[1]);
  }
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareMomentum(PrepareContext& ctx) {
  Momentum rule;
  RONDO_ASSIGN_OR_RETURN(rule.alpha, ctx.attributes.Float("alpha"));
  RONDO_ASSIGN_OR_RETURN(rule.beta, ctx.attributes.Float("beta"));
  RONDO_ASSIGN_OR_RETURN(rule.norm, ctx.attributes.Float("norm_coefficient"));
  RONDO_ASSIGN_OR_RETURN(const std::string mode, ctx.attributes.String("mode"));
  if (mode != "standard" && mode != "nesterov") {
    return InvalidArgument("attribute \"mode\": expected \"standard\" or \"nesterov\", got \"", mode, "\"");
  }
  rule.nesterov = mode == "nesterov";
  return MakeOptimizer(rule);
}

template <typename Rule>
absl::Status Infer(InferContext& ctx) {
  return InferOptimizer(ctx, Rule::kGroups);
}

const OpDef kRows[] = {
    {.domain = kDomain,
     .type = "Adagrad",
     .inputs = {5, Arity::kMany},
     .outputs = {1, Arity::kMany},
     .infer = Infer<Adagrad>,
     .prepare = PrepareAdagrad},
    {.domain = kDomain,
     .type = "Adam",
     .inputs = {6, Arity::kMany},
     .outputs = {1, Arity::kMany},
     .infer = Infer<Adam>,
     .prepare = PrepareAdam},
    {.domain = kDomain,
     .type = "Momentum",
     .inputs = {5, Arity::kMany},
     .outputs = {1, Arity::kMany},
     .infer = Infer<Momentum>,
     .prepare = PrepareMomentum},
};

}  // namespace

absl::Span<const OpDef> TrainingFamily() { return kRows; }

}  // namespace rondo

// Einsum: sums of products over named axes. The equation is read once; operands are contracted from left to right, each
// pair as one batched matrix product over [batch, m, k] x [batch, k, n]: axes that both have and later terms need are
// batch, axes that both have and nobody needs are k. Operands are copied only where strides cannot say that. The plain
// kernel follows the definition: all indices, one loop.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/matmul_common.h"
#include "ops/onednn/onednn.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;
using Labels = std::vector<int>;

constexpr int kLetters = 52;  // labels from here on are the ellipsis's axes, counted from the right

struct Equation {
  std::vector<Labels> operands;
  Labels output;
};

int LetterLabel(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  return -1;
}
bool IsEllipsis(int label) { return label >= kLetters; }

// One term of the equation for an operand of `rank` axes; -1 takes an ellipsis of `ellipsis` axes (the output).
absl::StatusOr<Labels> ReadTerm(absl::string_view term, int rank, int ellipsis) {
  int letters = 0;
  bool dots = false;
  for (size_t i = 0; i < term.size(); ++i) {
    if (LetterLabel(term[i]) >= 0) {
      ++letters;
    } else if (term.substr(i, 3) == "..." && !dots) {
      dots = true;
      i += 2;
    } else {
      return InvalidArgument("attribute \"equation\": unexpected \"", std::string(1, term[i]), "\" in \"", term, "\"");
    }
  }
  if (rank >= 0) {
    ellipsis = rank - letters;
    if (ellipsis < 0 || (ellipsis > 0 && !dots)) {
      return InvalidArgument("attribute \"equation\": term \"", term, "\" does not fit an operand of rank ", rank);
    }
  }
  Labels labels;
  for (size_t i = 0; i < term.size(); ++i) {
    if (term[i] == '.') {
      for (int k = ellipsis - 1; k >= 0; --k) labels.push_back(kLetters + k);
      i += 2;
    } else {
      labels.push_back(LetterLabel(term[i]));
    }
  }
  return labels;
}

absl::StatusOr<Equation> ReadEquation(const AttributeReader& attributes, const std::vector<int>& ranks) {
  RONDO_ASSIGN_OR_RETURN(std::string text, attributes.String("equation"));
  text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
  const size_t arrow = text.find("->");
  absl::string_view left = absl::string_view(text).substr(0, arrow);
  Equation equation;
  int widest = 0;
  std::map<int, int> seen;
  for (size_t i = 0, begin = 0; begin <= left.size(); ++i) {
    const size_t comma = std::min(left.find(',', begin), left.size());
    if (i >= ranks.size()) {
      return InvalidArgument("attribute \"equation\": more terms than the ", ranks.size(), " operands");
    }
    RONDO_ASSIGN_OR_RETURN(Labels labels, ReadTerm(left.substr(begin, comma - begin), ranks[i], 0));
    int dots = 0;
    for (int label : labels) {
      ++seen[label];
      dots += IsEllipsis(label);
    }
    widest = std::max(widest, dots);
    equation.operands.push_back(std::move(labels));
    begin = comma + 1;
  }
  if (equation.operands.size() != ranks.size()) {
    return InvalidArgument("attribute \"equation\": ", equation.operands.size(), " terms for ", ranks.size(),
                           " operands");
  }
  if (arrow != std::string::npos) {
    RONDO_ASSIGN_OR_RETURN(equation.output, ReadTerm(absl::string_view(text).substr(arrow + 2), -1, widest));
    for (size_t i = 0; i < equation.output.size(); ++i) {
      const int label = equation.output[i];
      if (seen.count(label) == 0 ||
          std::find(equation.output.begin(), equation.output.begin() + i, label) != equation.output.begin() + i) {
        return InvalidArgument("attribute \"equation\": an output axis is unknown or repeated in \"", text, "\"");
      }
    }
  } else {
    // Implicit: the ellipsis, then the letters that occur once, in alphabetical order (upper case first).
    for (int k = widest - 1; k >= 0; --k) equation.output.push_back(kLetters + k);
    for (const auto& [label, count] : seen) {
      if (!IsEllipsis(label) && count == 1) equation.output.push_back(label);
    }
  }
  return equation;
}

// Einsum(inputs...) -> output; equation = "ij,jk->ik", with "..." for broadcast axes.
absl::Status InferEinsum(InferContext& ctx) {
  std::vector<int> ranks;
  bool known = true;
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, i));
    known = known && ctx.has_shape(i);
    ranks.push_back(ctx.has_shape(i) ? ctx.shape(i).rank() : 0);
  }
  if (!known) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(Equation equation, ReadEquation(ctx.attributes, ranks));
  std::map<int, Dim> dims;
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    for (size_t axis = 0; axis < equation.operands[i].size(); ++axis) {
      const Dim& d = ctx.shape(i)[static_cast<int>(axis)];
      auto [it, fresh] = dims.emplace(equation.operands[i][axis], d);
      if (fresh) continue;
      Dim& have = it->second;
      if (have.known() && d.known()) {
        if (have.value() != d.value() && have.value() != 1 && d.value() != 1) {
          return InvalidArgument("an axis of the equation has sizes ", have.value(), " and ", d.value());
        }
        if (have.value() == 1) have = d;
      } else if (d.known() && d.value() != 1) {
        have = d;
      } else if (have.known() && have.value() == 1) {
        have = d;
      }
    }
  }
  Shape y;
  for (int label : equation.output) y.push_back(dims.at(label));
  ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  return absl::OkStatus();
}

// An axis of an intermediate operand.
struct Axis {
  int label;
  int64_t dim, stride;
};
using Axes = std::vector<Axis>;

const Axis* FindAxis(const Axes& axes, int label) {
  for (const Axis& axis : axes) {
    if (axis.label == label) return &axis;
  }
  return nullptr;
}
bool Contains(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

// Repeated labels are a diagonal: one axis whose stride is the sum. An axis of size 1 that others have longer is
// dropped: its one element stands for all.
Axes ReadAxes(const Labels& labels, const Dims& dims, const std::map<int, int64_t>& sizes) {
  Axes axes;
  int64_t stride = 1;
  for (int i = static_cast<int>(labels.size()) - 1; i >= 0; --i) {
    const int64_t size = sizes.at(labels[i]);
    if (dims[i] == size) {
      auto it = std::find_if(axes.begin(), axes.end(), [&](const Axis& a) { return a.label == labels[i]; });
      if (it != axes.end()) {
        it->stride += stride;
      } else {
        axes.insert(axes.begin(), {labels[i], size, stride});
      }
    }
    stride *= dims[i];
  }
  return axes;
}

int64_t Count(const Axes& axes) {
  int64_t count = 1;
  for (const Axis& axis : axes) count *= axis.dim;
  return count;
}
Axes Dense(Axes axes) {
  int64_t stride = 1;
  for (auto it = axes.rbegin(); it != axes.rend(); ++it) {
    it->stride = stride;
    stride *= it->dim;
  }
  return axes;
}

// Offset of flat row-major position `index` in `axes`.
int64_t OffsetOf(const Axes& axes, int64_t index) {
  int64_t offset = 0;
  for (auto it = axes.rbegin(); it != axes.rend(); ++it) {
    offset += index % it->dim * it->stride;
    index /= it->dim;
  }
  return offset;
}

// to[i] (dense over `kept`) = sum over `summed` of from.
template <typename T>
void SumAndCopy(const Axes& kept, const Axes& summed, const T* from, T* to) {
  using Acc = std::conditional_t<std::is_integral_v<T>, uint64_t, ComputeType<T>>;
  const int64_t terms = Count(summed);
  ParallelFor(Count(kept), std::max<int64_t>(1, 8192 / std::max<int64_t>(1, terms)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* source = from + OffsetOf(kept, i);
      if (summed.empty()) {
        to[i] = *source;
        continue;
      }
      Acc sum = 0;
      for (int64_t k = 0; k < terms; ++k) sum += static_cast<Acc>(source[OffsetOf(summed, k)]);
      to[i] = static_cast<T>(sum);
    }
  });
}

// The definition: every output element sums over all other labels the product of the operands.
template <typename T>
KernelOr PreparePlain(const std::vector<Axes>& operands, const Axes& kept, const Axes& summed) {
  struct Strides {
    Axes kept, summed;
  };
  std::vector<Strides> strides;
  for (const Axes& operand : operands) {
    Strides s{kept, summed};
    for (Axes* axes : {&s.kept, &s.summed}) {
      for (Axis& axis : *axes) {
        const Axis* own = FindAxis(operand, axis.label);
        axis.stride = own == nullptr ? 0 : own->stride;
      }
    }
    strides.push_back(std::move(s));
  }
  return MakeKernel(
      [strides, outputs = Count(kept), terms = Count(summed)](RunContext& ctx) {
        using Acc = std::conditional_t<std::is_integral_v<T>, uint64_t, ComputeType<T>>;
        T* y = ctx.out<T>(0);
        ParallelFor(outputs, std::max<int64_t>(1, 1024 / std::max<int64_t>(1, terms)), [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            Acc sum = 0;
            for (int64_t k = 0; k < terms; ++k) {
              Acc product = 1;
              for (size_t o = 0; o < strides.size(); ++o) {
                const T* x = ctx.in<T>(static_cast<int>(o));
                product *= static_cast<Acc>(x[OffsetOf(strides[o].kept, i) + OffsetOf(strides[o].summed, k)]);
              }
              sum += product;
            }
            y[i] = static_cast<T>(sum);
          }
        });
        return absl::OkStatus();
      },
      "plain");
}

class Contraction {
 public:
  Contraction(PrepareContext& ctx, DataType dtype) : ctx_(ctx), pipeline_(ctx), dtype_(dtype) {}

  struct Operand {
    onednn::Arg arg;
    Axes axes;
  };

  // Sums away the labels that are not in `needed`.
  absl::Status Reduce(Operand* operand, const Labels& needed) {
    Axes kept, summed;
    for (const Axis& axis : operand->axes) (Contains(needed, axis.label) ? kept : summed).push_back(axis);
    if (summed.empty()) return absl::OkStatus();
    return Copy(operand, kept, summed, nullptr);
  }

  absl::StatusOr<Operand> Multiply(Operand left, Operand right, const Labels& later, const Labels& output, bool last) {
    Labels needed = later;
    for (const Axis& axis : right.axes) needed.push_back(axis.label);
    RONDO_RETURN_IF_ERROR(Reduce(&left, needed));
    needed = later;
    for (const Axis& axis : left.axes) needed.push_back(axis.label);
    RONDO_RETURN_IF_ERROR(Reduce(&right, needed));
    Axes batch, m, n, k;  // with left's strides, n with right's
    // Free and batch axes in the output's order, so that the last copy often has nothing to do.
    Labels order = output;
    for (const Axis& axis : left.axes) order.push_back(axis.label);
    for (const Axis& axis : right.axes) order.push_back(axis.label);
    Labels done;
    for (int label : order) {
      if (Contains(done, label)) continue;
      done.push_back(label);
      const Axis *l = FindAxis(left.axes, label), *r = FindAxis(right.axes, label);
      if (l != nullptr && r != nullptr) {
        (Contains(later, label) ? batch : k).push_back(*l);
      } else if (l != nullptr) {
        m.push_back(*l);
      } else if (r != nullptr) {
        n.push_back(*r);
      }
    }
    RONDO_ASSIGN_OR_RETURN(StridedView a, Arrange(&left, batch, m, k));
    RONDO_ASSIGN_OR_RETURN(StridedView b, Arrange(&right, batch, k, n));
    RONDO_ASSIGN_OR_RETURN(MatMulGeometry g, MakeMatMulGeometry(std::move(a), std::move(b)));
    Operand result;
    result.axes = batch;
    result.axes.insert(result.axes.end(), m.begin(), m.end());
    result.axes.insert(result.axes.end(), n.begin(), n.end());
    result.axes = Dense(result.axes);
    Labels labels;
    for (const Axis& axis : result.axes) labels.push_back(axis.label);
    result.arg =
        last && labels == output ? onednn::Arg::Output(0) : pipeline_.Scratch(ByteSize(dtype_, Count(result.axes)));
    const bool empty = Count(result.axes) == 0 || g.k == 0;
    if (dtype_ == DataType::kFloat && !empty) {
      onednn::MatMulSpec spec{{dtype_, g.a.dims, g.a.strides},
                              {dtype_, g.b.dims, g.b.strides},
                              onednn::Layout::Dense(dtype_, g.y),
                              false,
                              {}};
      auto primitive = onednn::MatMul(ctx_, spec);
      if (primitive.ok()) {
        pipeline_.Add(*primitive, {left.arg, right.arg, result.arg});
        return result;
      }
    }
    RONDO_ASSIGN_OR_RETURN(PlainProduct product, MakePlainProduct(dtype_, g));
    pipeline_.Host(
        [product = std::move(product)](absl::Span<void* const> args) {
          product(args[0], args[1], args[2]);
          return absl::OkStatus();
        },
        {left.arg, right.arg, result.arg});
    return result;
  }

  KernelOr Finish(Operand operand, const Labels& output) {
    if (operand.arg.from == onednn::Arg::From::kOutput) return pipeline_.Build();
    RONDO_RETURN_IF_ERROR(Reduce(&operand, output));
    Axes kept;
    for (int label : output) {
      const Axis* axis = FindAxis(operand.axes, label);
      // A label whose every axis has size 1 may be gone.
      kept.push_back(axis == nullptr ? Axis{label, 1, 0} : *axis);
    }
    const onednn::Arg y = onednn::Arg::Output(0);
    RONDO_RETURN_IF_ERROR(Copy(&operand, kept, {}, &y));
    return pipeline_.Build();
  }

 private:
  // Replaces `operand` by a dense copy of `kept`, summed over `summed`, at `to` or in scratch.
  absl::Status Copy(Operand* operand, const Axes& kept, const Axes& summed, const onednn::Arg* to) {
    const onednn::Arg target = to != nullptr ? *to : pipeline_.Scratch(ByteSize(dtype_, Count(kept)));
    absl::Status status = DispatchResult<absl::Status>(NumericTypes{}, dtype_, [&](auto tag) {
      using T = typename decltype(tag)::type;
      pipeline_.Host(
          [kept, summed](absl::Span<void* const> args) {
            SumAndCopy<T>(kept, summed, static_cast<const T*>(args[0]), static_cast<T*>(args[1]));
            return absl::OkStatus();
          },
          {operand->arg, target});
      return absl::OkStatus();
    });
    operand->arg = target;
    operand->axes = Dense(kept);
    return status;
  }

  // Merges axes into one where their strides continue.
  static bool Merge(const Axes& axes, int64_t* dim, int64_t* stride) {
    *dim = 1;
    *stride = 1;
    for (auto it = axes.rbegin(); it != axes.rend(); ++it) {
      if (it->dim == 1) continue;
      if (*dim == 1) {
        *stride = it->stride;
      } else if (it->stride != *stride * *dim) {
        return false;
      }
      *dim *= it->dim;
    }
    return true;
  }

  // `operand` as [batch..., rows, columns]: as it lies when strides allow and one of the two is contiguous, else
  // copied.
  absl::StatusOr<StridedView> Arrange(Operand* operand, const Axes& batch, const Axes& rows, const Axes& columns) {
    for (int attempt = 0; attempt < 2; ++attempt) {
      auto own = [&](const Axes& labels) {
        Axes axes;
        for (const Axis& axis : labels) axes.push_back(*FindAxis(operand->axes, axis.label));
        return axes;
      };
      Axes own_batch = own(batch), own_rows = own(rows), own_columns = own(columns);
      int64_t row_dim, row_stride, column_dim, column_stride;
      if (Merge(own_rows, &row_dim, &row_stride) && Merge(own_columns, &column_dim, &column_stride) &&
          (column_dim == 1 || column_stride == 1 || row_dim == 1 || row_stride == 1)) {
        if (row_dim == 1) row_stride = column_stride == 1 ? std::max<int64_t>(1, column_dim) : 1;
        if (column_dim == 1) column_stride = row_stride == 1 && row_dim > 1 ? row_dim : 1;
        StridedView view;
        for (const Axis& axis : own_batch) {
          view.dims.push_back(axis.dim);
          view.strides.push_back(axis.stride);
        }
        view.dims.insert(view.dims.end(), {row_dim, column_dim});
        view.strides.insert(view.strides.end(), {row_stride, column_stride});
        return view;
      }
      Axes all = own_batch;
      all.insert(all.end(), own_rows.begin(), own_rows.end());
      all.insert(all.end(), own_columns.begin(), own_columns.end());
      RONDO_RETURN_IF_ERROR(Copy(operand, all, {}, nullptr));
    }
    return Internal("a dense operand could not be arranged");
  }

  PrepareContext& ctx_;
  onednn::PipelineBuilder pipeline_;
  DataType dtype_;
};

KernelOr PrepareEinsum(PrepareContext& ctx) {
  std::vector<int> ranks;
  for (int i = 0; i < ctx.num_inputs(); ++i) ranks.push_back(static_cast<int>(ctx.input_dims(i).size()));
  RONDO_ASSIGN_OR_RETURN(Equation equation, ReadEquation(ctx.attributes, ranks));
  std::map<int, int64_t> sizes;
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    const Dims dims = ctx.input_dims(i);
    for (size_t axis = 0; axis < dims.size(); ++axis) {
      int64_t& size = sizes.emplace(equation.operands[i][axis], dims[axis]).first->second;
      if (size == 1) size = dims[axis];
      if (dims[axis] != 1 && dims[axis] != size) {
        return InvalidArgument("an axis of the equation has sizes ", size, " and ", dims[axis]);
      }
    }
  }
  std::vector<Axes> operands;
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    operands.push_back(ReadAxes(equation.operands[i], ctx.input_dims(i), sizes));
  }
  const DataType dtype = ctx.output_dtype(0);
  Axes kept, summed;
  for (int label : equation.output) kept.push_back({label, sizes.at(label), 0});
  for (const auto& [label, size] : sizes) {
    if (!Contains(equation.output, label)) summed.push_back({label, size, 0});
  }
  if (ctx.plain()) {
    return DispatchResult<KernelOr>(NumericTypes{}, dtype, [&](auto tag) -> KernelOr {
      return PreparePlain<typename decltype(tag)::type>(operands, kept, summed);
    });
  }
  Contraction contraction(ctx, dtype);
  Contraction::Operand result{onednn::Arg::Input(0), operands[0]};
  for (size_t i = 1; i < operands.size(); ++i) {
    Labels later = equation.output;
    for (size_t j = i + 1; j < operands.size(); ++j) {
      for (const Axis& axis : operands[j]) later.push_back(axis.label);
    }
    RONDO_ASSIGN_OR_RETURN(
        result, contraction.Multiply(std::move(result), {onednn::Arg::Input(static_cast<int>(i)), operands[i]}, later,
                                     equation.output, i + 1 == operands.size()));
  }
  return contraction.Finish(std::move(result), equation.output);
}

const OpDef kRows[] = {
    {.type = "Einsum", .since = 12, .inputs = {1, Arity::kMany}, .infer = InferEinsum, .prepare = PrepareEinsum},
};

}  // namespace

absl::Span<const OpDef> EinsumFamily() { return kRows; }

}  // namespace rondo

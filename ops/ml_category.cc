// Operators of ai.onnx.ml that map values to values: CategoryMapper and LabelEncoder. Each is a table of keys and
// values of any two types, and a value for what is not among the keys.
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "ops/dispatch.h"
#include "ops/elementwise.h"
#include "ops/families.h"
#include "ops/ml_common.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

struct Lookup {
  Tensor keys;              // [n]
  Tensor values;            // [n]
  Tensor fallback;          // one element of values' type
  bool first_wins = false;  // of keys that occur twice; else the last one
};

template <typename T>
Tensor OneElement(DataType type, T value) {
  return Tensor::FromVector<T>(type, {1}, {std::move(value)});
}
Tensor Strings(const std::vector<std::string>& values) {
  return Tensor::FromVector(DataType::kString, {static_cast<int64_t>(values.size())}, values);
}

// Floats match by value, and NaN matches NaN, whatever its bits; 0 and -0 are one key.
template <typename T>
auto HashKey(const T& value) {
  if constexpr (std::is_floating_point_v<T>) {
    const double v = std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : value == 0 ? 0.0 : double{value};
    return std::bit_cast<uint64_t>(v);
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<int64_t>(value);
  } else {
    return value;
  }
}

template <typename K, typename V>
std::unique_ptr<Kernel> MakeLookup(const Lookup& lookup) {
  absl::flat_hash_map<decltype(HashKey(std::declval<K>())), int64_t> index;
  for (int64_t i = 0; i < lookup.keys.size(); ++i) {
    const auto [at, fresh] = index.emplace(HashKey(lookup.keys.data<K>()[i]), i);
    if (!fresh && !lookup.first_wins) at->second = i;
  }
  return MakeKernel([index = std::move(index), values = lookup.values, fallback = lookup.fallback](RunContext& run) {
    const K* x = run.in<K>(0);
    V* y = run.out<V>(0);
    ParallelFor(run.input(0).size(), kScalarGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const auto found = index.find(HashKey(x[i]));
        y[i] = found == index.end() ? *fallback.data<V>() : values.data<V>()[found->second];
      }
    });
    return absl::OkStatus();
  });
}

using KeyTypes = TypeList<std::string, int64_t, float, int32_t, int16_t, double>;

template <absl::StatusOr<Lookup> (*read)(const AttributeReader&, DataType)>
absl::Status Infer(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const Lookup lookup, read(ctx.attributes, ctx.dtype(0)));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, {lookup.keys.dtype()}));
  return InferSameShape(ctx, lookup.values.dtype());
}

template <absl::StatusOr<Lookup> (*read)(const AttributeReader&, DataType)>
absl::StatusOr<std::unique_ptr<Kernel>> Prepare(PrepareContext& ctx) {
  using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;
  RONDO_ASSIGN_OR_RETURN(const Lookup lookup, read(ctx.attributes, ctx.input_dtype(0)));
  return DispatchResult<KernelOr>(KeyTypes(), lookup.keys.dtype(), [&](auto key) -> KernelOr {
    return DispatchBySize<KernelOr>(lookup.values.dtype(), [&](auto value) -> KernelOr {
      return MakeLookup<typename decltype(key)::type, typename decltype(value)::type>(lookup);
    });
  });
}

absl::Status ExpectTextOrInt(DataType dtype) {
  if (dtype == DataType::kString || dtype == DataType::kInt64) return absl::OkStatus();
  return InvalidArgument("input 0: expected string or int64, got ", DataTypeName(dtype));
}

// strings -> ints (or `default_int64`) for an input of strings, ints -> strings (or `default_string`) for one of ints.
absl::StatusOr<Lookup> BetweenStringsAndInts(const AttributeReader& attributes, DataType dtype, Tensor strings,
                                             Tensor ints) {
  RONDO_RETURN_IF_ERROR(ExpectTextOrInt(dtype));
  Lookup lookup;
  if (dtype == DataType::kString) {
    RONDO_ASSIGN_OR_RETURN(const int64_t fallback, attributes.Int("default_int64", -1));
    lookup = {std::move(strings), std::move(ints), Tensor::FromInt64s({fallback})};
  } else {
    RONDO_ASSIGN_OR_RETURN(std::string fallback, attributes.String("default_string", "_Unused"));
    lookup = {std::move(ints), std::move(strings), OneElement(DataType::kString, std::move(fallback))};
  }
  return lookup;
}

// ---- CategoryMapper -------------------------------------------------------------------------------------------------
// cats_strings[i] <-> cats_int64s[i], direction by the input's type; others: default_int64 = -1, default_string =
// "_Unused".  X: string or int64, any shape; Y: the other type, same shape.

absl::StatusOr<Lookup> ReadCategoryMapper(const AttributeReader& attributes, DataType dtype) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<std::string> strings, attributes.Strings("cats_strings"));
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> ints, attributes.Ints("cats_int64s"));
  RONDO_RETURN_IF_ERROR(
      ExpectCount("cats_strings", static_cast<int64_t>(strings.size()), static_cast<int64_t>(ints.size())));
  return BetweenStringsAndInts(attributes, dtype, Strings(strings), Tensor::FromInt64s(ints));
}

// ---- LabelEncoder-1 -------------------------------------------------------------------------------------------------
// classes_strings[i] <-> i, otherwise as CategoryMapper.

absl::StatusOr<Lookup> ReadLabelEncoder1(const AttributeReader& attributes, DataType dtype) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<std::string> classes, attributes.Strings("classes_strings"));
  std::vector<int64_t> positions(classes.size());
  std::iota(positions.begin(), positions.end(), 0);
  RONDO_ASSIGN_OR_RETURN(Lookup lookup,
                         BetweenStringsAndInts(attributes, dtype, Strings(classes), Tensor::FromInt64s(positions)));
  lookup.first_wins = true;
  return lookup;
}

// ---- LabelEncoder-2, LabelEncoder-4 ---------------------------------------------------------------------------------
// keys_*[i] -> values_*[i], others: default_* of the values' type (-0 for floats, -1 for integers, "_Unused"). X: keys'
// type, any shape; Y: values' type, same shape.
//   keys_ and values_: floats, int64s, strings, one of each; from 4 on also tensor, with default_tensor. A key that
//   occurs twice: the last one counts.

// The one attribute of `prefix`floats, int64s, strings, tensor as a tensor [n].
absl::StatusOr<Tensor> ReadList(const AttributeReader& attributes, absl::string_view prefix) {
  Tensor list;
  int given = 0;
  const auto name = [&](absl::string_view suffix) { return absl::StrCat(prefix, suffix); };
  if (attributes.Has(name("floats"))) {
    RONDO_ASSIGN_OR_RETURN(const std::vector<float> values, attributes.Floats(name("floats")));
    list = Tensor::FromVector(DataType::kFloat, {static_cast<int64_t>(values.size())}, values);
    given += !values.empty();
  }
  if (attributes.Has(name("int64s"))) {
    RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> values, attributes.Ints(name("int64s")));
    if (!values.empty()) list = Tensor::FromInt64s(values);
    given += !values.empty();
  }
  if (attributes.Has(name("strings"))) {
    RONDO_ASSIGN_OR_RETURN(const std::vector<std::string> values, attributes.Strings(name("strings")));
    if (!values.empty()) list = Strings(values);
    given += !values.empty();
  }
  if (attributes.Has(name("tensor"))) {
    RONDO_ASSIGN_OR_RETURN(list, attributes.TensorValue(name("tensor")));
    ++given;
  }
  if (given == 1) return list;
  return InvalidArgument("attributes \"", prefix, "*\": expected one of floats, int64s, strings, tensor, got ", given);
}

absl::StatusOr<Tensor> ReadFallback(const AttributeReader& attributes, DataType dtype) {
  if (attributes.Has("values_tensor") && attributes.Has("default_tensor")) {
    RONDO_ASSIGN_OR_RETURN(Tensor fallback, attributes.TensorValue("default_tensor"));
    if (fallback.dtype() == dtype && fallback.size() == 1) return fallback;
    return InvalidArgument("attribute \"default_tensor\": expected one ", DataTypeName(dtype), ", got ",
                           DataTypeName(fallback.dtype()), DimsToString(fallback.dims()));
  }
  switch (dtype) {
    case DataType::kString: {
      RONDO_ASSIGN_OR_RETURN(std::string fallback, attributes.String("default_string", "_Unused"));
      return OneElement(dtype, std::move(fallback));
    }
    case DataType::kInt64: {
      RONDO_ASSIGN_OR_RETURN(const int64_t fallback, attributes.Int("default_int64", -1));
      return OneElement(dtype, fallback);
    }
    case DataType::kFloat: {
      RONDO_ASSIGN_OR_RETURN(const float fallback, attributes.Float("default_float", -0.0f));
      return OneElement(dtype, fallback);
    }
    case DataType::kInt32:
      return OneElement<int32_t>(dtype, -1);
    case DataType::kInt16:
      return OneElement<int16_t>(dtype, -1);
    case DataType::kDouble:
      return OneElement(dtype, -0.0);
    default:
      return InvalidArgument("attributes \"values_*\": unexpected type ", DataTypeName(dtype));
  }
}

absl::StatusOr<Lookup> ReadLabelEncoder(const AttributeReader& attributes, DataType) {
  Lookup lookup;
  RONDO_ASSIGN_OR_RETURN(lookup.keys, ReadList(attributes, "keys_"));
  RONDO_ASSIGN_OR_RETURN(lookup.values, ReadList(attributes, "values_"));
  if (lookup.keys.size() != lookup.values.size()) {
    return InvalidArgument("expected as many keys as values, got ", lookup.keys.size(), " and ", lookup.values.size());
  }
  RONDO_ASSIGN_OR_RETURN(lookup.fallback, ReadFallback(attributes, lookup.values.dtype()));
  return lookup;
}

const OpDef kRows[] = {
    {.domain = kMlDomain,
     .type = "CategoryMapper",
     .infer = Infer<ReadCategoryMapper>,
     .prepare = Prepare<ReadCategoryMapper>},
    {.domain = kMlDomain,
     .type = "LabelEncoder",
     .infer = Infer<ReadLabelEncoder1>,
     .prepare = Prepare<ReadLabelEncoder1>},
    {.domain = kMlDomain,
     .type = "LabelEncoder",
     .since = 2,
     .infer = Infer<ReadLabelEncoder>,
     .prepare = Prepare<ReadLabelEncoder>},
};

}  // namespace

absl::Span<const OpDef> MlCategoryFamily() { return kRows; }

}  // namespace rondo

// Operators of ai.onnx.ml on maps: CastMap and DictVectorizer make tensors of them, ZipMap makes them.
//
// A map value is two tensors, keys [n] and values [n]. Maps come from a caller too, so their types are checked in the
// run, not only at load.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/ml_common.h"
#include "ops/runtime_values.h"

namespace rondo {
namespace {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

// Input 0 as a map with the given key and value types.
absl::StatusOr<const TensorMap*> MapAtInput(const RunContext& ctx, DataType keys, absl::Span<const DataType> values) {
  const RuntimeValue& value = ctx.input_value(0);
  if (!value.is_map()) return InvalidArgument("input 0: expected a map");
  const TensorMap& map = value.map();
  if (map.keys.size() != map.values.size()) {
    return InvalidArgument("input 0: a map with ", map.keys.size(), " keys and ", map.values.size(), " values");
  }
  // A map from a file without any entry does not tell its types.
  const bool fits =
      map.keys.dtype() == keys && std::find(values.begin(), values.end(), map.values.dtype()) != values.end();
  if (!fits && map.keys.size() > 0) {
    return InvalidArgument("input 0: expected a map from ", DataTypeName(keys), ", got one from ",
                           DataTypeName(map.keys.dtype()), " to ", DataTypeName(map.values.dtype()));
  }
  return &map;
}

// Element type of the values of input 0, a map whose keys are of one of `keys`.
absl::StatusOr<DataType> InferMapValues(const InferContext& ctx, absl::Span<const DataType> keys) {
  const ValueType& type = ctx.input_type(0);
  if (type.kind == ValueType::Kind::kMap && type.element != nullptr && type.element->is_tensor() &&
      std::find(keys.begin(), keys.end(), type.dtype) != keys.end()) {
    return type.element->dtype;
  }
  return InvalidArgument("input 0: expected a map of scalars from ", DataTypeName(keys[0]), ", got ", type.ToString());
}

// ---- CastMap --------------------------------------------------------------------------------------------------------
// The values of a map, by ascending keys, as a tensor [1, n].
//   X: map(int64, string or float). Attributes: cast_to = TO_FLOAT (or TO_STRING, TO_INT64); map_form = DENSE: the n
//   values in order; SPARSE: n = max_map, each at its key's place, zeros ("") elsewhere. The text says "1-D"; [1, n] is
//   what the runtimes that have it return, and what the operators that follow in such models (Scaler, LinearClassifier)
//   take as one row.

struct CastMapSpec {
  DataType to = DataType::kFloat;
  bool sparse = false;
  int64_t length = 1;  // where sparse
};

absl::StatusOr<CastMapSpec> ReadCastMap(const AttributeReader& attributes) {
  CastMapSpec spec;
  RONDO_ASSIGN_OR_RETURN(const std::string to, attributes.String("cast_to", "TO_FLOAT"));
  if (to == "TO_STRING") {
    spec.to = DataType::kString;
  } else if (to == "TO_INT64") {
    spec.to = DataType::kInt64;
  } else if (to != "TO_FLOAT") {
    return InvalidArgument("attribute \"cast_to\": expected TO_FLOAT, TO_STRING or TO_INT64, got \"", to, "\"");
  }
  RONDO_ASSIGN_OR_RETURN(const std::string form, attributes.String("map_form", "DENSE"));
  if (form != "DENSE" && form != "SPARSE") {
    return InvalidArgument("attribute \"map_form\": expected DENSE or SPARSE, got \"", form, "\"");
  }
  spec.sparse = form == "SPARSE";
  RONDO_ASSIGN_OR_RETURN(spec.length, attributes.Int("max_map", 1));
  if (spec.sparse && spec.length <= 0) {
    return InvalidArgument("attribute \"max_map\": expected a positive number, got ", spec.length);
  }
  return spec;
}

absl::Status InferCastMap(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const CastMapSpec spec, ReadCastMap(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(const DataType values, InferMapValues(ctx, {DataType::kInt64}));
  if (values != DataType::kFloat && values != DataType::kString) {
    return InvalidArgument("input 0: expected a map to float32 or string, got one to ", DataTypeName(values));
  }
  ctx.SetOutput(0, spec.to, Shape{Dim(1), spec.sparse ? Dim(spec.length) : Dim::Unknown()});
  return absl::OkStatus();
}

absl::StatusOr<float> ParseFloat(const std::string& text) {
  float value;
  if (absl::SimpleAtof(text, &value)) return value;
  return InvalidArgument("value \"", text, "\" of the map is no number");
}

// Value i of the map as element `at` of `to`.
absl::Status CastValue(const Tensor& values, int64_t i, Tensor* to, int64_t at) {
  const bool from_string = values.dtype() == DataType::kString;
  if (to->dtype() == DataType::kString) {
    std::string& text = to->mutable_data<std::string>()[at];
    text = from_string ? values.data<std::string>()[i] : absl::StrFormat("%.9g", values.data<float>()[i]);
    return absl::OkStatus();
  }
  float number = 0;
  if (from_string) {
    RONDO_ASSIGN_OR_RETURN(number, ParseFloat(values.data<std::string>()[i]));
  } else {
    number = values.data<float>()[i];
  }
  if (to->dtype() == DataType::kFloat) {
    to->mutable_data<float>()[at] = number;
    return absl::OkStatus();
  }
  int64_t integer = 0;
  constexpr float kLimit = 9223372036854775808.0f;  // 2^63
  if (from_string && absl::SimpleAtoi(values.data<std::string>()[i], &integer)) {
    // All 64 bits, which a float does not hold.
  } else if (number >= -kLimit && number < kLimit) {
    integer = static_cast<int64_t>(number);
  } else {
    return OutOfRange("value ", number, " of the map does not fit int64");
  }
  to->mutable_data<int64_t>()[at] = integer;
  return absl::OkStatus();
}

KernelOr PrepareCastMap(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const CastMapSpec spec, ReadCastMap(ctx.attributes));
  return MakeKernel([spec](RunContext& ctx) -> absl::Status {
    RONDO_ASSIGN_OR_RETURN(const TensorMap* map,
                           MapAtInput(ctx, DataType::kInt64, {DataType::kFloat, DataType::kString}));
    const int64_t count = map->keys.size();
    const int64_t* keys = map->keys.data<int64_t>();
    if (!spec.sparse) RONDO_RETURN_IF_ERROR(ctx.AllocateOutput(0, {1, count}));
    Tensor& result = ctx.output(0);
    if (result.dtype() == DataType::kString) {
      std::fill_n(result.mutable_data<std::string>(), result.size(), std::string());
    } else {
      std::memset(result.mutable_raw(), 0, result.bytes());
    }
    std::vector<int64_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return keys[a] < keys[b]; });
    for (int64_t k = 0; k < count; ++k) {
      const int64_t i = order[k];
      if (spec.sparse && (keys[i] < 0 || keys[i] >= spec.length)) {
        return OutOfRange("key ", keys[i], " is out of range [0, ", spec.length - 1, "] (attribute \"max_map\")");
      }
      RONDO_RETURN_IF_ERROR(CastValue(map->values, i, &result, spec.sparse ? keys[i] : k));
    }
    return absl::OkStatus();
  });
}

// ---- DictVectorizer -------------------------------------------------------------------------------------------------
// Y [1, C]: for each of the C words of the vocabulary the map's value for it, or zero ("" for strings).
//   X: map(string, int64 | float | double) with string_vocabulary, map(int64, string | float | double) with
//   int64_vocabulary; its keys must be in the vocabulary.

constexpr DataType kDictValues[] = {DataType::kInt64, DataType::kFloat, DataType::kDouble, DataType::kString};

absl::StatusOr<MlLabels> ReadVocabulary(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(MlLabels words, ReadLabels(attributes, "int64_vocabulary", "string_vocabulary"));
  if (words.empty()) {
    return InvalidArgument("attribute \"int64_vocabulary\" or \"string_vocabulary\": expected one of them");
  }
  return words;
}

absl::Status InferDictVectorizer(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const MlLabels words, ReadVocabulary(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(const DataType values, InferMapValues(ctx, {words.dtype()}));
  if (std::find(std::begin(kDictValues), std::end(kDictValues), values) == std::end(kDictValues)) {
    return InvalidArgument("input 0: unexpected map to ", DataTypeName(values));
  }
  ctx.SetOutput(0, values, Shape{Dim(1), Dim(words.size())});
  return absl::OkStatus();
}

template <typename Key, typename T>
std::unique_ptr<Kernel> MakeDictVectorizer(const std::vector<Key>& words) {
  absl::flat_hash_map<Key, int64_t> index;
  for (size_t i = 0; i < words.size(); ++i) index.emplace(words[i], static_cast<int64_t>(i));
  return MakeKernel([index = std::move(index)](RunContext& ctx) -> absl::Status {
    RONDO_ASSIGN_OR_RETURN(const TensorMap* map, MapAtInput(ctx, DataTypeOf<Key>::value, {DataTypeOf<T>::value}));
    T* y = ctx.out<T>(0);
    std::fill(y, y + ctx.output(0).size(), T());
    for (int64_t i = 0; i < map->keys.size(); ++i) {
      const Key& key = map->keys.data<Key>()[i];
      const auto found = index.find(key);
      if (found == index.end()) return InvalidArgument("key ", key, " of the map is not in the vocabulary");
      y[found->second] = map->values.data<T>()[i];
    }
    return absl::OkStatus();
  });
}

KernelOr PrepareDictVectorizer(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const MlLabels words, ReadVocabulary(ctx.attributes));
  return DispatchResult<KernelOr>(TypeList<int64_t, float, double, std::string>(), ctx.output_dtype(0),
                                  [&](auto tag) -> KernelOr {
                                    using T = typename decltype(tag)::type;
                                    if (words.is_strings()) return MakeDictVectorizer<std::string, T>(words.strings);
                                    return MakeDictVectorizer<int64_t, T>(words.ints);
                                  });
}

// ---- ZipMap ---------------------------------------------------------------------------------------------------------
// A sequence of N maps, one per row of X: label c -> X[n, c].
//   X [N, C] float ([C] is one row); C labels in classlabels_int64s or classlabels_strings.

absl::StatusOr<MlLabels> ReadZipLabels(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(MlLabels labels, ReadLabels(attributes, "classlabels_int64s", "classlabels_strings"));
  if (labels.empty()) {
    return InvalidArgument("attribute \"classlabels_int64s\" or \"classlabels_strings\": expected one of them");
  }
  return labels;
}

absl::Status InferZipMap(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, {DataType::kFloat}));
  RONDO_ASSIGN_OR_RETURN(const MlLabels labels, ReadZipLabels(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(const MlRows rows, InferRows(ctx, 0));
  if (rows.columns.known() && rows.columns.value() != labels.size()) {
    return InvalidArgument("expected as many columns as labels, ", labels.size(), ", got ", rows.columns.value());
  }
  ValueType map = ValueType::Map(labels.dtype(), ValueType::Tensor(DataType::kFloat, Shape()));
  ctx.SetOutputType(0, ValueType::Sequence(std::move(map)));
  return absl::OkStatus();
}

KernelOr PrepareZipMap(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const MlLabels labels, ReadZipLabels(ctx.attributes));
  return MakeKernel([keys = labels.ToTensor(), slots = OutputSlots(ctx)](RunContext& ctx) -> absl::Status {
    const Tensor& x = ctx.input(0);
    const int64_t columns = keys.size();
    const int64_t rows = x.size() / columns;
    TensorSequence maps;
    maps.reserve(rows);
    for (int64_t n = 0; n < rows; ++n) {
      RONDO_ASSIGN_OR_RETURN(Tensor values, Tensor::Create(DataType::kFloat, {columns}));
      std::copy_n(x.data<float>() + n * columns, columns, values.mutable_data<float>());
      maps.emplace_back(TensorMap{keys, std::move(values)});
    }
    return slots.Store(ctx, 0, RuntimeValue(std::move(maps)));
  });
}

const OpDef kRows[] = {
    {.domain = kMlDomain, .type = "CastMap", .infer = InferCastMap, .prepare = PrepareCastMap},
    {.domain = kMlDomain, .type = "DictVectorizer", .infer = InferDictVectorizer, .prepare = PrepareDictVectorizer},
    {.domain = kMlDomain, .type = "ZipMap", .infer = InferZipMap, .prepare = PrepareZipMap},
};

}  // namespace

absl::Span<const OpDef> MlMapFamily() { return kRows; }

}  // namespace rondo

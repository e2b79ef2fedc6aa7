#include "tools/inputs.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "api/model_impl.h"
#include "graph/dim.h"
#include "graph/numeric.h"
#include "graph/status.h"
#include "ops/infer.h"
#include "tools/npy.h"
#include "tools/text.h"
#include "tools/values.h"

namespace rondo {
namespace {

using Symbols = absl::flat_hash_map<std::string, int64_t>;

bool NameHas(absl::string_view name, std::initializer_list<absl::string_view> parts) {
  const std::string lower = absl::AsciiStrToLower(name);
  return std::any_of(parts.begin(), parts.end(),
                     [&](absl::string_view part) { return absl::StrContains(lower, part); });
}

const PortInfo* FindPort(const std::vector<PortInfo>& ports, absl::string_view name) {
  for (const PortInfo& port : ports) {
    if (port.name == name) return &port;
  }
  return nullptr;
}

std::string PortNames(const std::vector<PortInfo>& ports) {
  return absl::StrJoin(ports, ", ", [](std::string* out, const PortInfo& port) { out->append(Printable(port.name)); });
}

struct Assignment {
  std::string name, value;
};

// NAME=VALUE. A name may hold '=' itself: the longest one that is an input's counts, else the text before the first.
absl::StatusOr<Assignment> SplitAssignment(const std::string& text, const std::vector<PortInfo>& inputs) {
  for (size_t at = text.rfind('='); at != std::string::npos && at > 0; at = text.rfind('=', at - 1)) {
    if (FindPort(inputs, text.substr(0, at)) != nullptr) return Assignment{text.substr(0, at), text.substr(at + 1)};
  }
  const size_t at = text.find('=');
  if (at == std::string::npos) return InvalidArgument("\"", Printable(text), "\": expected NAME=VALUE");
  return Assignment{text.substr(0, at), text.substr(at + 1)};
}

// Letters and underscores that separate words: "past_sequence_length" has the word "past", "batch.size" has "batch".
int64_t DefaultOf(absl::string_view symbol, size_t position, const PortInfo& port, const DimDefaults& defaults) {
  if (NameHas(symbol, {"batch"})) return 1;
  if (NameHas(symbol, {"past", "cache_len"})) return 0;
  if (NameHas(symbol, {"channel"})) return defaults.channels;
  if (NameHas(symbol, {"height", "width", "image_size"})) return defaults.image;
  if (NameHas(symbol, {"head_dim", "head_size", "cache_dim"})) return 64;
  if (NameHas(symbol, {"audio", "sample", "wave"})) return 16000;
  if (NameHas(symbol, {"seq", "length", "token", "time", "len", "frames"})) return defaults.length;
  const std::string lower = absl::AsciiStrToLower(symbol);
  if (lower == "h" || lower == "w") return defaults.image;
  if (lower == "c") return defaults.channels;
  if (position == 0) return 1;
  const bool image = port.dims.size() == 4 && IsFloatingPoint(port.dtype);
  if (!image) return defaults.length;
  return position == 1 ? defaults.channels : defaults.image;
}

class Binder {
 public:
  Binder(const std::vector<PortInfo>& inputs, const std::vector<PortInfo>& outputs,
         const std::optional<DimDefaults>& defaults)
      : inputs_(inputs),
        outputs_(outputs),
        use_defaults_(defaults.has_value()),
        defaults_(defaults.value_or(DimDefaults())) {}

  // Takes the numbers of one input's dims for the symbols that they are named by.
  absl::Status BindInput(const PortInfo& port, const std::vector<int64_t>& dims) {
    if (port.has_rank && dims.size() != port.dims.size()) {
      return InvalidArgument("input \"", Printable(port.name), "\": expected rank ", port.dims.size(), " (",
                             Printable(port.type), "), got rank ", dims.size(), " (", DimsToString(dims), ")");
    }
    for (size_t i = 0; port.has_rank && i < dims.size(); ++i) {
      if (port.dims[i] >= 0 && port.dims[i] != dims[i]) {
        return InvalidArgument("input \"", Printable(port.name), "\": expected ", port.dims[i], " for dim ", i, " (",
                               Printable(port.type), "), got ", dims[i], " (", DimsToString(dims), ")");
      }
      const Dim dim = Dim::Parse(port.dim_names[i]);
      if (port.dims[i] < 0 && dim.IsSymbol()) symbols_.emplace(dim.ToString(), dims[i]);
    }
    bound_.dims[port.name] = dims;
    return absl::OkStatus();
  }

  absl::Status BindShape(const std::string& text) {
    RONDO_ASSIGN_OR_RETURN(const Assignment shape, SplitAssignment(text, inputs_));
    absl::StatusOr<std::vector<int64_t>> dims = ParseDims(shape.value);
    if (!dims.ok()) return Annotate(dims.status(), absl::StrCat("--shape ", Printable(shape.name), ": "));
    if (const PortInfo* port = FindPort(inputs_, shape.name); port != nullptr) {
      auto it = bound_.dims.find(shape.name);
      if (it != bound_.dims.end() && it->second != *dims) {
        return InvalidArgument("--shape ", Printable(shape.name), ": ", DimsToString(*dims), " contradicts ",
                               DimsToString(it->second), ", which was given before");
      }
      return BindInput(*port, *dims);
    }
    if (dims->size() != 1 || !IsSymbolOfInputs(shape.name)) {
      return InvalidArgument("--shape ", Printable(shape.name),
                             ": no input or symbolic dim of that name (expected one of ", PortNames(inputs_), ")");
    }
    symbols_[shape.name] = (*dims)[0];
    return absl::OkStatus();
  }

  absl::StatusOr<BoundDims> Finish() {
    if (use_defaults_) ChooseDefaults();
    for (const PortInfo& port : inputs_) {
      if (bound_.dims.contains(port.name) || port.optional || port.dtype == DataType::kUndefined) continue;
      if (!absl::StartsWith(port.type, std::string(DataTypeName(port.dtype)))) continue;  // a sequence or optional
      if (!port.has_rank) return NeedsShape(port, "its rank is not known");
      std::vector<int64_t> dims = port.dims;
      for (size_t i = 0; i < dims.size(); ++i) {
        if (dims[i] >= 0) continue;
        const Dim dim = Dim::Parse(port.dim_names[i]);
        if (dim.unknown()) {
          if (!use_defaults_) return NeedsShape(port, absl::StrCat("dim ", i, " is not known"));
          dims[i] = DefaultOf("", i, port, defaults_);
          bound_.chosen.emplace_back(absl::StrCat("dim ", i, " of ", port.name), dims[i]);
          continue;
        }
        if (!dim.Evaluate(symbols_, &dims[i])) {
          return NeedsShape(port, absl::StrCat("dim ", i, ", ", Printable(port.dim_names[i]), ", is not known"));
        }
        if (dims[i] < 0) return NeedsShape(port, absl::StrCat("dim ", i, " would be ", dims[i]));
      }
      bound_.dims[port.name] = dims;
    }
    return bound_;
  }

 private:
  bool IsSymbolOfInputs(const std::string& name) const {
    for (const PortInfo& port : inputs_) {
      for (size_t i = 0; i < port.dim_names.size(); ++i) {
        if (port.dims[i] >= 0) continue;
        const std::vector<std::string> symbols = Dim::Parse(port.dim_names[i]).Symbols();
        if (std::find(symbols.begin(), symbols.end(), name) != symbols.end()) return true;
      }
    }
    return false;
  }

  // Totals (past + new tokens) come last: they are sums of what the others got.
  void ChooseDefaults() {
    for (bool totals : {false, true}) {
      for (const PortInfo& port : inputs_) {
        if (bound_.dims.contains(port.name)) continue;
        for (size_t i = 0; i < port.dims.size(); ++i) {
          if (port.dims[i] >= 0) continue;
          for (const std::string& symbol : Dim::Parse(port.dim_names[i]).Symbols()) {
            if (symbols_.contains(symbol) || NameHas(symbol, {"total"}) != totals) continue;
            const int64_t value = totals ? TotalLength() : DefaultFor(symbol, i, port);
            symbols_.emplace(symbol, value);
            bound_.chosen.emplace_back(symbol, value);
          }
        }
      }
    }
  }

  int64_t DefaultFor(const std::string& symbol, size_t position, const PortInfo& port) const {
    // A cache's fixed dims are often symbolic on its input and known on its output: past_key_values.0.key,
    // present.0.key.
    const size_t dot = port.name.find('.');
    if (absl::StartsWith(port.name, "past") && dot != std::string::npos) {
      const PortInfo* present = FindPort(outputs_, absl::StrCat("present", port.name.substr(dot)));
      if (present != nullptr && present->dims.size() == port.dims.size() && present->dims[position] > 0) {
        return present->dims[position];
      }
    }
    return DefaultOf(symbol, position, port, defaults_);
  }

  int64_t TotalLength() const {
    int64_t total = 0;
    for (const auto& [symbol, value] : symbols_) {
      const bool length = NameHas(symbol, {"seq", "length"}) && !NameHas(symbol, {"sliding", "total"});
      if (length) total += value;
    }
    return total > 0 ? total : defaults_.length;
  }

  absl::Status NeedsShape(const PortInfo& port, absl::string_view why) const {
    std::vector<std::string> example;
    for (size_t i = 0; i < port.dims.size(); ++i) {
      example.push_back(
          absl::StrCat(port.dims[i] >= 0 ? port.dims[i] : DefaultOf(port.dim_names[i], i, port, defaults_)));
    }
    if (!port.has_rank) example = {"1", "8"};
    return InvalidArgument("input \"", Printable(port.name), "\" (", Printable(port.type), "): ", why,
                           " (give --shape ", Printable(port.name), "=", absl::StrJoin(example, "x"), ")");
  }

  const std::vector<PortInfo>& inputs_;
  const std::vector<PortInfo>& outputs_;
  const bool use_defaults_;
  const DimDefaults defaults_;  // without use_defaults_ for examples in errors
  Symbols symbols_;
  BoundDims bound_;
};

// SplitMix64 (Steele, Lea, Flood 2014): the same numbers on every machine, unlike the standard distributions.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double Uniform() { return static_cast<double>(Next() >> 11) * (1.0 / 4503599627370496.0) - 1.0; }  // [-1, 1)
  int64_t Below(int64_t n) { return static_cast<int64_t>(Next() % static_cast<uint64_t>(n)); }

 private:
  uint64_t state_;
};

uint64_t SeedFor(uint64_t seed, absl::string_view name) {
  uint64_t hash = seed ^ 0xcbf29ce484222325u;  // FNV-1a, so that each input has numbers of its own
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

int64_t IntegerFor(const std::string& name, DataType type, Random& random) {
  if (NameHas(name, {"mask"})) return 1;
  if (NameHas(name, {"token_type", "segment"})) return 0;
  if (NameHas(name, {"input_id", "ids", "token"})) return 1 + random.Below(31);
  if (type == DataType::kUInt8) return random.Below(256);
  if (type == DataType::kInt8) return random.Below(256) - 128;
  return random.Below(8);
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> ParseDims(const std::string& text) {
  std::vector<int64_t> dims;
  if (text.empty() || text == "[]" || text == "scalar") return dims;
  for (absl::string_view part : absl::StrSplit(text, absl::ByAnyChar("x,"))) {
    int64_t dim;
    if (!absl::SimpleAtoi(part, &dim) || dim < 0) {
      return InvalidArgument("\"", Printable(text), "\": expected dims such as 1x3x224x224");
    }
    dims.push_back(dim);
  }
  const absl::StatusOr<int64_t> count = CheckedElementCount(dims);
  if (!count.ok()) return count.status();
  return dims;
}

absl::StatusOr<BoundDims> BindDims(const std::vector<PortInfo>& inputs, const std::vector<PortInfo>& outputs,
                                   const std::map<std::string, std::vector<int64_t>>& given,
                                   const std::vector<std::string>& shapes, const std::optional<DimDefaults>& defaults) {
  Binder binder(inputs, outputs, defaults);
  for (const auto& [name, dims] : given) {
    if (const PortInfo* port = FindPort(inputs, name)) RONDO_RETURN_IF_ERROR(binder.BindInput(*port, dims));
  }
  for (const std::string& shape : shapes) RONDO_RETURN_IF_ERROR(binder.BindShape(shape));
  return binder.Finish();
}

namespace {

// Sizes that models are made for, the likeliest first.
std::vector<DimDefaults> UsualDefaults() {
  std::vector<DimDefaults> usual;
  for (const int64_t image : {224, 32,  64,  28,  128, 256, 384, 512, 640, 16,  30,  48,  96,  112,
                              160, 192, 240, 288, 299, 320, 336, 448, 480, 518, 560, 768, 800, 1024}) {
    for (const int64_t channels : {3, 1, 4}) usual.push_back({.channels = channels, .image = image});
  }
  for (const int64_t length : {1, 16, 32, 64, 77, 128, 256, 512, 1024, 3000, 16000})
    usual.push_back({.length = length});
  return usual;
}

// Whether every shape of the model can be computed from these dims: a dry run, nothing is planned or created.
absl::Status InferWith(const Model& model, const BoundDims& bound) {
  const std::unique_ptr<Graph> graph = ModelAccess::Get(model).program->graph().Clone();
  for (Value* input : graph->inputs()) {
    auto it = bound.dims.find(input->name());
    if (it == bound.dims.end()) continue;
    ValueType type = input->type();
    type.shape = Shape::FromDims(it->second);
    input->set_type(std::move(type));
  }
  return InferGraph(*graph);
}

}  // namespace

absl::StatusOr<BoundDims> ChooseDims(const Model& model, const std::map<std::string, std::vector<int64_t>>& given,
                                     const std::vector<std::string>& shapes) {
  const auto bind = [&](const DimDefaults& defaults) {
    return BindDims(model.inputs(), model.outputs(), given, shapes, defaults);
  };
  RONDO_ASSIGN_OR_RETURN(BoundDims first, bind({}));
  const absl::Status wrong = InferWith(model, first);
  if (wrong.ok() || first.chosen.empty()) return first;  // what the caller chose is the run's to refuse
  std::set<std::vector<std::pair<std::string, int64_t>>> tried = {first.chosen};
  for (const DimDefaults& defaults : UsualDefaults()) {
    absl::StatusOr<BoundDims> bound = bind(defaults);
    if (bound.ok() && tried.insert(bound->chosen).second && InferWith(model, *bound).ok()) return bound;
  }
  // A branch that is not taken may be all that does not fit.
  if (model.Prepare(first.dims).ok()) return first;
  std::vector<std::string> flags;
  for (const PortInfo& port : model.inputs()) {
    auto it = first.dims.find(port.name);
    if (it == first.dims.end() || given.contains(port.name)) continue;
    if (std::find(port.dims.begin(), port.dims.end(), -1) == port.dims.end()) continue;
    flags.push_back(absl::StrCat("--shape ", Printable(port.name), "=", absl::StrJoin(it->second, "x")));
  }
  return Annotate(wrong, absl::StrCat("no usual dims fit the model; give the right ones, as in ",
                                      absl::StrJoin(flags, " "), ", with which: "));
}

absl::StatusOr<Tensor> RandomTensor(const std::string& name, DataType type, const std::vector<int64_t>& dims,
                                    uint64_t seed, int64_t position) {
  Random random(SeedFor(seed, name));
  if (type == DataType::kString) {
    RONDO_ASSIGN_OR_RETURN(Tensor text, Tensor::Create(type, dims));
    for (int64_t i = 0; i < text.size(); ++i) text.mutable_data<std::string>()[i] = absl::StrCat("text ", i);
    return text;
  }
  // Drawn as doubles (their type also has room for all integers that are drawn), then converted.
  RONDO_ASSIGN_OR_RETURN(Tensor values, Tensor::Create(DataType::kDouble, dims));
  double* out = values.mutable_data<double>();
  const int64_t row = dims.empty() ? 1 : std::max<int64_t>(dims.back(), 1);
  for (int64_t i = 0; i < values.size(); ++i) {
    if (type == DataType::kBool || (IsFloatingPoint(type) && NameHas(name, {"attention_mask"}))) {
      out[i] = 1;
    } else if (IsFloatingPoint(type) || IsComplex(type)) {
      out[i] = random.Uniform();
    } else if (NameHas(name, {"position"})) {
      out[i] = static_cast<double>(position + i % row);
    } else {
      out[i] = static_cast<double>(IntegerFor(name, type, random));
    }
  }
  return ConvertElements(values, type);
}

absl::StatusOr<NamedValue> ReadInputFile(const std::string& path, const ValueType& type) {
  const std::string extension = std::filesystem::path(path).extension().string();
  if (extension == ".pb") return ReadValueFile(path, type);
  if (extension != ".npy") return InvalidArgument(Printable(path), ": expected a file named *.npy or *.pb");
  RONDO_ASSIGN_OR_RETURN(Tensor tensor, ReadNpy(path));
  // An .npy cannot hold bfloat16, int4 ...: such an input takes what FormatNpy writes for it.
  if (type.is_tensor() && tensor.dtype() != type.dtype && tensor.dtype() == NpyStorageType(type.dtype)) {
    RONDO_ASSIGN_OR_RETURN(tensor, ConvertElements(tensor, type.dtype));
  }
  return NamedValue{"", RuntimeValue(std::move(tensor))};
}

namespace {

struct FileInput {
  int index;
  std::string path;
};

// NAME=FILE; else a .pb file whose stored name is an input's; else a file for the only input.
absl::StatusOr<FileInput> ResolveFile(const std::string& text, const std::vector<PortInfo>& inputs) {
  const absl::StatusOr<Assignment> split = SplitAssignment(text, inputs);
  if (split.ok()) {
    if (const PortInfo* port = FindPort(inputs, split->name)) {
      return FileInput{static_cast<int>(port - inputs.data()), split->value};
    }
  }
  std::error_code error;
  if (std::filesystem::exists(text, error) || !split.ok()) {
    if (absl::EndsWith(text, ".pb")) {
      RONDO_ASSIGN_OR_RETURN(const NamedValue value, ReadValueFile(text, ValueType{}));
      const PortInfo* port = FindPort(inputs, value.name);
      if (port != nullptr) return FileInput{static_cast<int>(port - inputs.data()), text};
    }
    if (inputs.size() == 1) return FileInput{0, text};
  }
  return InvalidArgument("--input ", Printable(text), ": ", split.ok() ? "no input of that name" : "no input is named",
                         " (expected NAME=FILE, NAME one of ", PortNames(inputs), ")");
}

}  // namespace

absl::StatusOr<PreparedInputs> MakeInputs(const Model& model, const InputRequest& request) {
  const std::vector<PortInfo>& ports = model.inputs();
  std::vector<std::optional<RuntimeValue>> values(ports.size());
  std::map<std::string, std::vector<int64_t>> given;
  for (const std::string& text : request.files) {
    RONDO_ASSIGN_OR_RETURN(const FileInput file, ResolveFile(text, ports));
    const PortInfo& port = ports[file.index];
    if (values[file.index].has_value()) return InvalidArgument("input \"", Printable(port.name), "\" is given twice");
    absl::StatusOr<NamedValue> value = ReadInputFile(file.path, ModelAccess::Get(model).input_types[file.index]);
    if (!value.ok()) return Annotate(value.status(), absl::StrCat("input \"", Printable(port.name), "\": "));
    if (value->value.is_tensor()) {
      const Dims& dims = value->value.tensor().dims();
      given[port.name].assign(dims.begin(), dims.end());
    }
    values[file.index] = std::move(value->value);
  }
  // --shape for an input asks for it to be filled, with or without --random.
  const bool fill = request.seed.has_value();
  std::vector<std::string> missing;
  for (size_t i = 0; i < ports.size() && !fill; ++i) {
    const bool shaped = std::any_of(request.shapes.begin(), request.shapes.end(), [&](const std::string& text) {
      const absl::StatusOr<Assignment> shape = SplitAssignment(text, ports);
      return shape.ok() && shape->name == ports[i].name;
    });
    if (!values[i].has_value() && !ports[i].optional && !shaped) {
      missing.push_back(absl::StrCat("\"", Printable(ports[i].name), "\" (", Printable(ports[i].type), ")"));
    }
  }
  if (!missing.empty()) {
    return InvalidArgument(missing.size() == 1 ? "input " : "inputs ", absl::StrJoin(missing, ", "),
                           ": no value (give --input NAME=FILE, or --random SEED to fill)");
  }
  PreparedInputs prepared;
  RONDO_ASSIGN_OR_RETURN(prepared.bound, fill ? ChooseDims(model, given, request.shapes)
                                              : BindDims(ports, model.outputs(), given, request.shapes, std::nullopt));
  // Ascending positions go on where the cache ends.
  int64_t past = 0;
  for (const PortInfo& port : ports) {
    for (size_t d = 0; d < port.dim_names.size(); ++d) {
      const Dim dim = Dim::Parse(port.dim_names[d]);
      if (port.dims[d] >= 0 || !dim.IsSymbol() || !NameHas(dim.ToString(), {"past"})) continue;
      auto it = prepared.bound.dims.find(port.name);
      if (it != prepared.bound.dims.end()) past = std::max(past, it->second[d]);
    }
  }
  for (size_t i = 0; i < ports.size(); ++i) {
    if (!values[i].has_value()) {
      if (ports[i].optional) continue;
      auto it = prepared.bound.dims.find(ports[i].name);
      if (it == prepared.bound.dims.end()) {
        return InvalidArgument("input \"", Printable(ports[i].name), "\" (", Printable(ports[i].type),
                               "): only tensors can be filled (give --input ", Printable(ports[i].name), "=FILE.pb)");
      }
      RONDO_ASSIGN_OR_RETURN(values[i],
                             RandomTensor(ports[i].name, ports[i].dtype, it->second, request.seed.value_or(0), past));
      ++prepared.filled;
    }
    prepared.tensors.emplace_back(ports[i].name, *std::move(values[i]));
  }
  return prepared;
}

std::string ChosenText(const BoundDims& bound) {
  if (bound.chosen.empty()) return "";
  const auto format = [](std::string* out, const std::pair<std::string, int64_t>& c) {
    absl::StrAppend(out, Printable(c.first), " = ", c.second);
  };
  return absl::StrCat("dims chosen: ", absl::StrJoin(bound.chosen, ", ", format),
                      " (others with --shape INPUT=DIMS or --shape SYMBOL=N)\n");
}

}  // namespace rondo

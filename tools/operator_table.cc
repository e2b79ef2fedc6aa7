#include "tools/operator_table.h"

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ops/registry.h"
#include "tools/text.h"

namespace rondo {
namespace {

constexpr char kOnnx[] = "";
constexpr char kMl[] = "ai.onnx.ml";
constexpr char kPreview[] = "ai.onnx.preview";
constexpr char kTraining[] = "ai.onnx.preview.training";
constexpr char kMicrosoft[] = "com.microsoft";

std::string DomainText(absl::string_view domain) { return domain.empty() ? "ai.onnx" : std::string(domain); }

struct DomainTotals {
  int64_t operators = 0, complete = 0, versions = 0, supported = 0;
};

std::map<std::string, DomainTotals> Totals(const std::vector<OperatorCoverage>& coverage) {
  std::map<std::string, DomainTotals> totals;
  for (const OperatorCoverage& row : coverage) {
    DomainTotals& t = totals[DomainText(row.known->domain)];
    ++t.operators;
    t.complete += row.missing.empty() ? 1 : 0;
    t.versions += static_cast<int64_t>(row.known->since.size());
    t.supported += static_cast<int64_t>(row.supported.size());
  }
  return totals;
}

std::string RemovedText(const KnownOperator& known) {
  return known.removed_in > 0 ? absl::StrCat(" (until ", known.removed_in, ")") : "";
}

}  // namespace

const std::vector<KnownOperator>& KnownOperators() {
  // clang-format off: one operator, one line
  static const auto& table = *new std::vector<KnownOperator>{
      {kOnnx, "Abs", {1, 6, 13}},
      {kOnnx, "Acos", {7, 22}},
      {kOnnx, "Acosh", {9, 22}},
      {kOnnx, "Add", {1, 6, 7, 13, 14}},
      {kOnnx, "AffineGrid", {20}},
      {kOnnx, "And", {1, 7}},
      {kOnnx, "ArgMax", {1, 11, 12, 13}},
      {kOnnx, "ArgMin", {1, 11, 12, 13}},
      {kOnnx, "Asin", {7, 22}},
      {kOnnx, "Asinh", {9, 22}},
      {kOnnx, "Atan", {7, 22}},
      {kOnnx, "Atanh", {9, 22}},
      {kOnnx, "Attention", {23, 24, 25}},
      {kOnnx, "AveragePool", {1, 7, 10, 11, 19, 22}},
      {kOnnx, "BatchNormalization", {1, 6, 7, 9, 14, 15}},
      {kOnnx, "Bernoulli", {15, 22}},
      {kOnnx, "BitCast", {26}},
      {kOnnx, "BitShift", {11}},
      {kOnnx, "BitwiseAnd", {18}},
      {kOnnx, "BitwiseNot", {18}},
      {kOnnx, "BitwiseOr", {18}},
      {kOnnx, "BitwiseXor", {18}},
      {kOnnx, "BlackmanWindow", {17}},
      {kOnnx, "Cast", {1, 6, 9, 13, 19, 21, 23, 24, 25}},
      {kOnnx, "CastLike", {15, 19, 21, 23, 24, 25}},
      {kOnnx, "CausalConvWithState", {27}},
      {kOnnx, "Ceil", {1, 6, 13}},
      {kOnnx, "Celu", {12, 28}},
      {kOnnx, "CenterCropPad", {18}},
      {kOnnx, "Clip", {1, 6, 11, 12, 13}},
      {kOnnx, "Col2Im", {18}},
      {kOnnx, "Compress", {9, 11}},
      {kOnnx, "Concat", {1, 4, 11, 13}},
      {kOnnx, "ConcatFromSequence", {11}},
      {kOnnx, "Constant", {1, 9, 11, 12, 13, 19, 21, 23, 24, 25}},
      {kOnnx, "ConstantOfShape", {9, 20, 21, 23, 24, 25}},
      {kOnnx, "Conv", {1, 11, 22}},
      {kOnnx, "ConvInteger", {10}},
      {kOnnx, "ConvTranspose", {1, 11, 22}},
      {kOnnx, "Cos", {7, 22}},
      {kOnnx, "Cosh", {9, 22}},
      {kOnnx, "CumProd", {26}},
      {kOnnx, "CumSum", {11, 14}},
      {kOnnx, "DFT", {17, 20}},
      {kOnnx, "DeformConv", {19, 22}},
      {kOnnx, "DepthToSpace", {1, 11, 13}},
      {kOnnx, "DequantizeLinear", {10, 13, 19, 21, 23, 24, 25}},
      {kOnnx, "Det", {11, 22}},
      {kOnnx, "Div", {1, 6, 7, 13, 14}},
      {kOnnx, "Dropout", {1, 6, 7, 10, 12, 13, 22}},
      {kOnnx, "DynamicQuantizeLinear", {11}},
      {kOnnx, "Einsum", {12}},
      {kOnnx, "Elu", {1, 6, 22}},
      {kOnnx, "Equal", {1, 7, 11, 13, 19}},
      {kOnnx, "Erf", {9, 13}},
      {kOnnx, "Exp", {1, 6, 13}},
      {kOnnx, "Expand", {8, 13}},
      {kOnnx, "EyeLike", {9, 22}},
      {kOnnx, "Flatten", {1, 9, 11, 13, 21, 23, 24, 25}},
      {kOnnx, "Floor", {1, 6, 13}},
      {kOnnx, "GRU", {1, 3, 7, 14, 22}},
      {kOnnx, "Gather", {1, 11, 13}},
      {kOnnx, "GatherElements", {11, 13}},
      {kOnnx, "GatherND", {11, 12, 13}},
      {kOnnx, "Gelu", {20}},
      {kOnnx, "Gemm", {1, 6, 7, 9, 11, 13}},
      {kOnnx, "GlobalAveragePool", {1, 22}},
      {kOnnx, "GlobalLpPool", {1, 2, 22}},
      {kOnnx, "GlobalMaxPool", {1, 22}},
      {kOnnx, "Greater", {1, 7, 9, 13}},
      {kOnnx, "GreaterOrEqual", {12, 16}},
      {kOnnx, "GridSample", {16, 20, 22}},
      {kOnnx, "GroupNormalization", {18, 21}},
      {kOnnx, "HammingWindow", {17}},
      {kOnnx, "HannWindow", {17}},
      {kOnnx, "HardSigmoid", {1, 6, 22}},
      {kOnnx, "HardSwish", {14, 22}},
      {kOnnx, "Hardmax", {1, 11, 13}},
      {kOnnx, "Identity", {1, 13, 14, 16, 19, 21, 23, 24, 25}},
      {kOnnx, "If", {1, 11, 13, 16, 19, 21, 23, 24, 25}},
      {kOnnx, "ImageDecoder", {20}},
      {kOnnx, "InstanceNormalization", {1, 6, 22}},
      {kOnnx, "IsInf", {10, 20}},
      {kOnnx, "IsNaN", {9, 13, 20}},
      {kOnnx, "LRN", {1, 13}},
      {kOnnx, "LSTM", {1, 7, 14, 22}},
      {kOnnx, "LayerNormalization", {17}},
      {kOnnx, "LeakyRelu", {1, 6, 16}},
      {kOnnx, "Less", {1, 7, 9, 13}},
      {kOnnx, "LessOrEqual", {12, 16}},
      {kOnnx, "LinearAttention", {27}},
      {kOnnx, "Log", {1, 6, 13}},
      {kOnnx, "LogSoftmax", {1, 11, 13}},
      {kOnnx, "Loop", {1, 11, 13, 16, 19, 21, 23, 24, 25}},
      {kOnnx, "LpNormalization", {1, 22}},
      {kOnnx, "LpPool", {1, 2, 11, 18, 22}},
      {kOnnx, "MatMul", {1, 9, 13}},
      {kOnnx, "MatMulInteger", {10}},
      {kOnnx, "Max", {1, 6, 8, 12, 13}},
      {kOnnx, "MaxPool", {1, 8, 10, 11, 12, 22}},
      {kOnnx, "MaxRoiPool", {1, 22}},
      {kOnnx, "MaxUnpool", {9, 11, 22}},
      {kOnnx, "Mean", {1, 6, 8, 13}},
      {kOnnx, "MeanVarianceNormalization", {9, 13}},
      {kOnnx, "MelWeightMatrix", {17}},
      {kOnnx, "Min", {1, 6, 8, 12, 13}},
      {kOnnx, "Mish", {18, 22}},
      {kOnnx, "Mod", {10, 13}},
      {kOnnx, "Mul", {1, 6, 7, 13, 14}},
      {kOnnx, "Multinomial", {7, 22}},
      {kOnnx, "Neg", {1, 6, 13}},
      {kOnnx, "NegativeLogLikelihoodLoss", {12, 13, 22}},
      {kOnnx, "NonMaxSuppression", {10, 11}},
      {kOnnx, "NonZero", {9, 13}},
      {kOnnx, "Not", {1}},
      {kOnnx, "OneHot", {9, 11}},
      {kOnnx, "Optional", {15}},
      {kOnnx, "OptionalGetElement", {15, 18}},
      {kOnnx, "OptionalHasElement", {15, 18}},
      {kOnnx, "Or", {1, 7}},
      {kOnnx, "PRelu", {1, 6, 7, 9, 16}},
      {kOnnx, "Pad", {1, 2, 11, 13, 18, 19, 21, 23, 24, 25}},
      {kOnnx, "Pow", {1, 7, 12, 13, 15}},
      {kOnnx, "QLinearConv", {10}},
      {kOnnx, "QLinearMatMul", {10, 21}},
      {kOnnx, "QuantizeLinear", {10, 13, 19, 21, 23, 24, 25}},
      {kOnnx, "RMSNormalization", {23}},
      {kOnnx, "RNN", {1, 7, 14, 22}},
      {kOnnx, "RandomNormal", {1, 22}},
      {kOnnx, "RandomNormalLike", {1, 22}},
      {kOnnx, "RandomUniform", {1, 22}},
      {kOnnx, "RandomUniformLike", {1, 22}},
      {kOnnx, "Range", {11, 27}},
      {kOnnx, "Reciprocal", {1, 6, 13}},
      {kOnnx, "ReduceL1", {1, 11, 13, 18}},
      {kOnnx, "ReduceL2", {1, 11, 13, 18}},
      {kOnnx, "ReduceLogSum", {1, 11, 13, 18}},
      {kOnnx, "ReduceLogSumExp", {1, 11, 13, 18}},
      {kOnnx, "ReduceMax", {1, 11, 12, 13, 18, 20}},
      {kOnnx, "ReduceMean", {1, 11, 13, 18}},
      {kOnnx, "ReduceMin", {1, 11, 12, 13, 18, 20}},
      {kOnnx, "ReduceProd", {1, 11, 13, 18}},
      {kOnnx, "ReduceSum", {1, 11, 13}},
      {kOnnx, "ReduceSumSquare", {1, 11, 13, 18}},
      {kOnnx, "RegexFullMatch", {20}},
      {kOnnx, "Relu", {1, 6, 13, 14}},
      {kOnnx, "Reshape", {1, 5, 13, 14, 19, 21, 23, 24, 25}},
      {kOnnx, "Resize", {10, 11, 13, 18, 19}},
      {kOnnx, "ReverseSequence", {10}},
      {kOnnx, "RoiAlign", {10, 16, 22}},
      {kOnnx, "RotaryEmbedding", {23}},
      {kOnnx, "Round", {11, 22}},
      {kOnnx, "STFT", {17}},
      {kOnnx, "Scan", {8, 9, 11, 16, 19, 21, 23, 24, 25}},
      {kOnnx, "Scatter", {9}, 11},
      {kOnnx, "ScatterElements", {11, 13, 16, 18}},
      {kOnnx, "ScatterND", {11, 13, 16, 18}},
      {kOnnx, "Selu", {1, 6, 22}},
      {kOnnx, "SequenceAt", {11}},
      {kOnnx, "SequenceConstruct", {11}},
      {kOnnx, "SequenceEmpty", {11}},
      {kOnnx, "SequenceErase", {11}},
      {kOnnx, "SequenceInsert", {11}},
      {kOnnx, "SequenceLength", {11}},
      {kOnnx, "SequenceMap", {17}},
      {kOnnx, "Shape", {1, 13, 15, 19, 21, 23, 24, 25}},
      {kOnnx, "Shrink", {9}},
      {kOnnx, "Sigmoid", {1, 6, 13}},
      {kOnnx, "Sign", {9, 13}},
      {kOnnx, "Sin", {7, 22}},
      {kOnnx, "Sinh", {9, 22}},
      {kOnnx, "Size", {1, 13, 19, 21, 23, 24, 25}},
      {kOnnx, "Slice", {1, 10, 11, 13}},
      {kOnnx, "Softmax", {1, 11, 13}},
      {kOnnx, "SoftmaxCrossEntropyLoss", {12, 13}},
      {kOnnx, "Softplus", {1, 22}},
      {kOnnx, "Softsign", {1, 22}},
      {kOnnx, "SpaceToDepth", {1, 13}},
      {kOnnx, "Split", {1, 2, 11, 13, 18}},
      {kOnnx, "SplitToSequence", {11, 24}},
      {kOnnx, "Sqrt", {1, 6, 13}},
      {kOnnx, "Squeeze", {1, 11, 13, 21, 23, 24, 25}},
      {kOnnx, "StringConcat", {20}},
      {kOnnx, "StringNormalizer", {10}},
      {kOnnx, "StringSplit", {20}},
      {kOnnx, "Sub", {1, 6, 7, 13, 14}},
      {kOnnx, "Sum", {1, 6, 8, 13}},
      {kOnnx, "SwiGLU", {28}},
      {kOnnx, "Swish", {24}},
      {kOnnx, "Tan", {7, 22}},
      {kOnnx, "Tanh", {1, 6, 13}},
      {kOnnx, "TensorScatter", {24}},
      {kOnnx, "TfIdfVectorizer", {9}},
      {kOnnx, "ThresholdedRelu", {10, 22}},
      {kOnnx, "Tile", {1, 6, 13}},
      {kOnnx, "TopK", {1, 10, 11, 24}},
      {kOnnx, "Transpose", {1, 13, 21, 23, 24, 25}},
      {kOnnx, "Trilu", {14}},
      {kOnnx, "Unique", {11}},
      {kOnnx, "Unsqueeze", {1, 11, 13, 21, 23, 24, 25}},
      {kOnnx, "Upsample", {1, 7, 9}, 10},
      {kOnnx, "Where", {9, 16}},
      {kOnnx, "Xor", {1, 7}},
      {kMl, "ArrayFeatureExtractor", {1}},
      {kMl, "Binarizer", {1}},
      {kMl, "CastMap", {1}},
      {kMl, "CategoryMapper", {1}},
      {kMl, "DictVectorizer", {1}},
      {kMl, "FeatureVectorizer", {1}},
      {kMl, "Imputer", {1}},
      {kMl, "LabelEncoder", {1, 2, 4}},
      {kMl, "LinearClassifier", {1}},
      {kMl, "LinearRegressor", {1}},
      {kMl, "Normalizer", {1}},
      {kMl, "OneHotEncoder", {1}},
      {kMl, "SVMClassifier", {1}},
      {kMl, "SVMRegressor", {1}},
      {kMl, "Scaler", {1}},
      {kMl, "TreeEnsemble", {5}},
      {kMl, "TreeEnsembleClassifier", {1, 3}, 5},
      {kMl, "TreeEnsembleRegressor", {1, 3}, 5},
      {kMl, "ZipMap", {1}},
      {kPreview, "FlexAttention", {1}},
      {kTraining, "Adagrad", {1}},
      {kTraining, "Adam", {1}},
      {kTraining, "Gradient", {1}},
      {kTraining, "Momentum", {1}},
      {kMicrosoft, "Attention", {1}},
      {kMicrosoft, "BiasGelu", {1}},
      {kMicrosoft, "BiasSoftmax", {1}},
      {kMicrosoft, "CausalConvWithState", {1}},
      {kMicrosoft, "ConvTransposeWithDynamicPads", {1}},
      {kMicrosoft, "DequantizeLinear", {1}},
      {kMicrosoft, "DynamicQuantizeMatMul", {1}},
      {kMicrosoft, "EmbedLayerNormalization", {1}},
      {kMicrosoft, "FastGelu", {1}},
      {kMicrosoft, "FusedConv", {1}},
      {kMicrosoft, "FusedMatMul", {1}},
      {kMicrosoft, "FusedMatMulActivation", {1}},
      {kMicrosoft, "GatherBlockQuantized", {1}},
      {kMicrosoft, "Gelu", {1}},
      {kMicrosoft, "GroupQueryAttention", {1}},
      {kMicrosoft, "Inverse", {1}},
      {kMicrosoft, "LayerNormalization", {1}},
      {kMicrosoft, "LinearAttention", {1}},
      {kMicrosoft, "MatMulIntegerToFloat", {1}},
      {kMicrosoft, "MatMulNBits", {1}},
      {kMicrosoft, "MultiHeadAttention", {1}},
      {kMicrosoft, "NhwcMaxPool", {1}},
      {kMicrosoft, "QAttention", {1}},
      {kMicrosoft, "QGemm", {1}},
      {kMicrosoft, "QLinearAdd", {1}},
      {kMicrosoft, "QLinearAveragePool", {1}},
      {kMicrosoft, "QLinearConcat", {1}},
      {kMicrosoft, "QLinearConv", {1}},
      {kMicrosoft, "QLinearGlobalAveragePool", {1}},
      {kMicrosoft, "QLinearLeakyRelu", {1}},
      {kMicrosoft, "QLinearMul", {1}},
      {kMicrosoft, "QLinearSigmoid", {1}},
      {kMicrosoft, "QLinearSoftmax", {1}},
      {kMicrosoft, "QuantizeLinear", {1}},
      {kMicrosoft, "QuickGelu", {1}},
      {kMicrosoft, "RotaryEmbedding", {1}},
      {kMicrosoft, "SimplifiedLayerNormalization", {1}},
      {kMicrosoft, "SkipLayerNormalization", {1}},
      {kMicrosoft, "SkipSimplifiedLayerNormalization", {1}},
  };
  // clang-format on
  return table;
}

const KnownOperator* FindKnownOperator(absl::string_view domain, absl::string_view type) {
  const std::vector<KnownOperator>& table = KnownOperators();
  const auto key = std::make_pair(domain == "ai.onnx" ? absl::string_view() : domain, type);
  const auto it = std::lower_bound(table.begin(), table.end(), key, [](const KnownOperator& known, const auto& k) {
    return std::make_pair(known.domain, known.type) < k;
  });
  return it != table.end() && std::make_pair(it->domain, it->type) == key ? &*it : nullptr;
}

int DefinitionVersion(absl::string_view domain, absl::string_view type, int opset) {
  const KnownOperator* known = FindKnownOperator(domain, type);
  if (known == nullptr) return opset;
  const auto after = std::upper_bound(known->since.begin(), known->since.end(), opset);
  return after == known->since.begin() ? opset : *(after - 1);
}

std::vector<OperatorCoverage> ComputeCoverage() {
  std::vector<OperatorCoverage> coverage;
  for (const KnownOperator& known : KnownOperators()) {
    OperatorCoverage row{&known, {}, {}};
    for (const int version : known.since) {
      const OpDef* def = OpRegistry::Get().Find({std::string(known.domain), std::string(known.type), version});
      (def != nullptr ? row.supported : row.missing).push_back(version);
    }
    coverage.push_back(std::move(row));
  }
  return coverage;
}

std::string CoverageText(absl::string_view filter) {
  TextTable table({"domain", "operator", "supported", "missing"});
  std::vector<OperatorCoverage> shown;
  for (OperatorCoverage& row : ComputeCoverage()) {
    if (!absl::StrContains(absl::AsciiStrToLower(row.known->type), absl::AsciiStrToLower(filter))) continue;
    table.Add({DomainText(row.known->domain), absl::StrCat(row.known->type, RemovedText(*row.known)),
               absl::StrJoin(row.supported, ", "), absl::StrJoin(row.missing, ", ")});
    shown.push_back(std::move(row));
  }
  std::string text = table.ToString();
  for (const auto& [domain, t] : Totals(shown)) {
    absl::StrAppend(&text, domain, ": ", t.complete, " of ", t.operators, " operators in all versions, ", t.supported,
                    " of ", t.versions, " versions\n");
  }
  return text;
}

std::string CoverageMarkdown() {
  const std::vector<OperatorCoverage> coverage = ComputeCoverage();
  std::string text = absl::StrCat(
      "# Operators\n\n<!-- Generated: rondo ops --coverage --markdown > docs/operators.md -->\n\n",
      "Every operator of ai.onnx up to opset ", kNewestOpset,
      ", of the other domains of ONNX, and the ones of com.microsoft that rondo takes. A version is the opset at which "
      "the operator's definition changed; it holds until the next one. \"Until N\": ONNX took the operator back in "
      "N.\n\n| domain | operators | in all versions | versions | supported |\n|---|---|---|---|---|\n");
  for (const auto& [domain, t] : Totals(coverage)) {
    absl::StrAppend(&text, "| ", domain, " | ", t.operators, " | ", t.complete, " | ", t.versions, " | ", t.supported,
                    " |\n");
  }
  std::string domain;
  for (const OperatorCoverage& row : coverage) {
    if (DomainText(row.known->domain) != domain) {
      domain = DomainText(row.known->domain);
      absl::StrAppend(&text, "\n## ", domain, "\n\n| operator | supported | missing |\n|---|---|---|\n");
    }
    absl::StrAppend(&text, "| ", row.known->type, RemovedText(*row.known), " | ", absl::StrJoin(row.supported, ", "),
                    " | ", absl::StrJoin(row.missing, ", "), " |\n");
  }
  return text;
}

}  // namespace rondo

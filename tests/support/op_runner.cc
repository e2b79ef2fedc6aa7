#include "tests/support/op_runner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "ops/parallel.h"

namespace rondo {

Tensor FloatTensor(absl::Span<const int64_t> dims, const std::vector<float>& values) {
  return Tensor::FromVector(DataType::kFloat, dims, values);
}
Tensor Int64Tensor(absl::Span<const int64_t> dims, const std::vector<int64_t>& values) {
  return Tensor::FromVector(DataType::kInt64, dims, values);
}
Tensor Int32Tensor(absl::Span<const int64_t> dims, const std::vector<int32_t>& values) {
  return Tensor::FromVector(DataType::kInt32, dims, values);
}
Tensor BoolTensor(absl::Span<const int64_t> dims, const std::vector<bool>& values) {
  return Tensor::FromVector(DataType::kBool, dims, values);
}
Tensor StringTensor(absl::Span<const int64_t> dims, const std::vector<std::string>& values) {
  return Tensor::FromVector(DataType::kString, dims, values);
}

Tensor RandomFloats(absl::Span<const int64_t> dims, int seed) {
  Tensor tensor = Tensor::Make(DataType::kFloat, dims);
  std::mt19937 rng(seed);
  for (int64_t i = 0; i < tensor.size(); ++i) {
    tensor.mutable_data<float>()[i] = static_cast<float>(rng()) * (2.0f / 4294967296.0f) - 1.0f;
  }
  return tensor;
}

std::vector<float> Floats(const Tensor& tensor) {
  EXPECT_EQ(tensor.dtype(), DataType::kFloat);
  return std::vector<float>(tensor.data<float>(), tensor.data<float>() + tensor.size());
}
std::vector<int64_t> Int64s(const Tensor& tensor) {
  EXPECT_EQ(tensor.dtype(), DataType::kInt64);
  return std::vector<int64_t>(tensor.data<int64_t>(), tensor.data<int64_t>() + tensor.size());
}

std::string FirstDifference(const Tensor& a, const Tensor& b, double rtol, double atol) {
  if (a.dtype() != b.dtype()) return absl::StrCat(DataTypeName(a.dtype()), " against ", DataTypeName(b.dtype()));
  if (a.dims() != b.dims()) return absl::StrCat(DimsToString(a.dims()), " against ", DimsToString(b.dims()));
  for (int64_t i = 0; i < a.size(); ++i) {
    double x = 0, y = 0;
    switch (a.dtype()) {
      case DataType::kFloat:
        x = a.data<float>()[i], y = b.data<float>()[i];
        break;
      case DataType::kDouble:
        x = a.data<double>()[i], y = b.data<double>()[i];
        break;
      case DataType::kInt64:
        x = a.data<int64_t>()[i], y = b.data<int64_t>()[i];
        break;
      case DataType::kInt32:
        x = a.data<int32_t>()[i], y = b.data<int32_t>()[i];
        break;
      case DataType::kInt8:
        x = a.data<int8_t>()[i], y = b.data<int8_t>()[i];
        break;
      case DataType::kUInt8:
      case DataType::kBool:
        x = a.data<uint8_t>()[i], y = b.data<uint8_t>()[i];
        break;
      default:
        return absl::StrCat("cannot compare ", DataTypeName(a.dtype()));
    }
    if (std::isnan(x) && std::isnan(y)) continue;
    if (x == y || std::abs(x - y) <= atol + rtol * std::abs(y)) continue;
    return absl::StrCat("element ", i, " of ", DimsToString(a.dims()), ": ", x, " against ", y);
  }
  return "";
}

double RelativeError(const Tensor& a, const Tensor& b) {
  double error = 0, norm = 0;
  for (int64_t i = 0; i < a.size(); ++i) {
    const double d = a.data<float>()[i] - b.data<float>()[i];
    error += d * d;
    norm += static_cast<double>(b.data<float>()[i]) * b.data<float>()[i];
  }
  return std::sqrt(error / norm);
}

OpRunner::OpRunner(absl::string_view type, int version, absl::string_view domain)
    : op_{std::string(domain), std::string(type), version} {}

OpRunner& OpRunner::Attr(absl::string_view name, Attribute value) {
  attributes_.emplace_back(std::string(name), std::move(value));
  return *this;
}
OpRunner& OpRunner::Input(Tensor tensor) {
  ValueType type = ValueType::Tensor(tensor.dtype(), Shape::FromDims(tensor.dims()));
  operands_.push_back({RuntimeValue(std::move(tensor)), std::move(type), false, false});
  return *this;
}
OpRunner& OpRunner::Constant(Tensor tensor) {
  Input(std::move(tensor));
  operands_.back().constant = true;
  return *this;
}
OpRunner& OpRunner::Absent() {
  operands_.push_back({RuntimeValue(), ValueType(), false, true});
  return *this;
}
OpRunner& OpRunner::Value(RuntimeValue value, ValueType type) {
  operands_.push_back({std::move(value), std::move(type), false, false});
  return *this;
}
OpRunner& OpRunner::Outputs(int count) {
  outputs_ = count;
  return *this;
}
OpRunner& OpRunner::Plain(bool plain) {
  plain_ = plain;
  return *this;
}
OpRunner& OpRunner::Threads(int threads) {
  threads_ = threads;
  return *this;
}

absl::StatusOr<std::vector<RuntimeValue>> OpRunner::TryRun() {
  auto graph = std::make_unique<Graph>();
  std::vector<rondo::Value*> inputs;
  std::vector<const RuntimeValue*> fed;
  for (size_t i = 0; i < operands_.size(); ++i) {
    const Operand& operand = operands_[i];
    if (operand.absent) {
      inputs.push_back(nullptr);
    } else if (operand.constant) {
      inputs.push_back(graph->AddConstant(absl::StrCat("c", i), operand.value.tensor()));
    } else {
      inputs.push_back(graph->AddInput(absl::StrCat("x", i), operand.type));
      fed.push_back(&operand.value);
    }
  }
  Node* node = graph->AddNode(op_, "op", inputs, outputs_);
  for (auto& [name, value] : attributes_) node->set_attribute(name, value);
  for (rondo::Value* output : node->outputs()) graph->AddOutput(output);
  ProgramOptions options;
  options.threads = threads_;
  options.plain = plain_;
  // Only the operator itself is under test: no rewrite may replace it.
  for (const Rewrite& rewrite : AllRewrites()) options.disabled_rewrites.emplace_back(rewrite.name);
  ScopedThreads scoped_threads(threads_);  // as a session does: kernels size their scratch by the program's threads
  RONDO_ASSIGN_OR_RETURN(std::unique_ptr<Program> program, Program::Create(std::move(graph), options));
  inferred_.clear();
  for (const rondo::Value* output : program->graph().outputs()) inferred_.push_back(output->type());
  std::vector<RuntimeValue> outputs(outputs_);
  std::vector<RuntimeValue*> pointers;
  for (RuntimeValue& output : outputs) pointers.push_back(&output);
  RegionState state;
  RONDO_RETURN_IF_ERROR(program->root().Run(fed, absl::MakeSpan(pointers), &state));
  for (const auto& plan : program->root().plans()) {
    for (const Step& step : plan->steps) implementation_ = step.implementation;
  }
  return outputs;
}

std::vector<Tensor> OpRunner::Run() {
  absl::StatusOr<std::vector<RuntimeValue>> outputs = TryRun();
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  std::vector<Tensor> tensors(outputs_);
  if (!outputs.ok()) return tensors;
  for (int i = 0; i < outputs_; ++i) {
    if ((*outputs)[i].is_tensor()) tensors[i] = (*outputs)[i].tensor();
  }
  return tensors;
}

std::string OpRunner::RunError() {
  absl::StatusOr<std::vector<RuntimeValue>> outputs = TryRun();
  return outputs.ok() ? "" : std::string(outputs.status().message());
}

}  // namespace rondo

// Runs one operator in a test: builds a graph with one node, infers, prepares and runs it as the executor would.
//
//   OpRunner run("Softmax", 13);
//   run.Attr("axis", int64_t{-1}).Input(FloatTensor({2, 3}, {...}));
//   EXPECT_THAT(run.Run(), ...)      // vector<Tensor>, aborts the test on error
//   EXPECT_THAT(run.RunError(), HasSubstr("out of range"));
#ifndef RONDO_TESTS_SUPPORT_OP_RUNNER_H_
#define RONDO_TESTS_SUPPORT_OP_RUNNER_H_

#include <string>
#include <vector>

#include "executor/program.h"
#include "graph/graph.h"

namespace rondo {

Tensor FloatTensor(absl::Span<const int64_t> dims, const std::vector<float>& values);
Tensor Int64Tensor(absl::Span<const int64_t> dims, const std::vector<int64_t>& values);
Tensor Int32Tensor(absl::Span<const int64_t> dims, const std::vector<int32_t>& values);
Tensor BoolTensor(absl::Span<const int64_t> dims, const std::vector<bool>& values);
Tensor StringTensor(absl::Span<const int64_t> dims, const std::vector<std::string>& values);
// Uniform in [-1, 1) from a fixed seed.
Tensor RandomFloats(absl::Span<const int64_t> dims, int seed = 1);
std::vector<float> Floats(const Tensor& tensor);    // float32
std::vector<int64_t> Int64s(const Tensor& tensor);  // int64
// Empty when |a - b| <= atol + rtol |b| everywhere (NaN equals NaN); else shapes and the first difference.
std::string FirstDifference(const Tensor& a, const Tensor& b, double rtol = 1e-5, double atol = 1e-6);

// Root mean square of a - b over that of b; float32 of equal sizes.
double RelativeError(const Tensor& a, const Tensor& b);

class OpRunner {
 public:
  explicit OpRunner(absl::string_view type, int version, absl::string_view domain = "");

  OpRunner& Attr(absl::string_view name, Attribute value);
  OpRunner& Input(Tensor tensor);     // fed at run time
  OpRunner& Constant(Tensor tensor);  // an initializer
  OpRunner& Absent();
  OpRunner& Value(RuntimeValue value, ValueType type);  // sequences, optionals
  OpRunner& Outputs(int count);                         // default 1
  OpRunner& Plain(bool plain = true);                   // reference kernels
  OpRunner& Threads(int threads);

  absl::StatusOr<std::vector<RuntimeValue>> TryRun();
  std::vector<Tensor> Run();  // tensors; fails the test and returns empty tensors on an error
  std::string RunError();     // message of the error; "" when it ran
  std::string implementation() const { return implementation_; }  // of the last run's kernel
  ValueType inferred_type(int output = 0) const { return inferred_[output]; }

 private:
  struct Operand {
    RuntimeValue value;
    ValueType type;
    bool constant = false, absent = false;
  };
  OpId op_;
  std::vector<std::pair<std::string, Attribute>> attributes_;
  std::vector<Operand> operands_;
  int outputs_ = 1;
  bool plain_ = false;
  int threads_ = 2;
  std::string implementation_;
  std::vector<ValueType> inferred_;
};

}  // namespace rondo

#endif  // RONDO_TESTS_SUPPORT_OP_RUNNER_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/graph_builder.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

using Perm = std::vector<int64_t>;

// The inputs of torch's index_put on axis 2 of a cache [2, 3, 8, 4], and the graph.
struct IndexPut {
  GraphBuilder b;
  Value *cache, *rows, *indices, *written;

  explicit IndexPut(NamedAttributes attributes = {}, const Perm& back = {1, 2, 0, 3}) {
    cache = b.Input("cache", DataType::kFloat, {"2", "3", "8", "4"});
    rows = b.Input("rows", DataType::kFloat, {"2", "3", "n", "4"});
    indices = b.Input("indices", DataType::kInt64, {"n", "1"});
    written = b.Op("ScatterND", 18, {Transposed(cache, {2, 0, 1, 3}), indices, Transposed(rows, {2, 0, 1, 3})},
                   std::move(attributes));
    b.Output(Transposed(written, back));
  }
  Value* Transposed(Value* x, const Perm& perm) { return b.Op("Transpose", 13, {x}, {{"perm", perm}}); }
  static std::vector<Tensor> Inputs(const std::vector<int64_t>& indices) {
    const int64_t n = static_cast<int64_t>(indices.size());
    return {RandomFloats({2, 3, 8, 4}), RandomFloats({2, 3, n, 4}, 2), Int64Tensor({n, 1}, indices)};
  }
};

TEST(ScatterRowsTest, AnUpdateOfAnInnerAxisNeedsNoTransposes) {
  for (const std::vector<int64_t>& indices : {Perm{2, 3, 4}, Perm{7}, Perm{5, -1, 5, 0}}) {
    IndexPut put;
    ExpectSameResults(put.b.graph(), {"scatter_rows", "remove_no_ops"}, IndexPut::Inputs(indices));
    EXPECT_THAT(OperatorsOf(put.b.graph()), ElementsAre("rondo::ScatterRows"));
  }
}

TEST(ScatterRowsTest, IndicesOutsideTheAxisAreErrors) {
  IndexPut put;
  ASSERT_EQ(ApplyRewrite(put.b.graph(), "scatter_rows"), 1);
  auto program = MakeProgram(put.b.Take());
  std::vector<RuntimeValue> inputs;
  for (Tensor& tensor : IndexPut::Inputs({0, 8})) inputs.emplace_back(std::move(tensor));
  auto outputs = RunProgram(*program, inputs);
  EXPECT_THAT(std::string(outputs.status().message()), testing::HasSubstr("index 8 is out of range [-8, 7] on axis 2"));
}

TEST(ScatterRowsTest, ReductionsStay) {
  IndexPut put({{"reduction", std::string("add")}});
  EXPECT_EQ(ApplyRewrite(put.b.graph(), "scatter_rows"), 0);
}

TEST(ScatterRowsTest, AResultThatIsNotTransposedBackStays) {
  IndexPut put({}, {0, 2, 1, 3});
  EXPECT_EQ(ApplyRewrite(put.b.graph(), "scatter_rows"), 0);
  EXPECT_THAT(OperatorsOf(put.b.graph()), Not(Contains("rondo::ScatterRows")));
}

TEST(ScatterRowsTest, WhoReadsTheTransposedResultTooStillGetsIt) {
  IndexPut put;
  put.b.Output(put.b.Op("ReduceSum", 13, {put.written, put.b.Constant(Int64Tensor({2}, {1, 3}))}));
  ExpectSameResults(put.b.graph(), {"scatter_rows"}, IndexPut::Inputs({1, 6}));
}

TEST(LowerPackedAttentionTest, ProjectionsAndAPastOfTwoHalves) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"batch", "seq", "8"});
  Value* past = b.Input("past", DataType::kFloat, {"2", "batch", "2", "past", "4"});
  Value* bias = b.Input("bias", DataType::kFloat, {"1", "1", "seq", "past + seq"});
  Node* node =
      b.Node_("com.microsoft::Attention", 1,
              {x, b.Constant(RandomFloats({8, 24}, 3)), b.Constant(RandomFloats({24}, 4)), nullptr, past, bias}, 2,
              {{"num_heads", int64_t{2}}, {"unidirectional", int64_t{1}}, {"scale", 0.3f}});
  b.Output(node->output(0));
  b.Output(node->output(1));
  ExpectSameResults(b.graph(), {"lower_multi_head_attention"},
                    {RandomFloats({3, 5, 8}), RandomFloats({2, 3, 2, 6, 4}, 5), RandomFloats({1, 1, 5, 11}, 6)});
  EXPECT_THAT(OperatorsOf(b.graph()), Not(Contains("com.microsoft::Attention")));
}

}  // namespace
}  // namespace rondo

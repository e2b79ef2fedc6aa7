// Graph: the static, single-assignment form of a model between import and planning.
//
//   Graph   owns its nodes and values; inputs and outputs are values; constants (initializers) are values that hold a
//           tensor. A graph is edited only through its methods, which keep use lists right; Sort() restores
//           topological order, Verify() (graph/verify.h) checks every invariant.
//   Node    one operator: (domain, type, version), attributes, inputs (null = an absent optional one), outputs.
//   Value   defined once: a graph input, a constant, or one output of one node.
//
// Subgraphs (If, Loop, Scan) see outer values through explicit captures: a node's inputs are its formal inputs followed
// by the captured values, and *every* subgraph of the node takes its own formal inputs followed by one input per
// capture, in the same order. So liveness, ordering and copying need no special case. Constants are not captured:
// the importer gives the subgraph a constant value of its own that shares the tensor.
//
// Not thread-safe; a finished graph may be read by many threads.
#ifndef RONDO_GRAPH_GRAPH_H_
#define RONDO_GRAPH_GRAPH_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "graph/value_type.h"
#include "rondo/tensor.h"

namespace rondo {

class Graph;
class Node;

// Typed attribute. Sparse tensors are made dense by the importer.
using Attribute = std::variant<int64_t, float, std::string, Tensor, ValueType, std::vector<int64_t>, std::vector<float>,
                               std::vector<std::string>, std::vector<Tensor>>;
// "INT", "FLOATS", "TENSOR" ...: ONNX's name of what the attribute holds.
absl::string_view AttributeTypeName(const Attribute& attribute);

struct Use {
  Node* node;
  int index;  // position in node->inputs()
  friend bool operator==(const Use& a, const Use& b) { return a.node == b.node && a.index == b.index; }
};

class Value {
 public:
  const std::string& name() const { return name_; }
  const ValueType& type() const { return type_; }
  void set_type(ValueType type) { type_ = std::move(type); }
  void set_name(std::string name) { name_ = std::move(name); }

  Node* producer() const { return producer_; }  // null for graph inputs and constants
  int producer_index() const { return producer_index_; }
  bool is_constant() const { return constant_.defined(); }
  const Tensor& constant() const { return constant_; }  // undefined tensor unless is_constant()
  const std::vector<Use>& uses() const { return uses_; }
  bool is_graph_output() const { return graph_output_uses_ > 0; }
  // True when exactly one node reads it, once, and it is no graph output: a fusion may then absorb its producer.
  bool has_one_use() const { return uses_.size() == 1 && graph_output_uses_ == 0; }

  // Small integer tensors whose elements are known symbolically (Shape -> Gather -> Concat chains); empty if not.
  // Row-major; for rank 0 one element. Set by shape inference.
  const std::optional<std::vector<Dim>>& content() const { return content_; }
  void set_content(std::optional<std::vector<Dim>> content) { content_ = std::move(content); }

 private:
  friend class Graph;
  std::string name_;
  ValueType type_;
  Node* producer_ = nullptr;
  int producer_index_ = 0;
  Tensor constant_;
  std::vector<Use> uses_;
  int graph_output_uses_ = 0;
  std::optional<std::vector<Dim>> content_;
};

// What identifies an operator. The version is the opset version that the model imports for the domain (rewrites: the
// version whose semantics they emit); the registry maps it to the newest definition not above it.
struct OpId {
  std::string domain;  // "" is ai.onnx
  std::string type;
  int version = 1;
  std::string ToString() const;  // "Conv", "com.microsoft::FastGelu"
};

// Domain of operators that only rewrites make; never accepted from a file.
inline constexpr char kRondoDomain[] = "rondo";

class Node {
 public:
  const OpId& op() const { return op_; }
  bool Is(absl::string_view type) const { return op_.domain.empty() && op_.type == type; }
  bool Is(absl::string_view domain, absl::string_view type) const { return op_.domain == domain && op_.type == type; }
  const std::string& name() const { return name_; }
  void set_name(std::string name) { name_ = std::move(name); }
  // `node "encoder/0" (Conv)`: how messages name a node; escaped and cut to 200 bytes.
  std::string Describe() const;

  const std::vector<Value*>& inputs() const { return inputs_; }
  const std::vector<Value*>& outputs() const { return outputs_; }  // null = an output that nobody asked for
  Value* input(int i) const { return i < static_cast<int>(inputs_.size()) ? inputs_[i] : nullptr; }
  Value* output(int i) const { return i < static_cast<int>(outputs_.size()) ? outputs_[i] : nullptr; }
  // Inputs after this many are captures of the subgraphs.
  int num_formal_inputs() const { return num_formal_inputs_; }

  const absl::btree_map<std::string, Attribute>& attributes() const { return attributes_; }
  const Attribute* attribute(absl::string_view name) const;
  void set_attribute(absl::string_view name, Attribute value) { attributes_[std::string(name)] = std::move(value); }
  void erase_attribute(absl::string_view name) { attributes_.erase(std::string(name)); }
  // The attribute's value, or `fallback` when absent or of another type. For rewrites; operators use AttributeReader,
  // which reports wrong types.
  int64_t IntOr(absl::string_view name, int64_t fallback) const;
  float FloatOr(absl::string_view name, float fallback) const;
  std::string StringOr(absl::string_view name, absl::string_view fallback) const;
  std::vector<int64_t> IntsOr(absl::string_view name, std::vector<int64_t> fallback) const;

  const absl::btree_map<std::string, std::unique_ptr<Graph>>& subgraphs() const { return subgraphs_; }
  Graph* subgraph(absl::string_view name) const;

 private:
  friend class Graph;
  OpId op_;
  std::string name_;
  std::vector<Value*> inputs_;
  std::vector<Value*> outputs_;
  int num_formal_inputs_ = 0;
  absl::btree_map<std::string, Attribute> attributes_;
  absl::btree_map<std::string, std::unique_ptr<Graph>> subgraphs_;
};

class Graph {
 public:
  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  std::string name;

  const std::vector<std::unique_ptr<Node>>& nodes() const { return nodes_; }
  const std::vector<std::unique_ptr<Value>>& values() const { return values_; }
  const std::vector<Value*>& inputs() const { return inputs_; }
  const std::vector<Value*>& outputs() const { return outputs_; }

  Value* AddInput(absl::string_view name, ValueType type);
  Value* AddConstant(absl::string_view name, Tensor tensor);
  void AddOutput(Value* value);
  void SetOutput(int index, Value* value);
  // Removes input `index`, which nobody uses any more. (Subgraphs: RemoveCapture keeps node and bodies in step.)
  void RemoveInput(int index);

  // Appends a node with `num_outputs` fresh outputs named "<name>:i" unless `output_names` gives names ("" = absent).
  Node* AddNode(OpId op, absl::string_view name, absl::Span<Value* const> inputs, int num_outputs);
  Node* AddNode(OpId op, absl::string_view name, absl::Span<Value* const> inputs,
                absl::Span<const std::string> output_names);
  // Hands a subgraph to the node. Its inputs must be formal inputs followed by one per capture.
  void SetSubgraph(Node* node, absl::string_view attribute, std::unique_ptr<Graph> subgraph);
  // Adds `outer` to the node's captures and one input to each subgraph; call after all subgraphs are set.
  void AddCapture(Node* node, Value* outer);
  // Removes capture `index` (counted from the first capture); the bodies' inputs for it must be unused.
  void RemoveCapture(Node* node, int index);

  void SetInput(Node* node, int index, Value* value);  // value may be null (absent)
  void AppendInput(Node* node, Value* value);          // REQUIRES: node has no captures
  void ResizeInputs(Node* node, int count);            // drops trailing inputs; REQUIRES: node has no captures
  void DropOutput(Node* node, int index);              // makes an unused output absent
  // Every use of `from`, graph outputs included, reads `to` instead. Keeps the public name: when `from` is a graph
  // output and `to` is produced by a node here and is not one itself, `to` takes over its name.
  void ReplaceAllUses(Value* from, Value* to);
  // As ReplaceAllUses for one producer: `node`'s output i now is defined by `by`'s output j; `node` must be removed.
  void ReplaceNode(Node* node, absl::Span<Value* const> replacements);
  // REQUIRES: no output of the node is used.
  void RemoveNode(Node* node);
  // Turns a node's output into a constant (the node loses that output).
  void MakeConstant(Value* value, Tensor tensor);

  // Stable topological order. InvalidArgument naming the nodes of a cycle.
  absl::Status Sort();
  // Removes nodes whose outputs nobody uses, then unused constants; returns how many nodes went. Keeps graph inputs.
  int RemoveDead();

  std::unique_ptr<Graph> Clone() const;
  // Copies `body`'s nodes before the end of this graph with its inputs replaced by `inputs`; returns the values that
  // stand for its outputs. Names get `prefix`. Serves function inlining and If with a known condition.
  std::vector<Value*> Inline(const Graph& body, absl::Span<Value* const> inputs, absl::string_view prefix);

  // This graph, then every subgraph in it, outer first.
  void ForEachGraph(const std::function<void(Graph&)>& visit);
  void ForEachGraph(const std::function<void(const Graph&)>& visit) const;
  int64_t TotalNodes() const;  // subgraphs included
  // Bytes of all distinct constant tensors, subgraphs included, a tensor shared by several values counted once.
  size_t ConstantBytes() const;

 private:
  Value* NewValue(absl::string_view name);
  void AddUse(Value* value, Node* node, int index);
  void RemoveUse(Value* value, Node* node, int index);

  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::unique_ptr<Value>> values_;
  std::vector<Value*> inputs_;
  std::vector<Value*> outputs_;
};

}  // namespace rondo

#endif  // RONDO_GRAPH_GRAPH_H_

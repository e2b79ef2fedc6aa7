#include "graph/graph.h"

#include <algorithm>
#include <cassert>
#include <deque>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "graph/status.h"

namespace rondo {
namespace {

constexpr size_t kMaxPrintedName = 200;

std::string Printable(absl::string_view text) {
  std::string escaped = absl::CHexEscape(text.substr(0, kMaxPrintedName));
  if (text.size() > kMaxPrintedName) escaped += "...";
  return escaped;
}

struct AttributeNameVisitor {
  absl::string_view operator()(int64_t) const { return "INT"; }
  absl::string_view operator()(float) const { return "FLOAT"; }
  absl::string_view operator()(const std::string&) const { return "STRING"; }
  absl::string_view operator()(const Tensor&) const { return "TENSOR"; }
  absl::string_view operator()(const ValueType&) const { return "TYPE_PROTO"; }
  absl::string_view operator()(const std::vector<int64_t>&) const { return "INTS"; }
  absl::string_view operator()(const std::vector<float>&) const { return "FLOATS"; }
  absl::string_view operator()(const std::vector<std::string>&) const { return "STRINGS"; }
  absl::string_view operator()(const std::vector<Tensor>&) const { return "TENSORS"; }
};

template <typename T>
T AttributeOr(const Node& node, absl::string_view name, T fallback) {
  const Attribute* attribute = node.attribute(name);
  if (attribute == nullptr) return fallback;
  const T* value = std::get_if<T>(attribute);
  return value == nullptr ? fallback : *value;
}

}  // namespace

absl::string_view AttributeTypeName(const Attribute& attribute) {
  return std::visit(AttributeNameVisitor{}, attribute);
}

std::string OpId::ToString() const { return domain.empty() ? type : absl::StrCat(domain, "::", type); }

std::string Node::Describe() const {
  return absl::StrCat("node \"", Printable(name_), "\" (", Printable(op_.ToString()), ")");
}

const Attribute* Node::attribute(absl::string_view name) const {
  auto it = attributes_.find(std::string(name));
  return it == attributes_.end() ? nullptr : &it->second;
}
int64_t Node::IntOr(absl::string_view name, int64_t fallback) const { return AttributeOr(*this, name, fallback); }
float Node::FloatOr(absl::string_view name, float fallback) const { return AttributeOr(*this, name, fallback); }
std::string Node::StringOr(absl::string_view name, absl::string_view fallback) const {
  return AttributeOr(*this, name, std::string(fallback));
}
std::vector<int64_t> Node::IntsOr(absl::string_view name, std::vector<int64_t> fallback) const {
  return AttributeOr(*this, name, std::move(fallback));
}

Graph* Node::subgraph(absl::string_view name) const {
  auto it = subgraphs_.find(std::string(name));
  return it == subgraphs_.end() ? nullptr : it->second.get();
}

Value* Graph::NewValue(absl::string_view name) {
  values_.push_back(std::make_unique<Value>());
  values_.back()->name_ = std::string(name);
  return values_.back().get();
}

void Graph::AddUse(Value* value, Node* node, int index) {
  if (value != nullptr) value->uses_.push_back({node, index});
}

void Graph::RemoveUse(Value* value, Node* node, int index) {
  if (value == nullptr) return;
  auto it = std::find(value->uses_.begin(), value->uses_.end(), Use{node, index});
  assert(it != value->uses_.end());
  value->uses_.erase(it);
}

Value* Graph::AddInput(absl::string_view name, ValueType type) {
  Value* value = NewValue(name);
  value->type_ = std::move(type);
  inputs_.push_back(value);
  return value;
}

Value* Graph::AddConstant(absl::string_view name, Tensor tensor) {
  Value* value = NewValue(name);
  value->type_ = ValueType::Tensor(tensor.dtype(), Shape::FromDims(tensor.dims()));
  value->constant_ = std::move(tensor);
  return value;
}

void Graph::AddOutput(Value* value) {
  outputs_.push_back(value);
  ++value->graph_output_uses_;
}

void Graph::SetOutput(int index, Value* value) {
  --outputs_[index]->graph_output_uses_;
  outputs_[index] = value;
  ++value->graph_output_uses_;
}

void Graph::RemoveInput(int index) {
  assert(inputs_[index]->uses_.empty() && !inputs_[index]->is_graph_output());
  Value* value = inputs_[index];
  inputs_.erase(inputs_.begin() + index);
  values_.erase(std::find_if(values_.begin(), values_.end(), [&](const auto& v) { return v.get() == value; }));
}

Node* Graph::AddNode(OpId op, absl::string_view name, absl::Span<Value* const> inputs, int num_outputs) {
  std::vector<std::string> names;
  for (int i = 0; i < num_outputs; ++i) names.push_back(absl::StrCat(name, ":", i));
  return AddNode(std::move(op), name, inputs, names);
}

Node* Graph::AddNode(OpId op, absl::string_view name, absl::Span<Value* const> inputs,
                     absl::Span<const std::string> output_names) {
  nodes_.push_back(std::make_unique<Node>());
  Node* node = nodes_.back().get();
  node->op_ = std::move(op);
  node->name_ = std::string(name);
  node->inputs_.assign(inputs.begin(), inputs.end());
  node->num_formal_inputs_ = static_cast<int>(inputs.size());
  for (int i = 0; i < static_cast<int>(inputs.size()); ++i) AddUse(inputs[i], node, i);
  for (int i = 0; i < static_cast<int>(output_names.size()); ++i) {
    Value* value = nullptr;
    if (!output_names[i].empty()) {
      value = NewValue(output_names[i]);
      value->producer_ = node;
      value->producer_index_ = i;
    }
    node->outputs_.push_back(value);
  }
  return node;
}

void Graph::SetSubgraph(Node* node, absl::string_view attribute, std::unique_ptr<Graph> subgraph) {
  node->subgraphs_[std::string(attribute)] = std::move(subgraph);
}

void Graph::AddCapture(Node* node, Value* outer) {
  node->inputs_.push_back(outer);
  AddUse(outer, node, static_cast<int>(node->inputs_.size()) - 1);
  for (auto& [name, subgraph] : node->subgraphs_) subgraph->AddInput(outer->name(), outer->type());
}

void Graph::RemoveCapture(Node* node, int index) {
  const int position = node->num_formal_inputs_ + index;
  const int captures = static_cast<int>(node->inputs_.size()) - node->num_formal_inputs_;
  for (auto& [name, subgraph] : node->subgraphs_) {
    subgraph->RemoveInput(static_cast<int>(subgraph->inputs().size()) - captures + index);
  }
  for (int i = position; i < static_cast<int>(node->inputs_.size()); ++i) RemoveUse(node->inputs_[i], node, i);
  node->inputs_.erase(node->inputs_.begin() + position);
  for (int i = position; i < static_cast<int>(node->inputs_.size()); ++i) AddUse(node->inputs_[i], node, i);
}

void Graph::SetInput(Node* node, int index, Value* value) {
  RemoveUse(node->inputs_[index], node, index);
  node->inputs_[index] = value;
  AddUse(value, node, index);
}

void Graph::AppendInput(Node* node, Value* value) {
  assert(node->num_formal_inputs_ == static_cast<int>(node->inputs_.size()));
  node->inputs_.push_back(value);
  ++node->num_formal_inputs_;
  AddUse(value, node, node->num_formal_inputs_ - 1);
}

void Graph::ResizeInputs(Node* node, int count) {
  assert(node->num_formal_inputs_ == static_cast<int>(node->inputs_.size()));
  while (static_cast<int>(node->inputs_.size()) > count) {
    RemoveUse(node->inputs_.back(), node, static_cast<int>(node->inputs_.size()) - 1);
    node->inputs_.pop_back();
  }
  node->inputs_.resize(count, nullptr);
  node->num_formal_inputs_ = count;
}

void Graph::DropOutput(Node* node, int index) {
  Value* value = node->outputs_[index];
  if (value == nullptr) return;
  assert(value->uses_.empty() && !value->is_graph_output());
  node->outputs_[index] = nullptr;
  value->producer_ = nullptr;  // RemoveDead collects it
}

void Graph::ReplaceAllUses(Value* from, Value* to) {
  if (from == to) return;
  std::vector<Use> uses = std::move(from->uses_);
  from->uses_.clear();
  for (const Use& use : uses) {
    use.node->inputs_[use.index] = to;
    AddUse(to, use.node, use.index);
  }
  if (!from->is_graph_output()) return;
  if (to->producer_ != nullptr && !to->is_graph_output()) std::swap(to->name_, from->name_);
  for (int i = 0; i < static_cast<int>(outputs_.size()); ++i) {
    if (outputs_[i] == from) SetOutput(i, to);
  }
}

void Graph::ReplaceNode(Node* node, absl::Span<Value* const> replacements) {
  for (int i = 0; i < static_cast<int>(node->outputs_.size()); ++i) {
    if (node->outputs_[i] != nullptr && i < static_cast<int>(replacements.size()) && replacements[i] != nullptr) {
      ReplaceAllUses(node->outputs_[i], replacements[i]);
    }
  }
  RemoveNode(node);
}

void Graph::RemoveNode(Node* node) {
  for (int i = 0; i < static_cast<int>(node->inputs_.size()); ++i) RemoveUse(node->inputs_[i], node, i);
  for (Value* output : node->outputs_) {
    if (output == nullptr) continue;
    assert(output->uses_.empty() && !output->is_graph_output());
    values_.erase(std::find_if(values_.begin(), values_.end(), [&](const auto& v) { return v.get() == output; }));
  }
  nodes_.erase(std::find_if(nodes_.begin(), nodes_.end(), [&](const auto& n) { return n.get() == node; }));
}

void Graph::MakeConstant(Value* value, Tensor tensor) {
  if (value->producer_ != nullptr) {
    value->producer_->outputs_[value->producer_index_] = nullptr;
    value->producer_ = nullptr;
  }
  value->type_ = ValueType::Tensor(tensor.dtype(), Shape::FromDims(tensor.dims()));
  value->constant_ = std::move(tensor);
  value->content_.reset();
}

absl::Status Graph::Sort() {
  absl::flat_hash_map<const Node*, int> position;
  position.reserve(nodes_.size());
  for (int i = 0; i < static_cast<int>(nodes_.size()); ++i) position[nodes_[i].get()] = i;
  // Kahn's algorithm with the original position as priority, so that an ordered list stays as it is.
  std::vector<int> waiting(nodes_.size(), 0);
  bool ordered = true;
  for (int i = 0; i < static_cast<int>(nodes_.size()); ++i) {
    for (Value* input : nodes_[i]->inputs_) {
      if (input == nullptr || input->producer_ == nullptr) continue;
      ++waiting[i];
      ordered &= position[input->producer_] < i;
    }
  }
  if (ordered) return absl::OkStatus();
  std::vector<int> heap;  // min-heap of ready positions
  for (int i = 0; i < static_cast<int>(nodes_.size()); ++i) {
    if (waiting[i] == 0) heap.push_back(i);
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  std::vector<int> order;
  order.reserve(nodes_.size());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    int i = heap.back();
    heap.pop_back();
    order.push_back(i);
    for (Value* output : nodes_[i]->outputs_) {
      if (output == nullptr) continue;
      for (const Use& use : output->uses_) {
        int j = position[use.node];
        if (--waiting[j] == 0) {
          heap.push_back(j);
          std::push_heap(heap.begin(), heap.end(), std::greater<>());
        }
      }
    }
  }
  if (order.size() < nodes_.size()) {
    std::vector<std::string> names;
    for (size_t i = 0; i < nodes_.size() && names.size() < 5; ++i) {
      if (waiting[i] > 0) names.push_back(nodes_[i]->Describe());
    }
    return InvalidArgument("cycle through ", absl::StrJoin(names, ", "));
  }
  std::vector<std::unique_ptr<Node>> sorted;
  sorted.reserve(nodes_.size());
  for (int i : order) sorted.push_back(std::move(nodes_[i]));
  nodes_ = std::move(sorted);
  return absl::OkStatus();
}

int Graph::RemoveDead() {
  absl::flat_hash_set<const Node*> dead;
  absl::flat_hash_map<const Node*, int> live_uses;  // uses by nodes that are not dead
  std::deque<Node*> candidates;
  auto uses_of = [](const Node* node) {
    int uses = 0;
    for (const Value* output : node->outputs_) {
      if (output != nullptr) uses += static_cast<int>(output->uses_.size()) + output->graph_output_uses_;
    }
    return uses;
  };
  for (auto& node : nodes_) {
    live_uses[node.get()] = uses_of(node.get());
    if (live_uses[node.get()] == 0) candidates.push_back(node.get());
  }
  while (!candidates.empty()) {
    Node* node = candidates.front();
    candidates.pop_front();
    dead.insert(node);
    for (Value* input : node->inputs_) {
      if (input != nullptr && input->producer_ != nullptr && --live_uses[input->producer_] == 0) {
        candidates.push_back(input->producer_);
      }
    }
  }
  for (auto& node : nodes_) {
    if (!dead.contains(node.get())) continue;
    for (int i = 0; i < static_cast<int>(node->inputs_.size()); ++i) RemoveUse(node->inputs_[i], node.get(), i);
    for (Value*& output : node->outputs_) {
      if (output != nullptr) output->producer_ = nullptr;
    }
  }
  nodes_.erase(std::remove_if(nodes_.begin(), nodes_.end(), [&](const auto& n) { return dead.contains(n.get()); }),
               nodes_.end());
  absl::flat_hash_set<const Value*> inputs(inputs_.begin(), inputs_.end());
  values_.erase(std::remove_if(values_.begin(), values_.end(),
                               [&](const auto& v) {
                                 return v->producer_ == nullptr && v->uses_.empty() && !v->is_graph_output() &&
                                        !inputs.contains(v.get());
                               }),
                values_.end());
  return static_cast<int>(dead.size());
}

std::unique_ptr<Graph> Graph::Clone() const {
  auto copy = std::make_unique<Graph>();
  copy->name = name;
  std::vector<Value*> inputs;
  for (const Value* input : inputs_) inputs.push_back(copy->AddInput(input->name_, input->type_));
  for (Value* output : copy->Inline(*this, inputs, "")) copy->AddOutput(output);
  return copy;
}

std::vector<Value*> Graph::Inline(const Graph& body, absl::Span<Value* const> inputs, absl::string_view prefix) {
  absl::flat_hash_map<const Value*, Value*> map;
  for (size_t i = 0; i < body.inputs_.size(); ++i) map[body.inputs_[i]] = inputs[i];
  for (const auto& value : body.values_) {
    if (value->is_constant()) map[value.get()] = AddConstant(absl::StrCat(prefix, value->name_), value->constant_);
  }
  // Two passes, outputs first: a body may be unsorted while it is being built.
  std::vector<Node*> copies;
  copies.reserve(body.nodes_.size());
  for (const auto& node : body.nodes_) {
    std::vector<std::string> names;
    for (const Value* output : node->outputs_) {
      names.push_back(output == nullptr ? "" : absl::StrCat(prefix, output->name_.empty() ? "_" : output->name_));
    }
    Node* made = AddNode(node->op_, absl::StrCat(prefix, node->name_), {}, names);
    made->attributes_ = node->attributes_;
    for (const auto& [attribute, subgraph] : node->subgraphs_) made->subgraphs_[attribute] = subgraph->Clone();
    for (size_t i = 0; i < node->outputs_.size(); ++i) {
      if (node->outputs_[i] == nullptr) continue;
      made->outputs_[i]->type_ = node->outputs_[i]->type_;
      made->outputs_[i]->content_ = node->outputs_[i]->content_;
      map[node->outputs_[i]] = made->outputs_[i];
    }
    copies.push_back(made);
  }
  for (size_t n = 0; n < copies.size(); ++n) {
    const Node& node = *body.nodes_[n];
    copies[n]->num_formal_inputs_ = node.num_formal_inputs_;
    for (const Value* input : node.inputs_) {
      Value* value = input == nullptr ? nullptr : map.at(input);
      copies[n]->inputs_.push_back(value);
      AddUse(value, copies[n], static_cast<int>(copies[n]->inputs_.size()) - 1);
    }
  }
  std::vector<Value*> outputs;
  for (const Value* output : body.outputs_) outputs.push_back(map.at(output));
  return outputs;
}

void Graph::ForEachGraph(const std::function<void(Graph&)>& visit) {
  visit(*this);
  for (auto& node : nodes_) {
    for (auto& [name, subgraph] : node->subgraphs_) subgraph->ForEachGraph(visit);
  }
}

void Graph::ForEachGraph(const std::function<void(const Graph&)>& visit) const {
  visit(*this);
  for (const auto& node : nodes_) {
    for (const auto& [name, subgraph] : node->subgraphs_) {
      const Graph& graph = *subgraph;
      graph.ForEachGraph(visit);
    }
  }
}

int64_t Graph::TotalNodes() const {
  int64_t total = 0;
  ForEachGraph([&](const Graph& graph) { total += static_cast<int64_t>(graph.nodes_.size()); });
  return total;
}

size_t Graph::ConstantBytes() const {
  absl::flat_hash_set<const void*> seen;
  size_t bytes = 0;
  ForEachGraph([&](const Graph& graph) {
    for (const auto& value : graph.values_) {
      if (value->is_constant() && seen.insert(value->constant_.raw()).second) bytes += value->constant_.bytes();
    }
  });
  return bytes;
}

}  // namespace rondo

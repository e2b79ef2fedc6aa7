#include "kvcache/probe.h"

#include <algorithm>

#include "graph/content.h"
#include "graph/status.h"
#include "kvcache/step_inputs.h"

namespace rondo {
namespace {

// What the values of all probes may take together. Masks of real models need some megabytes.
constexpr size_t kMaxBytes = size_t{1} << 30;

bool IsRole(PortRole role) { return role != PortRole::kTokens && role != PortRole::kState && role != PortRole::kOther; }

}  // namespace

Prober::Prober(const Graph& graph, const DecoderPorts& ports, const RewriteContext& context)
    : graph_(graph), ports_(ports), context_(context) {
  absl::flat_hash_set<std::string> past(ports.past_symbols.begin(), ports.past_symbols.end());
  past.insert(ports.total_symbols.begin(), ports.total_symbols.end());
  const auto of_past = [&](const std::vector<Dim>& dims) {
    for (const Dim& dim : dims) {
      for (const std::string& symbol : dim.Symbols()) {
        if (past.contains(symbol)) return true;
      }
    }
    return false;
  };
  for (size_t i = 0; i < graph.inputs().size(); ++i) {
    const Value* input = graph.inputs()[i];
    inputs_[input] = static_cast<int>(i);
    if (!IsRole(ports.roles[i])) continue;
    environment_.insert(input);
    if (ports.roles[i] != PortRole::kKeepLogits) varying_.insert(input);
  }
  for (const auto& node : graph.nodes()) {
    const bool tells_shape = node->Is("Shape") || node->Is("Size");
    bool environment = node->subgraphs().empty() && (!node->inputs().empty()) && node->outputs().size() >= 1;
    bool varies = false;
    for (const Value* input : node->inputs()) {
      if (input == nullptr) continue;
      environment &= input->is_constant() || environment_.contains(input);
      varies |= varying_.contains(input);
    }
    for (const Value* output : node->outputs()) {
      if (output == nullptr) continue;
      const bool known =
          output->content().has_value() && std::none_of(output->content()->begin(), output->content()->end(),
                                                        [](const Dim& dim) { return dim.unknown(); });
      if (!environment && !known && !tells_shape) continue;
      environment_.insert(output);
      if (known ? of_past(*output->content()) : varies || tells_shape) varying_.insert(output);
    }
  }
}

std::vector<ProbePoint> Prober::Points(int64_t capacity) const {
  const Shape& tokens = *graph_.inputs()[ports_.tokens]->type().shape;
  std::vector<ProbePoint> points;
  for (const ProbePoint& p :
       {ProbePoint{2, 5, 0}, ProbePoint{2, 3, 4}, ProbePoint{1, 1, 11}, ProbePoint{1, 7, 33}, ProbePoint{2, 1, 1}}) {
    ProbePoint point = p;
    if (tokens[0].known()) point.batch = tokens[0].value();
    if (tokens[1].known()) point.rows = tokens[1].value();
    if (capacity > 0 && point.past + point.rows > capacity) continue;
    points.push_back(point);
  }
  return points;
}

ProbePoint Prober::LongPoint(int64_t capacity, int64_t past) const {
  const Shape& tokens = *graph_.inputs()[ports_.tokens]->type().shape;
  ProbePoint point{tokens[0].known() ? tokens[0].value() : 1, tokens[1].known() ? tokens[1].value() : 1, past};
  if (capacity > 0) point.past = std::min(point.past, capacity - point.rows);
  return point;
}

absl::StatusOr<Prober::Run*> Prober::RunAt(const ProbePoint& point) {
  const auto key = std::make_tuple(point.batch, point.rows, point.past);
  auto it = runs_.find(key);
  if (it != runs_.end()) return &it->second;
  Run run;
  if (!ports_.batch_symbol.empty()) run.symbols[ports_.batch_symbol] = point.batch;
  if (!ports_.rows_symbol.empty()) run.symbols[ports_.rows_symbol] = point.rows;
  for (const std::string& symbol : ports_.past_symbols) run.symbols[symbol] = point.past;
  for (const std::string& symbol : ports_.total_symbols) run.symbols[symbol] = point.past + point.rows;
  for (const auto& [input, index] : inputs_) {
    if (!IsRole(ports_.roles[index])) continue;
    RONDO_ASSIGN_OR_RETURN(run.values[input], MakeStepInput(*input, ports_.roles[index], point));
  }
  return &runs_.emplace(key, std::move(run)).first->second;
}

Tensor Prober::ContentAt(const Value* value, const Run& run) {
  if (!value->content().has_value() || !value->type().has_known_shape()) return Tensor();
  std::vector<Dim> numbers;
  for (const Dim& dim : *value->content()) {
    int64_t number = 0;
    if (dim.unknown() || !dim.Evaluate(run.symbols, &number)) return Tensor();
    numbers.emplace_back(number);
  }
  return TensorFromContent(value->type(), numbers);
}

absl::StatusOr<Tensor> Prober::EvaluateOne(const Value* value, const Run& run) {
  const Node* node = value->producer();
  if (node == nullptr) return InvalidArgument("input \"", value->name(), "\" is not of the environment");
  if (node->Is("Shape") || node->Is("Size")) {
    return InvalidArgument(node->Describe(), ": its result is not known from the dims of the inputs");
  }
  std::vector<Tensor> inputs;
  for (const Value* input : node->inputs()) {
    if (input == nullptr) {
      inputs.emplace_back();
    } else if (input->is_constant()) {
      inputs.push_back(input->constant());
    } else {
      inputs.push_back(run.values.at(input));
    }
  }
  RONDO_ASSIGN_OR_RETURN(std::vector<Tensor> outputs, context_.evaluate(*node, inputs));
  const Tensor& result = outputs[value->producer_index()];
  bytes_ += result.bytes();
  if (bytes_ > kMaxBytes) return ResourceExhausted(node->Describe(), ": too large to probe");
  return result;
}

absl::StatusOr<Tensor> Prober::Evaluate(const Value* value, const ProbePoint& point) {
  if (value->is_constant()) return value->constant();
  if (!IsEnvironment(value)) return InvalidArgument("value \"", value->name(), "\" depends on the tokens");
  RONDO_ASSIGN_OR_RETURN(Run * run, RunAt(point));
  // Depth first, without recursion: masks hang on chains of hundreds of nodes.
  std::vector<const Value*> pending = {value};
  while (!pending.empty()) {
    const Value* next = pending.back();
    if (run->values.contains(next)) {
      pending.pop_back();
      continue;
    }
    if (Tensor content = ContentAt(next, *run); content.defined()) {
      run->values[next] = std::move(content);
      continue;
    }
    bool ready = true;
    if (next->producer() != nullptr && !next->producer()->Is("Shape")) {
      for (const Value* input : next->producer()->inputs()) {
        if (input == nullptr || input->is_constant() || run->values.contains(input)) continue;
        if (!IsEnvironment(input)) return InvalidArgument("value \"", input->name(), "\" depends on the tokens");
        pending.push_back(input);
        ready = false;
      }
    }
    if (!ready) continue;
    RONDO_ASSIGN_OR_RETURN(run->values[next], EvaluateOne(next, *run));
    pending.pop_back();
  }
  return run->values.at(value);
}

}  // namespace rondo

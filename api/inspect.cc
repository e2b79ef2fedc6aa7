// Model::Inspect and Model::Dot: what is in a file, told also when it cannot run.
#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "api/model_impl.h"

namespace rondo {
namespace {

// A Graphviz string: quotes and backslashes escaped, control characters replaced, long text cut.
std::string Quoted(absl::string_view text) {
  constexpr size_t kLongest = 60;
  std::string out = "\"";
  for (char c : text.substr(0, kLongest)) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
  }
  if (text.size() > kLongest) out += "...";
  return out + "\"";
}

// Writes a graph as boxes (operators) and arrows (values, labelled with their types). Constants are no nodes of their
// own: a picture of a network would drown in its weights; they are counted in the operator's box.
class DotWriter {
 public:
  std::string Write(const Graph& graph) {
    out_ =
        "digraph rondo {\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\", fontsize=10];\n"
        "  edge [fontname=\"sans-serif\", fontsize=8];\n";
    WriteGraph(graph, "  ");
    return out_ + "}\n";
  }

 private:
  std::string NewId() { return absl::StrCat("n", next_id_++); }

  void WriteGraph(const Graph& graph, const std::string& indent) {
    for (const Value* input : graph.inputs()) {
      const std::string id = NewId();
      absl::StrAppend(&out_, indent, id, " [shape=ellipse, label=", Quoted(input->name()), "];\n");
      ids_[input] = id;
    }
    for (const auto& node : graph.nodes()) {
      const std::string id = NewId();
      WriteNode(*node, id, indent);
      for (const Value* output : node->outputs()) ids_[output] = id;
    }
    for (const auto& node : graph.nodes()) {
      const Value* made = FirstOutput(*node);
      for (const Value* input : node->inputs()) {
        if (input != nullptr && !input->is_constant() && made != nullptr) WriteEdge(input, ids_[made], indent);
      }
    }
    for (const Value* output : graph.outputs()) {
      const std::string id = NewId();
      absl::StrAppend(&out_, indent, id, " [shape=ellipse, style=bold, label=", Quoted(output->name()), "];\n");
      WriteEdge(output, id, indent);
    }
  }

  void WriteNode(const Node& node, const std::string& id, const std::string& indent) {
    const auto constants = std::count_if(node.inputs().begin(), node.inputs().end(),
                                         [](const Value* v) { return v != nullptr && v->is_constant(); });
    std::string label = node.op().ToString();
    if (constants > 0) absl::StrAppend(&label, " (", constants, constants == 1 ? " constant)" : " constants)");
    absl::StrAppend(&out_, indent, id, " [label=", Quoted(label), ", tooltip=", Quoted(node.name()), "];\n");
    for (const auto& [attribute, subgraph] : node.subgraphs()) {
      absl::StrAppend(&out_, indent, "subgraph cluster_", id, "_", next_id_++, " {\n", indent,
                      "  label=", Quoted(absl::StrCat(node.op().type, ".", attribute)), ";\n");
      WriteGraph(*subgraph, indent + "  ");
      absl::StrAppend(&out_, indent, "}\n");
    }
  }

  void WriteEdge(const Value* from, const std::string& to, const std::string& indent) {
    auto it = ids_.find(from);
    if (it == ids_.end()) return;  // a constant graph output
    absl::StrAppend(&out_, indent, it->second, " -> ", to, " [label=", Quoted(from->type().ToString()), "];\n");
  }

  static const Value* FirstOutput(const Node& node) {
    for (const Value* output : node.outputs()) {
      if (output != nullptr) return output;
    }
    return nullptr;
  }

  std::string out_;
  int next_id_ = 0;
  absl::flat_hash_map<const Value*, std::string> ids_;
};

}  // namespace

absl::StatusOr<ModelSummary> Model::Inspect(const std::string& path, const ModelOptions& options) {
  RONDO_ASSIGN_OR_RETURN(const std::string file, ModelFile(path));
  RONDO_ASSIGN_OR_RETURN(ImportedModel imported, ImportFor(file, options));
  ModelSummary summary = SummarizeImport(file, imported);
  if (!summary.unsupported.empty()) return summary;
  absl::StatusOr<std::unique_ptr<Program>> program =
      Program::Create(std::move(imported.graph), ProgramOptionsOf(options));
  if (!program.ok()) return Annotate(program.status(), absl::StrCat(file, ": "));
  SummarizeProgram(**program, &summary);
  return summary;
}

absl::StatusOr<std::string> Model::Dot(const std::string& path, const ModelOptions& options) {
  RONDO_ASSIGN_OR_RETURN(const std::string file, ModelFile(path));
  RONDO_ASSIGN_OR_RETURN(ImportedModel imported, ImportFor(file, options));
  if (!UnsupportedOperators(*imported.graph).empty()) return DotWriter().Write(*imported.graph);
  absl::StatusOr<std::unique_ptr<Program>> program =
      Program::Create(std::move(imported.graph), ProgramOptionsOf(options));
  if (!program.ok()) return Annotate(program.status(), absl::StrCat(file, ": "));
  return DotWriter().Write((*program)->graph());
}

}  // namespace rondo

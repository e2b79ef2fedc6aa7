#ifndef RONDO_GRAPH_OPERATION_TEXT_H_
#define RONDO_GRAPH_OPERATION_TEXT_H_

#include <optional>
#include <string>

#include "graph/graph.h"

namespace rondo {

// The operator of a node, its version and attributes as canonical text: nodes with one text compute the same of the
// same inputs, random generators aside. Nullopt for subgraphs and attributes that have no cheap text.
std::optional<std::string> OperationText(const Node& node);

// A tensor's type, dims and bytes as text. Not for strings.
void AppendTensorText(const Tensor& tensor, std::string* text);

// Tensors up to this size have a cheap text.
inline constexpr size_t kMaxTextTensorBytes = 4096;

}  // namespace rondo

#endif  // RONDO_GRAPH_OPERATION_TEXT_H_

// Files that are wrong as ONNX, by a known mistake of an exporter, and yet clear in what they mean: put right here,
// each with a warning, so that operators stay strict.
//
//   TensorScatter mode="none"   jax2onnx (dynamic_update_slice from opset 24 on); the operator has linear and circular
#ifndef RONDO_IMPORTER_EXPORTER_QUIRKS_H_
#define RONDO_IMPORTER_EXPORTER_QUIRKS_H_

#include <string>
#include <vector>

#include "graph/graph.h"

namespace rondo {

void CorrectExporterQuirks(Graph& graph, std::vector<std::string>* warnings);

}  // namespace rondo

#endif  // RONDO_IMPORTER_EXPORTER_QUIRKS_H_

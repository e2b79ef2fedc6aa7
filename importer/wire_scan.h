// A walk over the bytes of a model file before protobuf sees them. It allocates nothing and answers what parsing would
// cost: an empty NodeProto is two bytes in the file and about 150 in memory, so a file of a few megabytes can ask for
// gigabytes. It also gives the place where the encoding breaks, which protobuf's parser does not tell.
#ifndef RONDO_IMPORTER_WIRE_SCAN_H_
#define RONDO_IMPORTER_WIRE_SCAN_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace rondo {

struct WireLimits {
  int64_t max_nodes = 0;
  int64_t max_subgraph_depth = 0;
  uint64_t max_parsed_bytes = uint64_t{4} << 30;  // memory of messages and strings, the tensors' bytes not counted
};

// Depth of messages that the protobuf parser must be allowed for a file that passed the scan.
int ParserDepth(const WireLimits& limits);

// Errors: InvalidArgument for broken encoding or a second graph, ResourceExhausted for a limit.
absl::Status ScanModel(absl::string_view bytes, const WireLimits& limits);

}  // namespace rondo

#endif  // RONDO_IMPORTER_WIRE_SCAN_H_

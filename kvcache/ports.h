// Ports of a decoder: what each graph input of an exported language model is for, and which inputs and outputs carry
// its state from step to step. Exporters agree on no names; so state is found by structure (an input that an update
// operator appends to or writes into, whose result is an output), the rest by name, type and rank.
#ifndef RONDO_KVCACHE_PORTS_H_
#define RONDO_KVCACHE_PORTS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/graph.h"

namespace rondo {

enum class PortRole {
  kTokens,         // int [batch, rows]: the new tokens' ids
  kMask,           // [batch, past + rows]: 1 for tokens, 0 for padding
  kMask4D,         // [batch, 1, rows, keys]: bool (true: attend) or added to the scores
  kPositions,      // int [batch, rows]: position of each new token
  kCachePosition,  // int [rows]: the same, shared by the batch
  kWriteIndices,   // int [batch]: row of the cache where the new rows start
  kValidLengths,   // int [batch]: valid rows once the new ones are written
  kKeepLogits,     // int scalar: how many of the last rows get logits
  kState,          // carried from step to step, or read by every step
  kOther,          // the caller's: an encoder's output, its mask
};
absl::string_view PortRoleName(PortRole role);

// One tensor of state. `output` is -1 for state that a step only reads (keys and values of an encoder).
struct StatePort {
  int input = -1;
  int output = -1;
  int axis = -1;         // along which rows are added; -1 when both sides have one shape and the whole is replaced
  bool growing = false;  // the output is longer than the input by the new rows
};

struct DecoderPorts {
  std::vector<PortRole> roles;  // per graph input
  int tokens = -1;              // graph input
  int logits = -1;              // graph output, [batch, rows or 1, vocabulary]
  std::vector<StatePort> states;
  std::vector<int> captured;  // graph outputs that were added to watch inner values; the caller of FindPorts fills it

  bool HasCache() const;
  // Symbols of the dims that the past length decides: of growing states, and of the mask's last dim.
  std::vector<std::string> past_symbols;
  std::vector<std::string> total_symbols;
  std::string batch_symbol, rows_symbol;  // empty where the dim is a number
};

// Errors name what is missing: no input for tokens, no output of logits.
absl::StatusOr<DecoderPorts> FindPorts(const Graph& graph);

}  // namespace rondo

#endif  // RONDO_KVCACHE_PORTS_H_

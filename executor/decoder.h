// Decoder: an exported language model made ready for step after step. Three ways to run one:
//
// * in place: the cache is taken out of the graph (kvcache/lowering.h); one plan per (batch, rows) for all lengths.
// * bucketed: the graph as it is, its past padded in front to a few lengths and masked; plans repeat.
// * growing: the graph as it is, its cache outputs fed back as inputs; a plan per length. For what cannot be lowered,
//   and as the reference that the others are checked against.
//
// Const and thread-safe; a LoopExecutor holds what changes.
#ifndef RONDO_EXECUTOR_DECODER_H_
#define RONDO_EXECUTOR_DECODER_H_

#include <memory>
#include <string>
#include <vector>

#include "executor/program.h"
#include "kvcache/lowering.h"
#include "kvcache/ports.h"

namespace rondo {

// Whose elements a step shall show (StepRunner::SetActivationHook).
struct CaptureSpec {
  std::vector<std::string> values;  // by their names in the file; they are kept through all rewrites
  bool all_blocks = false;
  std::vector<int64_t> blocks;  // the residual stream after these (kvcache/residual.h), counted from 0
  bool any_block() const { return all_blocks || !blocks.empty(); }
};

struct DecoderOptions {
  ProgramOptions program;
  bool growing = false;  // do not lower
  CaptureSpec captures;
};

class Decoder {
 public:
  // `graph` as imported. A merged decoder (input use_cache_branch) is specialised to its branch with a cache. Errors:
  // what no decoder is, what cannot run. A decoder that cannot be lowered is growing; report() says why.
  static absl::StatusOr<std::unique_ptr<Decoder>> Create(std::unique_ptr<Graph> graph, const DecoderOptions& options);

  bool in_place() const { return in_place_; }
  // Growing, but over pasts padded to a few lengths: level 2.
  bool bucketed() const { return bucketed_; }
  const KvReport& report() const { return report_; }
  const Program& program() const { return *program_; }
  // The captured values, then the blocks ("layers.0"): their names, and the program's outputs for them.
  const std::vector<std::string>& captures() const { return captures_; }
  const std::vector<int>& capture_outputs() const { return capture_outputs_; }
  // In place: of the lowered decoder.
  const std::vector<KvLayer>& layers() const { return layers_; }
  bool pads() const { return pads_; }
  int64_t max_length() const { return max_length_; }
  int64_t vocabulary() const { return vocabulary_; }  // -1: not known before the run
  // In place: which of the program's inputs is what; -1 where nothing reads it.
  int tokens_input() const { return tokens_input_; }
  int positions_input() const { return positions_input_; }
  int last_input() const { return last_input_; }
  int cache_input() const { return cache_input_; }
  // Inputs that the caller supplies: an encoder's keys and values, its mask.
  const std::vector<int>& other_inputs() const { return other_inputs_; }
  // Growing: what the program's inputs and outputs are for.
  const DecoderPorts& ports() const { return ports_; }

 private:
  Decoder() = default;
  absl::Status CaptureBlocks(Graph& graph, const CaptureSpec& spec);

  bool in_place_ = false;
  bool bucketed_ = false;
  KvReport report_;
  DecoderPorts ports_;
  std::vector<KvLayer> layers_;
  bool pads_ = true;
  int64_t max_length_ = 0;
  int64_t vocabulary_ = -1;
  int tokens_input_ = -1, positions_input_ = -1, last_input_ = -1, cache_input_ = -1;
  std::vector<int> other_inputs_;
  std::vector<std::string> captures_;
  std::vector<int> capture_outputs_;
  std::unique_ptr<Program> program_;
};

// Sets the merged decoder's `use_cache_branch` input, if there is one: the input goes, the rewrites take the branch.
void ChooseCacheBranch(Graph& graph, bool with_cache);

}  // namespace rondo

#endif  // RONDO_EXECUTOR_DECODER_H_

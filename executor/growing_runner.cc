// Steps of a decoder as it was exported: every step's cache outputs are the next one's inputs. Where the cache grows,
// so do the shapes, and each length is a plan of its own. Slow, but right for anything: the fallback and the reference.
//
// Bucketed, the past is padded in front to a length from a short list, and the padding masked: shapes repeat, and so do
// plans. That is right only where a decoder honours its mask and takes positions from elsewhere than the past's length;
// PaddedPastsHold tries it out.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "executor/step_runner.h"
#include "graph/numeric.h"
#include "graph/status.h"
#include "kvcache/step_inputs.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

// Pasts are padded to powers of two from here on.
constexpr int64_t kSmallestPast = 64;

class GrowingRunner final : public StepRunner {
 public:
  GrowingRunner(const Decoder& decoder, StepRunnerOptions options, bool bucketed)
      : StepRunner(std::move(options)),
        decoder_(decoder),
        ports_(decoder.ports()),
        graph_(decoder.program().graph()),
        bucketed_(bucketed),
        segments_(options_.sequences + options_.prompts) {}

  absl::Status Prefill(int segment, absl::Span<const int64_t> tokens, std::vector<float>* logits) override {
    Segment& s = segments_[segment];
    const int64_t limit = segment < options_.sequences ? options_.max_length : options_.max_prompt;
    if (s.length + static_cast<int64_t>(tokens.size()) > limit) {
      return OutOfRange("sequence ", segment, ": position ", s.length, " + ", tokens.size(), " tokens, the limit is ",
                        limit, " (raise the maximal length)");
    }
    if (!ports_.HasCache()) {
      std::vector<int64_t> all = s.tokens;
      all.insert(all.end(), tokens.begin(), tokens.end());
      RONDO_RETURN_IF_ERROR(Run(s, all, 0, logits));
      s.tokens = std::move(all);
    } else {
      RONDO_RETURN_IF_ERROR(Run(s, tokens, s.length, logits));
    }
    s.length += static_cast<int64_t>(tokens.size());
    return absl::OkStatus();
  }

  absl::Status Decode(absl::Span<const int> segments, absl::Span<const int64_t> tokens,
                      absl::Span<std::vector<float>> logits) override {
    for (size_t i = 0; i < segments.size(); ++i) {
      RONDO_RETURN_IF_ERROR(Prefill(segments[i], tokens.subspan(i, 1), &logits[i]));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<PrecompiledShape>> Precompile(const PrecompileProgress& progress) override {
    return Unimplemented("nothing can be compiled ahead: the cache grows, each length is a plan (",
                         decoder_.report().why, ")");
  }
  absl::Status Reset(int segment) override {
    segments_[segment] = Segment();
    return absl::OkStatus();
  }
  absl::Status Attach(int segment, int prompt) override {
    segments_[segment] = segments_[prompt];  // handles: the tensors are never written again
    return absl::OkStatus();
  }
  absl::Status Copy(int from, int to) override { return Attach(to, from); }
  int64_t length(int segment) const override { return segments_[segment].length; }
  absl::Status SetOthers(int segment, std::vector<RuntimeValue> values) override {
    if (values.size() != decoder_.other_inputs().size()) {
      return InvalidArgument("expected ", decoder_.other_inputs().size(), " further inputs, got ", values.size());
    }
    segments_[segment].others = std::move(values);
    return absl::OkStatus();
  }
  int max_batch() const override { return 1; }
  size_t cache_bytes() const override {
    size_t bytes = 0;
    for (const Segment& s : segments_) {
      for (const RuntimeValue& state : s.states) bytes += state.is_tensor() ? state.tensor().bytes() : 0;
    }
    return bytes;
  }
  void SetHook(const StepHook* hook) override { state_.hook = hook; }

 private:
  struct Segment {
    int64_t length = 0;
    std::vector<int64_t> tokens;       // without a cache: all of them
    std::vector<RuntimeValue> states;  // per ports_.states; empty before the first step
    std::vector<RuntimeValue> others;
    int64_t pads = 0;  // rows of padding in front of the states
  };

  absl::Status Run(Segment& s, absl::Span<const int64_t> tokens, int64_t past, std::vector<float>* logits) {
    const int64_t rows = static_cast<int64_t>(tokens.size());
    if (s.others.size() != decoder_.other_inputs().size()) {
      return InvalidArgument("the decoder's other inputs are not set: it needs ",
                             graph_.inputs()[decoder_.other_inputs()[0]]->name());
    }
    if (s.states.empty()) RONDO_RETURN_IF_ERROR(MakeStates(&s));
    if (bucketed_ && past > 0) RONDO_RETURN_IF_ERROR(PadStates(&s, past));
    std::vector<RuntimeValue> inputs(graph_.inputs().size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (ports_.roles[i] == PortRole::kState || ports_.roles[i] == PortRole::kOther) continue;
      RONDO_ASSIGN_OR_RETURN(inputs[i], MakeInput(static_cast<int>(i), tokens, past, s.pads));
    }
    for (size_t i = 0; i < s.states.size(); ++i) inputs[ports_.states[i].input] = s.states[i];
    for (size_t i = 0; i < s.others.size(); ++i) inputs[decoder_.other_inputs()[i]] = s.others[i];
    std::vector<const RuntimeValue*> pointers;
    for (const RuntimeValue& input : inputs) pointers.push_back(&input);
    std::vector<RuntimeValue> outputs(graph_.outputs().size());
    std::vector<RuntimeValue*> results;
    for (RuntimeValue& output : outputs) results.push_back(&output);
    ScopedThreads threads(decoder_.program().resources().threads);
    RONDO_RETURN_IF_ERROR(decoder_.program().root().Run(pointers, absl::MakeSpan(results), &state_));
    const int segment = static_cast<int>(&s - segments_.data());
    // Without a cache every step runs all tokens.
    ShowActivations(decoder_, outputs, {rows, {&segment, 1}, {&past, 1}, {&rows, 1}});
    const RuntimeValue& result = outputs[ports_.logits];
    if (!result.is_tensor() || result.tensor().rank() < 2) return InvalidArgument("the logits are no matrix");
    const int64_t result_rows = result.tensor().rank() == 3 ? result.tensor().dim(1) : 1;
    RONDO_RETURN_IF_ERROR(CopyLogits(result.tensor(), 0, std::min(rows, result_rows) - 1, logits));
    for (size_t i = 0; i < s.states.size(); ++i) {
      if (ports_.states[i].output >= 0) s.states[i] = std::move(outputs[ports_.states[i].output]);
    }
    return absl::OkStatus();
  }

  // Empty tensors where rows are added, zeros where they are written into a fixed length.
  absl::Status MakeStates(Segment* s) {
    s->states.resize(ports_.states.size());
    for (size_t i = 0; i < ports_.states.size(); ++i) {
      const StatePort& port = ports_.states[i];
      if (port.output < 0) continue;  // among the other inputs
      const Value* input = graph_.inputs()[port.input];
      Dims dims;
      for (int d = 0; d < input->type().shape->rank(); ++d) {
        RONDO_ASSIGN_OR_RETURN(int64_t extent, StateDim(input, port, d));
        dims.push_back(extent);
      }
      RONDO_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(input->type().dtype, dims));
      s->states[i] = std::move(tensor);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<int64_t> StateDim(const Value* input, const StatePort& port, int d) const {
    const Dim& dim = (*input->type().shape)[d];
    if (dim.known()) return dim.value();
    if (d == port.axis) return 0;
    if (dim.ToString() == ports_.batch_symbol) return 1;
    // onnxruntime-genai leaves the head size open: it follows from the projections.
    for (const Use& use : input->uses()) {
      if (!use.node->Is("com.microsoft", "GroupQueryAttention")) continue;
      const Value* query = use.node->input(0);
      const bool packed = use.node->input(1) == nullptr;
      const int64_t heads = use.node->IntOr("num_heads", 0) + (packed ? 2 * use.node->IntOr("kv_num_heads", 0) : 0);
      const Dim& hidden = query->type().shape->back();
      if (heads > 0 && hidden.known()) return hidden.value() / heads;
    }
    if (const int64_t size = HeadSizeOf(input); size > 0) return size;
    return InvalidArgument("cache \"", input->name(), "\": nothing says how long dim ", d, " (", dim.ToString(),
                           ") is at the start");
  }

  // The last dim of what is appended to the state.
  static int64_t HeadSizeOf(const Value* input) {
    for (const Use& use : input->uses()) {
      if (!use.node->Is("Concat") || use.node->inputs().size() != 2) continue;
      const ValueType& rows = use.node->input(1 - use.index)->type();
      if (rows.shape.has_value() && !rows.shape->empty() && rows.shape->back().known()) {
        return rows.shape->back().value();
      }
    }
    return 0;
  }

  // Gives the past's tensors the length of their bucket: padding is added or dropped in front.
  absl::Status PadStates(Segment* s, int64_t past) {
    int64_t length = kSmallestPast;
    while (length < past) length *= 2;
    for (size_t i = 0; i < s->states.size(); ++i) {
      const StatePort& port = ports_.states[i];
      if (port.output < 0) continue;
      const Tensor& old = s->states[i].tensor();
      Dims dims = old.dims();
      dims[port.axis] = length;
      RONDO_ASSIGN_OR_RETURN(Tensor padded, Tensor::Create(old.dtype(), dims));
      int64_t outer = 1;
      for (int d = 0; d < port.axis; ++d) outer *= dims[d];
      const size_t row = outer == 0 ? 0 : padded.bytes() / static_cast<size_t>(outer * length);
      const int64_t from = old.dim(port.axis);
      for (int64_t o = 0; o < outer; ++o) {
        std::memcpy(static_cast<char*>(padded.mutable_raw()) + static_cast<size_t>((o + 1) * length - past) * row,
                    static_cast<const char*>(old.raw()) + static_cast<size_t>((o + 1) * from - past) * row,
                    static_cast<size_t>(past) * row);
      }
      s->states[i] = std::move(padded);
    }
    s->pads = length - past;
    return absl::OkStatus();
  }

  absl::StatusOr<RuntimeValue> MakeInput(int index, absl::Span<const int64_t> tokens, int64_t past,
                                         int64_t pads) const {
    const Value& input = *graph_.inputs()[index];
    const int64_t rows = static_cast<int64_t>(tokens.size());
    if (ports_.roles[index] != PortRole::kTokens) {
      const bool mask = ports_.roles[index] == PortRole::kMask;
      RONDO_ASSIGN_OR_RETURN(Tensor made,
                             MakeStepInput(input, ports_.roles[index], {1, rows, mask ? past + pads : past}));
      if (mask && pads > 0) std::memset(made.mutable_raw(), 0, ByteSize(made.dtype(), pads));
      return RuntimeValue(std::move(made));
    }
    RONDO_ASSIGN_OR_RETURN(Tensor ids, Tensor::Create(input.type().dtype, {1, rows}));
    if (ids.dtype() == DataType::kInt32) {
      std::copy(tokens.begin(), tokens.end(), ids.mutable_data<int32_t>());
    } else {
      std::copy(tokens.begin(), tokens.end(), ids.mutable_data<int64_t>());
    }
    return RuntimeValue(std::move(ids));
  }

  const Decoder& decoder_;
  const DecoderPorts& ports_;
  const Graph& graph_;
  const bool bucketed_;
  std::vector<Segment> segments_;
  RegionState state_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<StepRunner>> MakeGrowingRunner(const Decoder& decoder,
                                                              const StepRunnerOptions& options) {
  if (decoder.in_place()) return InvalidArgument("the decoder was lowered: its cache is no longer in the graph");
  return std::make_unique<GrowingRunner>(decoder, options, decoder.bucketed());
}

bool PaddedPastsHold(const Decoder& decoder) {
  const DecoderPorts& ports = decoder.ports();
  if (!decoder.other_inputs().empty()) return false;
  bool masked = false;
  for (size_t i = 0; i < ports.roles.size(); ++i) {
    const PortRole role = ports.roles[i];
    const bool counts_past = role == PortRole::kMask4D || role == PortRole::kCachePosition ||
                             role == PortRole::kWriteIndices || role == PortRole::kValidLengths;
    if (counts_past) return false;
    if (role != PortRole::kMask) continue;
    // A mask of fixed length has no room for padding.
    if ((*decoder.program().graph().inputs()[i]->type().shape)[1].known()) return false;
    masked = true;
  }
  if (!masked) return false;
  for (const StatePort& state : ports.states) {
    if (!state.growing) return false;
  }
  StepRunnerOptions options;
  options.max_length = 2 * kSmallestPast;
  GrowingRunner exact(decoder, options, false), padded(decoder, options, true);
  std::vector<float> expected, logits;
  // A prompt, then single tokens, then several at once after a past.
  for (const std::vector<int64_t>& tokens : {std::vector<int64_t>{1, 3, 2, 5, 4}, {2}, {1}, {3, 1, 4}}) {
    if (!exact.Prefill(0, tokens, &expected).ok() || !padded.Prefill(0, tokens, &logits).ok()) return false;
    float largest = 1;
    for (const float x : expected) largest = std::max(largest, std::fabs(x));
    for (size_t i = 0; i < expected.size(); ++i) {
      if (!(std::fabs(logits[i] - expected[i]) <= 1e-3f * largest)) return false;
    }
  }
  return true;
}

absl::Status CopyLogits(const Tensor& logits, int64_t batch, int64_t row, std::vector<float>* out) {
  if (logits.rank() != 3 && logits.rank() != 2) {
    return InvalidArgument("logits of shape ", DimsToString(logits.dims()), ": expected [batch, rows, vocabulary]");
  }
  const int64_t vocabulary = logits.dim(logits.rank() - 1);
  const int64_t rows = logits.rank() == 3 ? logits.dim(1) : 1;
  const int64_t first = (batch * rows + row) * vocabulary;
  out->resize(vocabulary);
  switch (logits.dtype()) {
    case DataType::kFloat:
      std::copy_n(logits.data<float>() + first, vocabulary, out->data());
      return absl::OkStatus();
    case DataType::kFloat16:
      std::transform(logits.data<Float16>() + first, logits.data<Float16>() + first + vocabulary, out->data(),
                     [](Float16 x) { return static_cast<float>(x); });
      return absl::OkStatus();
    case DataType::kBFloat16:
      std::transform(logits.data<BFloat16>() + first, logits.data<BFloat16>() + first + vocabulary, out->data(),
                     [](BFloat16 x) { return static_cast<float>(x); });
      return absl::OkStatus();
    default:
      return InvalidArgument("logits of type ", DataTypeName(logits.dtype()));
  }
}

}  // namespace rondo

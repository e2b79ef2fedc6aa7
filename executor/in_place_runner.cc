// Steps of a lowered decoder: one plan per (batch, rows), the cache written in place. Once a shape has been run, a step
// of it allocates nothing here: inputs are filled in buffers that stay.
#include <algorithm>
#include <map>

#include "executor/step_runner.h"
#include "graph/status.h"
#include "ops/parallel.h"
#include "ops/primitive_cache.h"

namespace rondo {
namespace {

class InPlaceRunner final : public StepRunner {
 public:
  InPlaceRunner(const Decoder& decoder, StepRunnerOptions options)
      : StepRunner(std::move(options)), decoder_(decoder) {}

  absl::Status Init() {
    KvCacheConfig config;
    config.layers = decoder_.layers();
    config.sequences = options_.sequences;
    config.decode_capacity = options_.max_length;
    config.prompts = options_.prompts;
    config.prefill_capacity = options_.prompts > 0 ? options_.max_prompt : 0;
    config.dtype = options_.kv_dtype;
    config.max_new_rows = options_.prefill_rows.back();
    RONDO_ASSIGN_OR_RETURN(cache_, KvCache::Create(std::move(config)));
    others_.resize(cache_->num_segments());
    return absl::OkStatus();
  }

  absl::Status Prefill(int segment, absl::Span<const int64_t> tokens, std::vector<float>* logits) override {
    const int64_t before = cache_->length(segment);
    const int64_t room = cache_->capacity(segment) - before;
    if (static_cast<int64_t>(tokens.size()) > room) {
      return OutOfRange("sequence ", segment, ": position ", before, " + ", tokens.size(), " tokens, the cache holds ",
                        cache_->capacity(segment), " (raise the maximal length)");
    }
    while (!tokens.empty()) {
      const int64_t left = static_cast<int64_t>(tokens.size());
      const int64_t rows = PrefillRows(left);
      const int64_t valid = std::min(rows, left);
      RONDO_ASSIGN_OR_RETURN(Shape * shape, ShapeFor(1, rows));
      FillRow(shape, 0, segment, tokens.subspan(0, valid));
      const int64_t valids[] = {valid};
      const int segments[] = {segment};
      absl::Status status = RunStep(shape, segments, valids);
      if (!status.ok()) {
        (void)cache_->Truncate(segment, before);
        return status;
      }
      tokens.remove_prefix(valid);
      if (tokens.empty()) RONDO_RETURN_IF_ERROR(CopyLogits(shape->logits.tensor(), 0, 0, logits));
    }
    return absl::OkStatus();
  }

  absl::Status Decode(absl::Span<const int> segments, absl::Span<const int64_t> tokens,
                      absl::Span<std::vector<float>> logits) override {
    // Batches are padded to a power of two, so that sequences that end do not make new shapes one by one.
    int64_t batch = 1;
    while (batch < static_cast<int64_t>(segments.size())) batch *= 2;
    batch = std::min<int64_t>(batch, options_.sequences);
    RONDO_ASSIGN_OR_RETURN(Shape * shape, ShapeFor(batch, 1));
    for (int64_t b = 0; b < batch; ++b) {
      const bool used = b < static_cast<int64_t>(segments.size());
      step_segments_[b] = used ? segments[b] : -1;
      step_valid_[b] = used ? 1 : 0;
      FillRow(shape, b, step_segments_[b], used ? tokens.subspan(b, 1) : absl::Span<const int64_t>());
    }
    RONDO_RETURN_IF_ERROR(RunStep(shape, absl::MakeSpan(step_segments_).subspan(0, batch),
                                  absl::MakeSpan(step_valid_).subspan(0, batch)));
    for (size_t b = 0; b < segments.size(); ++b) {
      RONDO_RETURN_IF_ERROR(CopyLogits(shape->logits.tensor(), static_cast<int64_t>(b), 0, &logits[b]));
    }
    return absl::OkStatus();
  }

  absl::Status Reset(int segment) override { return cache_->Reset(segment); }
  absl::Status Attach(int segment, int prompt) override {
    others_[segment] = others_[prompt];
    return cache_->Attach(segment, prompt);
  }
  absl::Status Copy(int from, int to) override {
    others_[to] = others_[from];
    return cache_->Copy(from, to);
  }
  int64_t length(int segment) const override { return cache_->length(segment); }
  absl::Status SetOthers(int segment, std::vector<RuntimeValue> values) override {
    if (values.size() != decoder_.other_inputs().size()) {
      return InvalidArgument("expected ", decoder_.other_inputs().size(), " further inputs, got ", values.size());
    }
    others_[segment] = std::move(values);
    return absl::OkStatus();
  }
  // Sequences with inputs of their own are run one by one.
  int max_batch() const override { return decoder_.other_inputs().empty() ? options_.sequences : 1; }
  size_t cache_bytes() const override { return cache_->Info().bytes; }
  KvCache* cache() override { return cache_.get(); }
  void SetHook(const StepHook* hook) override { state_.hook = hook; }

 private:
  struct Shape {
    int64_t batch = 0, rows = 0;
    bool ran = false;
    std::vector<RuntimeValue> inputs;
    std::vector<const RuntimeValue*> pointers;
    RuntimeValue logits;
  };

  int64_t PrefillRows(int64_t left) const {
    const std::vector<int64_t>& rows = options_.prefill_rows;
    if (decoder_.pads()) {
      const auto fits = std::lower_bound(rows.begin(), rows.end(), left);
      return fits == rows.end() ? rows.back() : *fits;
    }
    // No row may be padding: the largest power of two that is filled.
    int64_t largest = 1;
    while (largest * 2 <= std::min(left, rows.back())) largest *= 2;
    return largest;
  }

  absl::StatusOr<Shape*> ShapeFor(int64_t batch, int64_t rows) {
    auto [it, inserted] = shapes_.try_emplace({batch, rows});
    Shape& shape = it->second;
    if (!inserted) return &shape;
    shape.batch = batch;
    shape.rows = rows;
    if (static_cast<int64_t>(step_segments_.size()) < batch) {
      step_segments_.resize(batch);
      step_valid_.resize(batch);
    }
    shape.inputs.resize(decoder_.program().graph().inputs().size());
    for (const RuntimeValue& input : shape.inputs) shape.pointers.push_back(&input);
    const auto set = [&](int input, std::initializer_list<int64_t> dims) -> absl::Status {
      if (input < 0) return absl::OkStatus();
      const DataType type = decoder_.program().graph().inputs()[input]->type().dtype;
      RONDO_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(type, dims));
      shape.inputs[input] = std::move(tensor);
      return absl::OkStatus();
    };
    RONDO_RETURN_IF_ERROR(set(decoder_.tokens_input(), {batch, rows}));
    RONDO_RETURN_IF_ERROR(set(decoder_.positions_input(), {batch, rows}));
    RONDO_RETURN_IF_ERROR(set(decoder_.last_input(), {batch}));
    if (decoder_.cache_input() >= 0) {
      shape.inputs[decoder_.cache_input()] = RuntimeValue(std::shared_ptr<RuntimeState>(cache_));
    }
    ++counters_.plans;
    return &shape;
  }

  void FillRow(Shape* shape, int64_t b, int segment, absl::Span<const int64_t> tokens) {
    const int64_t start = segment < 0 ? 0 : cache_->length(segment);
    const int64_t valid = static_cast<int64_t>(tokens.size());
    Tensor& ids = shape->inputs[decoder_.tokens_input()].tensor();
    for (int64_t i = 0; i < shape->rows; ++i) {
      const int64_t token = i < valid ? tokens[i] : 0;
      if (ids.dtype() == DataType::kInt32) {
        ids.mutable_data<int32_t>()[b * shape->rows + i] = static_cast<int32_t>(token);
      } else {
        ids.mutable_data<int64_t>()[b * shape->rows + i] = token;
      }
    }
    if (decoder_.positions_input() >= 0) {
      int64_t* positions = shape->inputs[decoder_.positions_input()].tensor().mutable_data<int64_t>();
      // Padding repeats the last position: a table of positions may end there.
      for (int64_t i = 0; i < shape->rows; ++i) {
        positions[b * shape->rows + i] = start + std::max<int64_t>(0, std::min(i, valid - 1));
      }
    }
    if (decoder_.last_input() >= 0) {
      shape->inputs[decoder_.last_input()].tensor().mutable_data<int64_t>()[b] = std::max<int64_t>(0, valid - 1);
    }
    if (segment < 0) return;
    for (size_t i = 0; i < others_[segment].size(); ++i) {
      shape->inputs[decoder_.other_inputs()[i]] = others_[segment][i];
    }
  }

  absl::Status RunStep(Shape* shape, absl::Span<const int> segments, absl::Span<const int64_t> valid) {
    if (!decoder_.other_inputs().empty() && others_[segments[0]].empty()) {
      return InvalidArgument("the decoder's other inputs are not set: it needs ",
                             decoder_.program().graph().inputs()[decoder_.other_inputs()[0]]->name());
    }
    RONDO_RETURN_IF_ERROR(cache_->BeginStep(segments, shape->rows, valid));
    ScopedThreads threads(decoder_.program().resources().threads);
    const CacheStats before = decoder_.program().primitives().stats();
    const int64_t allocations = options_.allocation_counter != nullptr ? options_.allocation_counter() : 0;
    shape->logits = RuntimeValue();  // its buffer is written again
    RuntimeValue* outputs[] = {&shape->logits};
    RONDO_RETURN_IF_ERROR(decoder_.program().root().Run(shape->pointers, absl::MakeSpan(outputs), &state_));
    RONDO_RETURN_IF_ERROR(cache_->EndStep());
    if (shape->ran) {
      if (options_.allocation_counter != nullptr) {
        counters_.allocations_after_warmup += options_.allocation_counter() - allocations;
      }
      const CacheStats after = decoder_.program().primitives().stats();
      counters_.misses_after_warmup += after.misses - before.misses;
      counters_.creations_after_warmup += after.creations - before.creations;
    }
    shape->ran = true;
    return absl::OkStatus();
  }

  const Decoder& decoder_;
  std::shared_ptr<KvCache> cache_;
  std::vector<std::vector<RuntimeValue>> others_;  // per segment
  std::map<std::pair<int64_t, int64_t>, Shape> shapes_;
  std::vector<int> step_segments_;
  std::vector<int64_t> step_valid_;
  RegionState state_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<StepRunner>> MakeInPlaceRunner(const Decoder& decoder,
                                                              const StepRunnerOptions& options) {
  if (!decoder.in_place()) return InvalidArgument("the decoder's cache grows: ", decoder.report().why);
  if (decoder.max_length() > 0 && options.max_length > decoder.max_length()) {
    return OutOfRange("max length ", options.max_length, ": the model tells ", decoder.max_length(),
                      " positions apart");
  }
  auto runner = std::make_unique<InPlaceRunner>(decoder, options);
  RONDO_RETURN_IF_ERROR(runner->Init());
  return runner;
}

absl::StatusOr<std::unique_ptr<StepRunner>> MakeStepRunner(const Decoder& decoder, const StepRunnerOptions& options) {
  return decoder.in_place() ? MakeInPlaceRunner(decoder, options) : MakeGrowingRunner(decoder, options);
}

}  // namespace rondo

// Steps of a lowered decoder: one plan per (batch, rows), the cache written in place. Once a shape has been run, a step
// of it allocates nothing here: inputs are filled in buffers that stay.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "executor/step_runner.h"
#include "graph/status.h"
#include "ops/parallel.h"
#include "ops/primitive_cache.h"

namespace rondo {
namespace {

class InPlaceRunner final : public StepRunner {
 public:
  InPlaceRunner(const Decoder& decoder, StepRunnerOptions options)
      : StepRunner(std::move(options)),
        decoder_(decoder),
        prefill_rows_(PrefillBuckets(decoder, options_)),
        decode_batches_(DecodeBuckets(options_)) {}

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
      if (tokens.empty()) RONDO_RETURN_IF_ERROR(CopyLogits(shape->outputs[0].tensor(), 0, 0, logits));
    }
    return absl::OkStatus();
  }

  absl::Status Decode(absl::Span<const int> segments, absl::Span<const int64_t> tokens,
                      absl::Span<std::vector<float>> logits) override {
    // Batches are padded, so that sequences that end do not make new shapes one by one.
    const int64_t batch =
        *std::lower_bound(decode_batches_.begin(), decode_batches_.end(), static_cast<int64_t>(segments.size()));
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
      RONDO_RETURN_IF_ERROR(CopyLogits(shape->outputs[0].tensor(), static_cast<int64_t>(b), 0, &logits[b]));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<PrecompiledShape>> Precompile(const PrecompileProgress& progress) override {
    std::vector<PrecompiledShape> shapes = ReachableShapes();
    const int64_t total = static_cast<int64_t>(shapes.size());
    if (total > decoder_.program().resources().max_plans) {
      return InvalidArgument(total, " shapes to compile ahead, ", decoder_.program().resources().max_plans,
                             " plans are kept: expected fewer buckets");
    }
    sealed_ = false;
    for (int64_t i = 0; i < total; ++i) {
      if (progress) progress(i, total, shapes[i].name);
      const int64_t begin = SteadyNowNs();
      RONDO_RETURN_IF_ERROR(Annotate(Compile(shapes[i].batch, shapes[i].rows), absl::StrCat(shapes[i].name, ": ")));
      shapes[i].seconds = static_cast<double>(SteadyNowNs() - begin) * 1e-9;
    }
    if (progress) progress(total, total, "");
    sealed_ = options_.fail_on_miss;
    return shapes;
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
    std::string name;
    int64_t batch = 0, rows = 0;
    bool ran = false;
    std::vector<RuntimeValue> inputs;
    std::vector<const RuntimeValue*> pointers;
    std::vector<RuntimeValue> outputs;  // logits, then captures
    std::vector<RuntimeValue*> results;
  };

  // Where no row may be padding: powers of two, so that pieces of them add up to any length.
  static std::vector<int64_t> PrefillBuckets(const Decoder& decoder, const StepRunnerOptions& options) {
    if (decoder.pads()) return options.prefill_rows;
    std::vector<int64_t> rows;
    for (int64_t r = 1; r <= options.prefill_rows.back(); r *= 2) rows.push_back(r);
    return rows;
  }
  static std::vector<int64_t> DecodeBuckets(const StepRunnerOptions& options) {
    std::vector<int64_t> batches;
    for (int64_t batch : options.decode_batches) {
      if (batch < options.sequences) batches.push_back(batch);
    }
    for (int64_t b = 1; options.decode_batches.empty() && b < options.sequences; b *= 2) batches.push_back(b);
    batches.push_back(options.sequences);
    return batches;
  }

  int64_t PrefillRows(int64_t left) const {
    const auto fits = std::lower_bound(prefill_rows_.begin(), prefill_rows_.end(), left);
    if (fits != prefill_rows_.end() && (*fits == left || decoder_.pads())) return *fits;
    if (decoder_.pads()) return prefill_rows_.back();
    return *std::prev(fits);  // the first is 1
  }

  static std::string NameOf(int64_t batch, int64_t rows) {
    return rows == 1 ? absl::StrCat("decode of batch ", batch) : absl::StrCat("prefill of ", rows, " rows");
  }

  // Each once: a prefill of one row has the shape of a decode step.
  std::vector<PrecompiledShape> ReachableShapes() const {
    std::vector<PrecompiledShape> shapes;
    const int64_t longest = std::max(options_.max_length, options_.prompts > 0 ? options_.max_prompt : 0);
    for (int64_t rows : prefill_rows_) {
      if (rows > 1) shapes.push_back({NameOf(1, rows), 1, rows, 0});
      if (rows >= longest) break;  // no prompt fills more
    }
    for (int64_t batch : decode_batches_) {
      shapes.push_back({NameOf(batch, 1), batch, 1, 0});
      if (batch >= max_batch()) break;
    }
    const bool by_one = std::find(prefill_rows_.begin(), prefill_rows_.end(), 1) != prefill_rows_.end();
    if (by_one && decode_batches_.front() != 1) shapes.push_back({NameOf(1, 1), 1, 1, 0});
    return shapes;
  }

  absl::Status Compile(int64_t batch, int64_t rows) {
    RONDO_ASSIGN_OR_RETURN(Shape * shape, ShapeFor(batch, rows));
    if (!decoder_.other_inputs().empty()) {
      RONDO_RETURN_IF_ERROR(CheckOthers(0));
      for (size_t i = 0; i < others_[0].size(); ++i) shape->inputs[decoder_.other_inputs()[i]] = others_[0][i];
    }
    ScopedThreads threads(decoder_.program().resources().threads);
    CompileScope scope;
    scope.Binding(shape->name);
    RONDO_RETURN_IF_ERROR(decoder_.program().root().Prepare(shape->pointers, &state_));
    // Parts whose shapes depend on data are compiled by running them: on padding alone, which leaves no trace.
    if (decoder_.program().root().plans().front()->complete()) return absl::OkStatus();
    const std::vector<int> segments(batch, -1);
    const std::vector<int64_t> valid(batch, 0);
    for (int64_t b = 0; b < batch; ++b) FillRow(shape, b, -1, {});
    return Execute(shape, segments, valid);
  }

  absl::Status CheckOthers(int segment) const {
    if (decoder_.other_inputs().empty() || !others_[segment].empty()) return absl::OkStatus();
    return InvalidArgument("the decoder's other inputs are not set: it needs ",
                           decoder_.program().graph().inputs()[decoder_.other_inputs()[0]]->name());
  }

  absl::StatusOr<Shape*> ShapeFor(int64_t batch, int64_t rows) {
    auto [it, inserted] = shapes_.try_emplace({batch, rows});
    Shape& shape = it->second;
    if (!inserted) return &shape;
    shape.name = NameOf(batch, rows);
    shape.batch = batch;
    shape.rows = rows;
    if (static_cast<int64_t>(step_segments_.size()) < batch) {
      step_segments_.resize(batch);
      step_valid_.resize(batch);
      step_starts_.resize(batch);
    }
    shape.outputs.resize(decoder_.program().graph().outputs().size());
    for (RuntimeValue& output : shape.outputs) shape.results.push_back(&output);
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
    RONDO_RETURN_IF_ERROR(CheckOthers(segments[0]));
    CompileScope scope;
    scope.Binding(shape->name);
    if (sealed_) scope.Seal();
    const CacheStats before = decoder_.program().primitives().stats();
    const int64_t allocations = options_.allocation_counter != nullptr ? options_.allocation_counter() : 0;
    RONDO_RETURN_IF_ERROR(Execute(shape, segments, valid));
    if (activation_hook_) {
      for (size_t b = 0; b < segments.size(); ++b) {
        step_starts_[b] = segments[b] < 0 ? 0 : cache_->length(segments[b]) - valid[b];
      }
      ShowActivations(decoder_, shape->outputs,
                      {shape->rows, segments, absl::MakeSpan(step_starts_).subspan(0, segments.size()), valid});
    }
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

  absl::Status Execute(Shape* shape, absl::Span<const int> segments, absl::Span<const int64_t> valid) {
    RONDO_RETURN_IF_ERROR(cache_->BeginStep(segments, shape->rows, valid));
    ScopedThreads threads(decoder_.program().resources().threads);
    for (RuntimeValue& output : shape->outputs) output = RuntimeValue();  // their buffers are written again
    RONDO_RETURN_IF_ERROR(decoder_.program().root().Run(shape->pointers, absl::MakeSpan(shape->results), &state_));
    return cache_->EndStep();
  }

  const Decoder& decoder_;
  const std::vector<int64_t> prefill_rows_, decode_batches_;  // ascending
  bool sealed_ = false;
  std::shared_ptr<KvCache> cache_;
  std::vector<std::vector<RuntimeValue>> others_;  // per segment
  std::map<std::pair<int64_t, int64_t>, Shape> shapes_;
  std::vector<int> step_segments_;
  std::vector<int64_t> step_valid_, step_starts_;
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

void StepRunner::ShowActivations(const Decoder& decoder, absl::Span<const RuntimeValue> outputs,
                                 const StepRows& step) const {
  if (!activation_hook_) return;
  for (size_t i = 0; i < decoder.captures().size(); ++i) {
    const RuntimeValue& value = outputs[decoder.capture_outputs()[i]];
    if (value.is_tensor()) activation_hook_({step, static_cast<int>(i), value.tensor()});
  }
}

absl::StatusOr<std::unique_ptr<StepRunner>> MakeStepRunner(const Decoder& decoder, const StepRunnerOptions& options) {
  return decoder.in_place() ? MakeInPlaceRunner(decoder, options) : MakeGrowingRunner(decoder, options);
}

}  // namespace rondo

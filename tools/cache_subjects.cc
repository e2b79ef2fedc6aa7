// The two kinds of models that `rondo cache profile` calls.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "api/model_folder.h"
#include "api/model_impl.h"
#include "executor/loop_executor.h"
#include "graph/status.h"
#include "tools/cache_profile.h"
#include "tools/inputs.h"
#include "tools/text.h"

namespace rondo {
namespace {

constexpr uint64_t kSeed = 1;
constexpr size_t kMaxBindings = 64;

int64_t ParameterBytes(const Graph& graph) { return static_cast<int64_t>(graph.ConstantBytes()); }

std::map<std::string, int64_t> CountImplementations(const Program& program) {
  std::map<std::string, int64_t> counts;
  for (const auto& plan : program.root().plans()) {
    for (const Step& step : plan->steps) ++counts[step.implementation];
  }
  return counts;
}

// Until the median is one of many calls, or enough time has gone by.
constexpr int64_t kColdCalls = 200, kMinColdCalls = 5;
constexpr int64_t kColdNs = 500'000'000;

// `call(&seconds, &results)` runs one forward and times nothing else.
template <typename F>
absl::StatusOr<ColdCall> MeasureCold(std::string name, const Program& program, const F& call) {
  ColdCall cold;
  cold.name = std::move(name);
  std::string first_results;
  std::vector<double> seconds;
  cold.begin_ns = NowNs();
  RONDO_RETURN_IF_ERROR(call(&seconds, &first_results));
  const CacheStats made = program.primitives().stats();
  cold.first_seconds = seconds.front();
  cold.plans_made = made.plans_made;
  cold.creations = made.creations;
  seconds.clear();
  const int64_t begin = NowNs();
  for (int64_t i = 0; i < kColdCalls && (i < kMinColdCalls || NowNs() - begin < kColdNs); ++i) {
    std::string results;
    RONDO_RETURN_IF_ERROR(call(&seconds, &results));
    cold.equal &= results == first_results;
  }
  cold.later_calls = static_cast<int64_t>(seconds.size());
  cold.later_seconds = Median(std::move(seconds));
  return cold;
}

// ---- decoders ----

class DecoderSubject final : public ProfileSubject {
 public:
  // `context`: positions that the model's configuration names; 0: none.
  DecoderSubject(std::unique_ptr<Decoder> decoder, std::unique_ptr<ModelCache> cache, int64_t context,
                 const ProfileOptions& options)
      : decoder_(std::move(decoder)),
        cache_(std::move(cache)),
        positions_(decoder_->max_length() > 0 ? decoder_->max_length() : context),
        steps_(options.decode_steps) {
    std::vector<int64_t> batches = options.batches.empty() ? std::vector<int64_t>{1, 2, 4} : options.batches;
    // Sequences with inputs of their own are run one by one.
    if (!decoder_->other_inputs().empty()) batches = {1};
    runner_options_.sequences = static_cast<int>(batches.back());
    runner_options_.decode_batches = batches;
    if (!options.tokens.empty()) runner_options_.prefill_rows = options.tokens;
    LimitRows(&runner_options_.prefill_rows);
    runner_options_.max_length = runner_options_.prefill_rows.back() + steps_;
    if (positions_ > 0) runner_options_.max_length = std::min(runner_options_.max_length, positions_);
    steps_ = std::min(steps_, runner_options_.max_length - std::min(PromptRows(), runner_options_.max_length - 1));
  }

  absl::Status Init() {
    for (int input : decoder_->other_inputs()) {
      const Value* value = decoder_->program().graph().inputs()[input];
      std::vector<int64_t> dims;
      for (const Dim& dim : *value->type().shape) {
        // The first symbol is the batch, others are lengths of what an encoder gave.
        dims.push_back(dim.known() ? dim.value() : dims.empty() ? 1 : 8);
      }
      RONDO_ASSIGN_OR_RETURN(Tensor tensor, RandomTensor(value->name(), value->type().dtype, dims, kSeed));
      others_.push_back(std::move(tensor));
    }
    return MakeRunner();
  }

  std::string kind() const override { return "decoder, cache in place"; }
  int64_t parameter_bytes() const override { return ParameterBytes(decoder_->program().graph()); }
  int64_t kv_bytes() const override { return static_cast<int64_t>(runner_->cache_bytes()); }
  int threads() const override { return decoder_->program().resources().threads; }
  std::vector<std::string> shape_names() const override {
    std::vector<std::string> names;
    for (const PrecompiledShape& shape : shapes_) names.push_back(shape.name);
    return names;
  }

  absl::StatusOr<std::vector<double>> Precompile(
      const std::function<void(int64_t, int64_t, absl::string_view)>& progress) override {
    RONDO_ASSIGN_OR_RETURN(shapes_, runner_->Precompile(progress));
    std::vector<double> seconds;
    for (const PrecompiledShape& shape : shapes_) seconds.push_back(shape.seconds);
    return seconds;
  }

  absl::Status Call(size_t index, std::vector<double>* seconds, std::string* results) override {
    const PrecompiledShape& shape = shapes_[index];
    const absl::Status status =
        shape.rows > 1 ? Prefill(shape.rows, seconds, results) : Decode(shape.batch, seconds, results);
    if (absl::IsOutOfRange(status)) {  // a table of positions that nothing else told of
      return OutOfRange(shape.name, ": ", status.message(), " (give fewer --tokens or --decode-steps)");
    }
    return status;
  }

  // A runner of its own: batch 1 whatever the profile's batches are.
  absl::StatusOr<ColdCall> CallCold() override {
    runner_options_.sequences = 1;
    runner_options_.decode_batches = {1};
    RONDO_RETURN_IF_ERROR(MakeRunner());
    const std::vector<int> segments = {0};
    const std::vector<int64_t> tokens = Tokens(1, 0);
    logits_.resize(1);
    return MeasureCold("decode of batch 1", decoder_->program(),
                       [&](std::vector<double>* seconds, std::string* results) -> absl::Status {
                         RONDO_RETURN_IF_ERROR(runner_->Reset(0));
                         const int64_t begin = NowNs();
                         RONDO_RETURN_IF_ERROR(runner_->Decode(segments, tokens, absl::MakeSpan(logits_)));
                         seconds->push_back(static_cast<double>(NowNs() - begin) * 1e-9);
                         KeepLogits(results);
                         return absl::OkStatus();
                       });
  }

  absl::Status DropPlans() override {
    runner_.reset();
    decoder_->program().root().DropPlans();
    return MakeRunner();
  }

  CacheReport Report() const override { return cache_->Report(); }
  std::map<std::string, int64_t> Implementations() const override { return CountImplementations(decoder_->program()); }
  void Listen(CompileListener compiles, std::function<void(const StepEvent&)> steps) override {
    decoder_->program().primitives().log().SetListener(std::move(compiles));
    hook_ = steps ? StepHookFor(std::move(steps)) : nullptr;
    runner_->SetHook(hook_ ? &hook_ : nullptr);
  }

 private:
  // Buckets beyond the model's positions are never used.
  void LimitRows(std::vector<int64_t>* rows) const {
    while (positions_ > 0 && rows->size() > 1 && rows->back() > positions_) rows->pop_back();
    if (positions_ > 0 && rows->back() > positions_) rows->back() = positions_;
  }
  int64_t PromptRows() const { return runner_options_.prefill_rows.front(); }

  absl::Status MakeRunner() {
    RONDO_ASSIGN_OR_RETURN(runner_, MakeStepRunner(*decoder_, runner_options_));
    for (int s = 0; s < runner_options_.sequences && !others_.empty(); ++s) {
      RONDO_RETURN_IF_ERROR(runner_->SetOthers(s, others_));
    }
    return absl::OkStatus();
  }

  std::vector<int64_t> Tokens(int64_t count, int64_t seed) const {
    const int64_t vocabulary = decoder_->vocabulary() > 0 ? decoder_->vocabulary() : 100;
    std::vector<int64_t> tokens(count);
    for (int64_t i = 0; i < count; ++i) tokens[i] = (seed * 31 + i * 7 + 3) % vocabulary;
    return tokens;
  }

  absl::Status Prefill(int64_t rows, std::vector<double>* seconds, std::string* results) {
    RONDO_RETURN_IF_ERROR(runner_->Reset(0));
    logits_.resize(1);
    const std::vector<int64_t> tokens = Tokens(rows, 0);
    const int64_t begin = NowNs();
    RONDO_RETURN_IF_ERROR(runner_->Prefill(0, tokens, &logits_[0]));
    seconds->push_back(static_cast<double>(NowNs() - begin) * 1e-9);
    KeepLogits(results);
    return absl::OkStatus();
  }

  absl::Status Decode(int64_t batch, std::vector<double>* seconds, std::string* results) {
    logits_.resize(batch);
    std::vector<int> segments;
    for (int64_t s = 0; s < batch; ++s) {
      segments.push_back(static_cast<int>(s));
      RONDO_RETURN_IF_ERROR(runner_->Reset(segments.back()));
      RONDO_RETURN_IF_ERROR(runner_->Prefill(segments.back(), Tokens(PromptRows(), s), &logits_[s]));
    }
    for (int64_t step = 0; step < steps_; ++step) {
      const std::vector<int64_t> tokens = Tokens(batch, 100 + step);
      const int64_t begin = NowNs();
      RONDO_RETURN_IF_ERROR(runner_->Decode(segments, tokens, absl::MakeSpan(logits_)));
      seconds->push_back(static_cast<double>(NowNs() - begin) * 1e-9);
    }
    KeepLogits(results);
    return absl::OkStatus();
  }

  void KeepLogits(std::string* results) const {
    for (const std::vector<float>& row : logits_) {
      results->append(reinterpret_cast<const char*>(row.data()), row.size() * sizeof(float));
    }
  }

  const std::unique_ptr<Decoder> decoder_;
  const std::unique_ptr<ModelCache> cache_;  // goes before the decoder
  const int64_t positions_;                  // that the model knows; 0: nobody says
  int64_t steps_;
  StepRunnerOptions runner_options_;
  std::vector<RuntimeValue> others_;
  std::unique_ptr<StepRunner> runner_;
  std::vector<PrecompiledShape> shapes_;
  std::vector<std::vector<float>> logits_;
  StepHook hook_;
};

// ---- other models ----

class ModelSubject final : public ProfileSubject {
 public:
  ModelSubject(Model model, std::string kind) : model_(std::move(model)), session_(model_), kind_(std::move(kind)) {}

  absl::Status Init(const std::vector<std::string>& shapes) {
    RONDO_ASSIGN_OR_RETURN(const std::vector<std::vector<std::string>> bindings, Bindings(shapes));
    for (const std::vector<std::string>& binding : bindings) {
      InputRequest request;
      request.shapes = binding;
      request.seed = kSeed;
      RONDO_ASSIGN_OR_RETURN(PreparedInputs inputs, MakeInputs(model_, request));
      names_.push_back(absl::StrCat("shape ", bindings.size() > 1 || !binding.empty() ? NameOf(inputs) : "by default"));
      inputs_.push_back(std::move(inputs));
    }
    return absl::OkStatus();
  }

  std::string kind() const override { return kind_; }
  int64_t parameter_bytes() const override { return ParameterBytes(program().graph()); }
  int threads() const override { return program().resources().threads; }
  std::vector<std::string> shape_names() const override { return names_; }

  absl::StatusOr<std::vector<double>> Precompile(
      const std::function<void(int64_t, int64_t, absl::string_view)>& progress) override {
    std::vector<double> seconds;
    const int64_t total = static_cast<int64_t>(inputs_.size());
    for (int64_t i = 0; i < total; ++i) {
      if (progress) progress(i, total, names_[i]);
      const int64_t begin = NowNs();
      CompileScope scope;
      scope.Binding(names_[i]);
      RONDO_ASSIGN_OR_RETURN(const PlanInfo plan, model_.Prepare(inputs_[i].bound.dims));
      // What depends on data is compiled by a run.
      if (!plan.complete) RONDO_RETURN_IF_ERROR(session_.Run(inputs_[i].tensors).status());
      seconds.push_back(static_cast<double>(NowNs() - begin) * 1e-9);
    }
    if (progress) progress(total, total, "");
    return seconds;
  }

  absl::Status Call(size_t shape, std::vector<double>* seconds, std::string* results) override {
    CompileScope scope;
    scope.Binding(names_[shape]);
    const int64_t begin = NowNs();
    RONDO_ASSIGN_OR_RETURN(const NamedTensors outputs, session_.Run(inputs_[shape].tensors));
    seconds->push_back(static_cast<double>(NowNs() - begin) * 1e-9);
    for (const auto& [name, value] : outputs) {
      if (!value.is_tensor() || value.tensor().dtype() == DataType::kString) continue;
      results->append(static_cast<const char*>(value.tensor().raw()), value.tensor().bytes());
    }
    return absl::OkStatus();
  }

  absl::StatusOr<ColdCall> CallCold() override {
    return MeasureCold(names_.front(), program(),
                       [&](std::vector<double>* seconds, std::string* results) { return Call(0, seconds, results); });
  }

  absl::Status DropPlans() override {
    session_ = Session(model_);
    program().root().DropPlans();
    return absl::OkStatus();
  }

  CacheReport Report() const override { return model_.cache_report(); }
  std::map<std::string, int64_t> Implementations() const override { return CountImplementations(program()); }
  void Listen(CompileListener compiles, std::function<void(const StepEvent&)> steps) override {
    model_.SetCompileListener(std::move(compiles));
    session_.SetStepListener(std::move(steps));
  }

 private:
  const Program& program() const { return *ModelAccess::Get(model_).program; }

  // Every combination of the alternatives: {"a=1/2", "b=3"} -> {{"a=1", "b=3"}, {"a=2", "b=3"}}.
  static absl::StatusOr<std::vector<std::vector<std::string>>> Bindings(const std::vector<std::string>& shapes) {
    std::vector<std::vector<std::string>> bindings = {{}};
    for (const std::string& shape : shapes) {
      const size_t equals = shape.rfind('=');
      if (equals == std::string::npos) {
        return InvalidArgument("--shape: expected NAME=DIMS or NAME=DIMS/DIMS, got \"", Printable(shape), "\"");
      }
      std::vector<std::vector<std::string>> next;
      for (absl::string_view dims : absl::StrSplit(shape.substr(equals + 1), '/')) {
        for (std::vector<std::string> binding : bindings) {
          binding.push_back(absl::StrCat(shape.substr(0, equals), "=", dims));
          next.push_back(std::move(binding));
        }
      }
      bindings = std::move(next);
      if (bindings.size() > kMaxBindings) {
        return InvalidArgument("--shape: more than ", kMaxBindings, " combinations of dims");
      }
    }
    return bindings;
  }

  static std::string NameOf(const PreparedInputs& inputs) {
    std::string text;
    for (const auto& [name, dims] : inputs.bound.dims) {
      if (text.size() > 60) return text + ", ...";
      absl::StrAppend(&text, text.empty() ? "" : ", ", name, DimsToString(dims));
    }
    return text;
  }

  const Model model_;
  Session session_;
  const std::string kind_;
  std::vector<PreparedInputs> inputs_;
  std::vector<std::string> names_;
};

// Null where the model is no decoder whose cache can be kept in place; `why` says so.
absl::StatusOr<std::unique_ptr<ProfileSubject>> LoadDecoder(const ProfileOptions& options, std::string* why) {
  RONDO_ASSIGN_OR_RETURN(const ModelFolder folder, ReadModelFolder(options.model, ""));
  auto cache = std::make_unique<ModelCache>(options.load, folder.decoder);
  RONDO_ASSIGN_OR_RETURN(ImportedModel imported, ImportFor(folder.decoder, options.load));
  DecoderOptions decoder_options;
  decoder_options.program = ProgramOptionsOf(options.load);
  cache->Bind(imported, &decoder_options.program);
  absl::StatusOr<std::unique_ptr<Decoder>> decoder = Decoder::Create(std::move(imported.graph), decoder_options);
  if (!decoder.ok()) {
    *why = "";
    return nullptr;
  }
  if (!(*decoder)->in_place()) {
    *why = (*decoder)->report().why;
    return nullptr;
  }
  cache->Attach(&(*decoder)->program());
  auto subject =
      std::make_unique<DecoderSubject>(*std::move(decoder), std::move(cache), folder.context_length, options);
  RONDO_RETURN_IF_ERROR(subject->Init());
  return subject;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProfileSubject>> LoadSubject(const ProfileOptions& options) {
  std::string why;
  if (options.shapes.empty()) {
    RONDO_ASSIGN_OR_RETURN(std::unique_ptr<ProfileSubject> decoder, LoadDecoder(options, &why));
    if (decoder != nullptr) return decoder;
  }
  if (!options.tokens.empty() || !options.batches.empty()) {
    return InvalidArgument(options.model, ": --tokens and --batch are for decoders whose cache is kept in place",
                           why.empty() ? "" : absl::StrCat(" (", why, ")"), "; give --shape NAME=DIMS/DIMS");
  }
  RONDO_ASSIGN_OR_RETURN(Model model, Model::Load(options.model, options.load));
  auto subject = std::make_unique<ModelSubject>(
      std::move(model), why.empty() ? "model" : absl::StrCat("model (as a decoder it grows: ", why, ")"));
  RONDO_RETURN_IF_ERROR(subject->Init(options.shapes));
  return subject;
}

}  // namespace rondo

#include "tools/cache_profile.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "graph/status.h"
#include "ops/compile_log.h"
#include "tools/bandwidth.h"
#include "tools/text.h"

namespace rondo {
namespace {

// Counters that only grow, as differences; the others as they are in `after`.
CacheStats Difference(const CacheStats& after, const CacheStats& before) {
  CacheStats d = after;
  d.hits -= before.hits;
  d.misses -= before.misses;
  d.creations -= before.creations;
  d.evictions -= before.evictions;
  d.creation_seconds -= before.creation_seconds;
  d.plan_hits -= before.plan_hits;
  d.plans_made -= before.plans_made;
  d.plan_seconds -= before.plan_seconds;
  return d;
}

std::vector<OperatorTime> SumByOperator(const std::vector<TraceSpan>& spans) {
  std::map<std::pair<std::string, std::string>, OperatorTime> table;
  for (const TraceSpan& span : spans) {
    if (span.kind != TraceSpan::Kind::kStep) continue;
    OperatorTime& row = table[{span.name, span.implementation}];
    ++row.calls;
    row.seconds += span.seconds();
    row.flops += span.flops;
    if (span.bytes == 0) continue;
    row.bytes += span.bytes;
    row.seconds_of_bytes += span.seconds();
  }
  std::vector<OperatorTime> rows;
  for (auto& [key, row] : table) {
    std::tie(row.op, row.implementation) = key;
    rows.push_back(std::move(row));
  }
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  return rows;
}

// `steps` ran one after another: one or more calls of a shape, with calls of other shapes before them (a decode's
// prefill). A call begins where the very first step runs again; those are alike whose first steps have the same shapes.
void SumCalls(const std::vector<TraceSpan>& steps, ProfiledShape* shape) {
  if (steps.empty()) return;
  std::vector<size_t> begins;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].name == steps[0].name && steps[i].node == steps[0].node) begins.push_back(i);
  }
  std::vector<TraceSpan> alike;
  for (size_t call = 0; call < begins.size(); ++call) {
    const size_t begin = begins[call], end = call + 1 < begins.size() ? begins[call + 1] : steps.size();
    if (steps[begin].detail != steps[begins.back()].detail) continue;
    ++shape->traced_calls;
    shape->last_begin_ns = steps[begin].begin_ns;
    shape->last_end_ns = steps[end - 1].end_ns;
    alike.insert(alike.end(), steps.begin() + begin, steps.begin() + end);
  }
  shape->operators = SumByOperator(alike);
}

// Each shape's steps are those before its end.
void SumCallsByShape(const std::vector<TraceSpan>& spans, const std::vector<int64_t>& ends,
                     std::vector<ProfiledShape>* shapes) {
  size_t next = 0;
  for (size_t i = 0; i < shapes->size(); ++i) {
    std::vector<TraceSpan> steps;
    for (; next < spans.size() && spans[next].begin_ns < ends[i]; ++next) {
      if (spans[next].kind == TraceSpan::Kind::kStep) steps.push_back(spans[next]);
    }
    SumCalls(steps, &(*shapes)[i]);
  }
}

class Profiler {
 public:
  Profiler(const ProfileOptions& options, Trace* trace) : options_(options), trace_(*trace) {}

  absl::StatusOr<CacheProfile> Run() {
    RONDO_RETURN_IF_ERROR(Load("load", WithoutDirectory(), &profile_.load_seconds));
    RONDO_RETURN_IF_ERROR(CallCold());
    subject_.reset();  // what it has made would be found by what follows
    RONDO_RETURN_IF_ERROR(Load("load anew", options_, nullptr));
    Describe();
    RONDO_RETURN_IF_ERROR(CompileAhead());
    RONDO_RETURN_IF_ERROR(FirstRound());
    RONDO_RETURN_IF_ERROR(LaterRounds());
    RONDO_RETURN_IF_ERROR(CompileAgain());
    RONDO_RETURN_IF_ERROR(TracedRound());
    RONDO_RETURN_IF_ERROR(Timed("read bandwidth", nullptr, [&] {
      profile_.read_bandwidth = MeasureReadBandwidth(profile_.threads);
      return absl::OkStatus();
    }));
    subject_.reset();  // its memory first
    RONDO_RETURN_IF_ERROR(RoundWithoutCache());
    RONDO_RETURN_IF_ERROR(StartAgain());
    Judge();
    return std::move(profile_);
  }

 private:
  template <typename F>
  absl::Status Timed(const std::string& phase, double* seconds, const F& work) {
    const int64_t begin = NowNs();
    absl::Status status = work();
    const int64_t end = NowNs();
    trace_.AddPhase(phase, begin, end);
    if (seconds != nullptr) *seconds = static_cast<double>(end - begin) * 1e-9;
    return status;
  }

  ProfileOptions WithoutDirectory() const {
    ProfileOptions options = options_;
    options.load.cache_dir = kNoCacheDir;
    return options;
  }

  absl::Status Load(const std::string& phase, const ProfileOptions& options, double* seconds) {
    return Timed(phase, seconds, [&]() -> absl::Status {
      RONDO_ASSIGN_OR_RETURN(subject_, LoadSubject(options));
      return absl::OkStatus();
    });
  }

  // Before all else: nothing in the process has been compiled or called, oneDNN's own cache is empty.
  absl::Status CallCold() {
    ListenToCompiles();
    return Timed("cold call", nullptr, [&]() -> absl::Status {
      RONDO_ASSIGN_OR_RETURN(profile_.cold, subject_->CallCold());
      compared_ += profile_.cold.later_calls;
      if (!profile_.cold.equal) difference_ = absl::StrCat(profile_.cold.name, ": a repeated call gave other bytes");
      return absl::OkStatus();
    });
  }

  // Runs `work`, adding what it did to the counters to `*added`.
  template <typename F>
  absl::Status Counted(CacheStats* added, const F& work) {
    const CacheStats before = subject_->Report().totals;
    absl::Status status = work();
    *added = Difference(subject_->Report().totals, before);
    return status;
  }

  void ListenToCompiles() {
    subject_->Listen([this](const CompileEvent& event) { trace_.AddCompile(event); }, nullptr);
  }

  void Describe() {
    profile_.model = options_.model;
    profile_.kind = subject_->kind();
    profile_.threads = subject_->threads();
    profile_.parameter_bytes = subject_->parameter_bytes();
    profile_.kv_bytes = subject_->kv_bytes();
  }

  absl::Status CompileAhead() {
    ListenToCompiles();
    std::vector<double> seconds;
    RONDO_RETURN_IF_ERROR(Counted(&profile_.precompile, [&] {
      return Timed("precompile", &profile_.precompile_seconds, [&]() -> absl::Status {
        RONDO_ASSIGN_OR_RETURN(seconds, subject_->Precompile(options_.progress));
        return absl::OkStatus();
      });
    }));
    const std::vector<std::string> names = subject_->shape_names();
    for (size_t i = 0; i < names.size(); ++i) {
      ProfiledShape shape;
      shape.name = names[i];
      shape.compile_seconds = seconds[i];
      profile_.shapes.push_back(std::move(shape));
    }
    later_.resize(names.size());
    results_.resize(names.size());
    return absl::OkStatus();
  }

  absl::Status FirstRound() {
    return Counted(&profile_.first_round, [&] {
      return Timed("round 1", nullptr, [&]() -> absl::Status {
        for (size_t i = 0; i < profile_.shapes.size(); ++i) {
          std::vector<double> seconds;
          RONDO_RETURN_IF_ERROR(subject_->Call(i, &seconds, &results_[i]));
          profile_.shapes[i].first_seconds = seconds.empty() ? 0 : seconds[0];
          later_[i].assign(seconds.begin() + (seconds.empty() ? 0 : 1), seconds.end());
        }
        return absl::OkStatus();
      });
    });
  }

  // Sealed: what would be created is told instead.
  absl::Status LaterRounds() {
    RONDO_RETURN_IF_ERROR(Counted(&profile_.later_rounds, [&]() -> absl::Status {
      CompileScope scope;
      scope.Seal();
      for (int round = 2; round <= options_.repeat; ++round) {
        RONDO_RETURN_IF_ERROR(Timed(absl::StrCat("round ", round), nullptr, [&] { return LaterRound(); }));
      }
      return absl::OkStatus();
    }));
    for (size_t i = 0; i < later_.size(); ++i) profile_.shapes[i].later_seconds = Median(later_[i]);
    return absl::OkStatus();
  }

  absl::Status LaterRound() {
    for (size_t i = 0; i < profile_.shapes.size(); ++i) {
      std::string results;
      std::vector<double> seconds;
      const absl::Status status = subject_->Call(i, &seconds, &results);
      if (status.code() == absl::StatusCode::kFailedPrecondition) {
        if (miss_.empty()) miss_ = absl::StrCat(profile_.shapes[i].name, ": ", status.message());
        continue;
      }
      RONDO_RETURN_IF_ERROR(status);
      Compare(i, results, "a repeated call");
      later_[i].insert(later_[i].end(), seconds.begin(), seconds.end());
    }
    return absl::OkStatus();
  }

  absl::Status CompileAgain() {
    const auto precompile = [&] { return subject_->Precompile(nullptr).status(); };
    RONDO_RETURN_IF_ERROR(Timed("second precompile", &profile_.second_precompile_seconds, precompile));
    profile_.report = subject_->Report();
    profile_.implementations = subject_->Implementations();
    RONDO_RETURN_IF_ERROR(subject_->DropPlans());
    ListenToCompiles();
    return Counted(&profile_.replan, [&] { return Timed("plans anew", &profile_.replan_seconds, precompile); });
  }

  absl::Status TracedRound() {
    // New sessions: their memory is touched before anything is traced.
    std::string ignored;
    std::vector<double> seconds;
    RONDO_RETURN_IF_ERROR(Timed("calls before tracing", nullptr, [&]() -> absl::Status {
      for (size_t i = 0; i < profile_.shapes.size(); ++i) RONDO_RETURN_IF_ERROR(subject_->Call(i, &seconds, &ignored));
      return absl::OkStatus();
    }));
    subject_->Listen([this](const CompileEvent& event) { trace_.AddCompile(event); },
                     [this](const StepEvent& event) { trace_.AddStep(event); });
    std::vector<int64_t> ends;
    for (size_t i = 0; i < profile_.shapes.size(); ++i) {
      RONDO_RETURN_IF_ERROR(Timed(absl::StrCat("traced ", profile_.shapes[i].name), nullptr,
                                  [&] { return subject_->Call(i, &seconds, &ignored); }));
      ends.push_back(NowNs());
    }
    subject_->Listen(nullptr, nullptr);
    const std::vector<TraceSpan> spans = trace_.spans();
    profile_.operators = SumByOperator(spans);
    SumCallsByShape(spans, ends, &profile_.shapes);
    for (const OperatorTime& row : profile_.operators) profile_.traced_seconds += row.seconds;
    return absl::OkStatus();
  }

  absl::Status RoundWithoutCache() {
    return Timed("round without cache", nullptr, [&]() -> absl::Status {
      ProfileOptions options = options_;
      options.load.cache = {0, 0};
      RONDO_ASSIGN_OR_RETURN(std::unique_ptr<ProfileSubject> subject, LoadSubject(options));
      RONDO_RETURN_IF_ERROR(subject->Precompile(nullptr).status());
      for (size_t i = 0; i < profile_.shapes.size(); ++i) {
        std::string results;
        std::vector<double> seconds;
        RONDO_RETURN_IF_ERROR(subject->Call(i, &seconds, &results));
        Compare(i, results, "a call without cache");
      }
      return absl::OkStatus();
    });
  }

  // The models before have written the directory when they went.
  absl::Status StartAgain() {
    if (options_.load.cache_dir == kNoCacheDir) return absl::OkStatus();
    SecondStart& start = profile_.second_start.emplace();
    RONDO_RETURN_IF_ERROR(Load("second start: load", options_, &start.load_seconds));
    ListenToCompiles();
    return Timed("second start: cold call", nullptr, [&]() -> absl::Status {
      RONDO_ASSIGN_OR_RETURN(const ColdCall call, subject_->CallCold());
      start.first_seconds = call.first_seconds;
      start.begin_ns = call.begin_ns;
      start.report = subject_->Report();
      return absl::OkStatus();
    });
  }

  void Compare(size_t shape, const std::string& results, absl::string_view what) {
    compared_ += 1;
    if (results == results_[shape] || !difference_.empty()) return;
    difference_ = absl::StrCat(profile_.shapes[shape].name, ": ", what, " gave other bytes");
  }

  void Add(std::string id, std::string claim, bool holds, double value, std::string found) {
    Verdict verdict;
    verdict.id = std::move(id);
    verdict.claim = std::move(claim);
    verdict.found = std::move(found);
    verdict.value = value;
    verdict.state = holds ? Verdict::State::kHolds : Verdict::State::kFails;
    profile_.verdicts.push_back(std::move(verdict));
  }

  void Judge() {
    const CacheStats& later = profile_.later_rounds;
    const CacheStats& replan = profile_.replan;
    const int64_t hits = later.hits + later.plan_hits + replan.hits;
    const int64_t misses = later.misses + later.plans_made + replan.misses;
    const double rate = hits + misses == 0 ? 0 : 100.0 * static_cast<double>(hits) / static_cast<double>(hits + misses);
    Add("identical_calls_hit", "identical calls hit 100 %", misses == 0 && hits > 0 && miss_.empty(), rate,
        miss_.empty() ? absl::StrFormat("%d lookups of plans and primitives in repeated calls and plans made anew, %d "
                                        "misses",
                                        hits + misses, misses)
                      : miss_);
    const int64_t created = later.creations + later.plans_made;
    Add("repeated_calls_create_nothing", "a second call creates nothing", created == 0 && miss_.empty(),
        static_cast<double>(created),
        absl::StrFormat("%d primitives, %d plans created", later.creations, later.plans_made));
    JudgeColdCall();
    JudgeSecondStart();
    const double again = profile_.second_precompile_seconds;
    const double ratio = again > 0 ? profile_.precompile_seconds / again : 0;
    Add("second_precompile_faster", "a second precompile is more than 10x faster", ratio > 10, ratio,
        absl::StrFormat("%.0fx: %s, then %s; %s when all plans are made anew", ratio,
                        SecondsText(profile_.precompile_seconds), SecondsText(again),
                        SecondsText(profile_.replan_seconds)));
    const CacheStats& totals = profile_.report.totals;
    Add("memory_within_bound", "memory stays within the bound",
        totals.entries <= totals.limits.entries && totals.bytes <= totals.limits.bytes,
        static_cast<double>(totals.bytes),
        absl::StrFormat("%d of %d entries, %s of %s", totals.entries, totals.limits.entries,
                        BytesText(static_cast<double>(totals.bytes)),
                        BytesText(static_cast<double>(totals.limits.bytes))));
    Add("results_equal", "results are equal with and without cache", difference_.empty(),
        static_cast<double>(compared_),
        difference_.empty() ? absl::StrFormat("%d calls compared byte by byte", compared_) : difference_);
  }

  // How much there is to pack decides it: told, not judged.
  void JudgeSecondStart() {
    if (!profile_.second_start.has_value()) return;
    const SecondStart& start = *profile_.second_start;
    const double cold = profile_.load_seconds + profile_.cold.first_seconds;
    const double again = start.load_seconds + start.first_seconds;
    const double ratio = again > 0 ? cold / again : 0;
    Add("second_start_faster", "loading and the first call, without and with the cache directory", true, ratio,
        absl::StrFormat("%.1fx: %s, then %s (%d weights found, %d packed)", ratio, SecondsText(cold),
                        SecondsText(again), start.report.totals.weights_found, start.report.totals.weights_packed));
    profile_.verdicts.back().state = Verdict::State::kFigure;
  }

  void JudgeColdCall() {
    const ColdCall& cold = profile_.cold;
    const double ratio = cold.later_seconds > 0 ? cold.first_seconds / cold.later_seconds : 0;
    const bool tiny = profile_.parameter_bytes <= kTinyParameterBytes;
    Add("second_call_faster",
        tiny ? "a repeated call is more than 100x faster than the very first, which compiles"
             : "a repeated call against the very first, which compiles",
        ratio > 100, ratio,
        absl::StrFormat("%.0fx (%s): %s (plans made: %d, primitives: %d), then %s (median of %d calls)", ratio,
                        cold.name, SecondsText(cold.first_seconds), cold.plans_made, cold.creations,
                        SecondsText(cold.later_seconds), cold.later_calls));
    if (!tiny) profile_.verdicts.back().state = Verdict::State::kFigure;
  }

  const ProfileOptions& options_;
  Trace& trace_;
  CacheProfile profile_;
  std::unique_ptr<ProfileSubject> subject_;
  std::vector<std::vector<double>> later_;  // per shape: seconds of all calls but the first
  std::vector<std::string> results_;        // per shape, of the first round
  std::string miss_, difference_;           // the first of each
  int64_t compared_ = 0;
};

}  // namespace

bool CacheProfile::ok() const {
  return std::none_of(verdicts.begin(), verdicts.end(),
                      [](const Verdict& v) { return v.state == Verdict::State::kFails; });
}

absl::StatusOr<CacheProfile> ProfileCache(const ProfileOptions& options, Trace* trace) {
  absl::StatusOr<CacheProfile> profile = Profiler(options, trace).Run();
  if (!profile.ok()) return profile.status();
  if (profile->shapes.empty()) return InvalidArgument(options.model, ": there is no shape to profile");
  return profile;
}

}  // namespace rondo

// `rondo cache profile`: a model's shapes are compiled ahead and each is run several times, so that what the primitive
// cache does can be told and judged. First what is measured, then the subjects (a decoder's buckets, a model's
// bindings), then the measuring. The forms it is told in are in cache_profile_report.h.
#ifndef RONDO_TOOLS_CACHE_PROFILE_H_
#define RONDO_TOOLS_CACHE_PROFILE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "rondo/model.h"
#include "tools/trace.h"

namespace rondo {

struct ProfileOptions {
  std::string model;
  std::vector<int64_t> tokens, batches;  // of a decoder; empty: the defaults of `rondo generate`
  std::vector<std::string> shapes;       // of another model: "NAME=DIMS", alternatives with '/'
  int64_t decode_steps = 16;
  int repeat = 2;
  ModelOptions load;
  // Called before each shape is compiled; `next` is "" at the end.
  std::function<void(int64_t done, int64_t total, absl::string_view next)> progress;
};

// Steps of one operator and implementation.
struct OperatorTime {
  std::string op, implementation;
  int64_t calls = 0, bytes = 0;
  double seconds = 0, flops = 0;
  double seconds_of_bytes = 0;  // of the calls whose bytes are known
};

// One shape: compiled, called the first time, called again.
struct ProfiledShape {
  std::string name;  // "prefill of 64 rows", "decode of batch 1"
  double compile_seconds = 0;
  double first_seconds = 0;
  double later_seconds = 0;  // median
  // Its traced calls; of a decode the steps alone, not the prefill before them.
  int64_t traced_calls = 0;
  std::vector<OperatorTime> operators;         // longest first
  int64_t last_begin_ns = 0, last_end_ns = 0;  // the last of them
};

// A model of which nothing is compiled yet, called: all that a first forward needs is made within the first call. Then
// the same forward again and again.
struct ColdCall {
  std::string name;          // of the shape
  int64_t begin_ns = 0;      // of the very first call
  double first_seconds = 0;  // what it took
  double later_seconds = 0;  // median of the repeated ones
  int64_t later_calls = 0;
  // What the first call made, and whether each later one gave the same bytes.
  int64_t plans_made = 0, creations = 0;
  bool equal = true;
};

struct Verdict {
  enum class State { kHolds, kFails, kFigure };  // kFigure: told, not judged
  std::string id;                                // stable: "identical_calls_hit"
  std::string claim, found;
  double value = 0;  // the ratio, rate or count that was judged
  State state = State::kFigure;
};

// The start of a process that finds in the cache directory what an earlier one left there.
struct SecondStart {
  double load_seconds = 0, first_seconds = 0;  // of the model; of the cold call
  int64_t begin_ns = 0;                        // of the cold call
  CacheReport report;
};

struct CacheProfile {
  std::string model, kind;  // "decoder, cache in place", "model"
  int threads = 0;
  int64_t parameter_bytes = 0, kv_bytes = 0;
  double load_seconds = 0;
  double precompile_seconds = 0, second_precompile_seconds = 0;
  double replan_seconds = 0;  // all plans made anew, everything else found
  ColdCall cold;
  std::optional<SecondStart> second_start;  // with a cache directory
  std::vector<ProfiledShape> shapes;
  // What each phase added to the counters.
  CacheStats precompile, first_round, later_rounds, replan;
  CacheReport report;  // before the plans are made anew
  std::map<std::string, int64_t> implementations;
  std::vector<OperatorTime> operators;  // of the traced round, longest first
  double traced_seconds = 0;            // of all steps in the traced round
  double read_bandwidth = 0;            // bytes per second
  std::vector<Verdict> verdicts;
  bool ok() const;
};

// A model of at most this many bytes of parameters is tiny: creation must outweigh a call by far.
inline constexpr int64_t kTinyParameterBytes = int64_t{16} << 20;

absl::StatusOr<CacheProfile> ProfileCache(const ProfileOptions& options, Trace* trace);

// ---- for cache_profile.cc ----

// What is profiled: a loaded model with the shapes that it is called with. Calls are the same in each round.
class ProfileSubject {
 public:
  virtual ~ProfileSubject() = default;
  virtual std::string kind() const = 0;
  virtual int64_t parameter_bytes() const = 0;
  virtual int64_t kv_bytes() const { return 0; }
  virtual int threads() const = 0;
  virtual std::vector<std::string> shape_names() const = 0;
  // Compiles all shapes; seconds of each.
  virtual absl::StatusOr<std::vector<double>> Precompile(
      const std::function<void(int64_t, int64_t, absl::string_view)>& progress) = 0;
  // One call of a shape: seconds (several for the steps of a decode), and the bytes of its results.
  virtual absl::Status Call(size_t shape, std::vector<double>* seconds, std::string* results) = 0;
  // The forward that real use repeats: of a decoder the decode step of batch 1, of another model its first shape. The
  // first call of it makes what it needs; the others follow until there are enough for a median.
  // REQUIRES: nothing has been compiled or called.
  virtual absl::StatusOr<ColdCall> CallCold() = 0;
  // Forgets plans and sessions; primitives and weights stay.
  virtual absl::Status DropPlans() = 0;
  virtual CacheReport Report() const = 0;
  virtual std::map<std::string, int64_t> Implementations() const = 0;
  virtual void Listen(CompileListener compiles, std::function<void(const StepEvent&)> steps) = 0;
};

// A decoder whose cache can be kept in place, else a plain model.
absl::StatusOr<std::unique_ptr<ProfileSubject>> LoadSubject(const ProfileOptions& options);

}  // namespace rondo

#endif  // RONDO_TOOLS_CACHE_PROFILE_H_

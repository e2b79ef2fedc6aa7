// The public API: load a model, run it.
//
//   auto model = rondo::Model::Load("model.onnx");
//   rondo::Session session(*model);
//   auto outputs = session.Run({{"x", tensor}});
//
// A Model is immutable to its users and thread-safe: any number of sessions, on any threads, share its weights, its
// plans and its primitive cache. A Session holds what changes in a run and belongs to one thread at a time.
#ifndef RONDO_MODEL_H_
#define RONDO_MODEL_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "rondo/cache.h"
#include "rondo/tensor.h"

namespace rondo {

struct ModelOptions {
  int threads = 0;            // 0: all cores that the process may use
  bool plain = false;         // reference kernels and no rewrites: slow, for checking
  bool follow_links = false;  // external data behind symbolic or hard links
  std::vector<std::string> disabled_rewrites;
  // Keeps the constant matrices of products in so many bits, 8 or 4, in blocks of 32 with a scale each, and rounds what
  // they are multiplied with to 8 bits: smaller and faster, and no longer the exported model. 0: as exported.
  int weight_bits = 0;
  int64_t max_plans = 32;  // shape bindings kept, least recently used out first
  int64_t max_loop_iterations = 10000000;
  uint64_t max_tensor_bytes = uint64_t{1} << 36;  // of one value at run time
  CacheLimits cache;                              // of primitives
  // A run whose shapes Prepare has not compiled is an error that says what is missing.
  bool fail_on_miss = false;
  // Where packed weights, keys and shapes outlive the process. "": what the environment variable RONDO_CACHE_DIR says,
  // else nowhere; kNoCacheDir: nowhere. Whoever can write to the folder can change results.
  std::string cache_dir;
};
inline constexpr char kNoCacheDir[] = "none";

struct PortInfo {  // one input or output
  std::string name;
  std::string type;  // "float32[batch, 3]": as declared, symbols included; "seq(...)"
  DataType dtype = DataType::kUndefined;
  bool has_rank = false;
  std::vector<int64_t> dims;           // -1 where symbolic
  std::vector<std::string> dim_names;  // expression text of each dim
  bool optional = false;               // an input with an initializer as its default
};

struct PlanInfo {
  int64_t steps = 0;         // kernels that run
  int64_t folded_nodes = 0;  // nodes whose result was known when the shapes were
  size_t arena_bytes = 0;    // planned
  size_t value_bytes = 0;    // sum of all values that live in the arena: what no reuse would need
  bool complete = true;      // false: the rest is planned in the run, when data-dependent shapes are known
};

struct OperatorCount {
  std::string op;  // "Conv", "com.microsoft::FastGelu"
  int64_t version = 0;
  int64_t count = 0;
};

struct ModelSummary {
  std::string path, producer;
  int64_t ir_version = 0;
  std::map<std::string, int64_t> opsets;
  std::vector<std::string> warnings;
  std::vector<PortInfo> inputs, outputs;
  std::vector<OperatorCount> operators;            // as imported, functions inlined
  std::vector<OperatorCount> optimized_operators;  // after the rewrites
  std::vector<std::string> unsupported;            // all of them: `com.x::Foo (opset 1), 3 nodes, first "n3"`
  struct TypeBytes {
    std::string dtype;
    int64_t parameters = 0;
    int64_t bytes = 0;
  };
  std::vector<TypeBytes> parameters;
  struct RewriteCount {
    std::string name;
    int64_t fired = 0;
    bool disabled = false;
  };
  std::vector<RewriteCount> rewrites;
};

// One executed step, for profiles. Times in nanoseconds of the steady clock.
struct StepEvent {
  const char* op;
  const std::string* node;
  const std::string* implementation;
  int64_t begin_ns, end_ns;
  int64_t output_bytes;
  const std::string* shapes = nullptr;  // "float32[1, 64] float32[64, 8] -> float32[1, 8]"
  int64_t bytes = 0;                    // read and written, weights included, each once; 0: not known
  double flops = 0;                     // 0: not known
};

using NamedTensors = std::vector<std::pair<std::string, RuntimeValue>>;

class Model {
 public:
  // Imports, checks, infers, rewrites. `path` is a file, or a folder that holds one .onnx file.
  static absl::StatusOr<Model> Load(const std::string& path, const ModelOptions& options = {});
  // What is in the file, also when operators are unsupported (Load fails then). No plan is made.
  static absl::StatusOr<ModelSummary> Inspect(const std::string& path, const ModelOptions& options = {});
  // Graphviz text of the optimized graph.
  static absl::StatusOr<std::string> Dot(const std::string& path, const ModelOptions& options = {});

  const std::vector<PortInfo>& inputs() const;
  const std::vector<PortInfo>& outputs() const;
  const ModelSummary& summary() const;
  const ModelOptions& options() const;

  // Compiles for these input dims ahead of a run (name -> dims); Run does it at need.
  absl::StatusOr<PlanInfo> Prepare(const std::map<std::string, std::vector<int64_t>>& dims) const;
  // Compiles for every binding of dims that earlier processes ran this model with, as the cache directory tells.
  // `progress` (may be null) is called before each and at the end. Returns how many there are.
  absl::StatusOr<int64_t> PrepareKnown(
      const std::function<void(int64_t done, int64_t total, absl::string_view next)>& progress) const;
  // Writes what was compiled to the cache directory, now; otherwise it is written when the last handle of the model
  // goes. The error is among cache_report().directory.problems too. Without a directory it does nothing.
  absl::Status SaveCache() const;
  CacheStats cache_counters() const;
  // The counters per operator, node and key, and why the recent misses missed.
  CacheReport cache_report() const;
  // Told of everything that is compiled, and of every hit; null turns it off.
  void SetCompileListener(CompileListener listener) const;
  size_t packed_weight_bytes() const;
  // Names of the implementations in use, "brgemm:avx512_core" -> count, over all plans prepared so far.
  std::map<std::string, int64_t> implementations() const;

 private:
  friend class Session;
  friend struct ModelAccess;
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

class Session {
 public:
  explicit Session(const Model& model);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  // Inputs by name in any order; all that have no default. Outputs in the model's order, in storage of their own.
  // Errors: unknown, missing or extra names, wrong type, rank or dims (both are named), and run-time errors.
  absl::StatusOr<NamedTensors> Run(const NamedTensors& inputs);
  // Called after every step of every run; null turns it off.
  void SetStepListener(std::function<void(const StepEvent&)> listener);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rondo

#endif  // RONDO_MODEL_H_

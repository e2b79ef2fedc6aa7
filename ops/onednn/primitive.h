// What the makers in this folder share: a cached oneDNN primitive with the descriptors of its arguments.
#ifndef RONDO_OPS_ONEDNN_PRIMITIVE_H_
#define RONDO_OPS_ONEDNN_PRIMITIVE_H_

#include <string>
#include <utility>
#include <vector>

#include "ops/onednn/compat.h"
#include "ops/onednn/onednn.h"
#include "ops/parallel.h"

namespace rondo::onednn {

class DnnlPrimitive final : public Primitive {
 public:
  // `args`: oneDNN's argument number and descriptor, in the order of the façade's contract.
  DnnlPrimitive(const dnnl::primitive_desc_base& pd, dnnl::primitive primitive, std::vector<std::pair<int, Md>> args);

  std::string Implementation() const override { return implementation_; }
  size_t bytes() const override { return 64 << 10; }  // generated code and descriptors, measured mean
  size_t scratch_bytes() const override { return scratchpad_.get_size(); }

  const dnnl::primitive& primitive() const { return primitive_; }
  const std::vector<std::pair<int, Md>>& args() const { return args_; }
  const Md& scratchpad() const { return scratchpad_; }
  bool is_reorder() const { return is_reorder_; }
  // What its work was cut for, and what it is to run with.
  int threads() const { return threads_; }

 private:
  dnnl::primitive primitive_;
  std::vector<std::pair<int, Md>> args_;
  Md scratchpad_;
  std::string implementation_;
  bool is_reorder_;
  int threads_;
};

const dnnl::engine& Engine();
const DnnlPrimitive& Cast(const PrimitivePtr& primitive);

// InvalidArgument-free: a type that oneDNN lacks is Unimplemented.
absl::StatusOr<dnnl::memory::data_type> ToDnnl(DataType dtype);
absl::StatusOr<Md> ToMd(const Layout& layout);
inline MdDims ToMdDims(absl::Span<const int64_t> dims) { return MdDims(dims.begin(), dims.end()); }

// The attributes that all primitives have (user scratchpad) and the post-ops. Appends the operands' arguments.
absl::StatusOr<dnnl::primitive_attr> MakeAttributes(const std::vector<PostOp>& post_ops,
                                                    std::vector<std::pair<int, Md>>* operands);

// What a primitive has to do.
struct Work {
  double flops = 0;
  size_t bytes = 0;                   // that it reads and writes
  DataType dtype = DataType::kFloat;  // of what it multiplies
};
// `available`, or 1 where the work is done before the others are awake. Nothing between: a team whose size changes is
// made anew by some OpenMP libraries.
int ThreadsFor(const Work& work, int available);

// Adds post_ops, threads and isa to a key.
void AddCommonFields(const std::vector<PostOp>& post_ops, int threads, PrimitiveKey* key);

// Adds the common fields to `key` and gets it from the plan's cache; `make` creates the primitive and may throw
// dnnl::error. The one place that decides how many threads a primitive has.
template <typename F>
absl::StatusOr<PrimitivePtr> Cached(PrepareContext& ctx, PrimitiveKey key, const std::vector<PostOp>& post_ops,
                                    const Work& work, const F& make) {
  const int threads = ThreadsFor(work, ctx.threads());
  AddCommonFields(post_ops, threads, &key);
  auto create = [&]() -> absl::StatusOr<std::shared_ptr<const Primitive>> {
    // oneDNN cuts the work for the thread count of the moment of creation.
    ScopedThreads scoped(threads);
    try {
      absl::StatusOr<std::shared_ptr<const Primitive>> made = make();
      if (made.ok() && (*made)->Implementation().rfind("ref", 0) == 0) {
        return Unimplemented("oneDNN has only its reference implementation for ", key.ToString());
      }
      return made;
    } catch (const dnnl::error& e) {
      return Unimplemented("oneDNN refused ", key.ToString(), ": ", e.what());
    }
  };
  return ctx.primitive_cache().Get<Primitive>(key, ctx.node().name(), create);
}

}  // namespace rondo::onednn

#endif  // RONDO_OPS_ONEDNN_PRIMITIVE_H_

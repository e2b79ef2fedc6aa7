// Separable resampling: every axis of a tensor is read through a table that says, for each output position, which
// input positions count and how much. Resize and Upsample build the tables; the kernels here know no mode.
#ifndef RONDO_OPS_RESAMPLE_H_
#define RONDO_OPS_RESAMPLE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ops/op.h"

namespace rondo {

struct AxisTable {
  int64_t in = 0;
  int64_t out = 0;
  int taps = 1;
  std::vector<int32_t> index = {};    // [out, taps], each in [0, in)
  std::vector<double> weight = {};    // [out, taps]; empty for nearest
  std::vector<uint8_t> outside = {};  // [out]: takes the fill value; empty when none does

  bool IsIdentity() const;
};

struct ResamplePlan {
  DataType dtype = DataType::kFloat;
  std::vector<AxisTable> axes = {};  // one per axis of the tensor
  bool nearest = false;              // copies elements of any type; otherwise numbers are interpolated
  float fill = 0;
};

absl::StatusOr<std::unique_ptr<Kernel>> MakeResampleKernel(PrepareContext& ctx, ResamplePlan plan);

}  // namespace rondo

#endif  // RONDO_OPS_RESAMPLE_H_

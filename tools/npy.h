// NumPy's .npy files (format versions 1 to 3; numpy.lib.format). Arrays of Python objects are refused: reading them
// would mean to run code.
#ifndef RONDO_TOOLS_NPY_H_
#define RONDO_TOOLS_NPY_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "rondo/tensor.h"

namespace rondo {

// Both byte orders, C and Fortran order. Text of both kinds (S, U) becomes string tensors in UTF-8.
absl::StatusOr<Tensor> ParseNpy(absl::string_view bytes);
absl::StatusOr<Tensor> ReadNpy(const std::string& path);

// Little-endian, C order, version 1. Element types that NumPy lacks are written as the next one that holds all their
// values: bfloat16, float8 and float4 as float32, 2- and 4-bit integers as int8 or uint8.
absl::StatusOr<std::string> FormatNpy(const Tensor& tensor);
absl::Status WriteNpy(const std::string& path, const Tensor& tensor);

// The type in which FormatNpy writes `type`.
DataType NpyStorageType(DataType type);

}  // namespace rondo

#endif  // RONDO_TOOLS_NPY_H_

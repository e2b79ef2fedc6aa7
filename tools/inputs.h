// What a run is fed: tensors from files, dims from --shape, the rest filled at random.
//
// Dims are symbolic in most models. A symbol gets its number from the first of: a file's dims, --shape NAME=DIMS for an
// input, --shape SYMBOL=N, and (only when inputs are filled at random) a default that its name suggests: batch 1,
// past 0, sequence 8. Dims that are expressions are computed from their symbols.
//
// A name does not tell which numbers a model takes: a vision transformer's "height" is what its position table was made
// for. So defaults are put to the model's shape inference, and usual sizes are tried in turn until one fits.
#ifndef RONDO_TOOLS_INPUTS_H_
#define RONDO_TOOLS_INPUTS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/value_type.h"
#include "importer/importer.h"
#include "rondo/model.h"

namespace rondo {

struct InputRequest {
  std::vector<std::string> files;   // "NAME=FILE", or "FILE" for a model of one input or a .pb with a name in it
  std::vector<std::string> shapes;  // "NAME=1x3x224x224" or "SYMBOL=8"
  std::optional<uint64_t> seed;     // fill what is not given
};

// Dims for every tensor input, and which symbols were given numbers that the caller did not ask for.
struct BoundDims {
  std::map<std::string, std::vector<int64_t>> dims;
  std::vector<std::pair<std::string, int64_t>> chosen;  // symbol -> default
};

// What a name suggests; the sizes that differ most between models.
struct DimDefaults {
  int64_t channels = 3;
  int64_t image = 224;
  int64_t length = 8;  // of a sequence
};

struct PreparedInputs {
  NamedTensors tensors;
  BoundDims bound;
  int64_t filled = 0;  // inputs filled at random
};

// "1x3x224x224", "1,3", "" or "[]" (scalar) -> dims.
absl::StatusOr<std::vector<int64_t>> ParseDims(const std::string& text);

// Dims of all tensor inputs. `given` are those known from files. Symbols that nothing binds get their default; without
// `defaults` they are an error that names the input and shows how to give them.
absl::StatusOr<BoundDims> BindDims(const std::vector<PortInfo>& inputs, const std::vector<PortInfo>& outputs,
                                   const std::map<std::string, std::vector<int64_t>>& given,
                                   const std::vector<std::string>& shapes, const std::optional<DimDefaults>& defaults);

// The same with the first defaults that the model's shape inference accepts; when none are, the error is that of the
// first ones and says what to give.
absl::StatusOr<BoundDims> ChooseDims(const Model& model, const std::map<std::string, std::vector<int64_t>>& given,
                                     const std::vector<std::string>& shapes);

// A tensor with values that suit the input's name: masks of 1, ascending positions, small token ids, else uniform in
// (-1, 1). `position` is where ascending positions start.
absl::StatusOr<Tensor> RandomTensor(const std::string& name, DataType type, const std::vector<int64_t>& dims,
                                    uint64_t seed, int64_t position = 0);

// A value from an .npy or .pb file for an input of this type.
absl::StatusOr<NamedValue> ReadInputFile(const std::string& path, const ValueType& type);

absl::StatusOr<PreparedInputs> MakeInputs(const Model& model, const InputRequest& request);

// "dims chosen: batch = 1, sequence = 8 (others: --shape batch=4, ...)", or "" when nothing was chosen.
std::string ChosenText(const BoundDims& bound);

}  // namespace rondo

#endif  // RONDO_TOOLS_INPUTS_H_

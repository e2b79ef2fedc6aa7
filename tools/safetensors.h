// Files in the safetensors format (https://github.com/huggingface/safetensors): eight bytes with the header's length, a
// JSON header with each tensor's dtype, shape and place, the tensors' bytes.
#ifndef RONDO_TOOLS_SAFETENSORS_H_
#define RONDO_TOOLS_SAFETENSORS_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "rondo/tensor.h"

namespace rondo {

// Creates or replaces `path`; a file under its name is always whole. `metadata` goes into the header's __metadata__.
// Errors: an element type that the format lacks, two tensors of one name, a file that cannot be written.
absl::Status WriteSafetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                              const std::map<std::string, std::string>& metadata = {});

}  // namespace rondo

#endif  // RONDO_TOOLS_SAFETENSORS_H_

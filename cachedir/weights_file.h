// One file of packed weights: made once, never changed, mapped by whoever uses it.
//
//   header         magic, version, byte order, the entry it belongs to, sizes, a digest of the table and one of itself
//   table          per weight: its key, type, dims, place, names for people, a digest of each block of 1 MiB
//   weights        each from a multiple of 64 bytes on, large ones from a page on
//
// Numbers are as the processor has them; a mark tells a foreign order. Nothing in a file is believed before its digest
// was compared: header and table when it is opened, a weight's blocks when it is first asked for.
#ifndef RONDO_CACHEDIR_WEIGHTS_FILE_H_
#define RONDO_CACHEDIR_WEIGHTS_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "cachedir/digest.h"
#include "rondo/tensor.h"

namespace rondo {

struct StoredWeight {
  Digest key;
  std::string node, layout;  // that asked for it, of the packed form
  DataType dtype = DataType::kUndefined;
  Dims dims;
  size_t offset = 0, bytes = 0;
  std::vector<uint64_t> blocks;  // digest of each
};

class WeightsFile : public std::enable_shared_from_this<WeightsFile> {
 public:
  // Maps the file. Errors: reading; a file of another entry or format, a truncated or damaged one.
  static absl::StatusOr<std::shared_ptr<WeightsFile>> Open(const std::string& path, const Digest& entry, uint64_t seed);
  ~WeightsFile();
  WeightsFile(const WeightsFile&) = delete;
  WeightsFile& operator=(const WeightsFile&) = delete;

  const std::string& path() const { return path_; }
  size_t bytes() const { return bytes_; }
  const std::vector<StoredWeight>& weights() const { return weights_; }
  const StoredWeight* Find(const Digest& key) const;  // null: not there
  // Compares the digest of one block of a weight, or of all. Errors name the block.
  absl::Status CheckBlock(const StoredWeight& weight, size_t block) const;
  absl::Status Check(const StoredWeight& weight) const;
  // The weight where it is mapped; the tensor keeps the mapping. Only what Check found good may be used.
  Tensor View(const StoredWeight& weight) const;

 private:
  WeightsFile() = default;
  absl::Status ReadTable(const Digest& entry);

  std::string path_;
  uint64_t seed_ = 0;
  const uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
  std::vector<StoredWeight> weights_;
  absl::flat_hash_map<Digest, size_t> by_key_;
};

// What a file is to hold: the key, the names, and the tensor itself.
struct WeightToStore {
  Digest key;
  std::string node, layout;
  Tensor tensor;
};
// Writes a file that Open can read; it has its name when it is on the disk. Returns its size in bytes.
absl::StatusOr<int64_t> WriteWeightsFile(const std::string& path, const Digest& entry, uint64_t seed,
                                         absl::Span<const WeightToStore> weights);

}  // namespace rondo

#endif  // RONDO_CACHEDIR_WEIGHTS_FILE_H_

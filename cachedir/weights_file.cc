#include "cachedir/weights_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "cachedir/checked_file.h"
#include "graph/atomic_file.h"
#include "graph/status.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

constexpr char kMagic[8] = {'r', 'o', 'n', 'd', 'o', 'w', 't', '\n'};
constexpr uint32_t kVersion = 1;
constexpr uint32_t kByteOrder = 0x01020304;
constexpr size_t kAlignment = 64;
constexpr size_t kPage = 4096;
constexpr uint32_t kMaxRank = 64;
constexpr int64_t kBlocksPerChunk = 2;

struct Header {
  char magic[8];
  uint32_t version, byte_order;
  Digest entry;
  uint64_t weights, table_bytes, file_bytes, table_digest;
  uint64_t reserved[6];
  uint64_t header_digest;  // of all before
};
static_assert(sizeof(Header) == 120, "no padding");
constexpr size_t kTableAt = 128;

// A row of the table; dims, node, layout and the blocks' digests follow it.
struct Row {
  Digest key;
  uint64_t offset, bytes;
  int32_t dtype;
  uint32_t rank, node_bytes, layout_bytes;
};
static_assert(sizeof(Row) == 48, "no padding");

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }
size_t BlocksOf(size_t bytes) { return (bytes + kDigestBlock - 1) / kDigestBlock; }
uint64_t DigestOfHeader(const Header& header, uint64_t seed) {
  return ShortDigestOf(&header, offsetof(Header, header_digest), seed);
}

uint64_t DigestOfBlock(const uint8_t* data, size_t bytes, size_t block, uint64_t seed) {
  const size_t at = block * kDigestBlock;
  return ShortDigestOf(data + at, std::min(kDigestBlock, bytes - at), seed);
}

std::vector<uint64_t> DigestBlocks(const uint8_t* data, size_t bytes, uint64_t seed) {
  std::vector<uint64_t> digests(BlocksOf(bytes));
  ParallelFor(static_cast<int64_t>(digests.size()), kBlocksPerChunk, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) digests[b] = DigestOfBlock(data, bytes, static_cast<size_t>(b), seed);
  });
  return digests;
}

// Takes fields off the front of the table.
class TableReader {
 public:
  explicit TableReader(absl::Span<const uint8_t> bytes) : left_(bytes) {}
  bool Take(void* to, size_t bytes) {
    if (bytes > left_.size()) return false;
    if (bytes > 0) std::memcpy(to, left_.data(), bytes);
    left_.remove_prefix(bytes);
    return true;
  }
  bool TakeText(std::string* to, size_t bytes) {
    if (bytes > left_.size()) return false;
    to->assign(reinterpret_cast<const char*>(left_.data()), bytes);
    left_.remove_prefix(bytes);
    return true;
  }
  size_t left() const { return left_.size(); }

 private:
  absl::Span<const uint8_t> left_;
};

}  // namespace

WeightsFile::~WeightsFile() {
  if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), bytes_);
}

absl::StatusOr<std::shared_ptr<WeightsFile>> WeightsFile::Open(const std::string& path, const Digest& entry,
                                                               uint64_t seed) {
  struct stat info;
  RONDO_ASSIGN_OR_RETURN(const FileDescriptor fd, OpenTrusted(path, &info));
  if (info.st_size < static_cast<off_t>(kTableAt)) {
    return InvalidArgument(path, " is truncated: it has ", info.st_size, " bytes");
  }
  std::shared_ptr<WeightsFile> file(new WeightsFile);
  file->path_ = path;
  file->seed_ = seed;
  file->bytes_ = static_cast<size_t>(info.st_size);
  void* const address = mmap(nullptr, file->bytes_, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) return FileError("map", path);
  file->data_ = static_cast<const uint8_t*>(address);
  RONDO_RETURN_IF_ERROR(file->ReadTable(entry));
  return file;
}

absl::Status WeightsFile::ReadTable(const Digest& entry) {
  const auto damaged = [&](absl::string_view what) { return InvalidArgument(path_, " is damaged: ", what); };
  Header header;
  std::memcpy(&header, data_, sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) return damaged("it does not begin as weights do");
  if (header.byte_order != kByteOrder) return Unimplemented(path_, " is of a machine of another byte order");
  if (header.version != kVersion) return Unimplemented(path_, " has format ", header.version, ", expected ", kVersion);
  if (header.header_digest != DigestOfHeader(header, seed_)) return damaged("the digest of its header does not match");
  if (header.entry != entry) return InvalidArgument(path_, " belongs to entry ", header.entry.ToHex());
  if (header.file_bytes != bytes_) {
    return InvalidArgument(path_, " is ", bytes_ < header.file_bytes ? "truncated" : "damaged", ": it has ", bytes_,
                           " bytes, expected ", header.file_bytes);
  }
  if (header.table_bytes > bytes_ - kTableAt) return damaged("its table is larger than the file");
  const absl::Span<const uint8_t> table(data_ + kTableAt, header.table_bytes);
  if (ShortDigestOf(table.data(), table.size(), seed_) != header.table_digest) {
    return damaged("the digest of its table does not match");
  }
  // From here on the bytes are those that were written; what follows guards against a writer's bugs.
  TableReader reader(table);
  for (uint64_t i = 0; i < header.weights; ++i) {
    StoredWeight weight;
    Row row;
    if (!reader.Take(&row, sizeof(row)) || row.rank > kMaxRank) return damaged("its table");
    weight.key = row.key;
    weight.dims.resize(row.rank);
    if (!reader.Take(weight.dims.data(), row.rank * sizeof(int64_t)) ||
        !reader.TakeText(&weight.node, row.node_bytes) || !reader.TakeText(&weight.layout, row.layout_bytes)) {
      return damaged("its table");
    }
    weight.dtype = static_cast<DataType>(row.dtype);
    weight.offset = row.offset;
    weight.bytes = row.bytes;
    if (!IsKnownDataType(row.dtype) || weight.dtype == DataType::kString || weight.dtype == DataType::kUndefined) {
      return damaged("an element type");
    }
    const absl::StatusOr<size_t> bytes = CheckedByteSize(weight.dtype, weight.dims);
    if (!bytes.ok() || *bytes != row.bytes || row.bytes > bytes_ || row.offset > bytes_ - row.bytes ||
        row.offset % kAlignment != 0 || BlocksOf(row.bytes) > reader.left() / sizeof(uint64_t)) {
      return damaged("the place of a weight");
    }
    weight.blocks.resize(BlocksOf(row.bytes));
    reader.Take(weight.blocks.data(), weight.blocks.size() * sizeof(uint64_t));
    by_key_.emplace(weight.key, weights_.size());
    weights_.push_back(std::move(weight));
  }
  if (reader.left() != 0) return damaged("its table");
  return absl::OkStatus();
}

const StoredWeight* WeightsFile::Find(const Digest& key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : &weights_[found->second];
}

absl::Status WeightsFile::CheckBlock(const StoredWeight& weight, size_t block) const {
  if (DigestOfBlock(data_ + weight.offset, weight.bytes, block, seed_) == weight.blocks[block]) return absl::OkStatus();
  return InvalidArgument(path_, " is damaged: block ", block, " of ", weight.blocks.size(), " of node ", weight.node,
                         " (", weight.layout, "), from byte ", weight.offset + block * kDigestBlock, " on");
}

absl::Status WeightsFile::Check(const StoredWeight& weight) const {
  for (size_t b = 0; b < weight.blocks.size(); ++b) RONDO_RETURN_IF_ERROR(CheckBlock(weight, b));
  return absl::OkStatus();
}

Tensor WeightsFile::View(const StoredWeight& weight) const {
  return Tensor::Borrow(weight.dtype, weight.dims, data_ + weight.offset, shared_from_this());
}

absl::StatusOr<int64_t> WriteWeightsFile(const std::string& path, const Digest& entry, uint64_t seed,
                                         absl::Span<const WeightToStore> weights) {
  size_t table_bytes = 0;
  for (const WeightToStore& w : weights) {
    table_bytes += sizeof(Row) + w.tensor.rank() * sizeof(int64_t) + w.node.size() + w.layout.size() +
                   BlocksOf(w.tensor.bytes()) * sizeof(uint64_t);
  }
  std::string table;
  table.reserve(table_bytes);
  std::vector<size_t> offsets;
  size_t end = kTableAt + table_bytes;
  for (const WeightToStore& w : weights) {
    const size_t bytes = w.tensor.bytes();
    offsets.push_back(RoundUp(end, bytes >= kPage ? kPage : kAlignment));
    end = offsets.back() + bytes;
    const Row row = {w.key,
                     offsets.back(),
                     bytes,
                     static_cast<int32_t>(w.tensor.dtype()),
                     static_cast<uint32_t>(w.tensor.rank()),
                     static_cast<uint32_t>(w.node.size()),
                     static_cast<uint32_t>(w.layout.size())};
    table.append(reinterpret_cast<const char*>(&row), sizeof(row));
    table.append(reinterpret_cast<const char*>(w.tensor.dims().data()), w.tensor.rank() * sizeof(int64_t));
    table.append(w.node).append(w.layout);
    const std::vector<uint64_t> blocks = DigestBlocks(static_cast<const uint8_t*>(w.tensor.raw()), bytes, seed);
    table.append(reinterpret_cast<const char*>(blocks.data()), blocks.size() * sizeof(uint64_t));
  }
  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kVersion;
  header.byte_order = kByteOrder;
  header.entry = entry;
  header.weights = weights.size();
  header.table_bytes = table.size();
  header.file_bytes = end;
  header.table_digest = ShortDigestOf(table.data(), table.size(), seed);
  header.header_digest = DigestOfHeader(header, seed);

  AtomicFile file(path, kCacheFileMode);
  const char zeros[kPage] = {};
  RONDO_RETURN_IF_ERROR(file.Write(&header, sizeof(header)));
  RONDO_RETURN_IF_ERROR(file.Write(zeros, kTableAt - sizeof(header)));
  RONDO_RETURN_IF_ERROR(file.Write(table.data(), table.size()));
  size_t at = kTableAt + table.size();
  for (size_t i = 0; i < weights.size(); ++i) {
    RONDO_RETURN_IF_ERROR(file.Write(zeros, offsets[i] - at));
    RONDO_RETURN_IF_ERROR(file.Write(weights[i].tensor.raw(), weights[i].tensor.bytes()));
    at = offsets[i] + weights[i].tensor.bytes();
  }
  RONDO_RETURN_IF_ERROR(file.Commit());
  return static_cast<int64_t>(end);
}

}  // namespace rondo

// Save and Restore of a KvCache: one segment as a file.
//
//   magic "rondokv\n", uint32 version, uint32 byte-order mark, int32 dtype, int32 layers, int64 length,
//   per layer int64 kv_heads, head_size, v_head_size, window;         uint64 XXH3 of all that
//   per layer, head and row that the next query can see: the stored bytes of K, V and their scales
//   uint64 XXH3 of the rows
//
// Numbers are as the processor has them; the mark tells a foreign order. The size follows from the header, so a
// truncated file is known before anything is read. A file is read twice: first to verify it, then into the cache, which
// a damaged file therefore never touches. It is written beside its name, and takes the name when it is on the disk.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "graph/atomic_file.h"
#include "graph/status.h"
#include "kvcache/kv_cache.h"
#include "kvcache/kv_rows.h"

namespace rondo {
namespace {

constexpr char kMagic[8] = {'r', 'o', 'n', 'd', 'o', 'k', 'v', '\n'};
constexpr uint32_t kVersion = 1;
constexpr uint32_t kByteOrder = 0x01020304;
constexpr size_t kChunk = size_t{1} << 18;
constexpr int64_t kMaxFileLayers = 1 << 16;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t byte_order;
  int32_t dtype;
  int32_t layers;
  int64_t length;
};
struct HeaderLayer {
  int64_t kv_heads, head_size, v_head_size, window;
};
static_assert(sizeof(Header) == 32 && sizeof(HeaderLayer) == 32, "no padding");

class Hash {
 public:
  Hash() { Reset(); }
  void Reset() { XXH3_64bits_reset(&state_); }
  void Update(const void* data, size_t bytes) { XXH3_64bits_update(&state_, data, bytes); }
  uint64_t Digest() const { return XXH3_64bits_digest(&state_); }

 private:
  XXH3_state_t state_;
};

// Buffered, hashed writes to a file that takes its name at the end.
class Writer {
 public:
  explicit Writer(const std::string& path) : file_(path) { buffer_.reserve(kChunk); }
  absl::Status Write(const void* data, size_t bytes) {
    hash_.Update(data, bytes);
    const char* from = static_cast<const char*>(data);
    while (bytes > 0) {
      const size_t part = std::min(bytes, kChunk - buffer_.size());
      buffer_.insert(buffer_.end(), from, from + part);
      from += part;
      bytes -= part;
      if (buffer_.size() == kChunk) RONDO_RETURN_IF_ERROR(Flush());
    }
    return absl::OkStatus();
  }
  // The hash of what was written since the last one.
  absl::Status WriteHash() {
    const uint64_t digest = hash_.Digest();
    RONDO_RETURN_IF_ERROR(Write(&digest, sizeof(digest)));
    hash_.Reset();
    return absl::OkStatus();
  }
  absl::Status Finish() {
    RONDO_RETURN_IF_ERROR(Flush());
    return file_.Commit();
  }

 private:
  absl::Status Flush() {
    RONDO_RETURN_IF_ERROR(file_.Write(buffer_.data(), buffer_.size()));
    buffer_.clear();
    return absl::OkStatus();
  }

  AtomicFile file_;
  std::vector<char> buffer_;
  Hash hash_;
};

// Buffered, hashed reads of exactly as much as is asked for.
class Reader {
 public:
  Reader(const std::string& path, int fd) : path_(path), fd_(fd) { buffer_.resize(kChunk); }
  absl::Status Read(void* data, size_t bytes) {
    char* to = static_cast<char*>(data);
    for (size_t left = bytes; left > 0;) {
      if (at_ == filled_) RONDO_RETURN_IF_ERROR(Fill());
      const size_t part = std::min(left, filled_ - at_);
      if (to != nullptr) {
        std::memcpy(to, buffer_.data() + at_, part);
        to += part;
      }
      hash_.Update(buffer_.data() + at_, part);
      at_ += part;
      left -= part;
    }
    return absl::OkStatus();
  }
  absl::Status Skip(size_t bytes) { return Read(nullptr, bytes); }
  absl::Status CheckHash(absl::string_view what) {
    const uint64_t expected = hash_.Digest();
    uint64_t digest;
    RONDO_RETURN_IF_ERROR(Read(&digest, sizeof(digest)));
    hash_.Reset();
    if (digest == expected) return absl::OkStatus();
    return InvalidArgument(path_, " is damaged: the checksum of its ", what, " does not match");
  }
  void Seek(int64_t offset) {
    offset_ = offset;
    at_ = filled_ = 0;
    hash_.Reset();
  }

 private:
  absl::Status Fill() {
    ssize_t n;
    do {
      n = pread(fd_, buffer_.data(), buffer_.size(), offset_);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return FileError("read", path_);
    if (n == 0) return InvalidArgument(path_, " is truncated: it ends after ", offset_, " bytes");
    offset_ += n;
    at_ = 0;
    filled_ = static_cast<size_t>(n);
    return absl::OkStatus();
  }

  const std::string& path_;
  const int fd_;
  int64_t offset_ = 0;
  std::vector<char> buffer_;
  size_t at_ = 0, filled_ = 0;
  Hash hash_;
};

absl::Status CheckEqual(const std::string& path, absl::string_view what, int64_t saved, int64_t ours) {
  if (saved == ours) return absl::OkStatus();
  return InvalidArgument(path, " does not fit this cache: ", what, " is ", saved, ", expected ", ours);
}

// Reads the header and compares it with the cache's.
absl::Status ReadHeader(Reader& reader, const std::string& path, const KvCacheConfig& config, Header* header) {
  RONDO_RETURN_IF_ERROR(reader.Read(header, sizeof(*header)));
  if (std::memcmp(header->magic, kMagic, sizeof(kMagic)) != 0) return InvalidArgument(path, " is no saved KV cache");
  if (header->byte_order != kByteOrder) return Unimplemented(path, " was saved on a machine of another byte order");
  if (header->version != kVersion) {
    return Unimplemented(path, " has version ", header->version, ": expected ", kVersion);
  }
  if (header->layers < 0 || header->layers > kMaxFileLayers) {
    return InvalidArgument(path, " is damaged: it claims ", header->layers, " layers");
  }
  std::vector<HeaderLayer> layers(static_cast<size_t>(header->layers));
  RONDO_RETURN_IF_ERROR(reader.Read(layers.data(), layers.size() * sizeof(HeaderLayer)));
  RONDO_RETURN_IF_ERROR(reader.CheckHash("header"));
  if (header->dtype != static_cast<int32_t>(config.dtype)) {
    return InvalidArgument(path, " does not fit this cache: its rows are ",
                           DataTypeName(static_cast<DataType>(header->dtype)), ", expected ",
                           DataTypeName(config.dtype));
  }
  RONDO_RETURN_IF_ERROR(
      CheckEqual(path, "the number of layers", header->layers, static_cast<int64_t>(config.layers.size())));
  for (size_t i = 0; i < layers.size(); ++i) {
    const HeaderLayer& saved = layers[i];
    const KvLayer& ours = config.layers[i];
    const auto what = [i](absl::string_view name) { return absl::StrCat(name, " of layer ", i); };
    RONDO_RETURN_IF_ERROR(CheckEqual(path, what("the number of heads"), saved.kv_heads, ours.kv_heads));
    RONDO_RETURN_IF_ERROR(CheckEqual(path, what("the head size"), saved.head_size, ours.head_size));
    RONDO_RETURN_IF_ERROR(CheckEqual(path, what("the head size of V"), saved.v_head_size, ours.v_head_size));
    RONDO_RETURN_IF_ERROR(CheckEqual(path, what("the window"), saved.window, ours.window));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status KvCache::Save(int segment, const std::string& path) const {
  RONDO_RETURN_IF_ERROR(CheckSegment(segment));
  Writer writer(path);
  Header header = {{}, kVersion, kByteOrder, static_cast<int32_t>(config_.dtype), num_layers(), length(segment)};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  RONDO_RETURN_IF_ERROR(writer.Write(&header, sizeof(header)));
  for (const KvLayer& layer : config_.layers) {
    const HeaderLayer saved = {layer.kv_heads, layer.head_size, layer.v_head_size, layer.window};
    RONDO_RETURN_IF_ERROR(writer.Write(&saved, sizeof(saved)));
  }
  RONDO_RETURN_IF_ERROR(writer.WriteHash());
  std::vector<char> row;
  for (int layer = 0; layer < num_layers(); ++layer) {
    const KvView view = ViewSegment(layer, segment);
    row.resize(static_cast<size_t>(RawKvRowBytes(view)));
    for (int64_t head = 0; head < view.kv_heads; ++head) {
      for (int64_t position = view.begin; position < view.end; ++position) {
        LoadRawKvRow(view, head, position, row.data());
        RONDO_RETURN_IF_ERROR(writer.Write(row.data(), row.size()));
      }
    }
  }
  RONDO_RETURN_IF_ERROR(writer.WriteHash());
  return writer.Finish();
}

absl::Status KvCache::Restore(int segment, const std::string& path) {
  RONDO_RETURN_IF_ERROR(CheckSegment(segment));
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status;
  if (!file.ok() || fstat(file.get(), &status) != 0) return FileError("open", path);
  if (!S_ISREG(status.st_mode)) return InvalidArgument(path, " is no regular file");
  Reader reader(path, file.get());
  Header header;
  RONDO_RETURN_IF_ERROR(ReadHeader(reader, path, config_, &header));
  if (header.length < 0 || header.length > KindOf(segment).capacity) {
    return OutOfRange(path, " has ", header.length, " positions, ", Name(segment), " holds ", KindOf(segment).capacity,
                      " (raise --max-length)");
  }
  // No overflow: these rows fit into the segment.
  int64_t rows_bytes = 0;
  for (const KvLayer& layer : config_.layers) {
    const int64_t seen = layer.window < 0 ? header.length : std::min(header.length, layer.window - 1);
    rows_bytes += seen * static_cast<int64_t>(RowBytes(layer));
  }
  const int64_t rows_at = static_cast<int64_t>(sizeof(Header) + config_.layers.size() * sizeof(HeaderLayer) + 8);
  if (const int64_t expected = rows_at + rows_bytes + 8; status.st_size != expected) {
    return InvalidArgument(path, " is ", status.st_size < expected ? "truncated" : "damaged", ": it has ",
                           int64_t{status.st_size}, " bytes, expected ", expected);
  }
  RONDO_RETURN_IF_ERROR(reader.Skip(static_cast<size_t>(rows_bytes)));
  RONDO_RETURN_IF_ERROR(reader.CheckHash("rows"));

  RONDO_RETURN_IF_ERROR(BeginChange(segment));
  Restart(segment, -1);
  const auto read_rows = [&]() -> absl::Status {
    reader.Seek(rows_at);
    std::vector<char> row;
    for (int layer = 0; layer < num_layers(); ++layer) {
      const KvView view = MakeView(layer, segment, header.length, header.length);
      row.resize(static_cast<size_t>(RawKvRowBytes(view)));
      for (int64_t head = 0; head < view.kv_heads; ++head) {
        for (int64_t position = view.begin; position < view.end; ++position) {
          RONDO_RETURN_IF_ERROR(reader.Read(row.data(), row.size()));
          StoreRawKvRow(view, head, position, row.data());
        }
      }
      segments_[segment].intact[layer] = view.begin;
    }
    return reader.CheckHash("rows");
  };
  // Fails only when the file changed or could not be read after it was verified; the segment is empty then.
  if (absl::Status read = read_rows(); !read.ok()) {
    Restart(segment, -1);
    return read;
  }
  segments_[segment].length = header.length;
  return absl::OkStatus();
}

}  // namespace rondo

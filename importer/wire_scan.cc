#include "importer/wire_scan.h"

#include <algorithm>

#include "graph/status.h"

namespace rondo {
namespace {

enum class Kind : uint8_t {
  kLeaf,  // not looked into: strings, bytes, packed numbers, messages without repeated parts
  kModel,
  kTraining,
  kFunction,
  kGraph,
  kNode,
  kAttribute,
  kTensor,
  kSparse,
  kValueInfo,
  kType,
  kTensorType,
  kShape,
  kSequenceType,
  kMapType,
};

struct Child {
  Kind parent;
  int field;
  Kind kind;
};

// The fields through which messages nest; numbers from onnx.proto.
constexpr Child kChildren[] = {
    {Kind::kModel, 7, Kind::kGraph},         {Kind::kModel, 20, Kind::kTraining},
    {Kind::kModel, 25, Kind::kFunction},     {Kind::kTraining, 1, Kind::kGraph},
    {Kind::kTraining, 2, Kind::kGraph},      {Kind::kFunction, 7, Kind::kNode},
    {Kind::kFunction, 11, Kind::kAttribute}, {Kind::kFunction, 12, Kind::kValueInfo},
    {Kind::kGraph, 1, Kind::kNode},          {Kind::kGraph, 5, Kind::kTensor},
    {Kind::kGraph, 11, Kind::kValueInfo},    {Kind::kGraph, 12, Kind::kValueInfo},
    {Kind::kGraph, 13, Kind::kValueInfo},    {Kind::kGraph, 15, Kind::kSparse},
    {Kind::kNode, 5, Kind::kAttribute},      {Kind::kAttribute, 5, Kind::kTensor},
    {Kind::kAttribute, 6, Kind::kGraph},     {Kind::kAttribute, 10, Kind::kTensor},
    {Kind::kAttribute, 11, Kind::kGraph},    {Kind::kAttribute, 14, Kind::kType},
    {Kind::kAttribute, 15, Kind::kType},     {Kind::kAttribute, 22, Kind::kSparse},
    {Kind::kAttribute, 23, Kind::kSparse},   {Kind::kSparse, 1, Kind::kTensor},
    {Kind::kSparse, 2, Kind::kTensor},       {Kind::kValueInfo, 2, Kind::kType},
    {Kind::kType, 1, Kind::kTensorType},     {Kind::kType, 4, Kind::kSequenceType},
    {Kind::kType, 5, Kind::kMapType},        {Kind::kType, 8, Kind::kTensorType},
    {Kind::kType, 9, Kind::kSequenceType},   {Kind::kTensorType, 2, Kind::kShape},
    {Kind::kSequenceType, 1, Kind::kType},   {Kind::kMapType, 2, Kind::kType},
};

Kind ChildKind(Kind parent, uint64_t field) {
  if (parent == Kind::kLeaf || parent == Kind::kShape) return Kind::kLeaf;
  for (const Child& child : kChildren) {
    if (child.parent == parent && static_cast<uint64_t>(child.field) == field) return child.kind;
  }
  return Kind::kLeaf;
}

constexpr int kMaxTypeDepth = 64;   // seq(optional(seq(...)))
constexpr int kMaxGroupDepth = 64;  // unknown groups, which ONNX never writes
// What one length-delimited field and one number cost in memory, rounded up.
constexpr uint64_t kRecordBytes = 160;
constexpr uint64_t kNumberBytes = 16;

class Scanner {
 public:
  Scanner(absl::string_view bytes, const WireLimits& limits) : bytes_(bytes), limits_(limits) {}

  absl::Status Scan(Kind kind, size_t begin, size_t end, int graph_depth, int type_depth) {
    size_t at = begin;
    int groups = 0;
    while (at < end) {
      const size_t field_start = at;
      uint64_t tag;
      if (!ReadVarint(&at, end, &tag) || tag > UINT32_MAX || (tag >> 3) == 0) return Broken(field_start);
      parsed_bytes_ += kNumberBytes;
      switch (tag & 7) {
        case 0: {
          uint64_t ignored;
          if (!ReadVarint(&at, end, &ignored)) return Broken(field_start);
          break;
        }
        case 1:
          if (end - at < 8) return Broken(field_start);
          at += 8;
          break;
        case 5:
          if (end - at < 4) return Broken(field_start);
          at += 4;
          break;
        case 3:
          if (++groups > kMaxGroupDepth) return ResourceExhausted("nesting: groups deeper than ", kMaxGroupDepth);
          break;
        case 4:
          if (--groups < 0) return Broken(field_start);
          break;
        case 2: {
          uint64_t length;
          if (!ReadVarint(&at, end, &length) || length > end - at) return Broken(field_start);
          parsed_bytes_ += kRecordBytes;
          const Kind child = groups > 0 ? Kind::kLeaf : ChildKind(kind, tag >> 3);
          if (child != Kind::kLeaf) {
            RONDO_RETURN_IF_ERROR(Enter(kind, child, at, at + length, graph_depth, type_depth));
          }
          at += length;
          break;
        }
        default:
          return Broken(field_start);
      }
      if (parsed_bytes_ > limits_.max_parsed_bytes) {
        return ResourceExhausted("parsing the file would take more than ", limits_.max_parsed_bytes,
                                 " bytes of memory (", nodes_, " nodes so far)");
      }
    }
    return groups == 0 ? absl::OkStatus() : Broken(end);
  }

  absl::Status CheckTotals() const {
    if (nodes_ <= limits_.max_nodes) return absl::OkStatus();
    return ResourceExhausted("nodes ", nodes_, " > max_nodes ", limits_.max_nodes);
  }

 private:
  absl::Status Enter(Kind parent, Kind child, size_t begin, size_t end, int graph_depth, int type_depth) {
    if (child == Kind::kNode) ++nodes_;
    if (child == Kind::kGraph) {
      if (parent == Kind::kModel && ++model_graphs_ > 1) {
        return InvalidArgument("duplicate graph: the file holds a second one at byte ", begin,
                               " (two concatenated models?)");
      }
      if (parent == Kind::kAttribute && ++graph_depth > limits_.max_subgraph_depth) {
        return ResourceExhausted("nesting: subgraphs deeper than ", limits_.max_subgraph_depth);
      }
    }
    if (child == Kind::kType && ++type_depth > kMaxTypeDepth) {
      return ResourceExhausted("nesting: types deeper than ", kMaxTypeDepth);
    }
    return Scan(child, begin, end, graph_depth, type_depth);
  }

  bool ReadVarint(size_t* at, size_t end, uint64_t* value) const {
    uint64_t result = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (*at >= end) return false;
      const auto byte = static_cast<uint8_t>(bytes_[(*at)++]);
      if (shift < 64) result |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) {
        *value = result;
        return true;
      }
    }
    return false;
  }

  absl::Status Broken(size_t at) const { return InvalidArgument("protobuf does not parse (at byte ", at, ")"); }

  const absl::string_view bytes_;
  const WireLimits& limits_;
  int64_t nodes_ = 0;
  int model_graphs_ = 0;
  uint64_t parsed_bytes_ = 0;
};

}  // namespace

int ParserDepth(const WireLimits& limits) {
  // Graph, node, attribute per level; then a type or a tensor, or an unknown group inside the deepest message.
  const int64_t subgraphs = std::min<int64_t>(limits.max_subgraph_depth, 1000);
  return static_cast<int>(3 * (subgraphs + 2)) + 3 * kMaxTypeDepth + kMaxGroupDepth;
}

absl::Status ScanModel(absl::string_view bytes, const WireLimits& limits) {
  Scanner scanner(bytes, limits);
  RONDO_RETURN_IF_ERROR(scanner.Scan(Kind::kModel, 0, bytes.size(), 0, 0));
  return scanner.CheckTotals();
}

}  // namespace rondo

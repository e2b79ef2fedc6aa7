#include "tools/npy.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "graph/status.h"
#include "tools/files.h"
#include "tools/text.h"
#include "tools/values.h"

namespace rondo {
namespace {

static_assert(std::endian::native == std::endian::little, "npy files are written from memory as they are");

constexpr absl::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kMaxHeaderBytes = 65536;
constexpr size_t kMaxRank = 64;

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<int64_t> shape;
};

// Parses the one Python literal that a header is: a dict of a string, a bool and a tuple of integers.
class HeaderParser {
 public:
  explicit HeaderParser(absl::string_view text) : rest_(text) {}

  absl::StatusOr<Header> Parse() {
    Header header;
    bool seen_descr = false, seen_order = false, seen_shape = false;
    RONDO_RETURN_IF_ERROR(Expect('{'));
    while (!Accept('}')) {
      RONDO_ASSIGN_OR_RETURN(const std::string key, String());
      RONDO_RETURN_IF_ERROR(Expect(':'));
      bool* seen = nullptr;
      if (key == "descr") {
        seen = &seen_descr;
        SkipSpace();
        if (absl::StartsWith(rest_, "["))
          return Unimplemented("npy file: records (structured dtypes) are not supported");
        RONDO_ASSIGN_OR_RETURN(header.descr, String());
      } else if (key == "fortran_order") {
        seen = &seen_order;
        RONDO_ASSIGN_OR_RETURN(header.fortran_order, Bool());
      } else if (key == "shape") {
        seen = &seen_shape;
        RONDO_ASSIGN_OR_RETURN(header.shape, Shape());
      } else {
        return Malformed(absl::StrCat("unknown key \"", Printable(key), "\""));
      }
      if (std::exchange(*seen, true)) return Malformed(absl::StrCat("key \"", key, "\" occurs twice"));
      if (Accept(',')) continue;
      RONDO_RETURN_IF_ERROR(Expect('}'));
      break;
    }
    SkipSpace();
    if (!rest_.empty()) return Malformed("text after the closing brace");
    if (!seen_descr || !seen_order || !seen_shape) return Malformed("expected the keys descr, fortran_order and shape");
    return header;
  }

 private:
  static absl::Status Malformed(absl::string_view what) {
    return InvalidArgument("npy file: malformed header: ", what);
  }

  void SkipSpace() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\n')) rest_.remove_prefix(1);
  }
  bool Accept(char c) {
    SkipSpace();
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  absl::Status Expect(char c) {
    if (Accept(c)) return absl::OkStatus();
    const std::string got = rest_.empty() ? "the end" : absl::StrCat("'", Printable(rest_.substr(0, 1)), "'");
    return Malformed(absl::StrCat("expected '", std::string(1, c), "', got ", got));
  }
  absl::StatusOr<std::string> String() {
    SkipSpace();
    if (rest_.empty() || (rest_[0] != '\'' && rest_[0] != '"')) return Malformed("expected a string");
    const size_t end = rest_.find(rest_[0], 1);
    if (end == absl::string_view::npos) return Malformed("a string does not end");
    std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }
  absl::StatusOr<bool> Bool() {
    SkipSpace();
    for (bool value : {false, true}) {
      const absl::string_view word = value ? "True" : "False";
      if (!absl::StartsWith(rest_, word)) continue;
      rest_.remove_prefix(word.size());
      return value;
    }
    return Malformed("expected True or False");
  }
  absl::StatusOr<std::vector<int64_t>> Shape() {
    std::vector<int64_t> shape;
    RONDO_RETURN_IF_ERROR(Expect('('));
    while (!Accept(')')) {
      SkipSpace();
      size_t digits = 0;
      while (digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9') ++digits;
      int64_t dim;
      if (digits == 0 || !absl::SimpleAtoi(rest_.substr(0, digits), &dim)) {
        return Malformed(
            absl::StrCat("expected a dim that is not negative, got \"", Printable(rest_.substr(0, 24)), "\""));
      }
      rest_.remove_prefix(digits);
      if (absl::StartsWith(rest_, "L")) rest_.remove_prefix(1);  // files written by Python 2
      shape.push_back(dim);
      if (shape.size() > kMaxRank) return Malformed(absl::StrCat("rank is above ", kMaxRank));
      if (Accept(',')) continue;
      RONDO_RETURN_IF_ERROR(Expect(')'));
      break;
    }
    return shape;
  }

  absl::string_view rest_;
};

struct Element {
  DataType type = DataType::kUndefined;
  size_t bytes = 0;      // of one element in the file
  size_t unit = 1;       // bytes that are swapped together
  bool swapped = false;  // big-endian
};

absl::StatusOr<Element> ParseDescr(const std::string& descr) {
  const auto bad = [&](absl::string_view why) {
    return Unimplemented("npy file: element type \"", Printable(descr), "\" ", why);
  };
  if (descr.size() > 1 && descr[1] == 'O') return bad("holds Python objects, which are not read");
  if (descr.size() < 3 || absl::string_view("<>|=").find(descr[0]) == absl::string_view::npos) {
    return bad("is not understood");
  }
  int64_t count;
  if (!absl::SimpleAtoi(descr.substr(2), &count) || count < 0 || count > (1 << 28)) return bad("is not understood");
  Element e;
  e.swapped = descr[0] == '>';
  if (descr[1] == 'S' || descr[1] == 'U') {
    e.type = DataType::kString;
    e.unit = descr[1] == 'U' ? 4 : 1;
    e.bytes = static_cast<size_t>(count) * e.unit;
    return e;
  }
  static constexpr struct {
    char kind;
    int bytes;
    DataType type;
  } kTypes[] = {
      {'f', 4, DataType::kFloat},     {'f', 8, DataType::kDouble},      {'f', 2, DataType::kFloat16},
      {'i', 1, DataType::kInt8},      {'i', 2, DataType::kInt16},       {'i', 4, DataType::kInt32},
      {'i', 8, DataType::kInt64},     {'u', 1, DataType::kUInt8},       {'u', 2, DataType::kUInt16},
      {'u', 4, DataType::kUInt32},    {'u', 8, DataType::kUInt64},      {'b', 1, DataType::kBool},
      {'c', 8, DataType::kComplex64}, {'c', 16, DataType::kComplex128},
  };
  for (const auto& t : kTypes) {
    if (t.kind != descr[1] || t.bytes != count) continue;
    e.type = t.type;
    e.bytes = static_cast<size_t>(t.bytes);
    e.unit = IsComplex(t.type) ? e.bytes / 2 : e.bytes;
    return e;
  }
  return bad("is not supported");
}

std::string DescrOf(DataType type) {
  switch (type) {
    case DataType::kFloat:
      return "<f4";
    case DataType::kDouble:
      return "<f8";
    case DataType::kFloat16:
      return "<f2";
    case DataType::kInt8:
      return "|i1";
    case DataType::kInt16:
      return "<i2";
    case DataType::kInt32:
      return "<i4";
    case DataType::kInt64:
      return "<i8";
    case DataType::kUInt8:
      return "|u1";
    case DataType::kUInt16:
      return "<u2";
    case DataType::kUInt32:
      return "<u4";
    case DataType::kUInt64:
      return "<u8";
    case DataType::kBool:
      return "|b1";
    case DataType::kComplex64:
      return "<c8";
    case DataType::kComplex128:
      return "<c16";
    default:
      return "";
  }
}

void AppendUtf8(uint32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->push_back(static_cast<char>(0xc0 | (c >> 6)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else if (c < 0x10000) {
    out->push_back(static_cast<char>(0xe0 | (c >> 12)));
    out->push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else {
    out->push_back(static_cast<char>(0xf0 | (c >> 18)));
    out->push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3f)));
    out->push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  }
}

// One element of a text array: trailing NULs are padding.
absl::StatusOr<std::string> TextElement(const char* data, const Element& e) {
  std::string text;
  if (e.unit == 1) {
    text.assign(data, e.bytes);
    text.erase(text.find_last_not_of('\0') + 1);
    return text;
  }
  size_t length = e.bytes / 4;
  std::vector<uint32_t> characters(length);
  std::memcpy(characters.data(), data, e.bytes);
  while (length > 0 && characters[length - 1] == 0) --length;
  for (size_t i = 0; i < length; ++i) {
    const uint32_t c = e.swapped ? __builtin_bswap32(characters[i]) : characters[i];
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
      return InvalidArgument("npy file: ", c, " is no Unicode character");
    AppendUtf8(c, &text);
  }
  return text;
}

absl::Status CopyElement(const char* from, const Element& e, int64_t to, Tensor* tensor) {
  if (e.type == DataType::kString) {
    RONDO_ASSIGN_OR_RETURN(tensor->mutable_data<std::string>()[to], TextElement(from, e));
    return absl::OkStatus();
  }
  char* out = tensor->mutable_data<char>() + to * static_cast<int64_t>(e.bytes);
  if (e.type == DataType::kBool) {
    *out = *from != 0;  // any other byte than 0 and 1 would be undefined behaviour in a bool
    return absl::OkStatus();
  }
  std::memcpy(out, from, e.bytes);
  if (e.swapped) {
    for (size_t u = 0; u < e.bytes; u += e.unit) std::reverse(out + u, out + u + e.unit);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> TextPayload(const Tensor& tensor, std::string* descr) {
  std::vector<std::vector<uint32_t>> texts(tensor.size());
  size_t longest = 1;
  for (int64_t i = 0; i < tensor.size(); ++i) {
    const std::string& s = tensor.data<std::string>()[i];
    for (size_t p = 0; p < s.size();) {
      const auto byte = [&](size_t k) { return static_cast<unsigned char>(p + k < s.size() ? s[p + k] : 0); };
      const unsigned char first = byte(0);
      const size_t length = first < 0x80   ? 1
                            : first < 0xc2 ? 0
                            : first < 0xe0 ? 2
                            : first < 0xf0 ? 3
                            : first < 0xf5 ? 4
                                           : 0;
      uint32_t c = length == 1 ? first : first & (0x7f >> length);
      bool good = length > 0;
      for (size_t k = 1; k < length; ++k) {
        good = good && (byte(k) & 0xc0) == 0x80;
        c = (c << 6) | (byte(k) & 0x3f);
      }
      texts[i].push_back(good ? c : 0xfffd);
      p += good ? length : 1;
    }
    longest = std::max(longest, texts[i].size());
  }
  if (longest * 4 > (size_t{1} << 40) / std::max<size_t>(texts.size(), 1)) {
    return ResourceExhausted("npy file: strings of ", longest, " characters do not fit");
  }
  *descr = absl::StrCat("<U", longest);
  std::string payload(longest * 4 * texts.size(), '\0');
  for (size_t i = 0; i < texts.size(); ++i) {
    if (!texts[i].empty()) std::memcpy(payload.data() + i * longest * 4, texts[i].data(), texts[i].size() * 4);
  }
  return payload;
}

}  // namespace

absl::StatusOr<Tensor> ParseNpy(absl::string_view bytes) {
  if (!absl::StartsWith(bytes, kMagic)) return InvalidArgument("not an npy file (expected \\x93NUMPY at the start)");
  if (bytes.size() < 10) return InvalidArgument("npy file: ends in its header");
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(bytes[i])); };
  const size_t major = byte(6);
  if (major < 1 || major > 3) return Unimplemented("npy file: format version ", major, " (expected 1, 2 or 3)");
  const size_t start = major == 1 ? 10 : 12;
  if (bytes.size() < start) return InvalidArgument("npy file: ends in its header");
  size_t length = byte(8) | byte(9) << 8;
  if (major > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > kMaxHeaderBytes)
    return InvalidArgument("npy file: header of ", length, " bytes (limit ", kMaxHeaderBytes, ")");
  if (bytes.size() - start < length) return InvalidArgument("npy file: ends in its header");
  RONDO_ASSIGN_OR_RETURN(const Header header, HeaderParser(bytes.substr(start, length)).Parse());
  RONDO_ASSIGN_OR_RETURN(const Element element, ParseDescr(header.descr));

  const absl::string_view data = bytes.substr(start + length);
  const absl::StatusOr<int64_t> count = CheckedElementCount(header.shape);
  if (!count.ok()) return Annotate(count.status(), "npy file: ");
  int64_t needed;
  if (__builtin_mul_overflow(*count, static_cast<int64_t>(element.bytes), &needed) ||
      static_cast<uint64_t>(needed) != data.size()) {
    return InvalidArgument("npy file: ", data.size(), " bytes of data, but ", Printable(header.descr),
                           DimsToString(header.shape), " needs ", *count, " elements of ", element.bytes, " bytes");
  }
  RONDO_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(element.type, header.shape));
  if (!header.fortran_order) {
    for (int64_t i = 0; i < *count; ++i) {
      RONDO_RETURN_IF_ERROR(CopyElement(data.data() + i * static_cast<int64_t>(element.bytes), element, i, &tensor));
    }
    return tensor;
  }
  // Fortran order: the first index runs fastest in the file; walk the file and carry the index along.
  const int rank = tensor.rank();
  Dims index(rank, 0), strides(rank, 1);
  for (int d = rank - 2; d >= 0; --d) strides[d] = strides[d + 1] * tensor.dim(d + 1);
  int64_t to = 0;
  for (int64_t i = 0; i < *count; ++i) {
    RONDO_RETURN_IF_ERROR(CopyElement(data.data() + i * static_cast<int64_t>(element.bytes), element, to, &tensor));
    for (int d = 0; d < rank; ++d) {
      to += strides[d];
      if (++index[d] < tensor.dim(d)) break;
      to -= index[d] * strides[d];
      index[d] = 0;
    }
  }
  return tensor;
}

absl::StatusOr<Tensor> ReadNpy(const std::string& path) {
  RONDO_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  absl::StatusOr<Tensor> tensor = ParseNpy(bytes);
  if (!tensor.ok()) return Annotate(tensor.status(), absl::StrCat(path, ": "));
  return tensor;
}

DataType NpyStorageType(DataType type) {
  switch (type) {
    case DataType::kBFloat16:
    case DataType::kFloat8E4M3FN:
    case DataType::kFloat8E4M3FNUZ:
    case DataType::kFloat8E5M2:
    case DataType::kFloat8E5M2FNUZ:
    case DataType::kFloat8E8M0:
    case DataType::kFloat4E2M1:
      return DataType::kFloat;
    case DataType::kInt2:
    case DataType::kInt4:
      return DataType::kInt8;
    case DataType::kUInt2:
    case DataType::kUInt4:
      return DataType::kUInt8;
    default:
      return type;
  }
}

absl::StatusOr<std::string> FormatNpy(const Tensor& original) {
  RONDO_ASSIGN_OR_RETURN(const Tensor tensor, ConvertElements(original, NpyStorageType(original.dtype())));
  std::string descr = DescrOf(tensor.dtype());
  std::string text;
  absl::string_view payload(tensor.data<char>(), tensor.dtype() == DataType::kString ? 0 : tensor.bytes());
  if (tensor.dtype() == DataType::kString) {
    RONDO_ASSIGN_OR_RETURN(text, TextPayload(tensor, &descr));
    payload = text;
  }
  if (descr.empty()) return Unimplemented("cannot write ", DataTypeName(tensor.dtype()), " to an npy file");
  std::string shape;
  for (int64_t d : tensor.dims()) absl::StrAppend(&shape, d, tensor.rank() == 1 ? "," : ", ");
  std::string header = absl::StrCat("{'descr': '", descr, "', 'fortran_order': False, 'shape': (", shape, "), }");
  // The data begins at a multiple of 64 bytes; the header's last byte is a newline.
  const size_t total = (10 + header.size() + 1 + 63) / 64 * 64;
  header.append(total - 10 - header.size() - 1, ' ');
  header.push_back('\n');
  std::string bytes(kMagic);
  bytes.push_back('\1');
  bytes.push_back('\0');
  bytes.push_back(static_cast<char>(header.size() & 0xff));
  bytes.push_back(static_cast<char>(header.size() >> 8));
  absl::StrAppend(&bytes, header, payload);
  return bytes;
}

absl::Status WriteNpy(const std::string& path, const Tensor& tensor) {
  RONDO_ASSIGN_OR_RETURN(const std::string bytes, FormatNpy(tensor));
  return WriteFile(path, bytes);
}

}  // namespace rondo

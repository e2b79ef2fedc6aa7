// nlohmann's SAX parser feeds a builder that counts: depth against stack overflow in whoever walks the tree, and no
// number is lost silently (integers beyond 64 bits become doubles, as in Python's json of a float).
#include "text/json.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "text/status.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

constexpr size_t kMaxDepth = 100;
constexpr size_t kMaxMessageBytes = 300;

class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Json root;
  std::string error;

  bool null() override { return Add(Json()); }
  bool boolean(bool value) override { return Add(Json(value)); }
  bool number_integer(number_integer_t value) override { return Add(Json(static_cast<int64_t>(value))); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<uint64_t>(INT64_MAX)) return Add(Json(static_cast<double>(value)));
    return Add(Json(static_cast<int64_t>(value)));
  }
  bool number_float(number_float_t value, const string_t&) override { return Add(Json(static_cast<double>(value))); }
  bool string(string_t& value) override { return Add(Json(std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return Open(Json(Json::Object())); }
  bool key(string_t& value) override {
    stack_.back()->object()->emplace_back(std::move(value), Json());
    return true;
  }
  bool end_object() override { return Close(); }
  bool start_array(std::size_t) override { return Open(Json(Json::Array())); }
  bool end_array() override { return Close(); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& failure) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    absl::string_view text = failure.what();
    const size_t bracket = text.find("] ");
    if (bracket != absl::string_view::npos) text.remove_prefix(bracket + 2);
    // It ends with the token that was read last, which may be the whole file.
    error = ToValidUtf8(text.substr(0, kMaxMessageBytes));
    if (text.size() > kMaxMessageBytes) error += "...";
    return false;
  }

 private:
  Json* Place(Json value) {
    if (stack_.empty()) {
      root = std::move(value);
      return &root;
    }
    if (Json::Object* object = stack_.back()->object()) {
      object->back().second = std::move(value);
      return &object->back().second;
    }
    Json::Array& array = *stack_.back()->array();
    array.push_back(std::move(value));
    return &array.back();
  }
  bool Add(Json value) {
    Place(std::move(value));
    return true;
  }
  bool Open(Json container) {
    if (stack_.size() == kMaxDepth) {
      error = absl::StrCat("nested too deeply (expected at most ", kMaxDepth, " levels)");
      return false;
    }
    // The open containers' addresses hold: only the innermost one grows.
    stack_.push_back(Place(std::move(container)));
    return true;
  }
  bool Close() {
    stack_.pop_back();
    return true;
  }

  std::vector<Json*> stack_;
};

}  // namespace

absl::string_view Json::TypeName() const {
  static constexpr absl::string_view kNames[] = {"null",     "true or false", "an integer", "a number",
                                                 "a string", "an array",      "an object"};
  return kNames[value_.index()];
}

const Json* Json::Find(absl::string_view key) const {
  const Object* members = object();
  if (members == nullptr) return nullptr;
  for (auto member = members->rbegin(); member != members->rend(); ++member) {
    if (member->first == key) return &member->second;
  }
  return nullptr;
}

absl::StatusOr<Json> ParseJson(absl::string_view text, absl::string_view source) {
  Builder builder;
  bool ok;
  try {
    ok = nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  } catch (const std::exception& failure) {
    ok = false;
    builder.error = failure.what();
  }
  if (!ok) return InvalidArgument(source, ": no valid JSON: ", builder.error);
  return std::move(builder.root);
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path, int64_t max_bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const std::string message = absl::StrCat(path, ": cannot open: ", std::strerror(errno));
    return errno == EACCES ? absl::PermissionDeniedError(message) : absl::NotFoundError(message);
  }
  struct stat info;
  absl::Status status;
  std::string text;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    status = InvalidArgument(path, ": expected a regular file");
  } else if (info.st_size > max_bytes) {
    status = ResourceExhausted(path, ": ", info.st_size, " bytes (expected at most ", max_bytes, ")");
  } else {
    text.resize(info.st_size);
    size_t done = 0;
    while (done < text.size()) {
      const ssize_t got = read(fd, &text[done], text.size() - done);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      done += got;
    }
    if (done < text.size()) status = absl::UnavailableError(absl::StrCat(path, ": cannot read the whole file"));
  }
  close(fd);
  if (!status.ok()) return status;
  return text;
}

absl::StatusOr<Json> ReadJsonFile(const std::string& path, int64_t max_bytes) {
  RONDO_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, max_bytes));
  return ParseJson(text, path);
}

absl::Status JsonView::Expected(absl::string_view what) const {
  return InvalidArgument(path_, ": expected ", what, ", got ", json_->TypeName());
}

JsonView JsonView::operator[](absl::string_view key) const {
  static const Json* const kNull = new Json();
  const Json* member = json_->Find(key);
  return JsonView(member != nullptr ? *member : *kNull, absl::StrCat(path_, ".", key));
}

absl::StatusOr<std::vector<JsonView>> JsonView::Elements() const {
  std::vector<JsonView> elements;
  if (is_null()) return elements;
  const Json::Array* array = json_->array();
  if (array == nullptr) return Expected("an array");
  for (size_t i = 0; i < array->size(); ++i) elements.emplace_back((*array)[i], absl::StrCat(path_, "[", i, "]"));
  return elements;
}

absl::Status JsonView::Read(absl::string_view key, bool* value) const {
  const JsonView member = (*this)[key];
  if (member.is_null()) return absl::OkStatus();
  if (member.json().boolean() == nullptr) return member.Expected("true or false");
  *value = *member.json().boolean();
  return absl::OkStatus();
}

absl::Status JsonView::Read(absl::string_view key, int64_t* value) const {
  const JsonView member = (*this)[key];
  if (member.is_null()) return absl::OkStatus();
  if (member.json().integer() == nullptr) return member.Expected("an integer");
  *value = *member.json().integer();
  return absl::OkStatus();
}

absl::Status JsonView::Read(absl::string_view key, std::string* value) const {
  absl::optional<std::string> read;
  RONDO_RETURN_IF_ERROR(Read(key, &read));
  if (read) *value = std::move(*read);
  return absl::OkStatus();
}

absl::Status JsonView::Read(absl::string_view key, absl::optional<std::string>* value) const {
  const JsonView member = (*this)[key];
  if (member.is_null()) return absl::OkStatus();
  if (member.json().string() == nullptr) return member.Expected("a string");
  *value = *member.json().string();
  return absl::OkStatus();
}

absl::StatusOr<std::string> JsonView::String(absl::string_view key) const {
  absl::optional<std::string> value;
  RONDO_RETURN_IF_ERROR(Read(key, &value));
  if (!value) return (*this)[key].Expected("a string");
  return *std::move(value);
}

}  // namespace rondo::text

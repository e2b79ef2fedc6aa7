// JSON as tokenizer files and chat messages need it: objects keep the order of their members (a chat template prints
// them in it), nesting and size are bounded, and an error names the value ("tokenizer.json: model.vocab: ...").
// The parser is nlohmann's; this header keeps it out of everything else.
#ifndef RONDO_TEXT_JSON_H_
#define RONDO_TEXT_JSON_H_

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace rondo::text {

class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;

  Json() = default;  // null
  explicit Json(bool value) : value_(value) {}
  explicit Json(int64_t value) : value_(value) {}
  explicit Json(double value) : value_(value) {}
  explicit Json(std::string value) : value_(std::move(value)) {}
  explicit Json(const char* value) : value_(std::string(value)) {}
  explicit Json(Array value) : value_(std::move(value)) {}
  explicit Json(Object value) : value_(std::move(value)) {}

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  // nullptr where the value is of another type.
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&value_); }
  const double* real() const { return std::get_if<double>(&value_); }
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const Array* array() const { return std::get_if<Array>(&value_); }
  Array* array() { return std::get_if<Array>(&value_); }
  const Object* object() const { return std::get_if<Object>(&value_); }
  Object* object() { return std::get_if<Object>(&value_); }

  // "an object", "a string" ..., for error messages.
  absl::string_view TypeName() const;
  // The member of an object; the last one where a key stands twice. nullptr when there is none, or no object.
  const Json* Find(absl::string_view key) const;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

// `source` stands before the message of an error.
absl::StatusOr<Json> ParseJson(absl::string_view text, absl::string_view source);

// The whole of a regular file; ResourceExhausted when it has more bytes than `max_bytes`. A tree takes some twenty
// times the bytes of its text where that is all small numbers.
constexpr int64_t kMaxFileBytes = int64_t{1} << 30;
absl::StatusOr<std::string> ReadTextFile(const std::string& path, int64_t max_bytes = kMaxFileBytes);
absl::StatusOr<Json> ReadJsonFile(const std::string& path, int64_t max_bytes = kMaxFileBytes);

// A value and the way to it from the top of its file. The Json must outlive it.
class JsonView {
 public:
  JsonView(const Json& json, std::string path) : json_(&json), path_(std::move(path)) {}

  const Json& json() const { return *json_; }
  const std::string& path() const { return path_; }
  // "path: expected ..., got ...".
  absl::Status Expected(absl::string_view what) const;

  // The member, a null where it is absent.
  JsonView operator[](absl::string_view key) const;
  bool is_null() const { return json_->is_null(); }
  // The members of an array, null counting as none.
  absl::StatusOr<std::vector<JsonView>> Elements() const;

  // Absent and null leave the default; another type is an error.
  absl::Status Read(absl::string_view key, bool* value) const;
  absl::Status Read(absl::string_view key, int64_t* value) const;
  absl::Status Read(absl::string_view key, std::string* value) const;
  absl::Status Read(absl::string_view key, absl::optional<std::string>* value) const;
  // Absent is an error as well.
  absl::StatusOr<std::string> String(absl::string_view key) const;

 private:
  const Json* json_;
  std::string path_;
};

}  // namespace rondo::text

#endif  // RONDO_TEXT_JSON_H_

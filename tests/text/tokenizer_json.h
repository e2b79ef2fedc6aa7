// Small tokenizers for tests: the parts of a tokenizer.json that a test cares about, the rest null.
#ifndef RONDO_TESTS_TEXT_TOKENIZER_JSON_H_
#define RONDO_TESTS_TEXT_TOKENIZER_JSON_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "text/tokenizer.h"

namespace rondo::text {

struct TokenizerJson {
  std::string model = R"({"type": "WordLevel", "vocab": {"a": 0, "<unk>": 1}, "unk_token": "<unk>"})";
  std::string normalizer = "null", pre_tokenizer = "null", post_processor = "null", decoder = "null",
              added_tokens = "[]";

  std::string Text() const {
    return absl::StrCat(R"({"version": "1.0", "model": )", model, R"(, "normalizer": )", normalizer,
                        R"(, "pre_tokenizer": )", pre_tokenizer, R"(, "post_processor": )", post_processor,
                        R"(, "decoder": )", decoder, R"(, "added_tokens": )", added_tokens, "}");
  }
  std::shared_ptr<const Tokenizer> Load() const {
    auto tokenizer = Tokenizer::Parse(Text());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return tokenizer.ok() ? *tokenizer : nullptr;
  }
  // The message of the error that loading must give.
  std::string Error() const {
    const auto tokenizer = Tokenizer::Parse(Text());
    EXPECT_FALSE(tokenizer.ok()) << "loaded: " << Text().substr(0, 200);
    return std::string(tokenizer.status().message());
  }
};

inline std::vector<std::string> TokensOf(const Tokenizer& tokenizer, absl::string_view text, bool special = false) {
  const auto encoding = tokenizer.Encode(text, special);
  EXPECT_TRUE(encoding.ok()) << encoding.status();
  return encoding.ok() ? encoding->tokens : std::vector<std::string>();
}
inline std::vector<int64_t> IdsOf(const Tokenizer& tokenizer, absl::string_view text, bool special = false) {
  const auto encoding = tokenizer.Encode(text, special);
  EXPECT_TRUE(encoding.ok()) << encoding.status();
  return encoding.ok() ? encoding->ids : std::vector<int64_t>();
}

}  // namespace rondo::text

#endif  // RONDO_TESTS_TEXT_TOKENIZER_JSON_H_

// Byte pair encoding: a word starts as its characters; of all neighbours that have a merge rule the pair of the lowest
// rank (the leftmost of equal ones) becomes one token, until none has. Neighbours are a linked list and candidates a
// heap, so a word of n characters takes n log n steps, also when a file has no pre-tokenizer and the word is the whole
// text.
#include <algorithm>
#include <queue>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/types/optional.h"
#include "text/status.h"
#include "text/token_model.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

struct Merge {
  uint32_t rank;
  uint32_t id;  // of the merged token
};
using MergeTable = absl::flat_hash_map<uint64_t, Merge>;
uint64_t PairKey(int64_t left, int64_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint64_t>(right);
}

struct BpeOptions {
  absl::optional<std::string> unk_token;
  std::string continuing_subword_prefix, end_of_word_suffix;
  bool fuse_unk = false, byte_fallback = false, ignore_merges = false;
};

class Bpe : public TokenModel {
 public:
  Bpe(Vocabulary vocabulary, MergeTable merges, BpeOptions options)
      : TokenModel(std::move(vocabulary)), merges_(std::move(merges)), options_(std::move(options)) {}

  absl::Status Tokenize(absl::string_view word, std::vector<Token>* tokens) const override {
    if (options_.ignore_merges) {
      if (const auto id = vocabulary().IdOf(word)) {
        tokens->push_back({*id, std::string(word)});
        return absl::OkStatus();
      }
    }
    std::vector<int64_t> ids;
    RONDO_RETURN_IF_ERROR(Characters(word, &ids));
    MergeAll(&ids);
    for (const int64_t id : ids) tokens->push_back({id, *vocabulary().TokenOf(id)});
    return absl::OkStatus();
  }

 private:
  absl::Status Characters(absl::string_view word, std::vector<int64_t>* ids) const {
    // An unknown character waits, so that the next one can join it (fuse_unk). Byte tokens do not flush it, in Hugging
    // Face's code and so here: the order of the ids counts.
    absl::optional<int64_t> unknown;
    std::string decorated;
    std::vector<Token> bytes;
    for (size_t i = 0; i < word.size();) {
      const size_t begin = i;
      i += CharLength(word[i]);
      absl::string_view piece = word.substr(begin, i - begin);
      const bool prefix = begin > 0 && !options_.continuing_subword_prefix.empty();
      const bool suffix = i == word.size() && !options_.end_of_word_suffix.empty();
      if (prefix || suffix) {
        decorated = absl::StrCat(prefix ? options_.continuing_subword_prefix : "", piece,
                                 suffix ? options_.end_of_word_suffix : "");
        piece = decorated;
      }
      if (const auto id = vocabulary().IdOf(piece)) {
        if (unknown) ids->push_back(*unknown);
        unknown.reset();
        ids->push_back(*id);
        continue;
      }
      bytes.clear();
      if (options_.byte_fallback && AppendByteTokens(piece, &bytes)) {
        for (const Token& token : bytes) ids->push_back(token.id);
        continue;
      }
      if (!options_.unk_token) continue;  // the character vanishes, as in Hugging Face's BPE
      RONDO_ASSIGN_OR_RETURN(const int64_t unk, RequiredId(*options_.unk_token, "unknown token"));
      if (unknown && !options_.fuse_unk) ids->push_back(*unknown);
      unknown = unk;
    }
    if (unknown) ids->push_back(*unknown);
    return absl::OkStatus();
  }

  void MergeAll(std::vector<int64_t>* ids) const {
    constexpr size_t kNone = SIZE_MAX;
    struct Symbol {
      int64_t id;  // -1: merged into the one before
      size_t previous, next;
    };
    struct Candidate {
      uint32_t rank, id;
      size_t left;
      bool operator<(const Candidate& other) const {  // the heap's top is the largest
        return rank != other.rank ? rank > other.rank : left > other.left;
      }
    };
    const size_t count = ids->size();
    if (count < 2) return;
    std::vector<Symbol> symbols(count);
    for (size_t i = 0; i < count; ++i) {
      symbols[i] = {(*ids)[i], i == 0 ? kNone : i - 1, i + 1 == count ? kNone : i + 1};
    }
    std::vector<Candidate> initial;
    const auto candidate = [&](size_t left) -> absl::optional<Candidate> {
      const auto merge = merges_.find(PairKey(symbols[left].id, symbols[symbols[left].next].id));
      if (merge == merges_.end()) return absl::nullopt;
      return Candidate{merge->second.rank, merge->second.id, left};
    };
    for (size_t i = 0; i + 1 < count; ++i) {
      if (const auto found = candidate(i)) initial.push_back(*found);
    }
    std::priority_queue<Candidate> heap(std::less<Candidate>(), std::move(initial));
    while (!heap.empty()) {
      const Candidate top = heap.top();
      heap.pop();
      Symbol& left = symbols[top.left];
      if (left.id < 0 || left.next == kNone) continue;
      const auto now = candidate(top.left);
      if (!now || now->id != top.id) continue;  // one of the two has merged since
      Symbol& right = symbols[left.next];
      left.id = top.id;
      left.next = right.next;
      right.id = -1;
      if (left.next != kNone) symbols[left.next].previous = top.left;
      if (left.previous != kNone) {
        if (const auto found = candidate(left.previous)) heap.push(*found);
      }
      if (left.next != kNone) {
        if (const auto found = candidate(top.left)) heap.push(*found);
      }
    }
    ids->clear();
    for (const Symbol& symbol : symbols) {
      if (symbol.id >= 0) ids->push_back(symbol.id);
    }
  }

  MergeTable merges_;
  BpeOptions options_;
};

// A merge is ["a", "b"], or "a b" in files before 2024.
absl::Status SplitMerge(const Json& merge, absl::string_view* left, absl::string_view* right) {
  if (const Json::Array* pair = merge.array()) {
    if (pair->size() == 2 && (*pair)[0].string() != nullptr && (*pair)[1].string() != nullptr) {
      *left = *(*pair)[0].string();
      *right = *(*pair)[1].string();
      return absl::OkStatus();
    }
  } else if (const std::string* text = merge.string()) {
    const size_t space = text->find(' ');
    if (space != std::string::npos && text->find(' ', space + 1) == std::string::npos) {
      *left = absl::string_view(*text).substr(0, space);
      *right = absl::string_view(*text).substr(space + 1);
      return absl::OkStatus();
    }
  }
  return InvalidArgument("expected a pair of tokens: [\"a\", \"b\"] or \"a b\"");
}

absl::StatusOr<MergeTable> MergesFromJson(const JsonView& json, const Vocabulary& vocabulary, size_t prefix_size) {
  MergeTable table;
  if (json.is_null()) return table;
  const Json::Array* merges = json.json().array();
  if (merges == nullptr) return json.Expected("an array");
  table.reserve(merges->size());
  uint32_t rank = 0;
  for (size_t i = 0; i < merges->size(); ++i) {
    const Json& merge = (*merges)[i];
    if (merge.string() != nullptr && absl::StartsWith(*merge.string(), "#version")) continue;
    absl::string_view left, right;
    if (const absl::Status status = SplitMerge(merge, &left, &right); !status.ok()) {
      return Annotate(status, absl::StrCat(json.path(), "[", i, "]: "));
    }
    const std::string merged = absl::StrCat(left, right.substr(std::min(prefix_size, right.size())));
    const auto left_id = vocabulary.IdOf(left), right_id = vocabulary.IdOf(right), merged_id = vocabulary.IdOf(merged);
    if (!left_id || !right_id || !merged_id) {
      return InvalidArgument(json.path(), "[", i, "]: token '",
                             !left_id    ? left
                             : !right_id ? right
                                         : merged,
                             "' of the merge '", left, "' + '", right, "' is not in the vocabulary");
    }
    table[PairKey(*left_id, *right_id)] = {rank++, static_cast<uint32_t>(*merged_id)};
  }
  return table;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TokenModel>> BpeFromJson(const JsonView& json) {
  BpeOptions options;
  RONDO_RETURN_IF_ERROR(json.Read("unk_token", &options.unk_token));
  RONDO_RETURN_IF_ERROR(json.Read("continuing_subword_prefix", &options.continuing_subword_prefix));
  RONDO_RETURN_IF_ERROR(json.Read("end_of_word_suffix", &options.end_of_word_suffix));
  RONDO_RETURN_IF_ERROR(json.Read("fuse_unk", &options.fuse_unk));
  RONDO_RETURN_IF_ERROR(json.Read("byte_fallback", &options.byte_fallback));
  RONDO_RETURN_IF_ERROR(json.Read("ignore_merges", &options.ignore_merges));
  RONDO_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::FromJson(json["vocab"]));
  RONDO_ASSIGN_OR_RETURN(MergeTable merges,
                         MergesFromJson(json["merges"], vocabulary, options.continuing_subword_prefix.size()));
  return std::make_unique<Bpe>(std::move(vocabulary), std::move(merges), std::move(options));
}

}  // namespace rondo::text

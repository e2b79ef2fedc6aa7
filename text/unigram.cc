// Unigram (SentencePiece): every piece has a log probability; a word becomes the sequence of pieces whose sum is
// largest, found from left to right over the lattice of all pieces (Viterbi). A character that no piece covers costs
// ten more than the rarest piece, and unknown neighbours become one token.
#include <algorithm>
#include <limits>

#include "text/status.h"
#include "text/token_model.h"
#include "text/trie.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

constexpr double kUnknownPenalty = 10.0;
// A lattice has an edge per piece at each position: longer pieces than anyone has would make a text quadratic.
constexpr size_t kMaxPieceBytes = 4096;

class Unigram : public TokenModel {
 public:
  Unigram(Vocabulary vocabulary, std::vector<double> scores, Trie pieces, absl::optional<int64_t> unk_id,
          bool byte_fallback)
      : TokenModel(std::move(vocabulary)),
        scores_(std::move(scores)),
        pieces_(std::move(pieces)),
        unk_id_(unk_id),
        byte_fallback_(byte_fallback) {
    unknown_score_ = (scores_.empty() ? 0.0 : *std::min_element(scores_.begin(), scores_.end())) - kUnknownPenalty;
  }

  absl::Status Tokenize(absl::string_view word, std::vector<Token>* tokens) const override {
    RONDO_ASSIGN_OR_RETURN(const std::vector<absl::string_view> best, BestPath(word));
    for (const absl::string_view piece : best) {
      if (const auto id = vocabulary().IdOf(piece)) {
        tokens->push_back({*id, std::string(piece)});
      } else if (!byte_fallback_ || !AppendByteTokens(piece, tokens)) {
        tokens->push_back({*unk_id_, std::string(piece)});
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<std::vector<absl::string_view>> BestPath(absl::string_view word) const {
    struct Node {
      int64_t id = 0;
      double score = 0;
      size_t begin = SIZE_MAX;  // of the best piece that ends here; SIZE_MAX: none
    };
    std::vector<Node> best(word.size() + 1);
    const auto offer = [&](size_t begin, size_t end, int64_t id, double score) {
      score += best[begin].score;
      if (best[end].begin == SIZE_MAX || score > best[end].score) best[end] = {id, score, begin};
    };
    for (size_t begin = 0; begin < word.size();) {
      const size_t char_length = CharLength(word[begin]);
      bool covered = false;  // one piece is exactly this character
      pieces_.Prefixes(word.substr(begin), [&](size_t length, int64_t id) {
        offer(begin, begin + length, id, scores_[id]);
        covered |= length == char_length;
      });
      if (!covered) {
        if (!unk_id_) {
          return InvalidArgument("tokenizer: '", word.substr(begin, char_length),
                                 "' is in no piece and the model has no unk_id");
        }
        offer(begin, begin + char_length, *unk_id_, unknown_score_);
      }
      begin += char_length;
    }
    std::vector<absl::string_view> path;
    bool after_unknown = false;
    for (size_t end = word.size(); end > 0;) {
      const Node& node = best[end];
      const bool unknown = unk_id_ && node.id == *unk_id_;
      if (unknown && after_unknown) {
        path.back() = word.substr(node.begin, path.back().size() + end - node.begin);
      } else {
        path.push_back(word.substr(node.begin, end - node.begin));
      }
      after_unknown = unknown;
      end = node.begin;
    }
    std::reverse(path.begin(), path.end());
    return path;
  }

  std::vector<double> scores_;  // by id
  Trie pieces_;
  absl::optional<int64_t> unk_id_;
  bool byte_fallback_;
  double unknown_score_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TokenModel>> UnigramFromJson(const JsonView& json) {
  const JsonView vocab = json["vocab"];
  const Json::Array* pieces = vocab.json().array();
  if (pieces == nullptr) return vocab.Expected("an array of [piece, score]");
  Vocabulary::Entries entries;
  std::vector<double> scores;
  for (size_t i = 0; i < pieces->size(); ++i) {
    const Json::Array* pair = (*pieces)[i].array();
    const bool valid = pair != nullptr && pair->size() == 2 && (*pair)[0].string() != nullptr &&
                       ((*pair)[1].real() != nullptr || (*pair)[1].integer() != nullptr);
    if (!valid) return InvalidArgument(vocab.path(), "[", i, "]: expected [piece, score]");
    const std::string& piece = *(*pair)[0].string();
    if (piece.size() > kMaxPieceBytes) {
      return ResourceExhausted(vocab.path(), "[", i, "]: a piece of ", piece.size(), " bytes (expected at most ",
                               kMaxPieceBytes, ")");
    }
    entries.emplace_back(piece, static_cast<int64_t>(i));
    scores.push_back((*pair)[1].real() != nullptr ? *(*pair)[1].real() : static_cast<double>(*(*pair)[1].integer()));
  }
  absl::optional<int64_t> unk_id;
  if (!json["unk_id"].is_null()) {
    int64_t id = 0;
    RONDO_RETURN_IF_ERROR(json.Read("unk_id", &id));
    if (id < 0 || id >= static_cast<int64_t>(entries.size())) {
      return OutOfRange(json.path(), ".unk_id: ", id, " (expected an index into ", entries.size(), " pieces)");
    }
    unk_id = id;
  }
  bool byte_fallback = false;
  RONDO_RETURN_IF_ERROR(json.Read("byte_fallback", &byte_fallback));
  Trie trie(entries);
  RONDO_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Create(std::move(entries), vocab.path()));
  return std::make_unique<Unigram>(std::move(vocabulary), std::move(scores), std::move(trie), unk_id, byte_fallback);
}

}  // namespace rondo::text

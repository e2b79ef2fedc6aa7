// Operators on strings: StringNormalizer, StringConcat, StringSplit, RegexFullMatch, TfIdfVectorizer.
//
// Strings are UTF-8. Patterns come from models, so they run on RE2, whose time is linear in the text; case changes and
// white space follow Unicode, by ICU.
#include <re2/re2.h>
#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "ops/families.h"
#include "ops/runtime_values.h"

namespace rondo {
namespace {

absl::Status ExpectStrings(InferContext& ctx, int i) { return ctx.ExpectDtype(i, {DataType::kString}); }

// ---------------------------------------------------------------------------------------------------------------------
// StringNormalizer(X [C] or [1, C]): drops the stop words, then changes the case of what is left; a result without any
// string is one empty string. Attributes case_change_action (NONE | LOWER | UPPER), is_case_sensitive (0: stop words
// are compared in lower case), stopwords, locale ("en_US").

enum class CaseChange { kNone, kLower, kUpper };

struct NormalizerSpec {
  CaseChange change = CaseChange::kNone;
  bool case_sensitive = false;
  icu::Locale locale;
  absl::flat_hash_set<std::string> stop_words;
};

std::string ChangeCase(const std::string& text, CaseChange change, const icu::Locale& locale) {
  if (change == CaseChange::kNone) return text;
  icu::UnicodeString unicode = icu::UnicodeString::fromUTF8(text);
  if (change == CaseChange::kLower) {
    unicode.toLower(locale);
  } else {
    unicode.toUpper(locale);
  }
  std::string result;
  unicode.toUTF8String(result);
  return result;
}

absl::StatusOr<NormalizerSpec> ReadNormalizer(const AttributeReader& attributes) {
  NormalizerSpec spec;
  RONDO_ASSIGN_OR_RETURN(std::string action, attributes.String("case_change_action", "NONE"));
  if (action == "LOWER") {
    spec.change = CaseChange::kLower;
  } else if (action == "UPPER") {
    spec.change = CaseChange::kUpper;
  } else if (action != "NONE") {
    return InvalidArgument("attribute \"case_change_action\": expected NONE, LOWER or UPPER, got \"", action, "\"");
  }
  RONDO_ASSIGN_OR_RETURN(spec.case_sensitive, attributes.Flag("is_case_sensitive", false));
  RONDO_ASSIGN_OR_RETURN(std::string locale, attributes.String("locale", "en_US"));
  spec.locale = icu::Locale(locale.c_str());
  if (spec.locale.isBogus()) return InvalidArgument("attribute \"locale\": unknown locale \"", locale, "\"");
  RONDO_ASSIGN_OR_RETURN(std::vector<std::string> words, attributes.Strings("stopwords", {}));
  for (const std::string& word : words) {
    spec.stop_words.insert(spec.case_sensitive ? word : ChangeCase(word, CaseChange::kLower, spec.locale));
  }
  return spec;
}

absl::Status InferStringNormalizer(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ExpectStrings(ctx, 0));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 1, 2));
  RONDO_ASSIGN_OR_RETURN(NormalizerSpec spec, ReadNormalizer(ctx.attributes));
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, DataType::kString);
    return absl::OkStatus();
  }
  Shape out = ctx.shape(0);
  const Dim count = out[out.rank() - 1];
  if (out.rank() == 2 && out[0].known() && out[0].value() != 1) {
    return InvalidArgument("input 0: expected [C] or [1, C], got ", out.ToString());
  }
  const bool keeps_all = spec.stop_words.empty() && count.known() && count.value() > 0;
  if (!keeps_all) out[out.rank() - 1] = Dim::Unknown();
  ctx.SetOutput(0, DataType::kString, std::move(out));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareStringNormalizer(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(NormalizerSpec spec, ReadNormalizer(ctx.attributes));
  const bool has_memory = ctx.output_type(0).has_known_shape();
  return MakeKernel([spec = std::move(spec), has_memory](RunContext& ctx) -> absl::Status {
    const Tensor& input = ctx.input(0);
    std::vector<std::string> kept;
    for (int64_t i = 0; i < input.size(); ++i) {
      const std::string& text = input.data<std::string>()[i];
      if (!spec.stop_words.empty()) {
        const std::string key = spec.case_sensitive ? text : ChangeCase(text, CaseChange::kLower, spec.locale);
        if (spec.stop_words.contains(key)) continue;
      }
      kept.push_back(ChangeCase(text, spec.change, spec.locale));
    }
    if (kept.empty()) kept.emplace_back();
    if (!has_memory) {
      Dims dims = input.dims();
      dims.back() = static_cast<int64_t>(kept.size());
      RONDO_RETURN_IF_ERROR(ctx.AllocateOutput(0, dims));
    }
    std::move(kept.begin(), kept.end(), ctx.out<std::string>(0));
    return absl::OkStatus();
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// StringConcat(X, Y): x + y, with broadcasting.

absl::Status InferStringConcat(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ExpectStrings(ctx, 0));
  RONDO_RETURN_IF_ERROR(ExpectStrings(ctx, 1));
  if (!ctx.has_shape(0) || !ctx.has_shape(1)) {
    ctx.SetOutputOfUnknownRank(0, DataType::kString);
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(Shape out, BroadcastShapes(ctx.shape(0), ctx.shape(1)));
  ctx.SetOutput(0, DataType::kString, std::move(out));
  return absl::OkStatus();
}

// For each output element the index of the element of a tensor with `dims` that broadcasts to it.
std::vector<int64_t> BroadcastIndices(absl::Span<const int64_t> dims, absl::Span<const int64_t> out) {
  std::vector<int64_t> indices(CountBetween(out, 0, static_cast<int>(out.size())), 0);
  int64_t stride = 1;
  int64_t out_stride = 1;
  for (size_t back = 1; back <= out.size(); ++back) {
    const int64_t extent = out[out.size() - back];
    if (back <= dims.size() && dims[dims.size() - back] > 1) {
      for (size_t i = 0; i < indices.size(); ++i) {
        indices[i] += static_cast<int64_t>(i) / out_stride % extent * stride;
      }
      stride *= extent;
    }
    out_stride *= extent;
  }
  return indices;
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareStringConcat(PrepareContext& ctx) {
  const Dims out = ctx.output_dims(0);
  return MakeKernel([a = BroadcastIndices(ctx.input_dims(0), out),
                     b = BroadcastIndices(ctx.input_dims(1), out)](RunContext& ctx) -> absl::Status {
    const std::string* x = ctx.in<std::string>(0);
    const std::string* y = ctx.in<std::string>(1);
    std::string* z = ctx.out<std::string>(0);
    for (size_t i = 0; i < a.size(); ++i) z[i] = absl::StrCat(x[a[i]], y[b[i]]);
    return absl::OkStatus();
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// StringSplit(X [...]) -> substrings [..., K], counts [...] (int64); K is the largest count, shorter rows end in "".
// Attributes delimiter (absent or empty: runs of white space, none kept at the ends), maxsplit (absent: no limit).

bool IsSpace(UChar32 c) { return u_isUWhiteSpace(c) || (c >= 0x1c && c <= 0x1f); }

// The end of the run of characters from `begin` that are (not) white space.
size_t SkipWhile(absl::string_view text, size_t begin, bool space) {
  const int32_t length = static_cast<int32_t>(text.size());
  int32_t i = static_cast<int32_t>(begin);
  while (i < length) {
    int32_t next = i;
    UChar32 c;
    U8_NEXT(text.data(), next, length, c);
    if ((c >= 0 && IsSpace(c)) != space) break;
    i = next;
  }
  return static_cast<size_t>(i);
}

std::vector<std::string> SplitAtSpace(absl::string_view text, int64_t max_splits) {
  std::vector<std::string> pieces;
  size_t begin = SkipWhile(text, 0, true);
  while (begin < text.size()) {
    if (static_cast<int64_t>(pieces.size()) == max_splits) {
      pieces.emplace_back(text.substr(begin));
      break;
    }
    const size_t end = SkipWhile(text, begin, false);
    pieces.emplace_back(text.substr(begin, end - begin));
    begin = SkipWhile(text, end, true);
  }
  return pieces;
}

std::vector<std::string> SplitAt(absl::string_view text, absl::string_view delimiter, int64_t max_splits) {
  std::vector<std::string> pieces;
  size_t begin = 0;
  while (static_cast<int64_t>(pieces.size()) < max_splits) {
    const size_t end = text.find(delimiter, begin);
    if (end == absl::string_view::npos) break;
    pieces.emplace_back(text.substr(begin, end - begin));
    begin = end + delimiter.size();
  }
  pieces.emplace_back(text.substr(begin));
  return pieces;
}

absl::Status InferStringSplit(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ExpectStrings(ctx, 0));
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, DataType::kString);
    ctx.SetOutputOfUnknownRank(1, DataType::kInt64);
    return absl::OkStatus();
  }
  Shape pieces = ctx.shape(0);
  pieces.push_back(Dim::Unknown());
  ctx.SetOutput(0, DataType::kString, std::move(pieces));
  ctx.SetOutput(1, DataType::kInt64, ctx.shape(0));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareStringSplit(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(std::string delimiter, ctx.attributes.String("delimiter", ""));
  RONDO_ASSIGN_OR_RETURN(int64_t max_splits, ctx.attributes.Int("maxsplit", std::numeric_limits<int64_t>::max()));
  if (max_splits < 0) max_splits = std::numeric_limits<int64_t>::max();
  return MakeKernel([delimiter = std::move(delimiter), max_splits](RunContext& ctx) -> absl::Status {
    const Tensor& input = ctx.input(0);
    std::vector<std::vector<std::string>> rows;
    size_t width = 0;
    for (int64_t i = 0; i < input.size(); ++i) {
      const std::string& text = input.data<std::string>()[i];
      if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
        return Unimplemented("a string of ", text.size(), " bytes");
      }
      rows.push_back(delimiter.empty() ? SplitAtSpace(text, max_splits) : SplitAt(text, delimiter, max_splits));
      width = std::max(width, rows.back().size());
    }
    if (ctx.has_output(0)) {
      RONDO_RETURN_IF_ERROR(ctx.AllocateOutput(0, WithAxis(input.dims(), input.rank(), static_cast<int64_t>(width))));
      std::string* out = ctx.out<std::string>(0);
      for (std::vector<std::string>& row : rows) {
        for (size_t i = 0; i < width; ++i) *out++ = i < row.size() ? std::move(row[i]) : std::string();
      }
    }
    if (ctx.has_output(1)) {
      for (size_t i = 0; i < rows.size(); ++i) ctx.out<int64_t>(1)[i] = static_cast<int64_t>(rows[i].size());
    }
    return absl::OkStatus();
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// RegexFullMatch(X [...]) -> [...] bool: does the whole string match attribute `pattern` (RE2 syntax)?

absl::StatusOr<std::shared_ptr<const re2::RE2>> ReadPattern(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(std::string pattern, attributes.String("pattern"));
  re2::RE2::Options options;
  options.set_log_errors(false);
  auto compiled = std::make_shared<const re2::RE2>(pattern, options);
  if (!compiled->ok()) {
    return InvalidArgument("attribute \"pattern\": expected an RE2 regular expression, got \"",
                           absl::string_view(pattern).substr(0, 200), "\": ", compiled->error());
  }
  return compiled;
}

absl::Status InferRegexFullMatch(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ExpectStrings(ctx, 0));
  RONDO_RETURN_IF_ERROR(ctx.attributes.String("pattern").status());
  ctx.SetOutputType(0, ValueType::Tensor(DataType::kBool, ctx.input_type(0).shape));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareRegexFullMatch(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(std::shared_ptr<const re2::RE2> pattern, ReadPattern(ctx.attributes));
  return MakeKernel([pattern = std::move(pattern)](RunContext& ctx) -> absl::Status {
    const Tensor& input = ctx.input(0);
    uint8_t* out = ctx.out<uint8_t>(0);
    for (int64_t i = 0; i < input.size(); ++i) out[i] = re2::RE2::FullMatch(input.data<std::string>()[i], *pattern);
    return absl::OkStatus();
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// TfIdfVectorizer(X [C] or [N, C]) -> [columns] or [N, columns] float32: counts the pool's n-grams in each row.
// Attributes: pool_strings | pool_int64s, all n-grams one after another, shortest first; ngram_counts[n - 1], where the
// n-grams begin in the pool; ngram_indexes, the output column of each; weights of each (default 1); min_gram_length,
// max_gram_length, max_skip_count (an n-gram's items may lie up to that many further apart, evenly); mode TF (count),
// IDF (weight where it occurs) or TFIDF (count times weight).

struct Grams {
  enum class Mode { kTf, kIdf, kTfIdf };
  Mode mode = Mode::kTf;
  int64_t min_length = 1;
  int64_t max_length = 1;
  int64_t max_skip = 0;
  int64_t columns = 0;
  // n-gram of item ids -> its number; items that occur in no n-gram have id -1.
  std::map<std::vector<int64_t>, int64_t> numbers;
  std::map<std::string, int64_t> string_ids;
  std::map<int64_t, int64_t> int_ids;
  std::vector<int64_t> column;
  std::vector<float> weight;
};

// Item ids of the pool, in order; fills the tables by which a row's items are looked up.
absl::StatusOr<std::vector<int64_t>> ReadPool(const AttributeReader& attributes, Grams* grams) {
  std::vector<int64_t> pool;
  if (attributes.Has("pool_strings") == attributes.Has("pool_int64s")) {
    return InvalidArgument("expected either attribute pool_strings or pool_int64s");
  }
  if (attributes.Has("pool_strings")) {
    RONDO_ASSIGN_OR_RETURN(std::vector<std::string> items, attributes.Strings("pool_strings"));
    for (const std::string& item : items) {
      pool.push_back(grams->string_ids.emplace(item, grams->string_ids.size()).first->second);
    }
  } else {
    RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> items, attributes.Ints("pool_int64s"));
    for (int64_t item : items) pool.push_back(grams->int_ids.emplace(item, grams->int_ids.size()).first->second);
  }
  return pool;
}

absl::StatusOr<Grams> ReadGrams(const AttributeReader& attributes) {
  Grams grams;
  RONDO_ASSIGN_OR_RETURN(std::string mode, attributes.String("mode"));
  if (mode == "TF") {
    grams.mode = Grams::Mode::kTf;
  } else if (mode == "IDF") {
    grams.mode = Grams::Mode::kIdf;
  } else if (mode == "TFIDF") {
    grams.mode = Grams::Mode::kTfIdf;
  } else {
    return InvalidArgument("attribute \"mode\": expected TF, IDF or TFIDF, got \"", mode, "\"");
  }
  RONDO_ASSIGN_OR_RETURN(grams.min_length, attributes.Int("min_gram_length"));
  RONDO_ASSIGN_OR_RETURN(grams.max_length, attributes.Int("max_gram_length"));
  RONDO_ASSIGN_OR_RETURN(grams.max_skip, attributes.Int("max_skip_count"));
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> starts, attributes.Ints("ngram_counts"));
  RONDO_ASSIGN_OR_RETURN(grams.column, attributes.Ints("ngram_indexes"));
  RONDO_ASSIGN_OR_RETURN(grams.weight, attributes.Floats("weights", std::vector<float>(grams.column.size(), 1.0f)));
  if (grams.min_length < 1 || grams.max_length < grams.min_length || grams.max_skip < 0) {
    return InvalidArgument("expected 1 <= min_gram_length <= max_gram_length and max_skip_count >= 0, got ",
                           grams.min_length, ", ", grams.max_length, ", ", grams.max_skip);
  }
  if (grams.max_length > static_cast<int64_t>(starts.size())) {
    return InvalidArgument("attribute \"ngram_counts\": expected at least ", grams.max_length, " values, got ",
                           starts.size());
  }
  if (grams.weight.size() != grams.column.size()) {
    return InvalidArgument("attribute \"weights\": expected ", grams.column.size(), " values, got ",
                           grams.weight.size());
  }
  constexpr int64_t kMaxColumns = int64_t{1} << 30;
  for (int64_t column : grams.column) {
    if (column < 0 || column >= kMaxColumns) {
      return InvalidArgument("attribute \"ngram_indexes\": expected 0 to ", kMaxColumns - 1, ", got ", column);
    }
    grams.columns = std::max(grams.columns, column + 1);
  }
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> pool, ReadPool(attributes, &grams));
  starts.push_back(static_cast<int64_t>(pool.size()));
  int64_t number = 0;
  for (size_t n = 1; n < starts.size(); ++n) {
    const int64_t begin = starts[n - 1];
    const int64_t end = starts[n];
    if (begin < 0 || end < begin || end > static_cast<int64_t>(pool.size()) ||
        (end - begin) % static_cast<int64_t>(n) != 0) {
      return InvalidArgument("attribute \"ngram_counts\": ", n, "-grams from ", begin, " to ", end,
                             " do not fit a pool of ", pool.size());
    }
    for (int64_t i = begin; i < end; i += static_cast<int64_t>(n)) {
      grams.numbers.emplace(std::vector<int64_t>(pool.begin() + i, pool.begin() + i + n), number++);
    }
  }
  if (number != static_cast<int64_t>(grams.column.size())) {
    return InvalidArgument("attribute \"ngram_indexes\": expected ", number, " values, got ", grams.column.size());
  }
  return grams;
}

absl::Status InferTfIdfVectorizer(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, {DataType::kString, DataType::kInt32, DataType::kInt64}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 1, 2));
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, DataType::kFloat);
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(Grams grams, ReadGrams(ctx.attributes));
  Shape out = ctx.shape(0);
  out[out.rank() - 1] = grams.columns;
  ctx.SetOutput(0, DataType::kFloat, std::move(out));
  return absl::OkStatus();
}

template <typename Map, typename Key>
int64_t IdOf(const Map& ids, const Key& key) {
  auto it = ids.find(key);
  return it == ids.end() ? -1 : it->second;
}

// Adds one row's counts of each n-gram to `counts`.
void CountGrams(const Grams& grams, absl::Span<const int64_t> row, std::vector<int64_t>* counts) {
  const int64_t length = static_cast<int64_t>(row.size());
  std::vector<int64_t> gram;
  for (int64_t n = grams.min_length; n <= grams.max_length; ++n) {
    // Single items know no distance.
    const int64_t max_skip = n == 1 ? 0 : std::min(grams.max_skip, length);
    for (int64_t skip = 0; skip <= max_skip; ++skip) {
      if ((n - 1) > length / (skip + 1)) break;
      const int64_t reach = (n - 1) * (skip + 1);
      for (int64_t start = 0; start + reach < length; ++start) {
        gram.clear();
        for (int64_t k = 0; k < n; ++k) gram.push_back(row[start + k * (skip + 1)]);
        const int64_t number = IdOf(grams.numbers, gram);
        if (number >= 0) ++(*counts)[number];
      }
    }
  }
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareTfIdfVectorizer(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(Grams grams, ReadGrams(ctx.attributes));
  if (grams.string_ids.empty() == (ctx.input_dtype(0) == DataType::kString) && !grams.numbers.empty()) {
    return InvalidArgument("a pool of ", grams.string_ids.empty() ? "integers" : "strings", " and an input of ",
                           DataTypeName(ctx.input_dtype(0)));
  }
  return MakeKernel([grams = std::move(grams)](RunContext& ctx) -> absl::Status {
    const Tensor& input = ctx.input(0);
    const int64_t length = input.dim(input.rank() - 1);
    const int64_t rows = input.rank() == 2 ? input.dim(0) : 1;
    std::vector<int64_t> ids(length);
    std::vector<int64_t> counts(grams.column.size());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < length; ++i) {
        const int64_t at = r * length + i;
        switch (input.dtype()) {
          case DataType::kString:
            ids[i] = IdOf(grams.string_ids, input.data<std::string>()[at]);
            break;
          case DataType::kInt32:
            ids[i] = IdOf(grams.int_ids, int64_t{input.data<int32_t>()[at]});
            break;
          default:
            ids[i] = IdOf(grams.int_ids, input.data<int64_t>()[at]);
            break;
        }
      }
      std::fill(counts.begin(), counts.end(), 0);
      CountGrams(grams, ids, &counts);
      float* out = ctx.out<float>(0) + r * grams.columns;
      std::fill_n(out, grams.columns, 0.0f);
      for (size_t g = 0; g < counts.size(); ++g) {
        if (counts[g] == 0) continue;
        const float count = static_cast<float>(counts[g]);
        float& cell = out[grams.column[g]];
        switch (grams.mode) {
          case Grams::Mode::kTf:
            cell += count;
            break;
          case Grams::Mode::kIdf:
            cell = grams.weight[g];
            break;
          case Grams::Mode::kTfIdf:
            cell += count * grams.weight[g];
            break;
        }
      }
    }
    return absl::OkStatus();
  });
}

const OpDef kRows[] = {
    {.type = "StringNormalizer", .since = 10, .infer = InferStringNormalizer, .prepare = PrepareStringNormalizer},
    {.type = "StringConcat", .since = 20, .inputs = {2, 2}, .infer = InferStringConcat, .prepare = PrepareStringConcat},
    {.type = "StringSplit", .since = 20, .outputs = {1, 2}, .infer = InferStringSplit, .prepare = PrepareStringSplit},
    {.type = "RegexFullMatch", .since = 20, .infer = InferRegexFullMatch, .prepare = PrepareRegexFullMatch},
    {.type = "TfIdfVectorizer", .since = 9, .infer = InferTfIdfVectorizer, .prepare = PrepareTfIdfVectorizer},
};

}  // namespace

absl::Span<const OpDef> TextFamily() { return kRows; }

}  // namespace rondo

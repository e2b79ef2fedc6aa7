#include "graph/dim.h"

#include <limits>
#include <random>
#include <string>

#include "graph/value_type.h"
#include "gtest/gtest.h"

namespace rondo {
namespace {

Dim P(absl::string_view text) { return Dim::Parse(text); }

int64_t Eval(const Dim& d, const absl::flat_hash_map<std::string, int64_t>& symbols) {
  int64_t result = -12345;
  EXPECT_TRUE(d.Evaluate(symbols, &result)) << d.ToString();
  return result;
}

TEST(DimTest, NumbersStayNumbers) {
  EXPECT_EQ((Dim(3) + Dim(4) * Dim(2) - Dim(1)).value(), 10);
  EXPECT_EQ(Dim::FloorDiv(-7, 2).value(), -4);
  EXPECT_EQ(Dim::CeilDiv(7, 2).value(), 4);
  EXPECT_EQ(Dim::CeilDiv(-7, 2).value(), -3);
  EXPECT_EQ(Dim::FloorDiv(7, -2).value(), -4);
}

TEST(DimTest, OverflowAndDivisionByZeroAreUnknown) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max(), kMin = std::numeric_limits<int64_t>::min();
  EXPECT_TRUE((Dim(kMax) + Dim(1)).unknown());
  EXPECT_TRUE((Dim(kMax) * Dim(2)).unknown());
  EXPECT_TRUE((Dim(kMin) - Dim(1)).unknown());
  EXPECT_TRUE(Dim::FloorDiv(5, 0).unknown());
  EXPECT_TRUE(Dim::FloorDiv(kMin, -1).unknown());
  EXPECT_TRUE((Dim(kMax) * P("a") * Dim(2)).unknown());
}

TEST(DimTest, UnknownEqualsNothing) {
  EXPECT_FALSE(Dim::Unknown() == Dim::Unknown());
  EXPECT_TRUE((Dim::Unknown() + Dim(1)).unknown());
  EXPECT_TRUE(Dim::Parse("").unknown());
  EXPECT_TRUE(Dim::Parse("?").unknown());
  EXPECT_TRUE(Dim::Parse("-1").unknown());
}

TEST(DimTest, EqualSumsCompareEqual) {
  EXPECT_EQ(P("past_sequence_length + sequence_length"), P("sequence_length+past_sequence_length"));
  EXPECT_EQ(P("2*(a + b) - a"), P("a + 2*b"));
  EXPECT_EQ(P("a - a"), Dim(0));
  EXPECT_EQ(P("(a + b)*(a - b)"), P("a**2 - b*b"));
  EXPECT_NE(P("a"), P("b"));
}

TEST(DimTest, ExactDivisionOfPolynomials) {
  EXPECT_EQ(Dim::FloorDiv(P("b*s*64"), P("b*s")), Dim(64));
  EXPECT_EQ(Dim::FloorDiv(P("b*(p + s)*12"), P("p + s")), P("12*b"));
  EXPECT_EQ(Dim::FloorDiv(P("(a + b)*(c - d + 1)"), P("c - d + 1")), P("a + b"));
  EXPECT_EQ(Dim::FloorDiv(P("6*a + 4"), Dim(2)), P("3*a + 2"));
}

TEST(DimTest, FloorDivisionHasOneForm) {
  EXPECT_EQ(P("((h - 1)//2) + 1"), P("(h + 1)//2"));
  EXPECT_EQ(P("floor(h/2 - 1/2) + 1"), P("floor((h + 1)/2)"));
  EXPECT_EQ(P("ceiling(h/2)"), P("(h + 1)//2"));
  EXPECT_EQ(P("(4*h + 2)//8"), P("(2*h + 1)//4"));
  EXPECT_EQ(P("(2*h + 1)//2"), P("h"));
  EXPECT_NE(P("h//2"), P("h//3"));
  EXPECT_EQ(P("(h + 1)//2").ToString(), "floor((h + 1)/2)");
}

TEST(DimTest, OpaqueSymbolsAreEvaluatedFromTheirText) {
  EXPECT_EQ(Eval(P("((h - 1)//2) + 1"), {{"h", 224}}), 112);
  EXPECT_EQ(Eval(P("(((h - 1)//2 + 1) - 1)//2 + 3*w"), {{"h", 11}, {"w", 2}}), 8);
  EXPECT_EQ(Eval(P("Max(0, a - b)"), {{"a", 3}, {"b", 5}}), 0);
  EXPECT_EQ(Eval(P("Min(a, b, 7)"), {{"a", 9}, {"b", 8}}), 7);
  EXPECT_EQ(Eval(P("a % 4"), {{"a", 11}}), 3);
  EXPECT_EQ(Eval(P("mod(a, b)"), {{"a", 11}, {"b", 4}}), 3);
  EXPECT_EQ(Eval(Dim::FloorDiv(Dim::Symbol("x y"), 2), {{"x y", 9}}), 4);
  int64_t result;
  EXPECT_FALSE(P("a//b").Evaluate({{"a", 3}, {"b", 0}}, &result));
  EXPECT_FALSE(P("a//2").Evaluate({}, &result));
}

TEST(DimTest, TextThatIsNoExpressionIsOneSymbol) {
  for (const char* text : {"batch-size?", "x y", "a +", "f(x)", "batch-size", "2d", "unk__12", "((((", "a..b-"}) {
    EXPECT_TRUE(P(text).IsSymbol()) << text;
    EXPECT_EQ(P(text).ToString(), text);
  }
  std::string deep(900, '(');
  EXPECT_TRUE(P(deep).IsSymbol());
  EXPECT_EQ(P("h-1"), P("h") - Dim(1));
}

TEST(DimTest, SymbolsLooksIntoOpaqueOnes) {
  EXPECT_EQ(P("(h + w)//2 + b").Symbols(), (std::vector<std::string>{"b", "h", "w"}));
  EXPECT_EQ(P("batch-size?").Symbols(), (std::vector<std::string>{"batch-size?"}));
  EXPECT_TRUE(Dim(3).Symbols().empty());
}

TEST(DimTest, MaxAndMinUseThatExtentsAreNotNegative) {
  EXPECT_EQ(Dim::Max(P("a"), 0), P("a"));
  EXPECT_EQ(Dim::Min(P("a + 1"), P("a")), P("a"));
  EXPECT_EQ(Dim::Min(P("a + b"), P("a")), P("a"));
  EXPECT_EQ(Dim::Max(P("a"), P("b")), Dim::Max(P("b"), P("a")));
  EXPECT_FALSE(Dim::Max(P("a - 1"), 0) == P("a - 1"));
}

TEST(DimTest, ToStringReads) {
  EXPECT_EQ(P("1 + past").ToString(), "past + 1");
  EXPECT_EQ(P("b - 2*a").ToString(), "b - 2*a");
  EXPECT_EQ(P("3*h*w").ToString(), "3*h*w");
  EXPECT_EQ(Dim::Unknown().ToString(), "?");
  EXPECT_EQ((Dim::Symbol("x y") + Dim(1)).ToString(), "`x y` + 1");
  EXPECT_EQ(Dim::Parse("`x y` + 1"), Dim::Symbol("x y") + Dim(1));
}

TEST(DimTest, GrowthIsBounded) {
  Dim d = P("a");
  for (int i = 0; i < 100; ++i) d = Dim::FloorDiv(d * P("b") + P("c"), P("a + 2"));
  EXPECT_TRUE(d.unknown());
}

// Whatever form an expression takes, its value is that of the same arithmetic on numbers.
TEST(DimTest, EvaluatesLikeTheNumbers) {
  std::mt19937 rng(11);
  auto pick = [&rng](int n) { return static_cast<int>(rng() % n); };
  for (int round = 0; round < 3000; ++round) {
    const absl::flat_hash_map<std::string, int64_t> values = {{"a", pick(9)}, {"b", pick(9)}, {"c d", pick(9)}};
    std::vector<std::pair<Dim, Dim>> terms = {{Dim::Symbol("a"), values.at("a")},
                                              {Dim::Symbol("b"), values.at("b")},
                                              {Dim::Symbol("c d"), values.at("c d")},
                                              {pick(7) - 2, 0}};
    terms[3].second = terms[3].first;
    for (int step = 0; step < 5; ++step) {
      const auto [x, nx] = terms[pick(terms.size())];
      const auto [y, ny] = terms[pick(terms.size())];
      Dim symbolic, number;
      switch (pick(7)) {
        case 0:
          symbolic = x + y, number = nx + ny;
          break;
        case 1:
          symbolic = x - y, number = nx - ny;
          break;
        case 2:
          symbolic = x * y, number = nx * ny;
          break;
        case 3:
          symbolic = Dim::FloorDiv(x, y), number = Dim::FloorDiv(nx, ny);
          break;
        case 4:
          symbolic = Dim::CeilDiv(x, y), number = Dim::CeilDiv(nx, ny);
          break;
        case 5:
          symbolic = Dim::Max(x, y), number = Dim::Max(nx, ny);
          break;
        case 6:
          symbolic = Dim::Min(x, y), number = Dim::Min(nx, ny);
          break;
      }
      if (symbolic.unknown() || number.unknown()) break;
      int64_t value;
      // A quotient that cancels, as in (a*b)/a, has a value where the division itself has none, but not the reverse.
      ASSERT_TRUE(symbolic.Evaluate(values, &value)) << symbolic.ToString();
      ASSERT_EQ(value, number.value()) << symbolic.ToString();
      if (!symbolic.known() && !symbolic.IsSymbol()) {
        ASSERT_EQ(Dim::Parse(symbolic.ToString()), symbolic) << symbolic.ToString();
      }
      terms.emplace_back(symbolic, number);
    }
  }
}

TEST(DimTest, ParsesAnyText) {
  std::mt19937 rng(5);
  const std::string alphabet = "ab1 9+-*/%().,`_floormax";
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (int n = rng() % 24; n > 0; --n) text += alphabet[rng() % alphabet.size()];
    const Dim d = Dim::Parse(text);
    int64_t value;
    d.Evaluate({{"a", 3}, {"b", 0}}, &value);
    (void)d.Symbols();
  }
}

TEST(ShapeTest, CountsAndPrints) {
  Shape shape = {P("batch"), 3, P("past + 1")};
  EXPECT_EQ(shape.ToString(), "[batch, 3, past + 1]");
  EXPECT_EQ(shape.ElementCount(), P("3*batch*past + 3*batch"));
  EXPECT_FALSE(shape.known());
  EXPECT_EQ((Shape{2, 3}).ToDims(), (Dims{2, 3}));
  EXPECT_EQ((Shape{Dim::Unknown(), 0}).ElementCount(), Dim(0));
  EXPECT_EQ(Shape{}.ElementCount(), Dim(1));
}

TEST(ValueTypeTest, Prints) {
  EXPECT_EQ(ValueType::Tensor(DataType::kFloat, Shape{P("batch"), 3}).ToString(), "float32[batch, 3]");
  EXPECT_EQ(ValueType::Sequence(ValueType::Tensor(DataType::kInt64, Shape{Dim::Unknown()})).ToString(),
            "seq(int64[?])");
  EXPECT_EQ(ValueType::Tensor(DataType::kInt64, std::nullopt).ToString(), "int64[...]");
}

TEST(DimTest, BroadcastKeepsAnIdentity) {
  const Dim n = Dim::Symbol("n"), m = Dim::Symbol("m");
  EXPECT_EQ(Dim::Broadcast(n, Dim(1)), n);
  EXPECT_EQ(Dim::Broadcast(n, m), Dim::Broadcast(m, n));
  EXPECT_EQ(Dim::Broadcast(Dim::Broadcast(n, m), m), Dim::Broadcast(n, m));
  EXPECT_EQ(Dim::Broadcast(n, Dim::Min(n, Dim(512))), n);
  EXPECT_TRUE(Dim::Broadcast(Dim(2), Dim(3)).unknown());
  int64_t value = 0;
  EXPECT_TRUE(Dim::Broadcast(n, m).Evaluate({{"n", 1}, {"m", 7}}, &value));
  EXPECT_EQ(value, 7);
  EXPECT_FALSE(Dim::Broadcast(n, m).Evaluate({{"n", 2}, {"m", 7}}, &value));
}

}  // namespace
}  // namespace rondo

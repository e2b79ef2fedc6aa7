#include "executor/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace rondo {
namespace {

using Logits = std::vector<float>;

int64_t Choose(Sampler& sampler, Logits logits) { return sampler.Choose(absl::MakeSpan(logits)); }

// How often each token is drawn.
std::vector<double> Frequencies(const SamplingOptions& options, const Logits& logits, int draws = 20000) {
  std::vector<double> counts(logits.size());
  Sampler sampler(options, static_cast<int64_t>(logits.size()));
  for (int i = 0; i < draws; ++i) counts[Choose(sampler, logits)] += 1.0 / draws;
  return counts;
}

TEST(SamplerTest, GreedyTakesTheFirstOfTheLargestAndNeverNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Sampler sampler({}, 4);
  EXPECT_EQ(Choose(sampler, {1, 3, 3, 2}), 1);
  EXPECT_EQ(Choose(sampler, {nan, -5, nan, -7}), 1);
}

TEST(SamplerTest, DrawsFollowTheSoftmaxOfTheLogitsOverTheTemperature) {
  SamplingOptions options;
  options.temperature = 2;
  const std::vector<double> f = Frequencies(options, {2, 0, -2});
  const double total = std::exp(1.0) + 1 + std::exp(-1.0);
  EXPECT_NEAR(f[0], std::exp(1.0) / total, 0.02);
  EXPECT_NEAR(f[1], 1 / total, 0.02);
  EXPECT_NEAR(f[2], std::exp(-1.0) / total, 0.02);
}

TEST(SamplerTest, TopKTopPAndMinPKeepTheLikelyTokens) {
  const Logits logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  SamplingOptions top_k;
  top_k.temperature = 1;
  top_k.top_k = 2;
  const std::vector<double> k = Frequencies(top_k, logits);
  EXPECT_NEAR(k[0], 0.625, 0.02);
  EXPECT_EQ(k[2] + k[3], 0);
  SamplingOptions top_p;
  top_p.temperature = 1;
  top_p.top_p = 0.7;  // 0.5 is not enough, 0.8 is
  const std::vector<double> p = Frequencies(top_p, logits);
  EXPECT_NEAR(p[1], 0.375, 0.02);
  EXPECT_EQ(p[2] + p[3], 0);
  SamplingOptions min_p;
  min_p.temperature = 1;
  min_p.min_p = 0.25;  // at least 0.125
  const std::vector<double> m = Frequencies(min_p, logits);
  EXPECT_GT(m[2], 0);
  EXPECT_EQ(m[3], 0);
}

TEST(SamplerTest, ARepetitionPenaltyDividesPositiveAndMultipliesNegativeLogits) {
  SamplingOptions options;
  options.repetition_penalty = 2;
  Sampler sampler(options, 3);
  sampler.See(0, false);
  sampler.See(1, false);
  Logits logits = {3, -1, 1};
  sampler.Adjust(absl::MakeSpan(logits));
  EXPECT_EQ(logits, (Logits{1.5, -2, 1}));
}

TEST(SamplerTest, FrequencyAndPresencePenaltiesCountGeneratedTokensOnly) {
  SamplingOptions options;
  options.frequency_penalty = 0.5;
  options.presence_penalty = 1;
  Sampler sampler(options, 3);
  sampler.See(0, false);  // of the prompt
  sampler.See(1, true);
  sampler.See(1, true);
  Logits logits = {3, 3, 3};
  sampler.Adjust(absl::MakeSpan(logits));
  EXPECT_EQ(logits, (Logits{3, 1, 3}));
}

TEST(SamplerTest, ABiasMovesTheChoice) {
  SamplingOptions options;
  options.logit_bias = {{2, 10.0f}, {7, 99.0f}};  // 7 is no token
  Sampler sampler(options, 3);
  EXPECT_EQ(Choose(sampler, {1, 2, 0}), 2);
}

TEST(SamplerTest, ASeedGivesTheSameTokensAndStreamsDiffer) {
  SamplingOptions options;
  options.temperature = 1;
  options.seed = 42;
  const Logits logits(100, 0.0f);
  const auto draw = [&](uint64_t stream) {
    Sampler sampler(options, 100, stream);
    std::vector<int64_t> tokens;
    for (int i = 0; i < 20; ++i) tokens.push_back(Choose(sampler, logits));
    return tokens;
  };
  EXPECT_EQ(draw(0), draw(0));
  EXPECT_NE(draw(0), draw(1));
}

TEST(SamplerTest, OptionsOutsideTheirRangeAreNamed) {
  const auto message = [](auto change) {
    SamplingOptions options;
    change(options);
    return std::string(options.Check().message());
  };
  EXPECT_EQ(message([](SamplingOptions& o) { o.top_p = 0; }), "top-p is 0: expected a number in (0, 1]");
  EXPECT_EQ(message([](SamplingOptions& o) { o.top_k = -1; }), "top-k is -1: expected 0 (off) or a positive number");
  EXPECT_EQ(message([](SamplingOptions& o) { o.min_p = 2; }), "min-p is 2: expected a number in [0, 1]");
  EXPECT_EQ(message([](SamplingOptions& o) { o.repetition_penalty = 0; }),
            "repetition-penalty is 0: expected a positive number, 1 for none");
  EXPECT_TRUE(SamplingOptions().Check().ok());
}

}  // namespace
}  // namespace rondo

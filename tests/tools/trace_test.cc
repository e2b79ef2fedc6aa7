#include "tools/trace.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tools/progress.h"

namespace rondo {
namespace {

TEST(TraceTest, IsJsonThatChromeReads) {
  Trace trace;
  const std::string node = "layer\"0\xff", implementation = "own:avx2";
  trace.AddPhase("first run", 1000, 9000);
  trace.AddStep({"Conv", &node, &implementation, 2000, 4500, 64});
  const nlohmann::json json = nlohmann::json::parse(trace.ToJson());
  std::vector<nlohmann::json> spans;
  for (const auto& event : json["traceEvents"]) {
    if (event["ph"] == "X") spans.push_back(event);
  }
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0]["ts"], 0.0);
  EXPECT_EQ(spans[1]["name"], "Conv");
  EXPECT_EQ(spans[1]["ts"], 1.0);
  EXPECT_EQ(spans[1]["dur"], 2.5);
  EXPECT_EQ(spans[1]["args"]["implementation"], "own:avx2");
  EXPECT_EQ(spans[1]["args"]["output_bytes"], 64);
}

TEST(TraceTest, RatesKeepFourDigitsHoweverSlow) {
  Trace trace;
  const std::string node = "n", implementation = "i", shapes = "s";
  trace.AddStep({"MatMul", &node, &implementation, 0, 40'000'000, 64, &shapes, 123456, 16384});
  trace.AddStep({"MatMul", &node, &implementation, 0, 1000, 64, &shapes, 45678, 123456});
  const nlohmann::json json = nlohmann::json::parse(trace.ToJson());
  std::vector<nlohmann::json> arguments;
  for (const auto& event : json["traceEvents"]) {
    if (event["ph"] == "X") arguments.push_back(event["args"]);
  }
  ASSERT_EQ(arguments.size(), 2u);
  EXPECT_EQ(arguments[0]["GFLOP/s"], 0.0004096);
  EXPECT_EQ(arguments[0]["GB/s"], 0.003086);
  EXPECT_EQ(arguments[1]["GFLOP/s"], 123.5);
  EXPECT_EQ(arguments[1]["GB/s"], 45.68);
}

TEST(TraceTest, WeightsThatWereFoundAreNotCalledPacked) {
  Trace trace;
  CompileEvent event;
  event.kind = CompileEvent::Kind::kWeights;
  event.operation = "panels";
  for (bool found : {false, true}) {
    event.found = found;
    trace.AddCompile(event);
  }
  const nlohmann::json json = nlohmann::json::parse(trace.ToJson());
  std::vector<nlohmann::json> spans;
  for (const auto& span : json["traceEvents"]) {
    if (span["ph"] == "X") spans.push_back(span);
  }
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0]["cat"], "packing");
  EXPECT_EQ(spans[1]["cat"], "found");
  EXPECT_NE(spans[0]["name"], spans[1]["name"]);
  for (const auto& span : spans) EXPECT_EQ(span["args"]["layout"], "panels");
}

TEST(ProgressTest, FitsItsLine) {
  EXPECT_EQ(ProgressText(1, 2, 12, "resnet", 80), "[############------------] 1/2  12 s  resnet");
  EXPECT_EQ(ProgressText(1, 2, 12, "resnet", 10), "[########");
  EXPECT_EQ(ProgressText(0, 0, 0, "", 80), "[------------------------] 0/0  0 s  ");
}

}  // namespace
}  // namespace rondo

// rondo cache profile, and what else of the program tells of compiling: as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "tests/support/paths.h"
#include "tests/support/run_program.h"
#include "tests/support/tiny_model.h"
#include "tools/cache_profile_report.h"
#include "tools/html.h"
#include "tools/timeline.h"

namespace rondo {
namespace {

using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string ArcMini() { return SourceDir() + "/tests/data/models/arc-mini"; }

// y = x * x of [batch, 3]; float.
std::string Square() {
  const std::string path = NewTempDir() + "/square.onnx";
  WriteTestFile(
      path,
      TinyModel().Input("x", 1, {"batch", "3"}).Node("Mul", {"x", "x"}, {"y"}).Output("y", 1, {"batch", "3"}).Bytes());
  return path;
}

Json Verdict(const Json& profile, const std::string& id) {
  for (const Json& verdict : profile["verdicts"]) {
    if (verdict["id"] == id) return verdict;
  }
  ADD_FAILURE() << "no verdict " << id;
  return Json();
}

int CountOf(const std::string& text, const std::string& piece) {
  int count = 0;
  for (size_t at = text.find(piece); at != std::string::npos; at = text.find(piece, at + 1)) ++count;
  return count;
}

// The profile of a decoder, made once for the tests that look at it.
struct Profiled {
  ProgramResult result;
  Json json, trace;
  std::string html;
};
const Profiled& ArcMiniProfile() {
  static const Profiled* const profiled = [] {
    auto* p = new Profiled;
    const std::string dir = NewTempDir();
    p->result =
        RunRondo({"cache", "profile", ArcMini(), "--tokens", "32,8", "--batch", "1,3", "--decode-steps", "4",
                  "--threads", "1", "--json", dir + "/p.json", "--html", dir + "/p.html", "--trace", dir + "/t.json"});
    p->json = Json::parse(ReadTestFile(dir + "/p.json"), nullptr, false);
    p->trace = Json::parse(ReadTestFile(dir + "/t.json"), nullptr, false);
    p->html = ReadTestFile(dir + "/p.html");
    return p;
  }();
  return *profiled;
}

TEST(CacheProfileTest, EveryBucketIsCompiledCalledTwiceAndJudged) {
  const Profiled& p = ArcMiniProfile();
  EXPECT_EQ(p.result.err, "");
  std::vector<std::string> shapes;
  for (const Json& shape : p.json["shapes"]) shapes.push_back(shape["name"]);
  EXPECT_THAT(shapes, ElementsAre("prefill of 8 rows", "prefill of 32 rows", "decode of batch 1", "decode of batch 3"));
  for (const char* id : {"identical_calls_hit", "repeated_calls_create_nothing", "memory_within_bound", "results_equal",
                         "second_precompile_faster"}) {
    EXPECT_EQ(Verdict(p.json, id)["state"], "holds") << Verdict(p.json, id);
  }
  // How long things take on a busy machine decides this one, and with it the exit code.
  const bool all = Verdict(p.json, "second_call_faster")["state"] == "holds";
  EXPECT_EQ(p.result.exit_code, all ? 0 : 1);
  EXPECT_THAT(p.result.out, HasSubstr("a second call creates nothing"));
}

// The model is loaded for it alone: what the first forward makes is what the first compilation of that shape makes.
TEST(CacheProfileTest, TheColdCallMakesAllThatItsStepNeeds) {
  const Json& json = ArcMiniProfile().json;
  const Json& cold = json["cold_call"];
  EXPECT_EQ(cold["name"], "decode of batch 1");
  EXPECT_EQ(cold["plans_made"], 1);
  int64_t products = 0;  // of a step of one token: of one row, and the angles of one position
  for (const Json& key : json["cache"]["keys"]) {
    const std::string text = key["key"];
    products += text.find("{M=1, ") != std::string::npos || text.find(", N=1, a=float32[16,1], ") != std::string::npos;
  }
  EXPECT_EQ(cold["creations"], products);
  EXPECT_GT(cold["later_calls"], 1);
  EXPECT_GT(cold["first_seconds"].get<double>(), cold["later_seconds"].get<double>());
  const Json verdict = Verdict(json, "second_call_faster");
  const double ratio = cold["first_seconds"].get<double>() / cold["later_seconds"].get<double>();
  EXPECT_DOUBLE_EQ(verdict["value"].get<double>(), ratio);
  EXPECT_EQ(verdict["state"], ratio > 100 ? "holds" : "fails");
  EXPECT_THAT(verdict["found"].get<std::string>(), HasSubstr("(decode of batch 1)"));
}

TEST(CacheProfileTest, TheColdCallFindsNothingInACacheDirectory) {
  const std::string dir = NewTempDir();
  int64_t created = -1;
  for (int run = 0; run < 2; ++run) {  // the second finds what the first has left
    const std::string path = absl::StrCat(dir, "/p", run, ".json"), page = dir + "/p.html";
    const ProgramResult result =
        RunRondo({"cache", "profile", ArcMini(), "--tokens", "8", "--batch", "1", "--cache-dir", dir + "/cache",
                  "--threads", "1", "--json", path, "--html", page});
    ASSERT_NE(result.exit_code, 2) << result.err;
    EXPECT_THAT(ReadTestFile(page), HasSubstr("<dt>second start</dt>"));
    EXPECT_EQ(CountOf(ReadTestFile(page), ">found weights</text>") > 1, run == 1);  // and the second start's own
    const Json cold = Json::parse(ReadTestFile(path))["cold_call"];
    if (run == 1) {
      EXPECT_EQ(cold["creations"], created);
    }
    created = cold["creations"];
    EXPECT_GT(created, 0);
  }
}

TEST(CacheProfileTest, TheCountersAddUp) {
  const Json& json = ArcMiniProfile().json;
  const Json& phases = json["phases"];
  EXPECT_EQ(phases["precompile"]["plans_made"], 4);
  EXPECT_EQ(phases["precompile"]["creations"], phases["precompile"]["misses"]);
  EXPECT_GT(phases["precompile"]["creations"], 0);
  for (const char* phase : {"first_round", "later_rounds"}) {
    EXPECT_EQ(phases[phase]["misses"], 0) << phase;
    EXPECT_EQ(phases[phase]["plans_made"], 0) << phase;
    EXPECT_GT(phases[phase]["plan_hits"], 0) << phase;
  }
  EXPECT_EQ(phases["replan"]["plans_made"], 4);
  EXPECT_EQ(phases["replan"]["misses"], 0);
  EXPECT_EQ(phases["replan"]["hits"],
            phases["precompile"]["hits"].get<int64_t>() + phases["precompile"]["misses"].get<int64_t>());
  const auto sum = [&](const char* table, const char* field) {
    int64_t total = 0;
    for (const Json& row : json["cache"][table]) total += row[field].get<int64_t>();
    return total;
  };
  const Json& totals = json["cache"]["totals"];
  for (const char* table : {"operators", "nodes"}) {
    for (const char* field : {"hits", "misses", "creations"}) {
      EXPECT_EQ(sum(table, field), totals[field].get<int64_t>()) << table << " " << field;
    }
  }
  EXPECT_EQ(sum("operators", "bytes"), totals["bytes"].get<int64_t>());
  EXPECT_EQ(json["cache"]["keys"].size(), totals["entries"].get<size_t>());
  EXPECT_EQ(sum("weights", "bytes"), json["memory"]["packed_weights"].get<int64_t>());
  EXPECT_GT(json["memory"]["kv_cache"], 0);
  EXPECT_GT(json["read_bandwidth"], 0);
}

TEST(CacheProfileTest, AMissNamesNodeFieldAndBucket) {
  std::set<std::string> explanations;
  for (const Json& miss : ArcMiniProfile().json["cache"]["misses"]) explanations.insert(miss["explanation"]);
  bool found = false;
  for (const std::string& text : explanations) {
    found |= text.find("MISS node /model/layers.0/mlp/down_proj/MatMul MatMul: key field M was 8, is 32; ") == 0 &&
             text.find("(entry created for prefill of 8 rows)") != std::string::npos;
  }
  EXPECT_TRUE(found) << testing::PrintToString(explanations);
}

TEST(CacheProfileTest, TheTraceHoldsCompilesHitsAndStepsOnTheirThreads) {
  std::map<std::string, int> categories;
  for (const Json& event : ArcMiniProfile().trace["traceEvents"]) {
    if (event["ph"] == "M") continue;
    ++categories[event["cat"]];
    if (event["cat"] == "phase") {
      EXPECT_EQ(event["tid"], 0);
      continue;
    }
    EXPECT_GE(event["tid"], 1);
    if (event["cat"] == "step" && event["name"] == "MatMul") {
      EXPECT_THAT(event["args"]["shapes"].get<std::string>(), HasSubstr(" -> float32["));
      EXPECT_GT(event["args"]["bytes"], 0);
      EXPECT_GT(event["args"]["GFLOP/s"], 0);
    }
    if (event["cat"] == "primitive") {
      EXPECT_THAT(event["args"]["explanation"].get<std::string>(), HasSubstr("MISS "));
    }
  }
  EXPECT_EQ(categories["plan"], 9);  // of the cold call, compiled ahead, and made anew
  for (const char* category : {"phase", "step", "primitive", "packing", "hit"}) EXPECT_GT(categories[category], 0);
}

// Elements of a page that was written by hand have to be closed by hand.
TEST(CacheProfileTest, ThePageNeedsNothingElse) {
  const std::string& html = ArcMiniProfile().html;
  EXPECT_EQ(html.rfind("<!DOCTYPE html>", 0), 0);
  for (const char* element : {"table", "tr", "td", "th", "svg", "rect", "title", "script", "style", "dl", "dt", "dd",
                              "div", "details", "summary"}) {
    EXPECT_EQ(CountOf(html, std::string("<") + element + ">") + CountOf(html, std::string("<") + element + " "),
              CountOf(html, std::string("</") + element + ">"))
        << element;
  }
  EXPECT_EQ(CountOf(html, "<svg "), 5);
  EXPECT_THAT(html, HasSubstr("<dt>cold call</dt>"));
  EXPECT_THAT(html, Not(HasSubstr("<dt>second start</dt>")));
  for (const char* outside : {"http:", "https:", " src=", "@import", "url("}) {
    EXPECT_THAT(html, Not(HasSubstr(outside)));
  }
}

TEST(CacheProfileTest, AShapesOperatorsAreThoseOfItsOwnCalls) {
  const Json& json = ArcMiniProfile().json;
  std::map<std::string, int64_t> calls, attentions;
  for (const Json& shape : json["shapes"]) {
    const std::string name = shape["name"];
    calls[name] = shape["traced_calls"];
    for (const Json& row : shape["operators"]) {
      if (row["operator"] == "KvAttention") attentions[name] += row["calls"].get<int64_t>();
    }
  }
  EXPECT_EQ(calls["prefill of 8 rows"], 1);
  EXPECT_EQ(calls["decode of batch 3"], 4);  // --decode-steps; the prefill of three sequences is not in them
  EXPECT_GT(attentions["prefill of 8 rows"], 0);
  EXPECT_EQ(attentions["decode of batch 3"], 4 * attentions["prefill of 8 rows"]);
}

TEST(CacheProfileTest, OtherModelsAreProfiledOverTheirShapes) {
  const std::string json_path = NewTempDir() + "/p.json";
  const ProgramResult result =
      RunRondo({"cache", "profile", Square(), "--shape", "batch=2/5/7", "--repeat", "3", "--json", json_path});
  EXPECT_NE(result.exit_code, 2) << result.err;
  const Json json = Json::parse(ReadTestFile(json_path));
  EXPECT_EQ(json["kind"], "model");
  std::vector<std::string> names;
  for (const Json& shape : json["shapes"]) names.push_back(shape["name"]);
  EXPECT_THAT(names, ElementsAre("shape x[2, 3]", "shape x[5, 3]", "shape x[7, 3]"));
  EXPECT_EQ(json["phases"]["precompile"]["plans_made"], 3);
  EXPECT_EQ(json["cold_call"]["name"], "shape x[2, 3]");
  EXPECT_EQ(json["cold_call"]["plans_made"], 1);
  EXPECT_EQ(Verdict(json, "results_equal")["state"], "holds");
}

TEST(CacheProfileTest, BadInputIsOneLineThatSaysWhatToDo) {
  const auto error = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"cache", "profile"});
    const ProgramResult result = RunRondo(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.out;
    return result.err;
  };
  EXPECT_EQ(error({ArcMini(), "--tokens", "8,x"}),
            "rondo: --tokens: expected numbers from 1 to 1048576 such as 64,128, got \"x\"\n");
  EXPECT_EQ(error({ArcMini(), "--batch", "0"}),
            "rondo: --batch: expected numbers from 1 to 1048576 such as 64,128, got \"0\"\n");
  const std::string square = Square();
  EXPECT_EQ(error({square, "--tokens", "8"}),
            "rondo: " + square +
                ": --tokens and --batch are for decoders whose cache is kept in place; give --shape NAME=DIMS/DIMS\n");
  EXPECT_THAT(error({square, "--shape", "batch"}), HasSubstr("--shape: expected NAME=DIMS"));
  EXPECT_THAT(error({"/nowhere"}), HasSubstr("/nowhere"));
}

// ---- the verdicts themselves ----

TEST(VerdictTest, OnlyAFailureFails) {
  CacheProfile profile;
  profile.verdicts.resize(2);
  profile.verdicts[0].state = Verdict::State::kHolds;
  EXPECT_TRUE(profile.ok());
  profile.verdicts[1].state = Verdict::State::kFails;
  EXPECT_FALSE(profile.ok());
}

TEST(ReportTest, NamesFromAFileAreMarkupNowhere) {
  CacheProfile profile;
  profile.model = "<script>\xff";
  profile.shapes.resize(1);
  profile.shapes[0].name = "a<b";
  CompileEvent miss;
  miss.node = "<i>\n";
  profile.report.misses.push_back(miss);
  profile.report.nodes.push_back({"<b>", 1, 1, 1, 0});
  Trace trace;
  trace.AddPhase("traced a<b", 1000, 2000);
  const std::string html = ProfileHtml(profile, trace);
  for (const char* raw : {"<script>\\", "a<b", "<i>\\n", "<b>"}) EXPECT_THAT(html, Not(HasSubstr(raw)));
  EXPECT_THAT(ProfileText(profile, 5), HasSubstr("<i>\\n"));
  EXPECT_FALSE(Json::parse(ProfileJson(profile), nullptr, false).is_discarded());
}

TEST(TimelineTest, SpansThatCannotBeSeenAreDrawnTogether) {
  std::vector<TraceSpan> spans(100000);
  for (size_t i = 0; i < spans.size(); ++i) {
    spans[i].kind = TraceSpan::Kind::kStep;
    spans[i].thread = 1;
    spans[i].begin_ns = static_cast<int64_t>(i) * 10;
    spans[i].end_ns = spans[i].begin_ns + 5;
  }
  const std::string svg = TimelineSvg(spans, 0, 1000000);
  EXPECT_GT(CountOf(svg, "<rect "), 0);
  EXPECT_LT(CountOf(svg, "<rect "), 5000);
  EXPECT_EQ(TimelineSvg(spans, 5, 5), "");
  EXPECT_EQ(TimelineSvg({}, 0, 10), "");
}

// ---- generate and run ----

TEST(RunTraceTest, OfATableOnlyTheRowsThatAreReadCount) {
  const std::string dir = NewTempDir();
  WriteTestFile(dir + "/gather.onnx", TinyModel()
                                          .Input("table", 1, {"100", "4"})
                                          .Input("indices", 7, {"2"})
                                          .Node("Gather", {"table", "indices"}, {"y"})
                                          .Output("y", 1, {"2", "4"})
                                          .Bytes());
  const ProgramResult result = RunRondo({"run", dir + "/gather.onnx", "--random", "1", "--trace", dir + "/t.json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json trace = Json::parse(ReadTestFile(dir + "/t.json"));
  int64_t bytes = 0;
  for (const Json& event : trace["traceEvents"]) {
    if (event["name"] == "Gather") bytes = event["args"]["bytes"];
  }
  EXPECT_EQ(bytes, 2 * 4 * 4 + 2 * 8 + 2 * 4 * 4);  // rows, indices, y
}

TEST(GeneratePrecompileTest, CompilesItsShapesFirstAndMissesNothingAfterwards) {
  const std::vector<std::string> arguments = {"generate",         ArcMini(), "--prompt-ids", "76,13,60,52",
                                              "--max-new-tokens", "6",       "--ignore-eos", "--prefill-rows",
                                              "2,8,256",          "--json"};
  const auto run = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = arguments;
    all.insert(all.end(), more.begin(), more.end());
    const ProgramResult result = RunRondo(all);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Json::parse(result.out, nullptr, false);
  };
  const Json ahead = run({"--fail-on-miss", "--num-return", "3", "--decode-batches", "2"});
  // Rows 2, 8 and 256 (the first that holds ten positions), batches 2 and 3.
  EXPECT_EQ(ahead["timings"]["precompiled_shapes"], 5);
  EXPECT_EQ(ahead["primitive_cache"]["plans_made"], 5);
  const Json plain = run({});
  EXPECT_EQ(plain["timings"]["precompiled_shapes"], 0);
  EXPECT_EQ(ahead["sequences"][0]["ids"], plain["sequences"][0]["ids"]);
}

TEST(GeneratePrecompileTest, AGrowingCacheCannotBeCompiledAhead) {
  const ProgramResult result =
      RunRondo({"generate", ArcMini(), "--prompt-ids", "1,2", "--max-new-tokens", "2", "--growing", "--precompile"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("nothing can be compiled ahead: the cache grows, each length is a plan"));
}

TEST(GeneratePrecompileTest, TheTraceShowsBoth) {
  const std::string path = NewTempDir() + "/t.json";
  const ProgramResult result =
      RunRondo({"generate", ArcMini(), "--prompt-ids", "1,2", "--max-new-tokens", "3", "--trace", path});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  std::set<std::string> categories;
  const Json trace = Json::parse(ReadTestFile(path));
  for (const Json& event : trace["traceEvents"]) {
    if (event["ph"] != "M") categories.insert(event["cat"]);
  }
  EXPECT_EQ(categories, (std::set<std::string>{"hit", "packing", "phase", "plan", "primitive", "step"}));
}

TEST(RunPrecompileTest, ARunOfAnotherShapeThanWasCompiledAheadIsAnError) {
  const std::string model = Square();
  ASSERT_EQ(RunRondo({"run", model, "--random", "1", "--shape", "batch=5", "--precompile", "--fail-on-miss"}).exit_code,
            0);
  // A file of five rows, compiled ahead for two.
  const std::string dir = NewTempDir();
  ASSERT_EQ(RunRondo({"run", model, "--random", "1", "--shape", "batch=5", "--output-dir", dir}).exit_code, 0);
  const ProgramResult result = RunRondo(
      {"run", model, "--input", "x=" + dir + "/y.npy", "--shape", "batch=2", "--precompile", "--fail-on-miss"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("not compiled ahead: MISS node graph plan: x was float32[2, 3], is float32[5, 3]"));
}

}  // namespace
}  // namespace rondo

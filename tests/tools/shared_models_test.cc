// What the models of the shared collection get: which kernels, and how often they are made.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <set>
#include <string>

#include "rondo/model.h"
#include "tests/support/paths.h"
#include "tools/inputs.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

// Each model with inputs filled at random.
void ForEachSharedModel(const std::function<void(const std::string&, const Model&, const PreparedInputs&)>& visit) {
  int visited = 0;
  for (const auto& entry : fs::directory_iterator(SharedDir() + "/models")) {
    if (!entry.is_directory()) continue;
    SCOPED_TRACE(entry.path().filename());
    const absl::StatusOr<Model> model = Model::Load(entry.path().string());
    ASSERT_TRUE(model.ok()) << model.status();
    InputRequest request;
    request.seed = 1;
    const absl::StatusOr<PreparedInputs> inputs = MakeInputs(*model, request);
    ASSERT_TRUE(inputs.ok()) << inputs.status();
    visit(entry.path().filename().string(), *model, *inputs);
    ++visited;
  }
  EXPECT_GT(visited, 0) << SharedDir() << "/models holds no models";
}

// oneDNN's reference implementations ("ref:any") are up to a hundred times slower than its own fast ones and than ours:
// a model that gets one has fallen off the path that was meant for it.
TEST(SlowKernelChoiceTest, NoModelGetsAReferenceImplementation) {
  RONDO_SKIP_WITHOUT_SHARED("models");
  const std::set<std::string> exceptions = {};
  ForEachSharedModel([&](const std::string& name, const Model& model, const PreparedInputs& inputs) {
    ASSERT_EQ(model.Prepare(inputs.bound.dims).status(), absl::OkStatus());
    for (const auto& [implementation, steps] : model.implementations()) {
      EXPECT_FALSE(implementation.rfind("ref", 0) == 0 && !exceptions.contains(implementation))
          << name << ": " << implementation << " runs " << steps << " steps";
    }
  });
}

// Everything costly is made once per shape: a second run finds its plan, so it does not even ask the cache.
TEST(SlowRepeatTest, ARunWithTheSameShapesCreatesAndMissesNothing) {
  RONDO_SKIP_WITHOUT_SHARED("models");
  int64_t created = 0;
  ForEachSharedModel([&](const std::string& name, const Model& model, const PreparedInputs& inputs) {
    Session session(model);
    ASSERT_EQ(session.Run(inputs.tensors).status(), absl::OkStatus());
    const CacheStats first = model.cache_counters();
    created += first.creations;
    const size_t packed = model.packed_weight_bytes();
    Session other(model);
    for (Session* repeat : {&session, &session, &other}) {
      ASSERT_EQ(repeat->Run(inputs.tensors).status(), absl::OkStatus());
      EXPECT_EQ(model.cache_counters().misses, first.misses);
      EXPECT_EQ(model.cache_counters().creations, first.creations);
      EXPECT_EQ(model.packed_weight_bytes(), packed);
    }
  });
  EXPECT_GT(created, 0);
}

}  // namespace
}  // namespace rondo

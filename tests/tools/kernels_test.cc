// Which kernels the models of the shared collection get.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "rondo/model.h"
#include "tests/support/paths.h"
#include "tools/inputs.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

// oneDNN's reference implementations ("ref:any") are up to a hundred times slower than its own fast ones and than ours:
// a model that gets one has fallen off the path that was meant for it.
TEST(SlowKernelChoiceTest, NoModelGetsAReferenceImplementation) {
  RONDO_SKIP_WITHOUT_SHARED("models");
  const std::set<std::string> exceptions = {};
  int planned = 0;
  for (const auto& entry : fs::directory_iterator(SharedDir() + "/models")) {
    if (!entry.is_directory()) continue;
    const absl::StatusOr<Model> model = Model::Load(entry.path().string());
    ASSERT_TRUE(model.ok()) << model.status();
    const absl::StatusOr<BoundDims> bound =
        BindDims(model->inputs(), model->outputs(), /*given=*/{}, /*shapes=*/{}, /*use_defaults=*/true);
    ASSERT_TRUE(bound.ok()) << bound.status();
    // A default may not suit a model (an image of another size than it was trained for); others still count.
    if (!model->Prepare(bound->dims).ok()) continue;
    ++planned;
    for (const auto& [implementation, steps] : model->implementations()) {
      EXPECT_FALSE(implementation.rfind("ref", 0) == 0 && !exceptions.contains(implementation))
          << entry.path().filename() << ": " << implementation << " runs " << steps << " steps";
    }
  }
  EXPECT_GE(planned, 80);
}

}  // namespace
}  // namespace rondo

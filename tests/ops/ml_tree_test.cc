#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Ints = std::vector<int64_t>;
using Numbers = std::vector<float>;
using Texts = std::vector<std::string>;
using Attributes = std::map<std::string, Attribute>;

// Two trees. Tree 0: x0 <= 1 ? leaf 1 : (x1 > 5 ? leaf 3 : leaf 4). Tree 7: a leaf.
Attributes Nodes() {
  return {{"nodes_treeids", Ints{0, 0, 0, 0, 0, 7}},
          {"nodes_nodeids", Ints{0, 1, 2, 3, 4, 0}},
          {"nodes_featureids", Ints{0, 0, 1, 0, 0, 0}},
          {"nodes_modes", Texts{"BRANCH_LEQ", "LEAF", "BRANCH_GT", "LEAF", "LEAF", "LEAF"}},
          {"nodes_values", Numbers{1, 0, 5, 0, 0, 0}},
          {"nodes_truenodeids", Ints{1, 0, 3, 0, 0, 0}},
          {"nodes_falsenodeids", Ints{2, 0, 4, 0, 0, 0}}};
}

Attributes RegressorAttributes() {
  Attributes attributes = Nodes();
  attributes["n_targets"] = int64_t{2};
  // Leaf 1 votes for both targets; leaf 3 for 0; leaf 4 for 1; the second tree for 0.
  attributes["target_treeids"] = Ints{0, 0, 0, 0, 7};
  attributes["target_nodeids"] = Ints{1, 1, 3, 4, 0};
  attributes["target_ids"] = Ints{0, 1, 0, 1, 0};
  attributes["target_weights"] = Numbers{10, 20, 30, 40, 1};
  return attributes;
}

OpRunner Tree(absl::string_view type, const Attributes& attributes, int version = 3) {
  OpRunner run(type, version, "ai.onnx.ml");
  for (const auto& [name, value] : attributes) run.Attr(name, value);
  return run;
}

const Tensor kRows = FloatTensor({3, 2}, {1, 9, 2, 6, 2, 5});  // leaves 1, 3, 4

TEST(TreeEnsembleRegressorTest, LeavesVoteForTargets) {
  OpRunner run = Tree("TreeEnsembleRegressor", RegressorAttributes());
  run.Input(kRows);
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(11, 20, 31, 0, 1, 40));
}

TEST(TreeEnsembleRegressorTest, Aggregates) {
  const auto values = [](const char* aggregate) {
    Attributes attributes = RegressorAttributes();
    attributes["aggregate_function"] = std::string(aggregate);
    attributes["base_values"] = Numbers{100, 200};
    OpRunner run = Tree("TreeEnsembleRegressor", attributes, 1);
    run.Input(kRows);
    return Floats(run.Run()[0]);
  };
  EXPECT_THAT(values("AVERAGE"), ElementsAre(105.5, 210, 115.5, 200, 100.5, 220));
  EXPECT_THAT(values("MIN"), ElementsAre(101, 220, 101, 200, 101, 240));
  EXPECT_THAT(values("MAX"), ElementsAre(110, 220, 130, 200, 101, 240));
}

TEST(TreeEnsembleRegressorTest, NanTakesTheBranchThatIsNamed) {
  Attributes attributes = RegressorAttributes();
  const Tensor row = FloatTensor({1, 2}, {NAN, 6});
  OpRunner to_false = Tree("TreeEnsembleRegressor", attributes);
  to_false.Input(row);
  EXPECT_THAT(Floats(to_false.Run()[0]), ElementsAre(31, 0));
  attributes["nodes_missing_value_tracks_true"] = Ints{1, 0, 0, 0, 0, 0};
  OpRunner to_true = Tree("TreeEnsembleRegressor", attributes);
  to_true.Input(row);
  EXPECT_THAT(Floats(to_true.Run()[0]), ElementsAre(11, 20));
}

TEST(TreeEnsembleRegressorTest, DoublesComeAsTensors) {
  Attributes attributes = RegressorAttributes();
  attributes.erase("nodes_values");
  const double split = 1 + 1e-12;
  attributes["nodes_values_as_tensor"] = Tensor::FromVector<double>(DataType::kDouble, {6}, {split, 0, 5, 0, 0, 0});
  OpRunner run = Tree("TreeEnsembleRegressor", attributes);
  run.Input(Tensor::FromVector<double>(DataType::kDouble, {2, 2}, {split, 9, 1 + 1e-11, 9}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(11, 20, 31, 0));
}

TEST(TreeEnsembleRegressorTest, EveryComparison) {
  const std::map<std::string, std::vector<float>> expected = {{"BRANCH_LEQ", {1, 1, 0}}, {"BRANCH_LT", {1, 0, 0}},
                                                              {"BRANCH_GTE", {0, 1, 1}}, {"BRANCH_GT", {0, 0, 1}},
                                                              {"BRANCH_EQ", {0, 1, 0}},  {"BRANCH_NEQ", {1, 0, 1}}};
  for (const auto& [mode, values] : expected) {
    OpRunner run = Tree("TreeEnsembleRegressor", {{"nodes_treeids", Ints{0, 0, 0}},
                                                  {"nodes_nodeids", Ints{0, 1, 2}},
                                                  {"nodes_featureids", Ints{0, 0, 0}},
                                                  {"nodes_modes", Texts{mode, "LEAF", "LEAF"}},
                                                  {"nodes_values", Numbers{2, 0, 0}},
                                                  {"nodes_truenodeids", Ints{1, 0, 0}},
                                                  {"nodes_falsenodeids", Ints{2, 0, 0}},
                                                  {"n_targets", int64_t{1}},
                                                  {"target_treeids", Ints{0}},
                                                  {"target_nodeids", Ints{1}},
                                                  {"target_ids", Ints{0}},
                                                  {"target_weights", Numbers{1}}});
    run.Input(Int32Tensor({3, 1}, {1, 2, 3}));
    EXPECT_EQ(Floats(run.Run()[0]), values) << mode;
  }
}

// Whatever the attributes hold, loading ends with an error that names them, and no walk is without end.
TEST(TreeEnsembleRegressorTest, HostileAttributesAreErrors) {
  const auto error = [](const char* name, Attribute value) {
    Attributes attributes = RegressorAttributes();
    attributes[name] = std::move(value);
    OpRunner run = Tree("TreeEnsembleRegressor", attributes);
    run.Input(kRows);
    return run.RunError();
  };
  EXPECT_THAT(error("nodes_truenodeids", Ints{9, 0, 3, 0, 0, 0}), HasSubstr("there is no node 9 in tree 0"));
  EXPECT_THAT(error("nodes_falsenodeids", Ints{-1, 0, 4, 0, 0, 0}), HasSubstr("there is no node -1 in tree 0"));
  EXPECT_THAT(error("nodes_falsenodeids", Ints{2, 0, 0, 0, 0, 0}), HasSubstr("is its ancestor"));
  EXPECT_THAT(error("nodes_falsenodeids", Ints{0, 0, 4, 0, 0, 0}), HasSubstr("is its ancestor"));
  EXPECT_THAT(error("nodes_nodeids", Ints{0, 1, 2, 3, 3, 0}), HasSubstr("node 3 occurs twice in tree 0"));
  EXPECT_THAT(error("nodes_values", Numbers{1}), HasSubstr("\"nodes_values\": expected 6 elements, got 1"));
  EXPECT_THAT(error("nodes_featureids", Ints{0, 0, 2, 0, 0, 0}), HasSubstr("feature 2, but there are only 2"));
  EXPECT_THAT(error("nodes_featureids", Ints{-1, 0, 1, 0, 0, 0}), HasSubstr("element 0 is -1"));
  EXPECT_THAT(error("nodes_featureids", Ints{int64_t{1} << 40, 0, 1, 0, 0, 0}),
              HasSubstr("element 0 is 1099511627776"));
  EXPECT_THAT(error("nodes_modes", Texts{"BRANCH", "LEAF", "LEAF", "LEAF", "LEAF", "LEAF"}), HasSubstr("\"BRANCH\""));
  EXPECT_THAT(error("target_ids", Ints{0, 1, 0, 2, 0}), HasSubstr("element 3 is 2, out of range [0, 1]"));
  EXPECT_THAT(error("target_nodeids", Ints{1, 1, 3, 44, 0}), HasSubstr("there is no node 44 in tree 0"));
  EXPECT_THAT(error("target_weights", Numbers{1}), HasSubstr("\"target_weights\": expected 5 elements, got 1"));
  EXPECT_THAT(error("n_targets", int64_t{0}), HasSubstr("positive number of targets"));
  EXPECT_THAT(error("n_targets", std::numeric_limits<int64_t>::max()), HasSubstr("positive number of targets"));
  EXPECT_THAT(error("base_values", Numbers{1, 2, 3}), HasSubstr("\"base_values\": expected 2 elements, got 3"));
  EXPECT_THAT(error("aggregate_function", std::string("MEAN")), HasSubstr("got \"MEAN\""));
}

// A thousand nested nodes, the last of which leads back to the first, and the same as a proper tree.
TEST(TreeEnsembleRegressorTest, DeepTreesAndLongCircles) {
  constexpr int64_t kDepth = 100000;
  for (const bool circle : {false, true}) {
    Ints trees(kDepth + 2, 0), ids, features(kDepth + 2, 0), on_true, on_false;
    Texts modes;
    for (int64_t i = 0; i < kDepth; ++i) {
      ids.push_back(i);
      modes.push_back("BRANCH_LEQ");
      on_true.push_back(kDepth);
      on_false.push_back(i + 1 < kDepth ? i + 1 : circle ? 0 : kDepth + 1);
    }
    for (int64_t leaf : {kDepth, kDepth + 1}) {
      ids.push_back(leaf);
      modes.push_back("LEAF");
      on_true.push_back(0);
      on_false.push_back(0);
    }
    OpRunner run = Tree("TreeEnsembleRegressor", {{"nodes_treeids", trees},
                                                  {"nodes_nodeids", ids},
                                                  {"nodes_featureids", features},
                                                  {"nodes_modes", modes},
                                                  {"nodes_values", Numbers(kDepth + 2, 0.0f)},
                                                  {"nodes_truenodeids", on_true},
                                                  {"nodes_falsenodeids", on_false},
                                                  {"n_targets", int64_t{1}},
                                                  {"target_treeids", Ints{0}},
                                                  {"target_nodeids", Ints{kDepth + 1}},
                                                  {"target_ids", Ints{0}},
                                                  {"target_weights", Numbers{5}}});
    run.Input(FloatTensor({1, 1}, {1}));
    if (circle) {
      EXPECT_THAT(run.RunError(), HasSubstr("is its ancestor"));
    } else {
      EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(5));
    }
  }
}

Attributes ClassifierAttributes() {
  Attributes attributes = Nodes();
  attributes["class_treeids"] = Ints{0, 0, 0, 7};
  attributes["class_nodeids"] = Ints{1, 3, 4, 0};
  attributes["class_ids"] = Ints{0, 1, 2, 1};
  attributes["class_weights"] = Numbers{1, 2, 3, 0.5};
  attributes["classlabels_strings"] = Texts{"a", "b", "c"};
  return attributes;
}

TEST(TreeEnsembleClassifierTest, TheMostVotesWin) {
  Attributes attributes = ClassifierAttributes();
  attributes["base_values"] = Numbers{0, 0.125, 0};
  OpRunner run = Tree("TreeEnsembleClassifier", attributes);
  run.Outputs(2).Input(kRows);
  const std::vector<Tensor> y = run.Run();
  EXPECT_EQ(y[0].data<std::string>()[0], "a");
  EXPECT_EQ(y[0].data<std::string>()[1], "b");
  EXPECT_EQ(y[0].data<std::string>()[2], "c");
  EXPECT_THAT(Floats(y[1]), ElementsAre(1, 0.625, 0, 0, 2.625, 0, 0, 0.625, 3));
}

TEST(TreeEnsembleClassifierTest, VotesForOneOfTwoClassesAreItsScore) {
  Attributes attributes = ClassifierAttributes();
  attributes.erase("classlabels_strings");
  attributes["classlabels_int64s"] = Ints{-1, 1};
  attributes["class_ids"] = Ints{1, 1, 1, 1};
  attributes["class_weights"] = Numbers{-0.5, 0.25, 0, 0.5};
  OpRunner plain = Tree("TreeEnsembleClassifier", attributes, 1);
  plain.Outputs(2).Input(kRows);
  std::vector<Tensor> y = plain.Run();
  EXPECT_THAT(Int64s(y[0]), ElementsAre(-1, 1, -1));
  EXPECT_THAT(Floats(y[1]), ElementsAre(1, 0, 0.25, 0.75, 0.5, 0.5));
  attributes["post_transform"] = std::string("LOGISTIC");
  OpRunner logistic = Tree("TreeEnsembleClassifier", attributes, 1);
  logistic.Outputs(2).Input(kRows);
  y = logistic.Run();
  EXPECT_THAT(Int64s(y[0]), ElementsAre(-1, 1, 1));
  const auto sigmoid = [](float x) { return 1 / (1 + std::exp(-x)); };
  const Tensor want = FloatTensor({3, 2}, {0.5, 0.5, sigmoid(-0.75f), sigmoid(0.75f), sigmoid(-0.5f), sigmoid(0.5f)});
  EXPECT_EQ(FirstDifference(y[1], want), "");
}

TEST(TreeEnsembleClassifierTest, LabelsAreNeeded) {
  Attributes attributes = ClassifierAttributes();
  attributes.erase("classlabels_strings");
  OpRunner run = Tree("TreeEnsembleClassifier", attributes);
  run.Input(kRows);
  EXPECT_THAT(run.RunError(), HasSubstr("expected one of them"));
}

// Root 0: x0 in {2, 3} ? leaf 0 : node 1; node 1: x1 < 0.5 ? leaf 1 : leaf 2.  A second tree is leaf 3 alone.
Attributes Ensemble() {
  return {{"n_targets", int64_t{2}},
          {"nodes_featureids", Ints{0, 1, 0}},
          {"nodes_modes", Tensor::FromVector<uint8_t>(DataType::kUInt8, {3}, {6, 1, 0})},
          {"nodes_splits", FloatTensor({3}, {0, 0.5, 0})},
          {"nodes_truenodeids", Ints{0, 1, 3}},
          {"nodes_trueleafs", Ints{1, 1, 1}},
          {"nodes_falsenodeids", Ints{1, 2, 3}},
          {"nodes_falseleafs", Ints{0, 1, 1}},
          {"leaf_targetids", Ints{0, 1, 0, 1}},
          {"leaf_weights", FloatTensor({4}, {1, 10, 100, 1000})},
          {"tree_roots", Ints{0, 2}},
          {"membership_values", FloatTensor({3}, {3, 2, NAN})}};
}

TEST(TreeEnsembleTest, SetsBranchesAndLoneLeaves) {
  OpRunner run = Tree("TreeEnsemble", Ensemble(), 5);
  run.Input(FloatTensor({4, 2}, {2, 9, 4, 0.25, 4, 0.5, 3, 0}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(1, 1000, 0, 1010, 100, 1000, 1, 1000));
}

TEST(TreeEnsembleTest, AverageAndPostTransform) {
  Attributes attributes = Ensemble();
  attributes["aggregate_function"] = int64_t{0};
  OpRunner average = Tree("TreeEnsemble", attributes, 5);
  average.Input(FloatTensor({1, 2}, {2, 9}));
  EXPECT_THAT(Floats(average.Run()[0]), ElementsAre(0.5, 500));
  attributes["post_transform"] = int64_t{2};
  OpRunner logistic = Tree("TreeEnsemble", attributes, 5);
  logistic.Input(FloatTensor({1, 2}, {2, 9}));
  EXPECT_EQ(FirstDifference(logistic.Run()[0], FloatTensor({1, 2}, {1 / (1 + std::exp(-0.5f)), 1})), "");
}

TEST(TreeEnsembleTest, HostileAttributesAreErrors) {
  const auto error = [](const char* name, Attribute value) {
    Attributes attributes = Ensemble();
    attributes[name] = std::move(value);
    OpRunner run = Tree("TreeEnsemble", attributes, 5);
    run.Input(FloatTensor({1, 2}, {2, 9}));
    return run.RunError();
  };
  EXPECT_THAT(error("nodes_truenodeids", Ints{4, 1, 3}),
              HasSubstr("\"nodes_truenodeids\": 4 is out of range [0, 3] of the leaves"));
  EXPECT_THAT(error("nodes_falsenodeids", Ints{3, 2, 3}), HasSubstr("3 is out of range [0, 2] of the nodes"));
  EXPECT_THAT(error("nodes_falsenodeids", Ints{0, 2, 3}), HasSubstr("is its ancestor"));
  EXPECT_THAT(error("nodes_modes", Tensor::FromVector<uint8_t>(DataType::kUInt8, {3}, {7, 1, 0})), HasSubstr("mode 7"));
  EXPECT_THAT(error("nodes_splits", FloatTensor({1}, {0})), HasSubstr("\"nodes_splits\": expected 3 elements, got 1"));
  EXPECT_THAT(error("leaf_targetids", Ints{0, 1, 0, 2}), HasSubstr("element 3 is 2, out of range [0, 1]"));
  EXPECT_THAT(error("tree_roots", Ints{5}), HasSubstr("element 0 is 5, out of range [0, 2]"));
  EXPECT_THAT(error("membership_values", FloatTensor({1}, {3})), HasSubstr("expected a NaN at the end"));
  EXPECT_THAT(error("membership_values", FloatTensor({2}, {NAN, NAN})), HasSubstr("expected 1 sets"));
  EXPECT_THAT(error("aggregate_function", int64_t{4}), HasSubstr("expected one of [0, 3], got 4"));
}

}  // namespace
}  // namespace rondo

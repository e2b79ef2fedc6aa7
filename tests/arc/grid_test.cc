#include "arc/grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "arc/augment.h"
#include "arc/vote.h"

namespace rondo::arc {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

Grid MakeGrid(int rows, int columns, std::vector<uint8_t> cells) { return {rows, columns, std::move(cells)}; }
const Grid kSmall = MakeGrid(2, 3, {1, 2, 3, 4, 5, 6});

TEST(GridTest, SymmetriesAreThoseOfTheSquare) {
  EXPECT_EQ(ToText(Transform(kSmall, 0)), "123\n456\n");
  EXPECT_EQ(ToText(Transform(kSmall, 1)), "321\n654\n");
  EXPECT_EQ(ToText(Transform(kSmall, 2)), "456\n123\n");
  EXPECT_EQ(ToText(Transform(kSmall, 3)), "654\n321\n");
  EXPECT_EQ(ToText(Transform(kSmall, 4)), "14\n25\n36\n");
  EXPECT_EQ(ToText(Transform(kSmall, 5)), "41\n52\n63\n");
  EXPECT_EQ(ToText(Transform(kSmall, 6)), "36\n25\n14\n");
  EXPECT_EQ(ToText(Transform(kSmall, 7)), "63\n52\n41\n");
}

TEST(GridTest, TheInverseTakesBackEverySymmetry) {
  for (int symmetry = 0; symmetry < kSymmetries; ++symmetry) {
    EXPECT_EQ(Transform(Transform(kSmall, symmetry), Inverse(symmetry)), kSmall) << symmetry;
    EXPECT_EQ(Transform(Transform(kSmall, Inverse(symmetry)), symmetry), kSmall) << symmetry;
  }
}

TEST(GridTest, ColoursAndBack) {
  const Colours colours = {9, 3, 1, 2, 0, 4, 5, 6, 7, 8};
  const Grid changed = Recolour(kSmall, colours);
  EXPECT_EQ(ToText(changed), "312\n045\n");
  EXPECT_EQ(Recolour(changed, Inverse(colours)), kSmall);
}

Task MakeTask() {
  Task task;
  task.id = "t";
  for (uint8_t i = 0; i < 4; ++i) task.train.push_back({MakeGrid(1, 2, {i, 5}), MakeGrid(2, 1, {5, i})});
  task.test.push_back({kSmall, MakeGrid(1, 3, {7, 8, 9})});
  task.test.push_back({kSmall, std::nullopt});
  return task;
}

TEST(AugmentTest, TheFirstFormIsTheTaskTheNextSevenItsSymmetries) {
  const auto forms = MakeAugmentations(8, 4, 0);
  ASSERT_THAT(forms, SizeIs(8));
  EXPECT_EQ(forms[0], Augmentation());
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(forms[i].symmetry, i);
    EXPECT_EQ(forms[i].colours, kSameColours);
    EXPECT_TRUE(forms[i].order.empty());
  }
}

TEST(AugmentTest, FurtherFormsChangeColoursAndOrderAndDependOnTheSeedAlone) {
  const auto forms = MakeAugmentations(40, 4, 7);
  std::set<std::pair<Colours, std::vector<int>>> distinct;
  for (int i = 8; i < 40; ++i) {
    EXPECT_EQ(forms[i].symmetry, i % 8);
    distinct.insert({forms[i].colours, forms[i].order});
    std::vector<int> order = forms[i].order;
    std::sort(order.begin(), order.end());
    EXPECT_THAT(order, ElementsAre(0, 1, 2, 3));
    EXPECT_EQ(std::set<uint8_t>(forms[i].colours.begin(), forms[i].colours.end()).size(), 10u);
  }
  EXPECT_THAT(distinct, SizeIs(32));
  EXPECT_EQ(MakeAugmentations(40, 4, 7), forms);
  EXPECT_NE(MakeAugmentations(40, 4, 8), forms);
  auto fewer = forms;
  fewer.resize(20);
  EXPECT_EQ(MakeAugmentations(20, 4, 7), fewer) << "the first of more";
  // On every machine: a change of these makes other answers of a log's forms.
  EXPECT_THAT(forms[8].order, ElementsAre(2, 0, 3, 1));
  EXPECT_THAT(forms[8].colours, ElementsAre(8, 1, 5, 9, 0, 4, 3, 2, 6, 7));
}

TEST(AugmentTest, UndoTakesAnAnswerBackFromEveryForm) {
  const Task task = MakeTask();
  for (const Augmentation& form : MakeAugmentations(40, 4, 3)) {
    const Task changed = Apply(form, task);
    ASSERT_THAT(changed.train, SizeIs(4));
    EXPECT_EQ(Undo(form, *changed.test[0].output), *task.test[0].output);
    EXPECT_EQ(Undo(form, changed.test[0].input), task.test[0].input);
    EXPECT_FALSE(changed.test[1].output.has_value());
    for (size_t i = 0; i < 4; ++i) {
      const Pair& plain = task.train[form.order.empty() ? i : form.order[i]];
      EXPECT_EQ(Undo(form, changed.train[i].output), plain.output);
    }
  }
}

TEST(VoteTest, MostVotesFirstThenTheEarlierForm) {
  const Grid a = MakeGrid(1, 1, {1}), b = MakeGrid(1, 1, {2}), c = MakeGrid(1, 1, {3});
  EXPECT_THAT(Rank({}), SizeIs(0));
  EXPECT_THAT(Rank({{a, 0}, {b, 1}, {b, 2}, {c, 3}}), ElementsAre(b, a, c));
  // Answers come in the order in which they ended.
  EXPECT_THAT(Rank({{b, 1}, {a, 0}}), ElementsAre(a, b));
  EXPECT_THAT(Rank({{c, 5}, {b, 4}, {c, 2}, {b, 3}}), ElementsAre(c, b));
  EXPECT_THAT(Rank({{MakeGrid(1, 2, {1, 1}), 0}, {MakeGrid(2, 1, {1, 1}), 1}}), SizeIs(2)) << "shape counts";
}

}  // namespace
}  // namespace rondo::arc

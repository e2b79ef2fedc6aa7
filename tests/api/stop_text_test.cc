#include "api/stop_text.h"

#include <gtest/gtest.h>

namespace rondo {
namespace {

// What comes out of pushing `pieces`, with " | " between, and the rest at the end.
std::string Stream(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopText text(stops);
  std::string out;
  for (const std::string& piece : pieces) out += text.Push(piece) + " | ";
  return out + text.Finish() + (text.stopped() ? "!" : "");
}

TEST(StopTextTest, WithoutStopsTextPassesThrough) { EXPECT_EQ(Stream({}, {"a", "bc"}), "a | bc | "); }

TEST(StopTextTest, AStopStringThatSpansPiecesIsHeldBackAndCut) {
  EXPECT_EQ(Stream({"END"}, {"xE", "N", "D more", "yet"}), "x |  |  |  | !");
}

TEST(StopTextTest, WhatOnlyLookedLikeOneIsReleased) { EXPECT_EQ(Stream({"END"}, {"xEN", "x", "E"}), "x | ENx |  | E"); }

TEST(StopTextTest, TheEarliestOfSeveralCounts) {
  EXPECT_EQ(Stream({"cd", "b"}, {"abcd"}), "a | !");
  EXPECT_EQ(Stream({"\n\n", "\nUser:"}, {"hi\n", "User", ": x"}), "hi |  |  | !");
}

TEST(StopTextTest, OverlappingStartsAreKept) { EXPECT_EQ(Stream({"aab"}, {"aaa", "b"}), "a |  | !"); }

TEST(StopTextTest, EmptyStopsAreNone) { EXPECT_EQ(Stream({""}, {"ab"}), "ab | "); }

}  // namespace
}  // namespace rondo

#include "arc/vote.h"

#include <algorithm>

namespace rondo::arc {
namespace {

struct Tally {
  const Grid* grid;
  int votes, first_form;
};

}  // namespace

std::vector<Grid> Rank(const std::vector<Candidate>& candidates) {
  std::vector<Tally> tallies;
  for (const Candidate& candidate : candidates) {
    const auto same = [&](const Tally& tally) { return *tally.grid == candidate.grid; };
    const auto found = std::find_if(tallies.begin(), tallies.end(), same);
    if (found == tallies.end()) {
      tallies.push_back({&candidate.grid, 1, candidate.form});
    } else {
      ++found->votes;
      found->first_form = std::min(found->first_form, candidate.form);
    }
  }
  std::sort(tallies.begin(), tallies.end(), [](const Tally& a, const Tally& b) {
    return a.votes != b.votes ? a.votes > b.votes : a.first_form < b.first_form;
  });
  std::vector<Grid> ranked;
  for (const Tally& tally : tallies) ranked.push_back(*tally.grid);
  return ranked;
}

}  // namespace rondo::arc

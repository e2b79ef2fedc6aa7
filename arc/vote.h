// Which of several answers to one test is meant.
#ifndef RONDO_ARC_VOTE_H_
#define RONDO_ARC_VOTE_H_

#include <vector>

#include "arc/grid.h"

namespace rondo::arc {

struct Candidate {
  Grid grid;
  int form = 0;  // of the question (arc/augment.h); 0: the task as it stands
};

// The distinct grids: the one with most votes first, of equal ones the one that an earlier form gave. The first two are
// the two attempts.
std::vector<Grid> Rank(const std::vector<Candidate>& candidates);

}  // namespace rondo::arc

#endif  // RONDO_ARC_VOTE_H_

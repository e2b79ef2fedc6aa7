#include "arc/grid.h"

#include <utility>

namespace rondo::arc {
namespace {

constexpr int kTranspose = 4, kUpsideDown = 2, kMirror = 1;

}  // namespace

Grid Transform(const Grid& grid, int symmetry) {
  const bool transposes = (symmetry & kTranspose) != 0;
  Grid to{grid.rows, grid.columns, {}};
  if (transposes) std::swap(to.rows, to.columns);
  to.cells.reserve(grid.cells.size());
  for (int r = 0; r < to.rows; ++r) {
    for (int c = 0; c < to.columns; ++c) {
      const int row = (symmetry & kUpsideDown) != 0 ? to.rows - 1 - r : r;
      const int column = (symmetry & kMirror) != 0 ? to.columns - 1 - c : c;
      to.cells.push_back(transposes ? grid.at(column, row) : grid.at(row, column));
    }
  }
  return to;
}

int Inverse(int symmetry) {
  // Without the transpose each is its own inverse; with it, rows and columns change roles.
  if ((symmetry & kTranspose) == 0) return symmetry;
  return kTranspose | ((symmetry & kUpsideDown) != 0 ? kMirror : 0) | ((symmetry & kMirror) != 0 ? kUpsideDown : 0);
}

Grid Recolour(const Grid& grid, const Colours& colours) {
  Grid to = grid;
  for (uint8_t& cell : to.cells) cell = colours[cell];
  return to;
}

Colours Inverse(const Colours& permutation) {
  Colours inverse{};
  for (int c = 0; c < kColours; ++c) inverse[permutation[c]] = static_cast<uint8_t>(c);
  return inverse;
}

std::string ToText(const Grid& grid) {
  std::string text;
  for (int r = 0; r < grid.rows; ++r) {
    for (int c = 0; c < grid.columns; ++c) text.push_back(static_cast<char>('0' + grid.at(r, c)));
    text.push_back('\n');
  }
  return text;
}

}  // namespace rondo::arc

// The grids of ARC (Abstraction and Reasoning Corpus, arcprize.org): up to 30 x 30 cells of ten colours.
#ifndef RONDO_ARC_GRID_H_
#define RONDO_ARC_GRID_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace rondo::arc {

inline constexpr int kMaxSide = 30;
inline constexpr int kColours = 10;

// rows and columns are 1 to kMaxSide, cells [rows, columns] below kColours.
struct Grid {
  int rows = 0, columns = 0;
  std::vector<uint8_t> cells;

  uint8_t at(int row, int column) const { return cells[row * columns + column]; }
  bool operator==(const Grid&) const = default;
};

// The symmetries of a square: bit 2 transposes, then bit 1 turns the rows upside down, then bit 0 mirrors each row. 0
// is the identity.
inline constexpr int kSymmetries = 8;
Grid Transform(const Grid& grid, int symmetry);
// The symmetry that takes back what `symmetry` does.
int Inverse(int symmetry);

// Colour c becomes colours[c].
using Colours = std::array<uint8_t, kColours>;
inline constexpr Colours kSameColours = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
Grid Recolour(const Grid& grid, const Colours& colours);
Colours Inverse(const Colours& permutation);

// A line of digits for each row.
std::string ToText(const Grid& grid);

}  // namespace rondo::arc

#endif  // RONDO_ARC_GRID_H_

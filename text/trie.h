// A set of byte strings that answers: which of them start here? Nodes lie in one array, the children of a node side by
// side in order, so that a set of 250,000 pieces takes tens of megabytes and no pointers.
#ifndef RONDO_TEXT_TRIE_H_
#define RONDO_TEXT_TRIE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace rondo::text {

class Trie {
 public:
  Trie() = default;
  // Keys with their values (>= 0); of equal keys the last one counts, empty ones are left out.
  explicit Trie(std::vector<std::pair<std::string, int64_t>> keys);

  // Calls found(length, value) for every key that is a prefix of `text`, shortest first.
  template <typename Found>
  void Prefixes(absl::string_view text, const Found& found) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      node = Child(node, static_cast<uint8_t>(text[i]));
      if (node == 0) return;
      if (nodes_[node].value >= 0) found(i + 1, nodes_[node].value);
    }
  }

 private:
  struct Node {
    uint32_t first_child = 0;
    uint16_t children = 0;
    uint8_t byte = 0;
    int64_t value = -1;  // of the key that ends here
  };
  uint32_t Child(uint32_t node, uint8_t byte) const;  // 0: none

  std::vector<Node> nodes_{1};  // the root
};

}  // namespace rondo::text

#endif  // RONDO_TEXT_TRIE_H_

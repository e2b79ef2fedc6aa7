#include "text/trie.h"

#include <algorithm>
#include <deque>

namespace rondo::text {

Trie::Trie(std::vector<std::pair<std::string, int64_t>> keys) {
  std::stable_sort(keys.begin(), keys.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  // Breadth first over ranges of keys with a common prefix: a node's children are appended together.
  struct Range {
    size_t begin, end, depth;
    uint32_t node;
  };
  std::deque<Range> open{{0, keys.size(), 0, 0}};
  while (!open.empty()) {
    auto [begin, end, depth, node] = open.front();
    open.pop_front();
    for (; begin < end && keys[begin].first.size() == depth; ++begin) {
      if (depth > 0) nodes_[node].value = keys[begin].second;
    }
    nodes_[node].first_child = static_cast<uint32_t>(nodes_.size());
    while (begin < end) {
      const char byte = keys[begin].first[depth];
      size_t next = begin;
      while (next < end && keys[next].first[depth] == byte) ++next;
      open.push_back({begin, next, depth + 1, static_cast<uint32_t>(nodes_.size())});
      nodes_.push_back({0, 0, static_cast<uint8_t>(byte), -1});
      ++nodes_[node].children;
      begin = next;
    }
  }
}

uint32_t Trie::Child(uint32_t node, uint8_t byte) const {
  const auto first = nodes_.begin() + nodes_[node].first_child;
  const auto last = first + nodes_[node].children;
  const auto at = std::lower_bound(first, last, byte, [](const Node& child, uint8_t b) { return child.byte < b; });
  return at != last && at->byte == byte ? static_cast<uint32_t>(at - nodes_.begin()) : 0;
}

}  // namespace rondo::text

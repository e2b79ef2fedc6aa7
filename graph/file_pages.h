// Pages of mapped files. Weights are read from the mapped file once, when they are packed; after that their pages only
// make the process look twice as large as it is. They may be forgotten: whoever touches them again gets them from the
// file (as a rule from the system's page cache).
#ifndef RONDO_GRAPH_FILE_PAGES_H_
#define RONDO_GRAPH_FILE_PAGES_H_

#include <cstddef>

namespace rondo {

// A mapping that nobody ever writes to; removed before it is unmapped. Thread-safe, as is all here.
void AddFilePages(const void* begin, size_t bytes);
void RemoveFilePages(const void* begin);

// The whole pages inside [begin, begin + bytes) leave memory if they lie in one such mapping; other memory is left
// alone.
void ForgetFilePages(const void* begin, size_t bytes);

}  // namespace rondo

#endif  // RONDO_GRAPH_FILE_PAGES_H_

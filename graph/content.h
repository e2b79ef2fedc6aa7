// Tensors from content that shape inference knows.
#ifndef RONDO_GRAPH_CONTENT_H_
#define RONDO_GRAPH_CONTENT_H_

#include <vector>

#include "graph/value_type.h"
#include "rondo/tensor.h"

namespace rondo {

// The int64, int32 or bool tensor of a known shape whose elements are `content`; an undefined tensor when an element is
// symbolic or does not fit, or the type is another.
Tensor TensorFromContent(const ValueType& type, const std::vector<Dim>& content);

}  // namespace rondo

#endif  // RONDO_GRAPH_CONTENT_H_

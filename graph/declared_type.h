// What a file declares about a value against what is known of it. Declarations may say less (symbols, unknown ranks),
// and exporters' symbols are names only; but two numbers, ranks or element types that differ are a contradiction, and
// whoever reads the declaration would be misled.
#ifndef RONDO_GRAPH_DECLARED_TYPE_H_
#define RONDO_GRAPH_DECLARED_TYPE_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "graph/value_type.h"

namespace rondo {

// `known` is what the type was found by: "the tensor is" gives
// "declared as float32[2], the tensor is float32[3]: dim 0 cannot be both 2 and 3".
absl::Status CheckDeclaredType(const ValueType& declared, absl::string_view known, const ValueType& actual);

}  // namespace rondo

#endif  // RONDO_GRAPH_DECLARED_TYPE_H_

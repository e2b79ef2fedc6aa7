#include "ops/families.h"

namespace rondo {

absl::Span<const OpDef> SoftmaxFamily() { return {}; }

}  // namespace rondo

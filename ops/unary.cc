#include "ops/families.h"

namespace rondo {

absl::Span<const OpDef> UnaryFamily() { return {}; }

}  // namespace rondo

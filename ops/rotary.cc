#include "ops/families.h"

namespace rondo {

absl::Span<const OpDef> RotaryFamily() { return {}; }

}  // namespace rondo

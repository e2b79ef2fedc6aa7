#include "ops/families.h"

namespace rondo {

absl::Span<const OpDef> QuantizeFamily() { return {}; }

}  // namespace rondo

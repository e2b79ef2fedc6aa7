#include "ops/families.h"

namespace rondo {

absl::Span<const OpDef> ImageFamily() { return {}; }

}  // namespace rondo

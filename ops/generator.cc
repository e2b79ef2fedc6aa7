#include "ops/families.h"

namespace rondo {

absl::Span<const OpDef> GeneratorFamily() { return {}; }

}  // namespace rondo

#include "ops/families.h"

namespace rondo {

absl::Span<const OpDef> ContribAttentionFamily() { return {}; }

}  // namespace rondo

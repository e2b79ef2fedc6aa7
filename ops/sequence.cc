#include "ops/families.h"

namespace rondo {

absl::Span<const OpDef> SequenceFamily() { return {}; }

}  // namespace rondo

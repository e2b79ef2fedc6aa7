#include "ops/machine.h"

#include "absl/strings/str_cat.h"
#include "ops/kernels/isa.h"
#include "ops/onednn/onednn.h"

namespace rondo {

std::string MachineText() { return absl::StrCat(IsaName(ActiveIsa()), "; ", onednn::LibraryText()); }

}  // namespace rondo

#ifndef RONDO_OPS_MACHINE_H_
#define RONDO_OPS_MACHINE_H_

#include <string>

namespace rondo {

// "avx512; oneDNN 2.6.3 avx512_core_bf16": everything about the processor and the libraries on which the form of packed
// weights and the code of primitives depend.
std::string MachineText();

}  // namespace rondo

#endif  // RONDO_OPS_MACHINE_H_

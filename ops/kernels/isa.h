// Which instruction set the vector kernels use, decided once at start-up.
//
// Sources named ops/kernels/*_isa.cc are compiled once per instruction set (cmake/RondoTargets.cmake), each time with
// the macro RONDO_ISA set to the namespace that holds the result: rondo::baseline, rondo::avx2, rondo::avx512. Such a
// source exports one constant table of function pointers per namespace; a plain source beside it picks the table of
// ActiveIsa(). Rule for *_isa.cc: include nothing but <stdint.h>, <string.h>, <immintrin.h>, "ops/kernels/simd.h" and
// the header of the table. An inline function of the standard library or Abseil compiled there with AVX-512 could be
// the copy that the linker keeps for everybody, and crash older processors.
#ifndef RONDO_OPS_KERNELS_ISA_H_
#define RONDO_OPS_KERNELS_ISA_H_

namespace rondo {

enum class Isa {
  kBaseline,  // what the compiler targets by default: SSE2 on x86-64
  kAvx2,      // AVX2, FMA, F16C
  kAvx512,    // AVX-512 F, BW, DQ, VL
};

// The best set that processor and operating system have. The environment variable RONDO_ISA ("baseline", "avx2",
// "avx512") lowers it, for tests; it never raises it.
Isa ActiveIsa();
const char* IsaName(Isa isa);

}  // namespace rondo

#endif  // RONDO_OPS_KERNELS_ISA_H_

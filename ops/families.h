// The operator families, each listed once. A family is one .cc file that ends with its table of rows; the registry is
// built by walking this list (no self-registering globals: a linker drops those from a static archive).
#ifndef RONDO_OPS_FAMILIES_H_
#define RONDO_OPS_FAMILIES_H_

#include "absl/types/span.h"
#include "ops/op.h"

#define RONDO_OPERATOR_FAMILIES(X) \
  X(Activation)                    \
  X(ArgReduce)                     \
  X(Attention)                     \
  X(Binary)                        \
  X(BlockQuantized)                \
  X(Cast)                          \
  X(ChannelNorm)                   \
  X(ContribAttention)              \
  X(ContribMultiHeadAttention)     \
  X(ControlFlow)                   \
  X(Conv)                          \
  X(ConvInteger)                   \
  X(ConvSampled)                   \
  X(DataMovement)                  \
  X(Detection)                     \
  X(Einsum)                        \
  X(FlexAttention)                 \
  X(Fused)                         \
  X(Gather)                        \
  X(Generator)                     \
  X(GridSample)                    \
  X(Image)                         \
  X(KvAttention)                   \
  X(Logical)                       \
  X(LinearAttention)               \
  X(Loss)                          \
  X(LinearAlgebra)                 \
  X(MatMul)                        \
  X(MatMulInteger)                 \
  X(MlCategory)                    \
  X(MlFeature)                     \
  X(MlLinear)                      \
  X(MlMap)                         \
  X(MlSvm)                         \
  X(MlTree)                        \
  X(Normalization)                 \
  X(Pool)                          \
  X(PoolOther)                     \
  X(QLinear)                       \
  X(Quantize)                      \
  X(QuantizedWeights)              \
  X(Random)                        \
  X(Rearrange)                     \
  X(Recurrent)                     \
  X(Reduce)                        \
  X(Resize)                        \
  X(Rotary)                        \
  X(Cumulative)                    \
  X(Scan)                          \
  X(Scatter)                       \
  X(Sequence)                      \
  X(ShapeView)                     \
  X(Signal)                        \
  X(Softmax)                       \
  X(Sort)                          \
  X(Text)                          \
  X(Training)                      \
  X(Unary)                         \
  X(Variadic)

namespace rondo {

#define RONDO_DECLARE_FAMILY(Name) absl::Span<const OpDef> Name##Family();
RONDO_OPERATOR_FAMILIES(RONDO_DECLARE_FAMILY)
#undef RONDO_DECLARE_FAMILY

}  // namespace rondo

#endif  // RONDO_OPS_FAMILIES_H_

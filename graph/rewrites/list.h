// The rewrites, each listed once, in the order in which they run: RONDO_REWRITES(X) with X(function, name,
// description). The function is defined in graph/rewrites/<name>.cc.
#ifndef RONDO_GRAPH_REWRITES_LIST_H_
#define RONDO_GRAPH_REWRITES_LIST_H_

#include "graph/rewrites/rewrite.h"

#define RONDO_REWRITES(X)                                                                                       \
  X(SinkConstants, "sink_constants", "gives subgraphs their own handle of constants that they capture")         \
  X(ReadTransposed, "read_transposed", "lets products read constant matrices as they lie, not transposed")      \
  X(FoldConstants, "fold_constants", "computes nodes whose inputs are all constant, within the model's size")   \
  X(InlineIf, "inline_if", "replaces an If with a constant condition by its branch")                            \
  X(RemoveNoOps, "remove_no_ops",                                                                               \
    "removes identities and casts, reshapes and transposes that change nothing; merges chains")                 \
  X(ShareCommon, "share_common", "computes equal nodes once")                                                   \
  X(FoldBatchNorm, "fold_batch_norm", "folds BatchNormalization into the convolution before it")                \
  X(FuseLayerNorm, "fuse_layer_norm", "recognises decomposed LayerNormalization and RMSNormalization")          \
  X(FuseGelu, "fuse_gelu", "recognises decomposed Gelu, exact and tanh form")                                   \
  X(FuseSwish, "fuse_swish", "recognises Swish and the gated SwiGlu")                                           \
  X(ScatterRows, "scatter_rows", "writes rows along an inner axis without transposing what they go into")       \
  X(FuseRotaryEmbedding, "fuse_rotary_embedding", "recognises decomposed rotary position embedding")            \
  X(LowerMultiHeadAttention, "lower_multi_head_attention", "turns com.microsoft's attention into ai.onnx's")    \
  X(FuseAttention, "fuse_attention", "recognises decomposed scaled dot-product attention")                      \
  X(ShareHeads, "share_heads", "gives attention its keys and values as they were before their repetition")      \
  X(AttentionRows, "attention_rows", "gives attention and rotary embedding rows of all heads, untransposed")    \
  X(CancelTransposes, "cancel_transposes", "turns transposes that undo each other across views into a view")    \
  X(QuantizeWeights, "quantize_weights", "keeps constant matrices of products in 8 or 4 bits, where asked for") \
  X(FuseMatMul, "fuse_matmul", "gives products with constant matrices their bias, activation and residual")     \
  X(FuseConv, "fuse_conv", "gives convolutions their residual and activation")                                  \
  X(ChannelsLast, "channels_last", "gives convolutions and poolings NHWC images")                               \
  X(SinkTransposes, "sink_transposes", "moves transposes through elementwise operators, where they meet and vanish")

namespace rondo {

#define RONDO_DECLARE_REWRITE(Function, name, description) \
  absl::StatusOr<int> Function(Graph& graph, const RewriteContext& context);
RONDO_REWRITES(RONDO_DECLARE_REWRITE)
#undef RONDO_DECLARE_REWRITE

}  // namespace rondo

#endif  // RONDO_GRAPH_REWRITES_LIST_H_

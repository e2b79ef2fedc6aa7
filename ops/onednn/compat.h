// The one place that knows how oneDNN 2.6 and 3.x differ. 2.x has operation descriptors, a C struct behind
// memory::desc, a scale on every post-op and a second pooling primitive for dilations; 3.x has none of these.
// Everything else under ops/onednn/ is written against the functions below and compiles with both.
//
// Output scales are not offered: 2.x and 3.x disagree on their meaning, and at run time they cost 2.x its fast kernels.
// A binary multiplication as post-op does the same in both.
//
// All functions throw dnnl::error; callers within ops/onednn/ turn that into a Status.
#ifndef RONDO_OPS_ONEDNN_COMPAT_H_
#define RONDO_OPS_ONEDNN_COMPAT_H_

#include <dnnl.hpp>
#include <string>

#include "absl/strings/str_cat.h"

namespace rondo::onednn {

using Md = dnnl::memory::desc;
using MdDims = dnnl::memory::dims;

// What a convolution, a transposed convolution or a pooling needs beside its tensors. Dilation 0 is none.
struct WindowGeometry {
  MdDims kernel;  // pooling only
  MdDims strides;
  MdDims dilations;
  MdDims pads_begin;
  MdDims pads_end;
};

// How a descriptor lays out its elements: dims with their padding, strides of the outer blocks, and (axis, size) of the
// blocks inside, outermost first.
struct Blocking {
  std::vector<int64_t> padded, strides;
  std::vector<std::pair<int64_t, int64_t>> inner;
};

#if DNNL_VERSION_MAJOR >= 3

inline Blocking BlockingOf(const Md& md) {
  Blocking result;
  for (auto d : md.get_padded_dims()) result.padded.push_back(d);
  for (auto s : md.get_strides()) result.strides.push_back(s);
  const auto sizes = md.get_inner_blks(), axes = md.get_inner_idxs();
  for (size_t i = 0; i < sizes.size(); ++i) result.inner.emplace_back(axes[i], sizes[i]);
  return result;
}

inline MdDims DimsOf(const Md& md) { return md.get_dims(); }

inline dnnl::matmul::primitive_desc MakeMatMulPd(const dnnl::engine& engine, const Md& a, const Md& b, const Md& bias,
                                                 const Md& y, const dnnl::primitive_attr& attr) {
  return dnnl::matmul::primitive_desc(engine, a, b, bias, y, attr);
}

inline dnnl::convolution_forward::primitive_desc MakeConvPd(const dnnl::engine& engine, const Md& x, const Md& w,
                                                            const Md& bias, const Md& y, const WindowGeometry& g,
                                                            const dnnl::primitive_attr& attr) {
  return dnnl::convolution_forward::primitive_desc(engine, dnnl::prop_kind::forward_inference,
                                                   dnnl::algorithm::convolution_direct, x, w, bias, y, g.strides,
                                                   g.dilations, g.pads_begin, g.pads_end, attr);
}

inline dnnl::deconvolution_forward::primitive_desc MakeDeconvPd(const dnnl::engine& engine, const Md& x, const Md& w,
                                                                const Md& bias, const Md& y, const WindowGeometry& g,
                                                                const dnnl::primitive_attr& attr) {
  return dnnl::deconvolution_forward::primitive_desc(engine, dnnl::prop_kind::forward_inference,
                                                     dnnl::algorithm::deconvolution_direct, x, w, bias, y, g.strides,
                                                     g.dilations, g.pads_begin, g.pads_end, attr);
}

using PoolPrimitive = dnnl::pooling_forward;
inline PoolPrimitive::primitive_desc MakePoolPd(const dnnl::engine& engine, dnnl::algorithm algorithm, const Md& x,
                                                const Md& y, const WindowGeometry& g,
                                                const dnnl::primitive_attr& attr) {
  return PoolPrimitive::primitive_desc(engine, dnnl::prop_kind::forward_inference, algorithm, x, y, g.strides, g.kernel,
                                       g.dilations, g.pads_begin, g.pads_end, attr);
}

inline void AppendEltwise(dnnl::post_ops& ops, dnnl::algorithm algorithm, float alpha, float beta) {
  ops.append_eltwise(algorithm, alpha, beta);
}
// x * max(0, min(1, x / 6 + 1 / 2))
inline void AppendHardSwish(dnnl::post_ops& ops) {
  ops.append_eltwise(dnnl::algorithm::eltwise_hardswish, 1.0f / 6.0f, 0.5f);
}
// log(1 + exp(x)): here with a factor on x.
inline void AppendSoftplus(dnnl::post_ops& ops) { ops.append_eltwise(dnnl::algorithm::eltwise_soft_relu, 1.0f, 0.0f); }

// Names a physical layout; two descriptors with equal text lay out equal dims in the same bytes.
inline std::string LayoutText(const Md& md) {
  std::string text = absl::StrCat("dnnl", static_cast<int>(md.get_data_type()), ":");
  for (auto d : md.get_padded_dims()) absl::StrAppend(&text, d, ",");
  for (auto s : md.get_strides()) absl::StrAppend(&text, "s", s);
  auto blocks = md.get_inner_blks();
  auto indices = md.get_inner_idxs();
  for (size_t i = 0; i < blocks.size(); ++i) absl::StrAppend(&text, "b", indices[i], "x", blocks[i]);
  return absl::StrCat(text, "#", md.get_size());
}

#else

inline Blocking BlockingOf(const Md& md) {
  const auto& data = md.data;
  Blocking result;
  if (data.format_kind != dnnl_blocked) return result;
  const auto& blocking = data.format_desc.blocking;
  for (int i = 0; i < data.ndims; ++i) result.padded.push_back(data.padded_dims[i]);
  for (int i = 0; i < data.ndims; ++i) result.strides.push_back(blocking.strides[i]);
  for (int i = 0; i < blocking.inner_nblks; ++i)
    result.inner.emplace_back(blocking.inner_idxs[i], blocking.inner_blks[i]);
  return result;
}

inline MdDims DimsOf(const Md& md) { return md.dims(); }

inline dnnl::matmul::primitive_desc MakeMatMulPd(const dnnl::engine& engine, const Md& a, const Md& b, const Md& bias,
                                                 const Md& y, const dnnl::primitive_attr& attr) {
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, bias, y), attr, engine);
}

inline dnnl::convolution_forward::primitive_desc MakeConvPd(const dnnl::engine& engine, const Md& x, const Md& w,
                                                            const Md& bias, const Md& y, const WindowGeometry& g,
                                                            const dnnl::primitive_attr& attr) {
  dnnl::convolution_forward::desc desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, x, w,
                                       bias, y, g.strides, g.dilations, g.pads_begin, g.pads_end);
  return dnnl::convolution_forward::primitive_desc(desc, attr, engine);
}

inline dnnl::deconvolution_forward::primitive_desc MakeDeconvPd(const dnnl::engine& engine, const Md& x, const Md& w,
                                                                const Md& bias, const Md& y, const WindowGeometry& g,
                                                                const dnnl::primitive_attr& attr) {
  dnnl::deconvolution_forward::desc desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::deconvolution_direct, x,
                                         w, bias, y, g.strides, g.dilations, g.pads_begin, g.pads_end);
  return dnnl::deconvolution_forward::primitive_desc(desc, attr, engine);
}

using PoolPrimitive = dnnl::pooling_v2_forward;
inline PoolPrimitive::primitive_desc MakePoolPd(const dnnl::engine& engine, dnnl::algorithm algorithm, const Md& x,
                                                const Md& y, const WindowGeometry& g,
                                                const dnnl::primitive_attr& attr) {
  PoolPrimitive::desc desc(dnnl::prop_kind::forward_inference, algorithm, x, y, g.strides, g.kernel, g.dilations,
                           g.pads_begin, g.pads_end);
  return PoolPrimitive::primitive_desc(desc, attr, engine);
}

inline void AppendEltwise(dnnl::post_ops& ops, dnnl::algorithm algorithm, float alpha, float beta) {
  ops.append_eltwise(1.0f, algorithm, alpha, beta);
}
inline void AppendHardSwish(dnnl::post_ops& ops) {
  ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_hardswish, 0.0f, 0.0f);
}
inline void AppendSoftplus(dnnl::post_ops& ops) {
  ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_soft_relu, 0.0f, 0.0f);
}

inline std::string LayoutText(const Md& md) {
  const auto& data = md.data;
  const auto& blocking = data.format_desc.blocking;
  std::string text = absl::StrCat("dnnl", static_cast<int>(data.data_type), ":");
  for (int i = 0; i < data.ndims; ++i) absl::StrAppend(&text, data.padded_dims[i], ",");
  for (int i = 0; i < data.ndims; ++i) absl::StrAppend(&text, "s", blocking.strides[i]);
  for (int i = 0; i < blocking.inner_nblks; ++i) {
    absl::StrAppend(&text, "b", blocking.inner_idxs[i], "x", blocking.inner_blks[i]);
  }
  return absl::StrCat(text, "e", data.extra.flags, "#", md.get_size());
}

#endif

}  // namespace rondo::onednn

#endif  // RONDO_OPS_ONEDNN_COMPAT_H_

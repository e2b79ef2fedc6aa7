// Every form in which exporters keep a cache (kvcache/update.h), as a decoder of two layers: it is recognised, and
// steps with the cache in place give the logits of steps of the graph as it was exported. And what only looks like one
// of them is left growing, with the reason.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "absl/strings/str_cat.h"
#include "executor/step_runner.h"
#include "ops/infer.h"
#include "tests/support/graph_builder.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kVocabulary = 13, kHeads = 2, kSize = 4, kHidden = kHeads * kSize, kCapacity = 32;
constexpr int kLayers = 2;

// A decoder in the making. `attend` turns the projections [batch, rows, hidden] of one layer into its output, and adds
// the caches' inputs and outputs.
class TinyDecoder {
 public:
  using Attend = std::function<Value*(TinyDecoder&, int layer, Value* q, Value* k, Value* v)>;

  // Positions come in as position_ids [batch, seq], or as cache_position [seq].
  TinyDecoder(absl::string_view batch, bool cache_positions) : batch(batch) {
    ids = b.Input("input_ids", DataType::kInt64, {this->batch, "seq"});
    positions = cache_positions ? b.Input("cache_position", DataType::kInt64, {"seq"})
                                : b.Input("position_ids", DataType::kInt64, {this->batch, "seq"});
  }

  std::unique_ptr<Graph> Build(const Attend& attend) {
    Value* x = b.Op("Add", 14,
                    {b.Op("Gather", 13, {Weight({kVocabulary, kHidden}), ids}),
                     b.Op("Gather", 13, {Weight({64, kHidden}), positions})});
    for (int layer = 0; layer < kLayers; ++layer) {
      Value* projected[3];
      for (Value*& value : projected) value = b.Op("MatMul", 13, {x, Weight({kHidden, kHidden})});
      Value* attended = attend(*this, layer, projected[0], projected[1], projected[2]);
      x = b.Op("Add", 14, {x, b.Op("MatMul", 13, {attended, Weight({kHidden, kHidden})})});
    }
    Value* logits = b.Op("MatMul", 13, {x, Weight({kHidden, kVocabulary})});
    logits->set_name("logits");
    b.Output(logits);
    for (Value* value : outputs_) b.Output(value);
    return b.Take();
  }

  Value* Weight(const std::vector<int64_t>& dims) {
    Tensor weight = RandomFloats(dims, ++seed_);
    for (int64_t i = 0; i < weight.size(); ++i) weight.mutable_data<float>()[i] *= 0.5f;
    return b.Constant(std::move(weight));
  }
  Value* Ints(const std::vector<int64_t>& values) {
    return b.Constant(Int64Tensor({static_cast<int64_t>(values.size())}, values));
  }
  Value* Int(int64_t value) { return b.Constant(Int64Tensor({}, {value})); }
  Value* Reshape(Value* x, const std::vector<int64_t>& dims) { return b.Op("Reshape", 14, {x, Ints(dims)}); }
  Value* Transpose(Value* x, const std::vector<int64_t>& perm) { return b.Op("Transpose", 13, {x}, {{"perm", perm}}); }
  Value* Heads(Value* x) { return Transpose(Reshape(x, {0, 0, kHeads, kSize}), {0, 2, 1, 3}); }
  Value* Merged(Value* x) { return Reshape(Transpose(x, {0, 2, 1, 3}), {0, 0, kHidden}); }
  Value* Cast(Value* x, DataType to) { return b.Op("Cast", 13, {x}, {{"to", static_cast<int64_t>(to)}}); }
  Value* Unsqueezed(Value* x, const std::vector<int64_t>& axes) { return b.Op("Unsqueeze", 13, {x, Ints(axes)}); }
  // Element `i` of x's shape, as a scalar.
  Value* Dimension(Value* x, int64_t i) { return b.Op("Gather", 13, {b.Op("Shape", 15, {x}), Int(i)}); }
  Value* Range(Value* from, Value* to) { return b.Op("Range", 11, {from, to, Int(1)}); }

  Value* Cache(absl::string_view kind, int layer, const std::vector<std::string>& dims) {
    return b.Input(absl::StrCat("past.", layer, ".", kind), DataType::kFloat, dims);
  }
  void Present(absl::string_view kind, int layer, Value* value) {
    value->set_name(absl::StrCat("present.", layer, ".", kind));
    outputs_.push_back(value);
  }
  Value* Attention(int version, std::vector<Value*> inputs, NamedAttributes attributes = {}) {
    return b.Op("Attention", version, inputs, std::move(attributes));
  }

  // bool [1, 1, seq, capacity]: keys up to the query's position.
  Value* StaticMask() {
    std::vector<int64_t> keys;
    for (int64_t i = 0; i < kCapacity; ++i) keys.push_back(i);
    return Unsqueezed(b.Op("LessOrEqual", 16, {Ints(keys), Unsqueezed(positions, {1})}), {0, 1});
  }
  // [batch, past + seq], made once.
  Value* PaddingMask() {
    if (padding == nullptr) padding = b.Input("attention_mask", DataType::kInt64, {batch, "past + seq"});
    return padding;
  }
  // bool [batch, 1, seq, past + seq]; `key_positions` defaults to 0, 1, 2 ...
  Value* GrowingMask(Value* key_positions = nullptr) {
    if (key_positions == nullptr) key_positions = Range(Int(0), Dimension(PaddingMask(), 1));
    Value* causal = b.Op("GreaterOrEqual", 16, {Unsqueezed(positions, {1, 3}), key_positions});
    return b.Op("And", 7, {causal, Cast(Unsqueezed(PaddingMask(), {1, 2}), DataType::kBool)});
  }

  GraphBuilder b;
  std::string batch;
  Value *ids = nullptr, *positions = nullptr, *padding = nullptr;

 private:
  int seed_ = 0;
  std::vector<Value*> outputs_;
};

struct Form {
  std::string name;
  std::unique_ptr<Graph> (*make)();
  // Of the report.
  std::string form, layout;
  int axis;
  std::string start;
  std::string mask = "causal";
};

// ---- growing caches ----

std::unique_ptr<Graph> Concat() {
  TinyDecoder d("batch", false);
  return d.Build([](TinyDecoder& d, int layer, Value* q, Value* k, Value* v) {
    Value* all[2];
    for (int i : {0, 1}) {
      const char* kind = i == 0 ? "key" : "value";
      Value* past = d.Cache(kind, layer, {d.batch, "2", "past", "4"});
      all[i] = d.b.Op("Concat", 13, {past, d.Heads(i == 0 ? k : v)}, {{"axis", int64_t{-2}}});
      d.Present(kind, layer, all[i]);
    }
    return d.Merged(d.Attention(23, {d.Heads(q), all[0], all[1], d.GrowingMask()}));
  });
}

std::unique_ptr<Graph> ConcatNewRowsFirst() {
  TinyDecoder d("batch", false);
  return d.Build([](TinyDecoder& d, int layer, Value* q, Value* k, Value* v) {
    Value* all[2];
    for (int i : {0, 1}) {
      const char* kind = i == 0 ? "key" : "value";
      Value* past = d.Cache(kind, layer, {d.batch, "2", "past", "4"});
      all[i] = d.b.Op("Concat", 13, {d.Heads(i == 0 ? k : v), past}, {{"axis", int64_t{2}}});
      d.Present(kind, layer, all[i]);
    }
    Value* total = d.Dimension(d.PaddingMask(), 1);
    Value* past = d.b.Op("Sub", 14, {total, d.Dimension(d.ids, 1)});
    Value* order = d.b.Op("Concat", 13, {d.Range(past, total), d.Range(d.Int(0), past)}, {{"axis", int64_t{0}}});
    return d.Merged(d.Attention(23, {d.Heads(q), all[0], all[1], d.GrowingMask(order)}));
  });
}

std::unique_ptr<Graph> OnnxAttention() {
  TinyDecoder d("batch", false);
  return d.Build([](TinyDecoder& d, int layer, Value* q, Value* k, Value* v) {
    Value* key = d.Cache("key", layer, {d.batch, "2", "past", "4"});
    Value* value = d.Cache("value", layer, {d.batch, "2", "past", "4"});
    Node* node = d.b.Node_("Attention", 23, {d.Heads(q), d.Heads(k), d.Heads(v), nullptr, key, value}, 3,
                           {{"is_causal", int64_t{1}}});
    d.Present("key", layer, node->output(1));
    d.Present("value", layer, node->output(2));
    return d.Merged(node->output(0));
  });
}

std::unique_ptr<Graph> GroupQueryAttention() {
  TinyDecoder d("batch", false);
  return d.Build([](TinyDecoder& d, int layer, Value* q, Value* k, Value* v) {
    Value* key = d.Cache("key", layer, {d.batch, "2", "past", "4"});
    Value* value = d.Cache("value", layer, {d.batch, "2", "past", "4"});
    Value* lengths = d.b.Op("ReduceSum", 13, {d.PaddingMask(), d.Ints({1})}, {{"keepdims", int64_t{0}}});
    lengths = d.Cast(d.b.Op("Sub", 14, {lengths, d.Int(1)}), DataType::kInt32);
    Value* total = d.Cast(d.Dimension(d.PaddingMask(), 1), DataType::kInt32);
    Node* node = d.b.Node_("com.microsoft::GroupQueryAttention", 1, {q, k, v, key, value, lengths, total}, 3,
                           {{"num_heads", kHeads}, {"kv_num_heads", kHeads}});
    d.Present("key", layer, node->output(1));
    d.Present("value", layer, node->output(2));
    return node->output(0);
  });
}

// Optimum's merged decoder: one branch joins the past, the other has none.
std::unique_ptr<Graph> MergedIf() {
  TinyDecoder d("batch", false);
  Value* choice = d.b.Input("use_cache_branch", DataType::kBool, {"1"});
  return d.Build([&](TinyDecoder& d, int layer, Value* q, Value* k, Value* v) {
    Graph& graph = d.b.graph();
    std::vector<Value*> captures;
    for (const char* kind : {"key", "value"}) captures.push_back(d.Cache(kind, layer, {d.batch, "2", "past", "4"}));
    for (Value* value : {d.Heads(q), d.Heads(k), d.Heads(v), d.GrowingMask()}) captures.push_back(value);
    Node* node = graph.AddNode({"", "If", 16}, absl::StrCat("if", layer), {choice}, 3);
    for (const char* branch : {"then_branch", "else_branch"}) {
      graph.SetSubgraph(node, branch, std::make_unique<Graph>());
    }
    for (Value* capture : captures) graph.AddCapture(node, capture);
    for (const bool cached : {true, false}) {
      GraphBuilder b(*node->subgraph(cached ? "then_branch" : "else_branch"));
      const std::vector<Value*> in = b.graph().inputs();
      Value* all[2] = {in[3], in[4]};
      for (int i : {0, 1}) {
        if (cached) all[i] = b.Op("Concat", 13, {in[i], all[i]}, {{"axis", int64_t{2}}});
      }
      b.Output(b.Op("Attention", 23, {in[2], all[0], all[1], cached ? in[5] : nullptr},
                    {{"is_causal", int64_t{cached ? 0 : 1}}}));
      b.Output(all[0]);
      b.Output(all[1]);
    }
    EXPECT_TRUE(InferNode(*node).ok());
    d.Present("key", layer, node->output(1));
    d.Present("value", layer, node->output(2));
    return d.Merged(node->output(0));
  });
}

// A decoder of a seq2seq model: its own cache grows, the encoder's keys and values are read in every step.
std::unique_ptr<Graph> WithEncoder() {
  TinyDecoder d("batch", false);
  return d.Build([](TinyDecoder& d, int layer, Value* q, Value* k, Value* v) {
    Value *all[2], *encoder[2];
    for (int i : {0, 1}) {
      const std::string kind = i == 0 ? "key" : "value";
      Value* past = d.Cache(kind, layer, {d.batch, "2", "past", "4"});
      all[i] = d.b.Op("Concat", 13, {past, d.Heads(i == 0 ? k : v)}, {{"axis", int64_t{2}}});
      d.Present(kind, layer, all[i]);
      encoder[i] = d.Cache(absl::StrCat("encoder.", kind), layer, {d.batch, "2", "encoder_length", "4"});
    }
    Value* own = d.Attention(23, {d.Heads(q), all[0], all[1], d.GrowingMask()});
    return d.Merged(d.b.Op("Add", 14, {own, d.Attention(23, {own, encoder[0], encoder[1]})}));
  });
}

Value* AdditiveMask(TinyDecoder& d) {
  return d.b.Op("Where", 16,
                {d.GrowingMask(), d.b.Constant(FloatTensor({}, {0})), d.b.Constant(FloatTensor({}, {-3.4028235e38f}))});
}

std::unique_ptr<Graph> MultiHeadAttention() {
  TinyDecoder d("batch", false);
  return d.Build([](TinyDecoder& d, int layer, Value* q, Value* k, Value* v) {
    Value* key = d.Cache("key", layer, {d.batch, "2", "past", "4"});
    Value* value = d.Cache("value", layer, {d.batch, "2", "past", "4"});
    Node* node = d.b.Node_("com.microsoft::MultiHeadAttention", 1,
                           {q, k, v, nullptr, nullptr, AdditiveMask(d), key, value}, 3, {{"num_heads", kHeads}});
    d.Present("key", layer, node->output(1));
    d.Present("value", layer, node->output(2));
    return node->output(0);
  });
}

std::unique_ptr<Graph> PackedAttention() {
  TinyDecoder d("batch", false);
  return d.Build([](TinyDecoder& d, int layer, Value* q, Value*, Value*) {
    Value* past = d.Cache("key_value", layer, {"2", d.batch, "2", "past", "4"});
    Node* node = d.b.Node_("com.microsoft::Attention", 1,
                           {q, d.Weight({kHidden, 3 * kHidden}), d.Weight({3 * kHidden}), nullptr, past}, 2,
                           {{"num_heads", kHeads}, {"unidirectional", int64_t{1}}});
    d.Present("key_value", layer, node->output(1));
    return node->output(0);
  });
}

// ---- caches of fixed capacity ----

// Applies `update` to both caches of a layer and attends under the static mask.
using Update = std::function<Value*(TinyDecoder&, Value* cache, Value* rows)>;
std::unique_ptr<Graph> Static(absl::string_view batch, const Update& update) {
  TinyDecoder d(batch, true);
  return d.Build([&](TinyDecoder& d, int layer, Value* q, Value* k, Value* v) {
    Value* all[2];
    for (int i : {0, 1}) {
      const char* kind = i == 0 ? "key" : "value";
      all[i] = update(d, d.Cache(kind, layer, {d.batch, "2", "32", "4"}), d.Heads(i == 0 ? k : v));
      d.Present(kind, layer, all[i]);
    }
    return d.Merged(d.Attention(23, {d.Heads(q), all[0], all[1], d.StaticMask()}));
  });
}

std::unique_ptr<Graph> IndexPut() {
  return Static("batch", [](TinyDecoder& d, Value* cache, Value* rows) {
    Value* written =
        d.b.Op("ScatterND", 18,
               {d.Transpose(cache, {2, 0, 1, 3}), d.Unsqueezed(d.positions, {1}), d.Transpose(rows, {2, 0, 1, 3})});
    return d.Transpose(written, {1, 2, 0, 3});
  });
}

std::unique_ptr<Graph> ScatterElements() {
  return Static("batch", [](TinyDecoder& d, Value* cache, Value* rows) {
    Value* index = d.b.Op("Expand", 13, {d.Unsqueezed(d.positions, {0, 1, 3}), d.b.Op("Shape", 15, {rows})});
    return d.b.Op("ScatterElements", 18, {cache, index, rows}, {{"axis", int64_t{2}}});
  });
}

// A coordinate for every element, as jax2onnx writes dynamic_update_slice.
Value* Grid(TinyDecoder& d, Value* rows) {
  Value* shape = d.b.Op("Shape", 15, {rows});
  Value* full = d.b.Op("Concat", 13, {shape, d.Ints({1})}, {{"axis", int64_t{0}}});
  std::vector<Value*> coordinates;
  for (int axis = 0; axis < 4; ++axis) {
    Value* range = d.Range(d.Int(0), d.b.Op("Gather", 13, {shape, d.Int(axis)}));
    if (axis == 2) {  // clamped into the cache, from its end where it is negative
      Value* start = d.b.Op("Gather", 13, {d.positions, d.Int(0)});
      Value* wrapped = d.b.Op(
          "Where", 16, {d.b.Op("Less", 13, {start, d.Int(0)}), d.b.Op("Add", 14, {start, d.Int(kCapacity)}), start});
      Value* last = d.b.Op("Sub", 14, {d.Int(kCapacity), d.b.Op("Gather", 13, {shape, d.Int(2)})});
      Value* clamped = d.b.Op("Min", 13, {d.b.Op("Max", 13, {wrapped, d.Int(0)}), last});
      range = d.b.Op("Add", 14, {range, clamped});
    }
    std::vector<int64_t> others;
    for (int64_t i = 0; i < 5; ++i) {
      if (i != axis) others.push_back(i);
    }
    coordinates.push_back(d.b.Op("Expand", 13, {d.Unsqueezed(range, others), full}));
  }
  return d.b.Op("Concat", 13, coordinates, {{"axis", int64_t{-1}}});
}

std::unique_ptr<Graph> CoordinateGrid() {
  return Static("1", [](TinyDecoder& d, Value* cache, Value* rows) {
    return d.b.Op("ScatterND", 18, {cache, Grid(d, rows), rows});
  });
}

std::unique_ptr<Graph> FlatCoordinateGrid() {
  return Static("1", [](TinyDecoder& d, Value* cache, Value* rows) {
    return d.b.Op("ScatterND", 18, {cache, d.Reshape(Grid(d, rows), {-1, 4}), d.Reshape(rows, {-1})});
  });
}

// TensorScatter with write_indices and nonpad_kv_seqlen.
template <int kRank>
std::unique_ptr<Graph> WriteIndices() {
  TinyDecoder d("batch", false);
  Value* starts = d.b.Input("write_indices", DataType::kInt64, {"batch"});
  Value* valid = d.b.Input("nonpad_kv_seqlen", DataType::kInt64, {"batch"});
  return d.Build([&](TinyDecoder& d, int layer, Value* q, Value* k, Value* v) {
    Value* all[2];
    for (int i : {0, 1}) {
      const char* kind = i == 0 ? "key" : "value";
      Value* rows = i == 0 ? k : v;
      Value* cache =
          kRank == 4 ? d.Cache(kind, layer, {"batch", "2", "32", "4"}) : d.Cache(kind, layer, {"batch", "32", "8"});
      all[i] = d.b.Op("TensorScatter", 24, {cache, kRank == 4 ? d.Heads(rows) : rows, starts},
                      {{"axis", int64_t{kRank == 4 ? -2 : 1}}});
      d.Present(kind, layer, all[i]);
    }
    NamedAttributes attributes = {{"is_causal", int64_t{1}}};
    if (kRank == 3) {
      attributes.push_back({"q_num_heads", kHeads});
      attributes.push_back({"kv_num_heads", kHeads});
    }
    Value* y = d.Attention(24, {kRank == 4 ? d.Heads(q) : q, all[0], all[1], nullptr, nullptr, nullptr, valid},
                           std::move(attributes));
    return kRank == 4 ? d.Merged(y) : y;
  });
}

std::unique_ptr<Graph> TensorScatterUnderAMask() {
  return Static("batch", [](TinyDecoder& d, Value* cache, Value* rows) {
    Value* start = d.b.Op("Gather", 13, {d.positions, d.Ints({0})});
    Value* starts =
        d.b.Op("Expand", 13, {start, d.b.Op("Slice", 13, {d.b.Op("Shape", 15, {d.ids}), d.Ints({0}), d.Ints({1})})});
    return d.b.Op("TensorScatter", 24, {cache, rows, starts});
  });
}

// Circular caches of `ring` rows under a bool mask [.., rows, ring].
std::unique_ptr<Graph> Circular(const std::function<Value*(TinyDecoder&)>& mask, int64_t ring = kCapacity) {
  TinyDecoder d("batch", true);
  return d.Build([&](TinyDecoder& d, int layer, Value* q, Value* k, Value* v) {
    Value* first = d.b.Op("Gather", 13, {d.positions, d.Ints({0})});
    Value* batch = d.b.Op("Slice", 13, {d.b.Op("Shape", 15, {d.ids}), d.Ints({0}), d.Ints({1})});
    Value* starts = d.b.Op("Expand", 13, {d.b.Op("Mod", 13, {first, d.Int(ring)}), batch});
    Value* all[2];
    for (int i : {0, 1}) {
      const char* kind = i == 0 ? "key" : "value";
      Value* cache = d.Cache(kind, layer, {"batch", "2", absl::StrCat(ring), "4"});
      all[i] =
          d.b.Op("TensorScatter", 24, {cache, d.Heads(i == 0 ? k : v), starts}, {{"mode", std::string("circular")}});
      d.Present(kind, layer, all[i]);
    }
    return d.Merged(d.Attention(23, {d.Heads(q), all[0], all[1], mask(d)}));
  });
}

// A cache of 12 rows that wraps, under a window of 6: of each column, the mask finds the newest position.
std::unique_ptr<Graph> CircularUnderAWindow() {
  constexpr int64_t kRing = 12, kWindow = 6;
  return Circular(
      [](TinyDecoder& d) {
        Value* last = d.b.Op("Gather", 13, {d.positions, d.Ints({-1})});
        Value* age = d.b.Op("Mod", 13, {d.b.Op("Sub", 14, {last, d.Range(d.Int(0), d.Int(kRing))}), d.Int(kRing)});
        Value* keys = d.b.Op("Sub", 14, {last, age});
        Value* queries = d.Unsqueezed(d.positions, {1});
        Value* oldest = d.b.Op("Sub", 14, {queries, d.Int(kWindow)});
        Value* seen =
            d.b.Op("And", 7, {d.b.Op("LessOrEqual", 16, {keys, queries}), d.b.Op("Greater", 13, {keys, oldest})});
        seen = d.b.Op("And", 7, {seen, d.b.Op("GreaterOrEqual", 16, {keys, d.Int(0)})});
        return d.Unsqueezed(seen, {0, 1});
      },
      kRing);
}

// Once the ring is full, all that is in it is seen.
std::unique_ptr<Graph> CircularSeenWhole() {
  return Circular([](TinyDecoder& d) { return d.StaticMask(); });
}

const Form kForms[] = {
    {"Concat", Concat, "Concat", "BNSH", 2, "past length"},
    {"ConcatNewRowsFirst", ConcatNewRowsFirst, "Concat (new rows first)", "BNSH", 2, "past length"},
    {"MergedIf", MergedIf, "Concat", "BNSH", 2, "past length"},
    {"WithEncoder", WithEncoder, "Concat", "BNSH", 2, "past length"},
    {"OnnxAttention", OnnxAttention, "Attention", "BNSH", 2, "past length"},
    {"GroupQueryAttention", GroupQueryAttention, "GroupQueryAttention", "BNSH", 2, "seqlens_k + 1 - rows"},
    {"MultiHeadAttention", MultiHeadAttention, "Attention", "BNSH", 2, "past length"},
    {"PackedAttention", PackedAttention, "Attention (keys and values in one)", "2BNSH", 3, "past length"},
    {"IndexPut", IndexPut, "ScatterND", "BNSH", 2, "cache_position"},
    {"ScatterElements", ScatterElements, "ScatterElements", "BNSH", 2, "cache_position"},
    {"CoordinateGrid", CoordinateGrid, "ScatterND", "BNSH", 2, "cache_position"},
    {"FlatCoordinateGrid", FlatCoordinateGrid, "ScatterND", "BNSH", 2, "cache_position"},
    {"TensorScatter4D", WriteIndices<4>, "TensorScatter", "BNSH", 2, "write_indices"},
    {"TensorScatter3D", WriteIndices<3>, "TensorScatter", "BSH", 1, "write_indices"},
    {"CircularUnderAWindow", CircularUnderAWindow, "TensorScatter (circular)", "BNSH", 2, "cache_position", "window 6"},
    {"CircularSeenWhole", CircularSeenWhole, "TensorScatter (circular)", "BNSH", 2, "cache_position", "window 32"},
    {"TensorScatterUnderAMask", TensorScatterUnderAMask, "TensorScatter", "BNSH", 2, "cache_position"},
};

std::unique_ptr<Decoder> MakeDecoder(std::unique_ptr<Graph> graph, bool growing) {
  DecoderOptions options;
  options.growing = growing;
  options.program.plain = growing;
  auto decoder = Decoder::Create(std::move(graph), options);
  EXPECT_TRUE(decoder.ok()) << decoder.status();
  return decoder.ok() ? *std::move(decoder) : nullptr;
}

// The logits after a prompt and after each of some tokens more.
std::vector<std::vector<float>> Steps(const Decoder& decoder) {
  StepRunnerOptions options;
  options.max_length = 24;
  options.prefill_rows = {4, 8};
  auto runner = MakeStepRunner(decoder, options);
  EXPECT_TRUE(runner.ok()) << runner.status();
  if (!runner.ok()) return {};
  std::vector<RuntimeValue> others;
  for (size_t i = 0; i < decoder.other_inputs().size(); ++i) {
    others.emplace_back(RandomFloats({1, kHeads, 5, kSize}, 100 + static_cast<int>(i)));
  }
  EXPECT_TRUE((*runner)->SetOthers(0, std::move(others)).ok());
  std::vector<std::vector<float>> logits(1);
  absl::Status status = (*runner)->Prefill(0, {3, 1, 4, 1, 5, 9, 2}, &logits[0]);
  EXPECT_TRUE(status.ok()) << status;
  for (const int64_t token : {6, 5, 3, 5, 8, 9}) {
    std::vector<float> next;
    status.Update((*runner)->Decode({0}, {token}, absl::MakeSpan(&next, 1)));
    logits.push_back(std::move(next));
  }
  // Several rows after a past.
  logits.emplace_back();
  status.Update((*runner)->Prefill(0, {7, 9, 3}, &logits.back()));
  EXPECT_TRUE(status.ok()) << status;
  return logits;
}

class CacheFormsTest : public testing::TestWithParam<Form> {};

TEST_P(CacheFormsTest, IsRecognisedAndInPlaceStepsGiveTheLogitsOfTheExportedGraph) {
  std::unique_ptr<Graph> graph = GetParam().make();
  std::unique_ptr<Decoder> in_place = MakeDecoder(graph->Clone(), /*growing=*/false);
  std::unique_ptr<Decoder> growing = MakeDecoder(std::move(graph), /*growing=*/true);
  ASSERT_TRUE(in_place != nullptr && growing != nullptr);
  const KvReport& report = in_place->report();
  ASSERT_TRUE(in_place->in_place()) << report.why;
  EXPECT_EQ(report.level, 1) << report.why;
  ASSERT_EQ(report.layers.size(), static_cast<size_t>(kLayers));
  for (int i = 0; i < kLayers; ++i) {
    const KvLayerReport& layer = report.layers[i];
    EXPECT_EQ(layer.form, GetParam().form);
    EXPECT_EQ(layer.layout, GetParam().layout);
    EXPECT_EQ(layer.axis, GetParam().axis);
    EXPECT_EQ(layer.start, GetParam().start);
    EXPECT_EQ(layer.mask, GetParam().mask);
    EXPECT_THAT(layer.key_input, HasSubstr(absl::StrCat("past.", i, ".key")));
    EXPECT_THAT(layer.key_output, HasSubstr(absl::StrCat("present.", i, ".key")));
  }
  ASSERT_FALSE(growing->in_place());
  const std::vector<std::vector<float>> expected = Steps(*growing), got = Steps(*in_place);
  ASSERT_EQ(expected.size(), got.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(expected[i].size(), static_cast<size_t>(kVocabulary));
    ASSERT_EQ(got[i].size(), static_cast<size_t>(kVocabulary));
    for (int64_t j = 0; j < kVocabulary; ++j) EXPECT_NEAR(got[i][j], expected[i][j], 2e-5) << "step " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, CacheFormsTest, testing::ValuesIn(kForms),
                         [](const auto& info) { return info.param.name; });

// ---- what is no such cache ----

void ExpectGrowing(std::unique_ptr<Graph> graph, absl::string_view why) {
  std::unique_ptr<Decoder> decoder = MakeDecoder(graph->Clone(), /*growing=*/false);
  std::unique_ptr<Decoder> plain = MakeDecoder(std::move(graph), /*growing=*/true);
  ASSERT_TRUE(decoder != nullptr && plain != nullptr);
  EXPECT_FALSE(decoder->in_place());
  EXPECT_NE(decoder->report().level, 1);
  EXPECT_THAT(decoder->report().why, HasSubstr(std::string(why)));
  // It still runs, as the graph says.
  const std::vector<std::vector<float>> expected = Steps(*plain), got = Steps(*decoder);
  ASSERT_EQ(expected.size(), got.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(got[i].size(), expected[i].size());
    for (size_t j = 0; j < expected[i].size(); ++j) EXPECT_NEAR(got[i][j], expected[i][j], 2e-5) << "step " << i;
  }
}

std::unique_ptr<Graph> ConcatWith(const std::function<Value*(TinyDecoder&, Value* q, Value* k, Value* v)>& attend) {
  TinyDecoder d("batch", false);
  return d.Build([&](TinyDecoder& d, int layer, Value* q, Value* k, Value* v) {
    Value* all[2];
    for (int i : {0, 1}) {
      const char* kind = i == 0 ? "key" : "value";
      Value* past = d.Cache(kind, layer, {d.batch, "2", "past", "4"});
      all[i] = d.b.Op("Concat", 13, {past, d.Heads(i == 0 ? k : v)}, {{"axis", int64_t{2}}});
      d.Present(kind, layer, all[i]);
    }
    return attend(d, d.Heads(q), all[0], all[1]);
  });
}

TEST(CacheFormsRefusalTest, AMaskThatSeesLaterRows) {
  ExpectGrowing(ConcatWith([](TinyDecoder& d, Value* q, Value* k, Value* v) {
                  Value* mask = d.Cast(d.Unsqueezed(d.PaddingMask(), {1, 2}), DataType::kBool);
                  return d.Merged(d.Attention(23, {q, k, v, mask}));
                }),
                "the mask is not causal");
}

TEST(CacheFormsRefusalTest, AMaskThatLeavesOutOneKey) {
  ExpectGrowing(ConcatWith([](TinyDecoder& d, Value* q, Value* k, Value* v) {
                  Value* keys = d.Range(d.Int(0), d.Dimension(d.PaddingMask(), 1));
                  Value* not_third = d.b.Op("Not", 1, {d.b.Op("Equal", 13, {keys, d.Int(3)})});
                  return d.Merged(d.Attention(23, {q, k, v, d.b.Op("And", 7, {d.GrowingMask(), not_third})}));
                }),
                "the mask is not causal");
}

TEST(CacheFormsRefusalTest, ACacheThatIsReadBesidesItsAttention) {
  ExpectGrowing(ConcatWith([](TinyDecoder& d, Value* q, Value* k, Value* v) {
                  Value* y = d.Merged(d.Attention(23, {q, k, v, d.GrowingMask()}));
                  return d.b.Op("Add", 14, {y, d.b.Op("ReduceMax", 18, {v}, {{"keepdims", int64_t{0}}})});
                }),
                "still needs state");
}

TEST(CacheFormsRefusalTest, PositionsThatSkipRows) {
  ExpectGrowing(Static("batch",
                       [](TinyDecoder& d, Value* cache, Value* rows) {
                         Value* index = d.b.Op("Sub", 14, {d.Int(kCapacity - 1), d.positions});
                         Value* written = d.b.Op("ScatterND", 18,
                                                 {d.Transpose(cache, {2, 0, 1, 3}), d.Unsqueezed(index, {1}),
                                                  d.Transpose(rows, {2, 0, 1, 3})});
                         return d.Transpose(written, {1, 2, 0, 3});
                       }),
                "the index is 31 for past 0");
}

TEST(CacheFormsRefusalTest, AGridThatIsShifted) {
  ExpectGrowing(Static("1",
                       [](TinyDecoder& d, Value* cache, Value* rows) {
                         Value* grid = d.b.Op("Add", 14, {Grid(d, rows), d.Ints({0, 0, 1, 0})});
                         return d.b.Op("ScatterND", 18, {cache, grid, rows});
                       }),
                "the index is 1 for past 0");
}

TEST(CacheFormsRefusalTest, ACircularCacheUnderAWindowThatForgetsToWrap) {
  ExpectGrowing(Circular([](TinyDecoder& d) {
                  return d.b.Op(
                      "And", 7,
                      {d.StaticMask(), d.b.Op("Greater", 13,
                                              {d.Range(d.Int(0), d.Int(kCapacity)),
                                               d.b.Op("Sub", 14, {d.Unsqueezed(d.positions, {1}), d.Int(6)})})});
                }),
                "the mask excludes a query's own key");
}

// [rows, size] meets [batch, heads, rows, size]: with a position for each sequence, batch would meet heads.
TEST(CacheFormsRefusalTest, SharedPositionsThatHaveNoPlaceForABatch) {
  TinyDecoder decoder("batch", true);
  ExpectGrowing(decoder.Build([](TinyDecoder& d, int layer, Value* q, Value* k, Value* v) {
    Value* all[2];
    for (int i : {0, 1}) {
      const char* kind = i == 0 ? "key" : "value";
      Value* cache = d.Cache(kind, layer, {"batch", "2", "32", "4"});
      Value* index =
          d.b.Op("Expand", 13, {d.Unsqueezed(d.positions, {0, 1, 3}), d.b.Op("Shape", 15, {d.Heads(i == 0 ? k : v)})});
      all[i] = d.b.Op("ScatterElements", 18, {cache, index, d.Heads(i == 0 ? k : v)}, {{"axis", int64_t{2}}});
      d.Present(kind, layer, all[i]);
    }
    Value* next = d.b.Op("Add", 14, {d.positions, d.Int(1)});
    Value* scaled = d.b.Op("Mul", 14, {d.Heads(q), d.b.Op("Gather", 13, {d.Weight({64, kSize}), next})});
    return d.Merged(d.Attention(23, {scaled, all[0], all[1], d.StaticMask()}));
  }),
                "batch");
}

TEST(CacheFormsRefusalTest, AWriteIndexThatIsOffByOne) {
  ExpectGrowing(
      Static("batch",
             [](TinyDecoder& d, Value* cache, Value* rows) {
               Value* start = d.b.Op("Add", 14, {d.b.Op("Gather", 13, {d.positions, d.Ints({0})}), d.Ints({1})});
               Value* batch = d.b.Op("Slice", 13, {d.b.Op("Shape", 15, {d.ids}), d.Ints({0}), d.Ints({1})});
               return d.b.Op("TensorScatter", 24, {cache, rows, d.b.Op("Expand", 13, {start, batch})});
             }),
      "the write index is 1 for past 0");
}

}  // namespace
}  // namespace rondo

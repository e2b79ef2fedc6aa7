// RNN, GRU and LSTM against the formulas of the specification, written out one scalar at a time.
#include <cmath>
#include <functional>

#include "gmock/gmock.h"
#include "graph/numeric.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::HasSubstr;

double Sigmoid(double v) { return 1 / (1 + std::exp(-v)); }
double Tanh(double v) { return std::tanh(v); }
using Function = std::function<double(double)>;

struct Case {
  std::string type;
  int64_t steps = 5, batch = 3, input = 4, hidden = 6;
  std::string direction = "forward";
  bool bias = true, lengths = false, states = true, peephole = false;
  bool linear_before_reset = false, input_forget = false, layout = false;
  double clip = 0;
  std::vector<std::string> names = {};  // activations
  std::vector<float> alphas = {}, betas = {};
  std::vector<Function> functions = {};  // of one direction

  int64_t gates() const { return type == "RNN" ? 1 : type == "GRU" ? 3 : 4; }
  int64_t directions() const { return direction == "bidirectional" ? 2 : 1; }
};

struct Data {
  Tensor x, w, r, b, lengths, h, c, p;
};

Data MakeData(const Case& t) {
  int64_t d = t.directions(), g = t.gates() * t.hidden;
  Data v;
  v.x = RandomFloats({t.steps, t.batch, t.input}, 1);
  v.w = RandomFloats({d, g, t.input}, 2);
  v.r = RandomFloats({d, g, t.hidden}, 3);
  if (t.bias) v.b = RandomFloats({d, 2 * g}, 4);
  if (t.lengths) {
    std::vector<int32_t> lengths;
    for (int64_t b = 0; b < t.batch; ++b) lengths.push_back(static_cast<int32_t>((b * 2 + t.steps) % (t.steps + 1)));
    v.lengths = Int32Tensor({t.batch}, lengths);
  }
  if (t.states) {
    v.h = RandomFloats({d, t.batch, t.hidden}, 5);
    if (t.type == "LSTM") v.c = RandomFloats({d, t.batch, t.hidden}, 6);
  }
  if (t.peephole) v.p = RandomFloats({d, 3 * t.hidden}, 7);
  return v;
}

// Y [T, D, B, H], Y_h, Y_c [D, B, H]
std::vector<Tensor> Reference(const Case& t, const Data& v) {
  int64_t H = t.hidden, D = t.directions(), G = t.gates() * H;
  Tensor y = Tensor::Make(DataType::kFloat, {t.steps, D, t.batch, H});
  Tensor yh = Tensor::Make(DataType::kFloat, {D, t.batch, H}), yc = yh.Clone();
  auto act = [&](int which, double value) {
    if (t.clip > 0) value = std::min(std::max(value, -t.clip), t.clip);
    return t.functions[which](value);
  };
  for (int64_t d = 0; d < D; ++d) {
    for (int64_t b = 0; b < t.batch; ++b) {
      int64_t length = t.lengths ? v.lengths.data<int32_t>()[b] : t.steps;
      std::vector<double> h(H), c(H);
      for (int64_t i = 0; i < H; ++i) {
        if (v.h.defined()) h[i] = v.h.data<float>()[(d * t.batch + b) * H + i];
        if (v.c.defined()) c[i] = v.c.data<float>()[(d * t.batch + b) * H + i];
      }
      for (int64_t s = 0; s < length; ++s) {
        int64_t time = d == 1 || t.direction == "reverse" ? length - 1 - s : s;
        auto wx = [&](int64_t gate, int64_t i) {
          int64_t row = gate * H + i;
          double sum = t.bias ? v.b.data<float>()[d * 2 * G + row] : 0;
          for (int64_t k = 0; k < t.input; ++k) {
            sum += static_cast<double>(v.w.data<float>()[(d * G + row) * t.input + k]) *
                   v.x.data<float>()[(time * t.batch + b) * t.input + k];
          }
          return sum;
        };
        auto rh = [&](int64_t gate, int64_t i, const std::vector<double>& state) {
          int64_t row = gate * H + i;
          double sum = t.bias ? v.b.data<float>()[d * 2 * G + G + row] : 0;
          for (int64_t k = 0; k < H; ++k)
            sum += static_cast<double>(v.r.data<float>()[(d * G + row) * H + k]) * state[k];
          return sum;
        };
        auto peep = [&](int64_t gate, int64_t i) {
          return t.peephole ? static_cast<double>(v.p.data<float>()[d * 3 * H + gate * H + i]) : 0.0;
        };
        std::vector<double> next(H), reset(H), reset_h(H);
        if (t.type == "GRU") {
          for (int64_t i = 0; i < H; ++i) reset[i] = act(0, wx(1, i) + rh(1, i, h)), reset_h[i] = reset[i] * h[i];
        }
        for (int64_t i = 0; i < H; ++i) {
          if (t.type == "RNN") {
            next[i] = act(0, wx(0, i) + rh(0, i, h));
          } else if (t.type == "GRU") {
            double z = act(0, wx(0, i) + rh(0, i, h));
            double n = act(1, t.linear_before_reset ? wx(2, i) + reset[i] * rh(2, i, h) : wx(2, i) + rh(2, i, reset_h));
            next[i] = (1 - z) * n + z * h[i];
          } else {
            double in = act(0, wx(0, i) + rh(0, i, h) + peep(0, i) * c[i]);
            double forget = t.input_forget ? 1 - in : act(0, wx(2, i) + rh(2, i, h) + peep(2, i) * c[i]);
            double update = act(1, wx(3, i) + rh(3, i, h));
            c[i] = forget * c[i] + in * update;
            double out = act(0, wx(1, i) + rh(1, i, h) + peep(1, i) * c[i]);
            next[i] = out * act(2, c[i]);
          }
        }
        h = next;
        for (int64_t i = 0; i < H; ++i) {
          y.mutable_data<float>()[((time * D + d) * t.batch + b) * H + i] = static_cast<float>(h[i]);
        }
      }
      for (int64_t i = 0; i < H; ++i) {
        yh.mutable_data<float>()[(d * t.batch + b) * H + i] = static_cast<float>(h[i]);
        yc.mutable_data<float>()[(d * t.batch + b) * H + i] = static_cast<float>(c[i]);
      }
    }
  }
  return {y, yh, yc};
}

// Moves axis `from` to the front or, reversed, the first axis to `from`.
Tensor BatchFirst(const Tensor& x, int axis) {
  Dims dims = x.dims(), out;
  int64_t outer = 1, inner = 1, n = dims[axis];
  for (int i = 0; i < axis; ++i) outer *= dims[i];
  for (int i = axis + 1; i < x.rank(); ++i) inner *= dims[i];
  out.push_back(n);
  for (int i = 0; i < x.rank(); ++i) {
    if (i != axis) out.push_back(dims[i]);
  }
  Tensor y = Tensor::Make(DataType::kFloat, out);
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t k = 0; k < n; ++k) {
      std::copy_n(x.data<float>() + (o * n + k) * inner, inner, y.mutable_data<float>() + (k * outer + o) * inner);
    }
  }
  return y;
}

void Check(Case t, const std::string& what) {
  if (t.functions.empty()) {
    t.functions = t.type == "RNN"   ? std::vector<Function>{Tanh}
                  : t.type == "GRU" ? std::vector<Function>{Sigmoid, Tanh}
                                    : std::vector<Function>{Sigmoid, Tanh, Tanh};
  }
  Data v = MakeData(t);
  std::vector<Tensor> want = Reference(t, v);
  if (t.layout) {
    v.x = BatchFirst(v.x, 1);
    if (v.h.defined()) v.h = BatchFirst(v.h, 1);
    if (v.c.defined()) v.c = BatchFirst(v.c, 1);
    want = {BatchFirst(want[0], 2), BatchFirst(want[1], 1), BatchFirst(want[2], 1)};
  }
  bool lstm = t.type == "LSTM";
  for (bool constant : {true, false}) {
    for (bool plain : {false, true}) {
      OpRunner run(t.type, 14);
      run.Attr("hidden_size", t.hidden).Attr("direction", t.direction).Attr("layout", int64_t{t.layout});
      if (t.type == "GRU") run.Attr("linear_before_reset", int64_t{t.linear_before_reset});
      if (lstm) run.Attr("input_forget", int64_t{t.input_forget});
      if (t.clip > 0) run.Attr("clip", static_cast<float>(t.clip));
      if (!t.names.empty()) run.Attr("activations", t.names);
      if (!t.alphas.empty()) run.Attr("activation_alpha", t.alphas);
      if (!t.betas.empty()) run.Attr("activation_beta", t.betas);
      run.Input(v.x);
      constant ? run.Constant(v.w).Constant(v.r) : run.Input(v.w).Input(v.r);
      for (const Tensor* in : {&v.b, &v.lengths, &v.h, &v.c, &v.p}) {
        if (!lstm && (in == &v.c || in == &v.p)) continue;
        in->defined() ? run.Input(*in) : run.Absent();
      }
      run.Outputs(lstm ? 3 : 2).Plain(plain);
      std::vector<Tensor> y = run.Run();
      for (size_t i = 0; i < y.size(); ++i) {
        EXPECT_EQ(FirstDifference(y[i], want[i], 1e-4, 1e-5), "")
            << t.type << " " << what << ": output " << i << (plain ? ", plain" : "") << (constant ? ", constant" : "");
      }
    }
  }
}

const char* const kTypes[] = {"RNN", "GRU", "LSTM"};

TEST(RecurrentTest, DefaultsInEveryDirection) {
  for (const char* type : kTypes) {
    for (const char* direction : {"forward", "reverse", "bidirectional"})
      Check({.type = type, .direction = direction}, direction);
  }
}

TEST(RecurrentTest, SequencesOfDifferentLengths) {
  for (const char* type : kTypes) {
    for (const char* direction : {"forward", "reverse", "bidirectional"}) {
      Check({.type = type, .batch = 6, .direction = direction, .lengths = true}, direction);
    }
  }
}

TEST(RecurrentTest, BatchFirst) {
  for (const char* type : kTypes)
    Check({.type = type, .direction = "bidirectional", .lengths = true, .layout = true}, "layout");
}

TEST(RecurrentTest, WithoutOptionalInputs) {
  for (const char* type : kTypes) Check({.type = type, .bias = false, .states = false}, "bare");
}

TEST(RecurrentTest, OneAndManyOfEverything) {
  for (const char* type : kTypes) {
    Check({.type = type, .steps = 1, .batch = 1, .input = 1, .hidden = 1}, "one");
    Check({.type = type, .steps = 7, .batch = 1, .input = 33, .hidden = 40}, "batch 1");
    Check({.type = type, .steps = 4, .batch = 19, .input = 5, .hidden = 37}, "batch 19");
    Check({.type = type, .steps = 2, .batch = 2, .input = 5, .hidden = 300}, "hidden 300");
  }
}

TEST(RecurrentTest, ClipBoundsWhatGoesIntoActivations) {
  for (const char* type : kTypes) Check({.type = type, .clip = 0.3}, "clip");
}

TEST(GruTest, LinearBeforeReset) {
  for (const char* direction : {"forward", "bidirectional"}) {
    Check({.type = "GRU", .direction = direction, .lengths = true, .linear_before_reset = true}, direction);
  }
  Check({.type = "GRU", .bias = false, .linear_before_reset = true}, "no bias");
}

TEST(LstmTest, PeepholesAndInputForget) {
  Check({.type = "LSTM", .direction = "bidirectional", .peephole = true}, "peephole");
  Check({.type = "LSTM", .input_forget = true}, "input_forget");
  Check({.type = "LSTM", .peephole = true, .input_forget = true, .clip = 0.5}, "all");
}

TEST(RecurrentTest, ActivationsWithTheirParameters) {
  auto hard = [](double v) { return std::min(1.0, std::max(0.0, 0.3 * v + 0.4)); };
  auto leaky = [](double v) { return v < 0 ? 0.02 * v : v; };
  auto soft = [](double v) { return v / (1 + std::abs(v)); };
  // Only functions that take alpha consume one; LeakyRelu has no beta.
  Check({.type = "GRU",
         .names = {"HardSigmoid", "LeakyRelu"},
         .alphas = {0.3f, 0.02f},
         .betas = {0.4f},
         .functions = {hard, leaky}},
        "gru");
  Check({.type = "LSTM",
         .names = {"Sigmoid", "LeakyRelu", "Softsign"},
         .alphas = {0.02f},
         .functions = {Sigmoid, leaky, soft}},
        "lstm");
  Check({.type = "RNN", .names = {"relu"}, .functions = {[](double v) { return std::max(v, 0.0); }}}, "case");
  Check({.type = "RNN", .names = {"ScaledTanh"}, .alphas = {1.7f}, .betas = {0.6f}, .functions = {[](double v) {
                                                                                      return 1.7f * std::tanh(0.6f * v);
                                                                                    }}},
        "scaled");
  Check({.type = "RNN", .names = {"Elu"}, .functions = {[](double v) { return v < 0 ? std::expm1(v) : v; }}}, "elu");
  Check({.type = "RNN", .names = {"Softplus"}, .functions = {[](double v) { return std::log1p(std::exp(v)); }}},
        "softplus");
  Check({.type = "RNN", .names = {"ThresholdedRelu"}, .alphas = {0.2f}, .functions = {[](double v) {
                                                                          return v > 0.2f ? v : 0;
                                                                        }}},
        "thresholded");
  Check({.type = "RNN", .names = {"Affine"}, .alphas = {0.5f}, .betas = {0.1f}, .functions = {[](double v) {
                                                                                  return 0.5 * v + 0.1f;
                                                                                }}},
        "affine");
}

TEST(RecurrentTest, HalfAndDouble) {
  Case t{.type = "LSTM", .steps = 3, .hidden = 8};
  t.functions = {Sigmoid, Tanh, Tanh};
  Data v = MakeData(t);
  Tensor want = Reference(t, v)[0];
  auto half = [](const Tensor& x) {
    std::vector<Float16> values;
    for (int64_t i = 0; i < x.size(); ++i) values.push_back(Float16(x.data<float>()[i]));
    return Tensor::FromVector(DataType::kFloat16, x.dims(), values);
  };
  auto wide = [](const Tensor& x) {
    return Tensor::FromVector(DataType::kDouble, x.dims(),
                              std::vector<double>(x.data<float>(), x.data<float>() + x.size()));
  };
  OpRunner h("LSTM", 14), d("LSTM", 14);
  h.Attr("hidden_size", int64_t{8})
      .Input(half(v.x))
      .Constant(half(v.w))
      .Input(half(v.r))
      .Input(half(v.b))
      .Absent()
      .Input(half(v.h))
      .Input(half(v.c));
  d.Attr("hidden_size", int64_t{8})
      .Input(wide(v.x))
      .Constant(wide(v.w))
      .Input(wide(v.r))
      .Input(wide(v.b))
      .Absent()
      .Input(wide(v.h))
      .Input(wide(v.c));
  Tensor yh = h.Run()[0], yd = d.Run()[0];
  for (int64_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(static_cast<float>(yh.data<Float16>()[i]), want.data<float>()[i], 1e-2);
    ASSERT_NEAR(yd.data<double>()[i], want.data<float>()[i], 1e-6);
  }
}

TEST(RecurrentTest, RefusesBadInput) {
  OpRunner lengths("RNN", 14), shape("GRU", 14), name("LSTM", 14);
  lengths.Input(RandomFloats({2, 1, 3}))
      .Input(RandomFloats({1, 4, 3}))
      .Input(RandomFloats({1, 4, 4}))
      .Absent()
      .Input(Int32Tensor({1}, {3}))
      .Outputs(2);
  EXPECT_THAT(lengths.RunError(), HasSubstr("sequence_lens: 3 of batch item 0 is out of range [0, 2]"));
  shape.Input(RandomFloats({2, 1, 3})).Input(RandomFloats({1, 12, 4})).Input(RandomFloats({1, 12, 4})).Outputs(2);
  EXPECT_THAT(shape.RunError(), HasSubstr("W: expected the shape [1, 12, 3], got [1, 12, 4]"));
  name.Attr("activations", std::vector<std::string>{"Sigmoid", "Foo", "Tanh"})
      .Input(RandomFloats({2, 1, 3}))
      .Input(RandomFloats({1, 16, 3}))
      .Input(RandomFloats({1, 16, 4}))
      .Outputs(3);
  EXPECT_THAT(name.RunError(), HasSubstr("\"Foo\""));
}

}  // namespace
}  // namespace rondo

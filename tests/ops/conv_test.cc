// Conv, ConvTranspose and their fused forms: values by hand, then oneDNN against the plain kernel.
#include <gtest/gtest.h>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using Ints = std::vector<int64_t>;

struct Case {
  Dims x, w;
  Ints strides, pads, dilations;
  int64_t group = 1;
  bool bias = true;
  std::string auto_pad = "NOTSET";
};

void Fill(OpRunner& run, const Case& c, bool constant) {
  if (!c.strides.empty()) run.Attr("strides", c.strides);
  if (!c.pads.empty()) run.Attr("pads", c.pads);
  if (!c.dilations.empty()) run.Attr("dilations", c.dilations);
  run.Attr("group", c.group).Attr("auto_pad", c.auto_pad);
  run.Input(RandomFloats(c.x, 1));
  constant ? run.Constant(RandomFloats(c.w, 2)) : run.Input(RandomFloats(c.w, 2));
}

std::string Compare(OpRunner& fast, OpRunner& plain) {
  std::vector<Tensor> a = fast.Run(), b = plain.Plain().Run();
  EXPECT_EQ(FirstDifference(a[0], b[0], 2e-5, 2e-5), "");
  EXPECT_EQ(plain.implementation(), "plain");
  EXPECT_NE(fast.implementation().substr(0, 3), "ref");
  return fast.implementation();
}

const Case kConvs[] = {
    {{1, 3, 10, 11}, {8, 3, 3, 3}, {}, {}, {}},
    {{2, 16, 9, 9}, {32, 16, 3, 3}, {2, 2}, {1, 1, 1, 1}, {}},
    {{1, 16, 9, 9}, {24, 16, 1, 1}, {}, {}, {}},
    {{1, 8, 9, 7}, {8, 8, 3, 2}, {2, 1}, {0, 1, 2, 0}, {}},
    {{1, 8, 12, 12}, {8, 8, 3, 3}, {}, {2, 2, 2, 2}, {2, 2}},
    {{1, 12, 9, 9}, {18, 4, 3, 3}, {}, {1, 1, 1, 1}, {}, 3},
    {{1, 32, 9, 9}, {32, 1, 3, 3}, {}, {1, 1, 1, 1}, {}, 32},
    {{1, 32, 14, 14}, {32, 1, 7, 7}, {}, {3, 3, 3, 3}, {}, 32},
    {{1, 4, 9, 9}, {8, 1, 3, 3}, {2, 2}, {1, 1, 1, 1}, {}, 4},
    {{2, 5, 20}, {7, 5, 3}, {2}, {1, 1}, {}},
    {{1, 3, 6, 7, 8}, {4, 3, 3, 3, 3}, {}, {1, 1, 1, 1, 1, 1}, {}},
    {{1, 3, 10, 11}, {4, 3, 3, 3}, {2, 2}, {}, {}, 1, false, "SAME_UPPER"},
    {{1, 3, 10, 11}, {4, 3, 4, 4}, {2, 3}, {}, {}, 1, true, "SAME_LOWER"},
    {{1, 3, 10, 11}, {4, 3, 3, 3}, {2, 2}, {}, {}, 1, true, "VALID"},
    {{1, 3, 32, 32}, {4, 3, 16, 16}, {16, 16}, {}, {}},
};

TEST(ConvTest, AgreesWithPlain) {
  for (const Case& c : kConvs) {
    SCOPED_TRACE(DimsToString(c.x) + " " + DimsToString(c.w));
    for (bool constant : {true, false}) {
      OpRunner fast("Conv", 11), plain("Conv", 11);
      for (OpRunner* run : {&fast, &plain}) {
        Fill(*run, c, constant);
        if (c.bias) run->Constant(RandomFloats({c.w[0]}, 3));
      }
      Compare(fast, plain);
    }
  }
}

TEST(ConvTest, SumsTheWindow) {
  OpRunner run("Conv", 11);
  run.Attr("pads", Ints{1, 1, 1, 1}).Input(FloatTensor({1, 1, 2, 2}, {1, 2, 3, 4}));
  run.Constant(FloatTensor({1, 1, 3, 3}, std::vector<float>(9, 1)));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({1, 1, 2, 2}, {10, 10, 10, 10})), "");
}

TEST(ConvTest, FourSpatialAxesArePlain) {
  OpRunner run("Conv", 11);
  run.Input(RandomFloats({1, 2, 3, 3, 3, 3}, 1)).Constant(RandomFloats({2, 2, 2, 2, 2, 2}, 2));
  EXPECT_EQ(run.Run()[0].dims(), (Dims{1, 2, 2, 2, 2, 2}));
}

TEST(ConvTest, ReportsWhatDoesNotFit) {
  OpRunner channels("Conv", 11);
  channels.Input(RandomFloats({1, 3, 8, 8})).Constant(RandomFloats({4, 2, 3, 3}));
  EXPECT_NE(channels.RunError().find("X has 3 channels"), std::string::npos) << channels.RunError();
  OpRunner kernel("Conv", 11);
  kernel.Input(RandomFloats({1, 3, 2, 2})).Constant(RandomFloats({4, 3, 3, 3}));
  EXPECT_NE(kernel.RunError().find("kernel of extent 3 exceeds the input of 2"), std::string::npos)
      << kernel.RunError();
  OpRunner strides("Conv", 11);
  strides.Attr("strides", Ints{0, 1}).Input(RandomFloats({1, 3, 8, 8})).Constant(RandomFloats({4, 3, 3, 3}));
  EXPECT_NE(strides.RunError().find("attribute \"strides\""), std::string::npos) << strides.RunError();
}

TEST(ConvTest, AnEmptyBatchGivesAnEmptyResult) {
  OpRunner run("Conv", 11);
  run.Input(Tensor::Make(DataType::kFloat, {0, 3, 8, 8})).Constant(RandomFloats({4, 3, 3, 3}));
  EXPECT_EQ(run.Run()[0].dims(), (Dims{0, 4, 6, 6}));
}

const Case kTransposed[] = {
    {{1, 3, 5, 6}, {3, 4, 3, 3}, {}, {}, {}},
    {{2, 16, 5, 6}, {16, 8, 2, 2}, {2, 2}, {}, {}},
    {{1, 16, 5, 6}, {16, 8, 4, 4}, {2, 2}, {1, 1, 1, 1}, {}},
    {{1, 6, 5, 6}, {6, 4, 3, 3}, {2, 1}, {0, 1, 1, 0}, {}, 2},
    {{1, 6, 5, 6}, {6, 1, 3, 3}, {2, 2}, {}, {}, 6},
    {{1, 3, 5, 6}, {3, 4, 3, 3}, {}, {}, {2, 2}},
    {{1, 3, 9}, {3, 4, 3}, {3}, {}, {}},
    {{1, 3, 4, 3, 5}, {3, 2, 2, 3, 2}, {2, 2, 2}, {}, {}},
};

TEST(ConvTransposeTest, AgreesWithPlain) {
  for (const Case& c : kTransposed) {
    SCOPED_TRACE(DimsToString(c.x) + " " + DimsToString(c.w));
    for (bool padding : {false, true}) {
      if (padding && (c.strides.empty() || c.strides[0] < 2)) continue;
      OpRunner fast("ConvTranspose", 11), plain("ConvTranspose", 11);
      for (OpRunner* run : {&fast, &plain}) {
        Fill(*run, c, true);
        run->Constant(RandomFloats({c.w[1] * c.group}, 3));
        if (padding) {
          Ints p(c.strides.size(), 0);
          p[0] = 1;
          run->Attr("output_padding", p);
        }
      }
      Compare(fast, plain);
    }
  }
}

TEST(ConvTransposeTest, OutputShapeDecidesThePads) {
  for (const char* auto_pad : {"NOTSET", "SAME_UPPER", "SAME_LOWER"}) {
    OpRunner fast("ConvTranspose", 11), plain("ConvTranspose", 11);
    for (OpRunner* run : {&fast, &plain}) {
      run->Attr("strides", Ints{3, 2}).Attr("output_shape", Ints{10, 8}).Attr("auto_pad", std::string(auto_pad));
      run->Input(RandomFloats({1, 1, 3, 3}, 1)).Constant(RandomFloats({1, 2, 3, 3}, 2));
    }
    Compare(fast, plain);
    EXPECT_EQ(fast.Run()[0].dims(), (Dims{1, 2, 10, 8}));
  }
}

TEST(ConvTransposeTest, PadsMayBeAnInput) {
  OpRunner run("ConvTransposeWithDynamicPads", 1, "com.microsoft");
  run.Attr("strides", Ints{2, 2}).Input(RandomFloats({1, 3, 5, 6}, 1)).Constant(RandomFloats({3, 4, 3, 3}, 2));
  run.Input(Int64Tensor({4}, {1, 1, 0, 0}));
  OpRunner same("ConvTranspose", 11);
  same.Attr("strides", Ints{2, 2}).Attr("pads", Ints{1, 1, 0, 0});
  same.Input(RandomFloats({1, 3, 5, 6}, 1)).Constant(RandomFloats({3, 4, 3, 3}, 2));
  EXPECT_EQ(FirstDifference(run.Run()[0], same.Run()[0]), "");
}

// [N, C, spatial...] -> [N, spatial..., C].
Tensor ChannelsLast(const Tensor& t) {
  Dims dims = {t.dim(0)};
  int64_t spatial = 1;
  for (int i = 2; i < t.rank(); ++i) {
    dims.push_back(t.dim(i));
    spatial *= t.dim(i);
  }
  dims.push_back(t.dim(1));
  Tensor r = Tensor::Make(DataType::kFloat, dims);
  for (int64_t n = 0; n < t.dim(0); ++n) {
    for (int64_t c = 0; c < t.dim(1); ++c) {
      for (int64_t s = 0; s < spatial; ++s) {
        r.mutable_data<float>()[(n * spatial + s) * t.dim(1) + c] = t.data<float>()[(n * t.dim(1) + c) * spatial + s];
      }
    }
  }
  return r;
}

TEST(RondoConvTest, BothLayoutsAgreeWithPlain) {
  for (const Case& c : kConvs) {
    SCOPED_TRACE(DimsToString(c.x) + " " + DimsToString(c.w));
    OpRunner base("Conv", 11);
    Fill(base, c, true);
    const Dims y = base.Run()[0].dims();
    for (const char* act : {"", "Relu", "HardSwish", "Clip"}) {
      std::vector<Tensor> results;
      for (const char* layout : {"NCHW", "NHWC"}) {
        for (bool plain : {false, true}) {
          OpRunner run("Conv", 1, "rondo");
          if (!c.strides.empty()) run.Attr("strides", c.strides);
          if (!c.pads.empty()) run.Attr("pads", c.pads);
          if (!c.dilations.empty()) run.Attr("dilations", c.dilations);
          run.Attr("group", c.group).Attr("auto_pad", c.auto_pad).Attr("layout", std::string(layout));
          run.Attr("activation", std::string(act)).Plain(plain);
          if (std::string(act) == "Clip") run.Attr("activation_alpha", 0.0f).Attr("activation_beta", 0.5f);
          auto arrange = [&](Tensor t) { return std::string(layout) == "NHWC" ? ChannelsLast(t) : t; };
          run.Input(arrange(RandomFloats(c.x, 1))).Constant(RandomFloats(c.w, 2));
          run.Constant(RandomFloats({c.w[0]}, 3)).Input(arrange(RandomFloats(y, 4)));
          Tensor result = run.Run()[0];
          results.push_back(std::string(layout) == "NHWC" ? result : ChannelsLast(result));
          EXPECT_NE(run.implementation().substr(0, 3), "ref");
        }
      }
      for (size_t i = 1; i < results.size(); ++i) EXPECT_EQ(FirstDifference(results[i], results[0], 2e-5, 2e-5), "");
    }
  }
}

TEST(FusedConvTest, AddsZBeforeTheActivation) {
  OpRunner run("FusedConv", 1, "com.microsoft");
  run.Attr("activation", std::string("Relu")).Input(FloatTensor({1, 1, 1, 2}, {1, -3}));
  run.Constant(FloatTensor({1, 1, 1, 1}, {2})).Absent().Input(FloatTensor({1, 1, 1, 2}, {-1, 2}));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({1, 1, 1, 2}, {1, 0})), "");
}

}  // namespace
}  // namespace rondo

// Poolings: values by hand, then oneDNN against the plain kernels.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using Ints = std::vector<int64_t>;

struct Case {
  Dims x;
  Ints kernel, strides, pads, dilations;
  int64_t ceil_mode = 0;
  std::string auto_pad = "NOTSET";
};

const Case kCases[] = {
    {{1, 16, 9, 9}, {3, 3}, {2, 2}, {1, 1, 1, 1}, {}},
    {{2, 3, 10, 7}, {2, 3}, {}, {}, {}},
    {{1, 3, 10, 7}, {3, 3}, {2, 2}, {0, 1, 1, 0}, {}, 1},
    {{1, 3, 10, 7}, {3, 3}, {2, 3}, {}, {}, 0, "SAME_UPPER"},
    {{1, 3, 10, 7}, {3, 3}, {2, 3}, {}, {}, 0, "SAME_LOWER"},
    {{1, 3, 10, 12}, {3, 3}, {1, 2}, {}, {2, 2}},
    {{1, 3, 15}, {3}, {2}, {1, 1}, {}, 1},
    {{1, 3, 6, 7, 8}, {2, 2, 2}, {2, 2, 2}, {}, {}},
    {{1, 1, 4, 4}, {3, 3}, {2, 2}, {}, {}, 1},
    {{1, 2, 5, 5}, {2, 2}, {2, 2}, {2, 2, 2, 2}, {}},
};

TEST(PoolTest, AgreesWithPlain) {
  for (const char* type : {"MaxPool", "AveragePool", "AveragePool+pad"}) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(std::string(type) + DimsToString(c.x) + DimsToString(c.kernel));
      const bool pad = std::string(type) == "AveragePool+pad";
      OpRunner fast(pad ? "AveragePool" : type, 19), plain(pad ? "AveragePool" : type, 19);
      for (OpRunner* run : {&fast, &plain}) {
        run->Attr("kernel_shape", c.kernel).Attr("ceil_mode", c.ceil_mode).Attr("auto_pad", c.auto_pad);
        if (!c.strides.empty()) run->Attr("strides", c.strides);
        if (!c.pads.empty()) run->Attr("pads", c.pads);
        if (!c.dilations.empty()) run->Attr("dilations", c.dilations);
        if (pad) run->Attr("count_include_pad", int64_t{1});
        run->Input(RandomFloats(c.x));
      }
      EXPECT_EQ(FirstDifference(fast.Run()[0], plain.Plain().Run()[0]), "");
      EXPECT_NE(fast.implementation().substr(0, 3), "ref");
      EXPECT_EQ(plain.implementation(), "plain");
    }
  }
}

TEST(PoolTest, GlobalPoolingsAgreeWithPlain) {
  for (const char* type : {"GlobalMaxPool", "GlobalAveragePool"}) {
    for (Dims x : {Dims{2, 16, 7, 7}, Dims{1, 3, 5}, Dims{1, 3, 4, 5, 6}}) {
      OpRunner fast(type, 1), plain(type, 1);
      fast.Input(RandomFloats(x));
      plain.Plain().Input(RandomFloats(x));
      EXPECT_EQ(FirstDifference(fast.Run()[0], plain.Run()[0]), "");
      EXPECT_NE(fast.implementation().substr(0, 3), "ref");
    }
  }
}

TEST(MaxPoolTest, IndicesCountTheWholeTensor) {
  OpRunner run("MaxPool", 12);
  run.Attr("kernel_shape", Ints{2, 2}).Attr("strides", Ints{2, 2}).Outputs(2);
  run.Input(FloatTensor({1, 2, 2, 3}, {1, 5, 2, 3, 4, 0, 0, 0, 0, 9, 1, 2}));
  std::vector<Tensor> y = run.Run();
  EXPECT_EQ(FirstDifference(y[0], FloatTensor({1, 2, 1, 1}, {5, 9})), "");
  EXPECT_EQ(Int64s(y[1]), (Ints{1, 9}));
  OpRunner column("MaxPool", 12);
  column.Attr("kernel_shape", Ints{2, 2}).Attr("strides", Ints{2, 2}).Attr("storage_order", int64_t{1}).Outputs(2);
  column.Input(FloatTensor({1, 2, 2, 3}, {1, 5, 2, 3, 4, 0, 0, 0, 0, 9, 1, 2}));
  EXPECT_EQ(Int64s(column.Run()[1]), (Ints{2, 7}));
}

TEST(AveragePoolTest, CeilModeDoesNotCountBeyondThePads) {
  OpRunner run("AveragePool", 19);
  run.Attr("kernel_shape", Ints{3}).Attr("strides", Ints{3}).Attr("ceil_mode", int64_t{1});
  run.Attr("count_include_pad", int64_t{1}).Attr("pads", Ints{0, 1}).Input(FloatTensor({1, 1, 4}, {1, 2, 3, 4}));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({1, 1, 2}, {2, 2})), "");
}

TEST(LpPoolTest, IsTheNormOfTheWindow) {
  OpRunner run("LpPool", 18);
  run.Attr("kernel_shape", Ints{2}).Attr("p", int64_t{2}).Input(FloatTensor({1, 1, 3}, {3, -4, 0}));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({1, 1, 2}, {5, 4})), "");
  OpRunner global("GlobalLpPool", 2);
  global.Attr("p", int64_t{1}).Input(FloatTensor({1, 1, 3}, {3, -4, 1}));
  EXPECT_EQ(FirstDifference(global.Run()[0], FloatTensor({1, 1, 1}, {8})), "");
}

TEST(RondoPoolTest, ChannelsLastReadsTheSameWindows) {
  for (const char* type : {"MaxPool", "AveragePool"}) {
    for (bool plain : {false, true}) {
      OpRunner run(type, 1, "rondo");
      run.Attr("kernel_shape", Ints{2, 2}).Attr("layout", std::string("NHWC")).Plain(plain);
      run.Input(FloatTensor({1, 2, 2, 2}, {1, 10, 2, 20, 3, 30, 6, 40}));
      const bool max = std::string(type) == "MaxPool";
      EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({1, 1, 1, 2}, {max ? 6.0f : 3.0f, max ? 40.0f : 25.0f})), "");
    }
  }
  OpRunner global("GlobalAveragePool", 1, "rondo");
  global.Attr("layout", std::string("NHWC")).Input(FloatTensor({1, 2, 2, 2}, {1, 10, 2, 20, 3, 30, 6, 40}));
  EXPECT_EQ(FirstDifference(global.Run()[0], FloatTensor({1, 1, 1, 2}, {3, 25})), "");
}

TEST(NhwcMaxPoolTest, TakesBytes) {
  Tensor x = Tensor::FromVector<uint8_t>(DataType::kUInt8, {1, 2, 2, 2}, {1, 10, 2, 20, 3, 30, 6, 40});
  OpRunner run("NhwcMaxPool", 1, "com.microsoft");
  run.Attr("kernel_shape", Ints{2, 2}).Input(x);
  Tensor y = run.Run()[0];
  EXPECT_EQ(y.data<uint8_t>()[0], 6);
  EXPECT_EQ(y.data<uint8_t>()[1], 40);
}

}  // namespace
}  // namespace rondo

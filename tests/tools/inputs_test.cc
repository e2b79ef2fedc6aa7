#include "tools/inputs.h"

#include <gtest/gtest.h>

#include "graph/dim.h"

namespace rondo {
namespace {

PortInfo Port(const std::string& name, DataType type, const std::vector<std::string>& dims) {
  PortInfo port;
  port.name = name;
  port.dtype = type;
  port.has_rank = true;
  Shape shape;
  for (const std::string& text : dims) shape.push_back(Dim::Parse(text));
  for (const Dim& dim : shape) {
    port.dims.push_back(dim.known() ? dim.value() : -1);
    port.dim_names.push_back(dim.ToString());
  }
  port.type = std::string(DataTypeName(type)) + shape.ToString();
  return port;
}

std::vector<PortInfo> Decoder() {
  return {Port("input_ids", DataType::kInt64, {"batch_size", "sequence_length"}),
          Port("attention_mask", DataType::kInt64, {"batch_size", "past_sequence_length + sequence_length"}),
          Port("past_key_values.0.key", DataType::kFloat, {"batch_size", "2", "past_sequence_length", "head_dim"})};
}

bool Contains(absl::string_view text, absl::string_view part) { return text.find(part) != absl::string_view::npos; }

TEST(ParseDimsTest, TakesDimsAndScalars) {
  EXPECT_EQ(*ParseDims("1x3x224x224"), (std::vector<int64_t>{1, 3, 224, 224}));
  EXPECT_EQ(*ParseDims("1,0"), (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(*ParseDims(""), (std::vector<int64_t>{}));
  for (const char* text : {"x", "1x", "-1", "1x2y", "99999999999999999999", "4294967296x4294967296"}) {
    EXPECT_FALSE(ParseDims(text).ok()) << text;
  }
}

TEST(BindDimsTest, DefaultsSuitTheirNamesAndExpressionsAreComputed) {
  const std::vector<PortInfo> outputs = {Port("present.0.key", DataType::kFloat, {"batch_size", "2", "x", "16"})};
  const absl::StatusOr<BoundDims> bound = BindDims(Decoder(), outputs, {}, {}, DimDefaults());
  ASSERT_TRUE(bound.ok()) << bound.status();
  EXPECT_EQ(bound->dims.at("input_ids"), (std::vector<int64_t>{1, 8}));
  EXPECT_EQ(bound->dims.at("attention_mask"), (std::vector<int64_t>{1, 8}));
  EXPECT_EQ(bound->dims.at("past_key_values.0.key"), (std::vector<int64_t>{1, 2, 0, 16}));
  EXPECT_TRUE(Contains(ChosenText(*bound), "sequence_length = 8"));
}

TEST(BindDimsTest, ShapesOfInputsAndSymbolsBindTheRest) {
  const absl::StatusOr<BoundDims> bound =
      BindDims(Decoder(), {}, {}, {"past_key_values.0.key=3x2x5x16", "sequence_length=4"}, std::nullopt);
  ASSERT_TRUE(bound.ok()) << bound.status();
  EXPECT_EQ(bound->dims.at("input_ids"), (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(bound->dims.at("attention_mask"), (std::vector<int64_t>{3, 9}));
  EXPECT_EQ(ChosenText(*bound), "");
}

TEST(BindDimsTest, WithoutDefaultsAnUnboundSymbolIsAnErrorWithAnExample) {
  const absl::StatusOr<BoundDims> bound = BindDims(Decoder(), {}, {}, {}, std::nullopt);
  ASSERT_FALSE(bound.ok());
  EXPECT_TRUE(Contains(bound.status().message(), "input \"input_ids\" (int64[batch_size, sequence_length])"));
  EXPECT_TRUE(Contains(bound.status().message(), "--shape input_ids=1x8")) << bound.status();
}

TEST(BindDimsTest, ContradictionsAreErrors) {
  const auto error = [](const std::vector<std::string>& shapes) {
    const absl::StatusOr<BoundDims> bound = BindDims(Decoder(), {}, {}, shapes, DimDefaults());
    return bound.ok() ? "" : std::string(bound.status().message());
  };
  EXPECT_TRUE(Contains(error({"input_ids=1x2x3"}), "expected rank 2"));
  EXPECT_TRUE(Contains(error({"past_key_values.0.key=1x3x0x16"}), "expected 2 for dim 1"));
  EXPECT_TRUE(Contains(error({"input_ids=1x2", "input_ids=1x3"}), "contradicts"));
  EXPECT_TRUE(Contains(error({"nobody=1"}), "no input or symbolic dim"));
  EXPECT_TRUE(Contains(error({"input_ids"}), "expected NAME=VALUE"));
  EXPECT_TRUE(Contains(error({"input_ids=1xA"}), "expected dims such as"));
}

TEST(RandomTensorTest, ValuesSuitTheInputsName) {
  const auto ints = [](const std::string& name, int64_t position = 0) {
    const Tensor t = *RandomTensor(name, DataType::kInt64, {1, 4}, 7, position);
    return std::vector<int64_t>(t.data<int64_t>(), t.data<int64_t>() + 4);
  };
  EXPECT_EQ(ints("attention_mask"), (std::vector<int64_t>{1, 1, 1, 1}));
  EXPECT_EQ(ints("token_type_ids"), (std::vector<int64_t>{0, 0, 0, 0}));
  EXPECT_EQ(ints("position_ids"), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(ints("position_ids", 5), (std::vector<int64_t>{5, 6, 7, 8}));
  for (int64_t id : ints("input_ids")) EXPECT_TRUE(id >= 1 && id < 32);
  EXPECT_TRUE(RandomTensor("use_cache_branch", DataType::kBool, {1}, 7)->data<bool>()[0]);
}

TEST(RandomTensorTest, SeedAndNameDecide) {
  const auto first = [](const std::string& name, uint64_t seed) {
    return RandomTensor(name, DataType::kFloat, {3}, seed)->data<float>()[0];
  };
  EXPECT_EQ(first("x", 1), first("x", 1));
  EXPECT_NE(first("x", 1), first("x", 2));
  EXPECT_NE(first("x", 1), first("y", 1));
  const Tensor many = *RandomTensor("x", DataType::kFloat, {1000}, 1);
  for (int i = 0; i < 1000; ++i) EXPECT_LE(std::abs(many.data<float>()[i]), 1.0f);
}

}  // namespace
}  // namespace rondo

#include <filesystem>

// onnx_pb.h defines what the generated header needs.
// clang-format off
#include "onnx/onnx_pb.h"
#include "onnx/onnx-data.pb.h"
// clang-format on
#include "tests/importer/model_builder.h"
#include "tests/support/paths.h"

namespace rondo {
namespace {

TEST(ValueFileTest, WrittenTensorsReadBack) {
  const std::string path = NewTempDir() + "/t.pb";
  for (int type = 1; type < kNumDataTypes; ++type) {
    const auto dtype = static_cast<DataType>(type);
    Tensor tensor = Tensor::Make(dtype, {3, 1});
    if (dtype == DataType::kString) {
      tensor.mutable_data<std::string>()[1] = std::string("a\0b", 3);
    } else {
      for (size_t i = 0; i < tensor.bytes(); ++i) static_cast<uint8_t*>(tensor.mutable_raw())[i] = 1;
    }
    ASSERT_TRUE(WriteTensorFile(path, "name", tensor).ok());
    absl::StatusOr<NamedValue> read = ReadValueFile(path, ValueType());
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->name, "name");
    const Tensor& back = read->value.tensor();
    EXPECT_EQ(back.dtype(), dtype);
    EXPECT_EQ(back.dims(), tensor.dims());
    if (dtype == DataType::kString) {
      EXPECT_EQ(Elements<std::string>(back), Elements<std::string>(tensor));
    } else {
      EXPECT_EQ(memcmp(back.raw(), tensor.raw(), tensor.bytes()), 0);
    }
  }
}

TEST(ValueFileTest, SequencesOptionalsAndMapsByDeclaredType) {
  const std::string path = NewTempDir() + "/v.pb";
  onnx::SequenceProto sequence;
  sequence.set_elem_type(1);
  SetFloats(sequence.add_tensor_values(), "", {2}, {1, 2});
  SetFloats(sequence.add_tensor_values(), "", {}, {3});
  WriteFile(path, sequence.SerializeAsString());
  absl::StatusOr<NamedValue> read = ReadValueFile(path, ValueType::Sequence(ValueType()));
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->value.sequence().size(), 2u);
  EXPECT_EQ(Elements<float>(read->value.sequence()[0].tensor()), (std::vector<float>{1, 2}));

  onnx::OptionalProto optional;
  *optional.mutable_sequence_value() = sequence;
  WriteFile(path, optional.SerializeAsString());
  read = ReadValueFile(path, ValueType::Optional(ValueType()));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->value.is_sequence());
  WriteFile(path, "");
  read = ReadValueFile(path, ValueType::Optional(ValueType()));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->value.empty());

  onnx::MapProto map;
  map.add_keys(7);
  SetFloats(map.mutable_values()->add_tensor_values(), "", {}, {0.5f});
  WriteFile(path, map.SerializeAsString());
  ValueType map_type;
  map_type.kind = ValueType::Kind::kMap;
  read = ReadValueFile(path, map_type);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(Elements<int64_t>(read->value.map().keys), std::vector<int64_t>{7});
  EXPECT_EQ(Elements<float>(read->value.map().values), std::vector<float>{0.5f});
}

TEST(ValueFileTest, BadFilesAreNamed) {
  const std::string directory = NewTempDir();
  ExpectError(ReadValueFile(directory + "/missing.pb", ValueType()).status(), {"missing.pb: "});
  ExpectError(ReadValueFile(directory, ValueType()).status(), {"not a regular file"});
  WriteFile(directory + "/bad.pb", "\xff\xff\xff");
  ExpectError(ReadValueFile(directory + "/bad.pb", ValueType()).status(), {"bad.pb: protobuf does not parse"});
  TensorProto tensor;
  tensor.set_data_type(TensorProto::FLOAT);
  tensor.add_dims(1000000);
  tensor.set_raw_data("1234");
  WriteFile(directory + "/short.pb", tensor.SerializeAsString());
  ExpectError(ReadValueFile(directory + "/short.pb", ValueType()).status(),
              {"short.pb: 4 bytes of data, shape needs 4000000"});
  ExpectError(WriteTensorFile(directory + "/no/such/t.pb", "", Tensor::Make(DataType::kFloat, {1})), {"cannot create"});
}

}  // namespace
}  // namespace rondo

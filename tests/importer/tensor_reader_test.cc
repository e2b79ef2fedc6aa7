// Tensors as files hold them: every type in raw and typed fields, exact sizes, external data.
#include <sys/stat.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "graph/numeric.h"
#include "tests/importer/model_builder.h"
#include "tests/support/op_runner.h"
#include "tests/support/paths.h"

namespace rondo {
namespace {

// Imports a model with one initializer and gives its tensor.
template <typename Fill>
absl::StatusOr<Tensor> ReadInitializer(const Fill& fill, const std::string& base_directory = "",
                                       const ImportOptions& options = {}) {
  TensorProto* w;
  ModelProto model = ModelWithInitializer(&w);
  fill(w);
  absl::StatusOr<ImportedModel> imported = Import(model, options, base_directory);
  if (!imported.ok()) return imported.status();
  return ConstantNamed(*imported->graph, "w");
}

TEST(TensorReaderTest, RawDataOfEveryTypeNeedsExactBytes) {
  for (int type = 1; type < kNumDataTypes; ++type) {
    if (type == TensorProto::STRING) continue;
    const auto dtype = static_cast<DataType>(type);
    SCOPED_TRACE(DataTypeName(dtype));
    const size_t bytes = ByteSize(dtype, 5);
    for (const size_t given : {bytes, bytes - 1, bytes + 1}) {
      absl::StatusOr<Tensor> tensor = ReadInitializer([&](TensorProto* w) {
        w->set_data_type(type);
        w->add_dims(5);
        w->set_raw_data(std::string(given, '\1'));
      });
      if (given == bytes) {
        ASSERT_TRUE(tensor.ok()) << tensor.status();
        EXPECT_EQ(tensor->dtype(), dtype);
        EXPECT_EQ(tensor->bytes(), bytes);
        EXPECT_EQ(static_cast<const char*>(tensor->raw())[bytes - 1], 1);
      } else {
        ExpectError(tensor.status(),
                    {"initializer \"w\": ", absl::StrCat(given, " bytes of data, shape needs ", bytes)});
      }
    }
  }
}

TEST(TensorReaderTest, TypedFieldsOfEveryType) {
  for (int type = 1; type < kNumDataTypes; ++type) {
    const auto dtype = static_cast<DataType>(type);
    SCOPED_TRACE(DataTypeName(dtype));
    absl::StatusOr<Tensor> tensor = ReadInitializer([&](TensorProto* w) {
      w->set_data_type(type);
      w->add_dims(3);
      for (int i = 0; i < 3; ++i) {
        switch (type) {
          case TensorProto::COMPLEX64:
            w->add_float_data(0);
            [[fallthrough]];
          case TensorProto::FLOAT:
            w->add_float_data(1);
            break;
          case TensorProto::COMPLEX128:
            w->add_double_data(0);
            [[fallthrough]];
          case TensorProto::DOUBLE:
            w->add_double_data(1);
            break;
          case TensorProto::INT64:
            w->add_int64_data(1);
            break;
          case TensorProto::UINT32:
          case TensorProto::UINT64:
            w->add_uint64_data(1);
            break;
          case TensorProto::STRING:
            w->add_string_data("s");
            break;
          default:
            if (i < static_cast<int>(ByteSize(dtype, 3)) || BitWidth(dtype) >= 8) w->add_int32_data(1);
        }
      }
    });
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_EQ(tensor->size(), 3);
    if (dtype == DataType::kInt8) {
      EXPECT_EQ(tensor->data<int8_t>()[2], 1);
    }
    if (dtype == DataType::kUInt32) {
      EXPECT_EQ(tensor->data<uint32_t>()[2], 1u);
    }
    if (dtype == DataType::kBFloat16) {
      EXPECT_EQ(tensor->data<BFloat16>()[2].bits, 1);
    }
    if (dtype == DataType::kString) {
      EXPECT_EQ(tensor->data<std::string>()[2], "s");
    }
  }
}

TEST(TensorReaderTest, LargeRawDataIsAlignedAndSmallOnesToo) {
  for (int64_t count : {1, 3, 1000, 100000}) {
    absl::StatusOr<Tensor> tensor = ReadInitializer([&](TensorProto* w) {
      w->set_data_type(TensorProto::DOUBLE);
      w->add_dims(count);
      w->set_raw_data(std::string(8 * count, '\0'));
    });
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor->raw()) % 8, 0u);
  }
}

TEST(TensorReaderTest, ZeroElementsNeedNoData) {
  absl::StatusOr<Tensor> tensor = ReadInitializer([](TensorProto* w) {
    w->set_data_type(TensorProto::FLOAT);
    w->add_dims(0);
    w->add_dims(1000);
  });
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->size(), 0);
}

TEST(TensorReaderTest, BoolBytesBecomeZeroOrOne) {
  absl::StatusOr<Tensor> tensor = ReadInitializer([](TensorProto* w) {
    w->set_data_type(TensorProto::BOOL);
    w->add_dims(3);
    w->set_raw_data(std::string("\x00\x02\xff", 3));
  });
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(Elements<uint8_t>(*tensor), (std::vector<uint8_t>{0, 1, 1}));
}

// Case 46: an odd count leaves half a byte, which may hold anything.
TEST(TensorReaderTest, UnusedHalfOfTheLastByteIsIgnored) {
  for (const char last : {'\x03', '\xf3'}) {
    absl::StatusOr<Tensor> tensor = ReadInitializer([&](TensorProto* w) {
      w->set_data_type(21);  // uint4
      w->add_dims(3);
      w->set_raw_data(std::string("\x21") + last);
    });
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    OpRunner cast("Cast", 21);
    cast.Attr("to", int64_t{TensorProto::INT64}).Input(*tensor);
    EXPECT_EQ(Int64s(cast.Run()[0]), (std::vector<int64_t>{1, 2, 3}));
  }
}

TEST(TensorReaderTest, ValuesThatDoNotFitTheirTypeAreNamed) {
  struct Case {
    int type;
    int32_t value;
    const char* error;
  };
  for (const Case& c : std::vector<Case>{{TensorProto::INT8, 300, "value 300 at index 1 does not fit int8"},
                                         {TensorProto::INT8, -129, "does not fit int8"},
                                         {TensorProto::UINT8, -1, "does not fit uint8"},
                                         {TensorProto::UINT8, 256, "does not fit uint8"},
                                         {TensorProto::BOOL, 2, "does not fit bool"},
                                         {TensorProto::INT16, 40000, "does not fit int16"},
                                         {TensorProto::UINT16, -1, "does not fit uint16"},
                                         {TensorProto::FLOAT16, 65536, "does not fit float16"},
                                         {TensorProto::BFLOAT16, -1, "does not fit bfloat16"},
                                         {17, 256, "does not fit float8e4m3fn"},
                                         {21, 256, ""},
                                         {22, -129, ""}}) {
    absl::StatusOr<Tensor> tensor = ReadInitializer([&](TensorProto* w) {
      w->set_data_type(c.type);
      w->add_dims(2);
      w->add_int32_data(0);
      w->add_int32_data(c.value);
    });
    ExpectError(tensor.status(), {c.error});
  }
  ExpectError(ReadInitializer([&](TensorProto* w) {
                w->set_data_type(TensorProto::UINT32);
                w->add_dims(1);
                w->add_uint64_data(uint64_t{1} << 32);
              }).status(),
              {"value 4294967296 at index 0 does not fit uint32"});
}

// ---- External data ----

class ExternalDataTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = NewTempDir() + "/model";
    std::filesystem::create_directory(directory_);
    std::string bytes(64, '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i);
    WriteFile(directory_ + "/w.bin", bytes);
    WriteFile(directory_ + "/../secret", bytes);
    std::filesystem::create_directory(directory_ + "/sub");
    WriteFile(directory_ + "/sub/w.bin", bytes);
  }
  // INT8[8] with these entries.
  absl::StatusOr<Tensor> Read(const std::vector<std::pair<std::string, std::string>>& entries,
                              bool follow_links = false, int type = TensorProto::INT8, int64_t dim = 8) {
    ImportOptions options;
    options.follow_links = follow_links;
    return ReadInitializer(
        [&](TensorProto* w) {
          w->set_data_type(type);
          w->add_dims(dim);
          w->set_data_location(TensorProto::EXTERNAL);
          for (const auto& [key, value] : entries) AddExternal(w, key, value);
        },
        directory_, options);
  }
  void ExpectRefused(const std::string& location, std::initializer_list<absl::string_view> parts,
                     bool follow_links = false) {
    SCOPED_TRACE(location);
    absl::StatusOr<Tensor> tensor = Read({{"location", location}}, follow_links);
    ExpectError(tensor.status(), parts);
    ExpectError(tensor.status(), {"initializer \"w\": "});
  }
  std::string directory_;
};

TEST_F(ExternalDataTest, OffsetAndLengthSelectBytes) {
  absl::StatusOr<Tensor> tensor = Read({{"location", "w.bin"}, {"offset", "3"}, {"length", "8"}});
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->data<int8_t>()[0], 3);
  tensor = Read({{"location", "./sub//w.bin"}});
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->data<int8_t>()[7], 7);
  tensor = Read({{"location", "w.bin"}, {"offset", "64"}}, false, TensorProto::INT8, 0);
  EXPECT_TRUE(tensor.ok()) << tensor.status();
}

TEST_F(ExternalDataTest, MisalignedDataIsCopied) {
  absl::StatusOr<Tensor> tensor = Read({{"location", "w.bin"}, {"offset", "5"}}, false, TensorProto::INT64, 2);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor->raw()) % 8, 0u);
  EXPECT_EQ(tensor->data<int64_t>()[0], 0x0c0b0a0908070605);
}

TEST_F(ExternalDataTest, LargeFilesAreMappedOnceAndOutliveTheImport) {
  WriteFile(directory_ + "/big.bin", std::string(1 << 20, '\7'));
  ModelProto model = EmptyModel();
  for (const char* name : {"a", "b"}) {
    TensorProto* tensor = model.mutable_graph()->add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(TensorProto::INT8);
    tensor->add_dims(1 << 19);
    AddExternal(tensor, "location", "big.bin");
    AddExternal(tensor, "offset", name == std::string("a") ? "0" : absl::StrCat(1 << 19));
    AddOutput(model.mutable_graph(), name, TensorProto::INT8, {1 << 19});
  }
  Tensor a, b;
  {
    absl::StatusOr<ImportedModel> imported = Import(model, {}, directory_);
    ASSERT_TRUE(imported.ok()) << imported.status();
    EXPECT_EQ(imported->external_bytes, 1 << 20);
    a = ConstantNamed(*imported->graph, "a");
    b = ConstantNamed(*imported->graph, "b");
  }
  EXPECT_EQ(a.data<char>() + (1 << 19), b.data<char>());
  EXPECT_EQ(b.data<char>()[(1 << 19) - 1], 7);
}

TEST_F(ExternalDataTest, ConstantsSubgraphsFunctionsAndSparseValuesTakeTheSamePath) {
  auto external = [](TensorProto* tensor) {
    tensor->set_data_type(TensorProto::INT8);
    tensor->add_dims(8);
    AddExternal(tensor, "location", "../secret");
  };
  ModelProto constant = ReluModel();
  external(AddAttribute(AddNode(constant.mutable_graph(), "Constant", "c", {}, {"k"}), "value", AttributeProto::TENSOR)
               ->mutable_t());
  ModelProto attribute = ReluModel();
  external(AddAttribute(attribute.mutable_graph()->mutable_node(0), "a", AttributeProto::TENSOR)->mutable_t());
  ModelProto function = ReluModel();
  function.mutable_graph()->mutable_node(0)->set_domain("d");
  external(AddAttribute(AddNode(AddFunction(&function, "d", "Relu", {"a"}, {"b"}), "Constant", "c", {}, {"b"}), "value",
                        AttributeProto::TENSOR)
               ->mutable_t());
  ModelProto subgraph = ReluModel();
  external(AddGraphAttribute(subgraph.mutable_graph()->mutable_node(0), "g")->add_initializer());
  subgraph.mutable_graph()->mutable_node(0)->mutable_attribute(0)->mutable_g()->mutable_initializer(0)->set_name("i");
  ModelProto sparse = ReluModel();
  auto* s = sparse.mutable_graph()->add_sparse_initializer();
  s->add_dims(100);
  s->mutable_values()->set_name("s");
  external(s->mutable_values());
  for (const ModelProto& model : {constant, attribute, function, subgraph, sparse}) {
    ExpectError(Import(model, {}, directory_).status(), {"\"../secret\" leaves the model directory"});
  }
}

// Cases 53 to 61 of the list of hostile models.
TEST_F(ExternalDataTest, LocationsOutsideTheFolderAreRefused) {
  for (const char* location : {"../secret", "sub/../../secret", "./../secret", "a/../../x", "..", "sub/.."}) {
    ExpectRefused(location, {"external data", "leaves the model directory"});
    ExpectRefused(location, {"external data", "leaves the model directory"}, /*follow_links=*/true);
  }
  for (const char* location : {"/etc/passwd", "//etc", "C:\\x", "C:/x", "file:///x", "http://h/x"}) {
    ExpectRefused(location, {"leaves the model directory", "not a relative path"});
  }
  ExpectRefused("\\\\srv\\x", {"backslash"});
  ExpectRefused("sub\\w.bin", {"backslash"});
}

TEST_F(ExternalDataTest, LocationsThatNameNoFileAreRefused) {
  ExpectRefused("", {"empty location"});
  ExpectError(Read({{"offset", "0"}}).status(), {"no location"});
  ExpectRefused(std::string("w.bin\0x", 7), {"NUL"});
  ExpectRefused(std::string(5000, 'a'), {"location of 5000 bytes, limit 4096"});
  ExpectRefused(".", {"names a directory"});
  ExpectRefused("sub/", {"names a directory"});
  ExpectRefused("sub", {"not a regular file"});
  ExpectRefused("missing", {"No such file"});
  ExpectRefused("*/_ORT_MEM_ADDR_/*", {"cannot open"});
}

TEST_F(ExternalDataTest, LinksNeedFollowLinks) {
  std::filesystem::create_symlink("../secret", directory_ + "/link");
  std::filesystem::create_directory_symlink("..", directory_ + "/up");
  std::filesystem::create_symlink("w.bin", directory_ + "/inside");
  std::filesystem::create_hard_link(directory_ + "/w.bin", directory_ + "/hard");
  ExpectRefused("link", {"is a symbolic link"});
  ExpectRefused("inside", {"is a symbolic link"});
  ExpectRefused("up/secret", {"is a symbolic link"});
  ExpectRefused("hard", {"2 hard links"});
  for (const char* location : {"link", "inside", "up/secret", "hard"}) {
    absl::StatusOr<Tensor> tensor = Read({{"location", location}}, /*follow_links=*/true);
    EXPECT_TRUE(tensor.ok()) << location << ": " << tensor.status();
  }
  std::filesystem::create_symlink("/proc/self/mem", directory_ + "/mem");
  std::filesystem::create_symlink("/dev/zero", directory_ + "/zero");
  ExpectRefused("mem", {"is a symbolic link"});
  ExpectRefused("zero", {"not a regular file"}, /*follow_links=*/true);
  ASSERT_EQ(mkfifo((directory_ + "/fifo").c_str(), 0600), 0);
  ExpectRefused("fifo", {"not a regular file"});
  ExpectRefused("fifo", {"not a regular file"}, /*follow_links=*/true);
}

TEST_F(ExternalDataTest, OffsetAndLengthAreStrictDecimals) {
  for (const char* text : {"-5", "abc", "1e9", "0x10", "18446744073709551616", "", " 1", "1 ", "+1", "1.0"}) {
    for (const char* key : {"offset", "length"}) {
      ExpectError(Read({{"location", "w.bin"}, {key, text}}).status(),
                  {absl::StrCat(key, " \"", text, "\" is not a non-negative decimal")});
    }
  }
  ExpectError(Read({{"location", "w.bin"}, {"offset", "1"}, {"offset", "2"}}).status(), {"duplicate key \"offset\""});
}

TEST_F(ExternalDataTest, RangesBeyondTheFileAreRefused) {
  for (const char* offset : {"57", "64", "65", "18446744073709551615", "18446744073709551608"}) {
    ExpectError(Read({{"location", "w.bin"}, {"offset", offset}}).status(), {"is beyond the file's 64 bytes"});
  }
  ExpectError(Read({{"location", "w.bin"}, {"offset", "8"}, {"length", "18446744073709551612"}}).status(),
              {"is beyond the file's 64 bytes"});
  ExpectError(Read({{"location", "w.bin"}, {"length", "9"}}).status(), {"9 bytes of data, shape needs 8"});
}

TEST_F(ExternalDataTest, UnknownKeysAreNoted) {
  TensorProto* w;
  ModelProto model = ModelWithInitializer(&w);
  w->set_data_type(TensorProto::INT8);
  w->add_dims(8);
  AddExternal(w, "location", "w.bin");
  AddExternal(w, "__class__", "x");
  AddExternal(w, "checksum", "beef");
  absl::StatusOr<ImportedModel> imported = Import(model, {}, directory_);
  ASSERT_TRUE(imported.ok()) << imported.status();
  ASSERT_EQ(imported->warnings.size(), 2u);
  EXPECT_NE(imported->warnings[1].find("__class__"), std::string::npos);
}

TEST_F(ExternalDataTest, OverlappingMisalignedTensorsCannotMultiplyAFile) {
  WriteFile(directory_ + "/big.bin", std::string(1 << 20, '\1'));
  ModelProto model = ReluModel();
  for (int i = 0; i < 10; ++i) {
    TensorProto* w = model.mutable_graph()->add_initializer();
    w->set_name(absl::StrCat("w", i));
    w->set_data_type(TensorProto::BOOL);
    w->add_dims(1 << 20);
    AddExternal(w, "location", "big.bin");
  }
  ExpectError(Import(model, {}, directory_).status(), {"overlapping"});
}

TEST_F(ExternalDataTest, ModelFromMemoryNeedsABaseDirectory) {
  TensorProto* w;
  ModelProto model = ModelWithInitializer(&w);
  w->set_data_type(TensorProto::INT8);
  w->add_dims(8);
  AddExternal(w, "location", "w.bin");
  ExpectError(Import(model).status(), {"initializer \"w\"", "no base directory"});
}

}  // namespace
}  // namespace rondo

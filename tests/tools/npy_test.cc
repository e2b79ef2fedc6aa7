#include "tools/npy.h"

#include <gtest/gtest.h>

#include <cstring>

#include "graph/numeric.h"
#include "tests/support/op_runner.h"
#include "tests/support/paths.h"
#include "tests/support/run_program.h"
#include "tools/values.h"

namespace rondo {
namespace {

// A file with this header text and payload, header padded as NumPy does.
std::string File(std::string header, const std::string& payload, char major = 1) {
  header += "\n";
  std::string bytes("\x93NUMPY", 6);
  bytes += major;
  bytes += '\0';
  bytes += static_cast<char>(header.size() & 0xff);
  bytes += static_cast<char>(header.size() >> 8);
  if (major > 1) bytes += std::string(2, '\0');
  return bytes + header + payload;
}

template <typename T>
std::string Raw(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

std::string ErrorOf(const std::string& bytes) {
  const absl::StatusOr<Tensor> tensor = ParseNpy(bytes);
  return tensor.ok() ? "" : std::string(tensor.status().message());
}

bool Contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(NpyTest, EveryTypeComesBackAsItWasWritten) {
  for (DataType type :
       {DataType::kFloat, DataType::kDouble, DataType::kFloat16, DataType::kInt8, DataType::kInt16, DataType::kInt32,
        DataType::kInt64, DataType::kUInt8, DataType::kUInt16, DataType::kUInt32, DataType::kUInt64, DataType::kBool}) {
    absl::StatusOr<Tensor> tensor = ConvertElements(FloatTensor({2, 3}, {0, 1, 2, 3, 4, 5}), type);
    ASSERT_TRUE(tensor.ok());
    absl::StatusOr<std::string> bytes = FormatNpy(*tensor);
    ASSERT_TRUE(bytes.ok()) << DataTypeName(type);
    absl::StatusOr<Tensor> back = ParseNpy(*bytes);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(back->dtype(), type);
    EXPECT_EQ(back->dims(), tensor->dims());
    EXPECT_EQ(std::memcmp(back->raw(), tensor->raw(), tensor->bytes()), 0) << DataTypeName(type);
  }
}

TEST(NpyTest, ScalarsAndEmptyTensorsComeBack) {
  for (const std::vector<int64_t>& dims : {std::vector<int64_t>{}, {1}, {0}, {2, 0, 3}}) {
    absl::StatusOr<std::string> bytes = FormatNpy(Tensor::Make(DataType::kInt64, dims));
    ASSERT_TRUE(bytes.ok());
    absl::StatusOr<Tensor> back = ParseNpy(*bytes);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(DimsToString(back->dims()), DimsToString(dims));
  }
}

TEST(NpyTest, TextComesBackInUtf8) {
  const Tensor text = StringTensor({3}, {"a", "", "z\xc3\xbc\xf0\x9f\x98\x80"});
  absl::StatusOr<std::string> bytes = FormatNpy(text);
  ASSERT_TRUE(bytes.ok());
  absl::StatusOr<Tensor> back = ParseNpy(*bytes);
  ASSERT_TRUE(back.ok()) << back.status();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(back->data<std::string>()[i], text.data<std::string>()[i]);
}

TEST(NpyTest, TypesThatNumpyLacksAreWrittenWider) {
  Tensor brain = Tensor::Make(DataType::kBFloat16, {2});
  brain.mutable_data<BFloat16>()[0] = BFloat16(1.5f);
  brain.mutable_data<BFloat16>()[1] = BFloat16(-2.0f);
  absl::StatusOr<std::string> bytes = FormatNpy(brain);
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(Floats(*ParseNpy(*bytes)), (std::vector<float>{1.5f, -2.0f}));
  absl::StatusOr<Tensor> nibbles = ConvertElements(FloatTensor({3}, {-8, 0, 7}), DataType::kInt4);
  ASSERT_TRUE(nibbles.ok());
  absl::StatusOr<Tensor> back = ParseNpy(*FormatNpy(*nibbles));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->dtype(), DataType::kInt8);
  EXPECT_EQ(back->data<int8_t>()[0], -8);
  EXPECT_EQ(back->data<int8_t>()[2], 7);
}

TEST(NpyTest, FortranOrderIsTransposed) {
  // The matrix [[1, 2, 3], [4, 5, 6]] column by column.
  const std::string file =
      File("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", Raw<float>({1, 4, 2, 5, 3, 6}));
  absl::StatusOr<Tensor> tensor = ParseNpy(file);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(Floats(*tensor), (std::vector<float>{1, 2, 3, 4, 5, 6}));
}

TEST(NpyTest, BigEndianIsSwapped) {
  const std::string file =
      File("{'descr': '>i4', 'fortran_order': False, 'shape': (2,), }", std::string("\0\0\0\1\xff\xff\xff\xfe", 8));
  absl::StatusOr<Tensor> tensor = ParseNpy(file);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->data<int32_t>()[0], 1);
  EXPECT_EQ(tensor->data<int32_t>()[1], -2);
}

TEST(NpyTest, KeysMayComeInAnyOrder) {
  const std::string file = File("{\"shape\": (1,), \"fortran_order\": False, \"descr\": \"|u1\"}", "\7", /*major=*/2);
  absl::StatusOr<Tensor> tensor = ParseNpy(file);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->data<uint8_t>()[0], 7);
}

TEST(NpyTest, BoolsAreZeroOrOne) {
  absl::StatusOr<Tensor> tensor =
      ParseNpy(File("{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }", std::string("\x80\0", 2)));
  ASSERT_TRUE(tensor.ok());
  EXPECT_EQ(tensor->data<uint8_t>()[0], 1);
  EXPECT_EQ(tensor->data<uint8_t>()[1], 0);
}

TEST(NpyTest, MalformedFilesAreErrors) {
  const auto header = [](const std::string& descr, const std::string& shape) {
    return "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }";
  };
  EXPECT_TRUE(Contains(ErrorOf(""), "not an npy file"));
  EXPECT_TRUE(Contains(ErrorOf("PK\3\4"), "not an npy file"));
  EXPECT_TRUE(Contains(ErrorOf(std::string("\x93NUMPY\1\0", 8)), "ends in its header"));
  EXPECT_TRUE(Contains(ErrorOf(std::string("\x93NUMPY\1\0\xff\x7f{", 11)), "ends in its header"));
  EXPECT_TRUE(Contains(ErrorOf(std::string("\x93NUMPY\2\0\xff\xff\xff\xff", 12)), "limit 65536"));
  EXPECT_TRUE(Contains(ErrorOf(std::string("\x93NUMPY\t\0\0\0", 10)), "format version 9"));
  EXPECT_TRUE(Contains(ErrorOf(File(header("|O", "(1,)"), "x")), "Python objects"));
  EXPECT_TRUE(Contains(ErrorOf(File(header("<f3", "(1,)"), "x")), "not supported"));
  EXPECT_TRUE(Contains(ErrorOf(File(header("<f4", "(2,)"), "abcd")), "4 bytes of data"));
  EXPECT_TRUE(Contains(ErrorOf(File(header("<f4", "(1,)"), "abcdefgh")), "8 bytes of data"));
  EXPECT_TRUE(Contains(ErrorOf(File(header("<f4", "(-1,)"), "abcd")), "not negative"));
  EXPECT_NE(ErrorOf(File(header("<f4", "(4294967296, 4294967296)"), "")), "");
  EXPECT_NE(ErrorOf(File(header("<f4", "(9223372036854775807,)"), "")), "");
  EXPECT_NE(ErrorOf(File(header("<f4", "(99999999999999999999,)"), "")), "");
  EXPECT_NE(ErrorOf(File(header("<U268435456", "(9223372036854775807,)"), "")), "");
  EXPECT_TRUE(Contains(ErrorOf(File("{'descr': '<f4', 'shape': (1,)}", "abcd")), "expected the keys"));
  EXPECT_TRUE(Contains(ErrorOf(File("{'descr': '<f4', 'descr': '<f4'}", "")), "twice"));
  EXPECT_TRUE(Contains(ErrorOf(File("{'evil': '<f4'}", "")), "unknown key"));
  EXPECT_TRUE(Contains(ErrorOf(File("{'descr': [('a', '<f4')]}", "")), "structured"));
  EXPECT_TRUE(Contains(ErrorOf(File("__import__('os')", "")), "malformed"));
  EXPECT_TRUE(Contains(ErrorOf(File(header("<f4", "(1,)") + " + 1", "abcd")), "after the closing brace"));
  std::string rank = "(";
  for (int i = 0; i < 100; ++i) rank += "1,";
  EXPECT_TRUE(Contains(ErrorOf(File(header("<f4", rank + ")"), "abcd")), "rank"));
}

TEST(NpyTest, EveryTruncationIsAnError) {
  absl::StatusOr<std::string> bytes = FormatNpy(FloatTensor({2}, {1, 2}));
  ASSERT_TRUE(bytes.ok());
  for (size_t n = 0; n < bytes->size(); ++n) EXPECT_NE(ErrorOf(bytes->substr(0, n)), "") << n;
}

TEST(NpyTest, ErrorsNameTheFile) {
  const std::string path = NewTempDir() + "/bad.npy";
  EXPECT_TRUE(Contains(std::string(ReadNpy(path).status().message()), "bad.npy: cannot open"));
  WriteTestFile(path, "nonsense");
  EXPECT_TRUE(Contains(std::string(ReadNpy(path).status().message()), "bad.npy: not an npy file"));
}

}  // namespace
}  // namespace rondo

// Writes small ONNX files byte by byte, without the protobuf library: for tests of whole programs.
//
//   TinyModel model;
//   model.Input("x", 1, {"batch", "3"}).Node("Identity", {"x"}, {"y"}).Output("y", 1, {"batch", "3"});
//   std::string bytes = model.Bytes();
#ifndef RONDO_TESTS_SUPPORT_TINY_MODEL_H_
#define RONDO_TESTS_SUPPORT_TINY_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

namespace rondo {

// Fields of a protobuf message (protobuf.dev/programming-guides/encoding).
class ProtoWriter {
 public:
  ProtoWriter& Int(int field, int64_t value);
  ProtoWriter& Bytes(int field, const std::string& value);
  ProtoWriter& Message(int field, const ProtoWriter& value) { return Bytes(field, value.bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  void Varint(uint64_t value);
  std::string bytes_;
};

// A TensorProto file of raw data.
std::string TensorProtoBytes(const std::string& name, int dtype, const std::vector<int64_t>& dims,
                             const std::string& raw);

class TinyModel {
 public:
  // Dims that are digits are numbers, "" is a dim without a name, all else is symbolic. `dtype` as in ONNX (1 float).
  TinyModel& Input(const std::string& name, int dtype, const std::vector<std::string>& dims);
  TinyModel& Output(const std::string& name, int dtype, const std::vector<std::string>& dims);
  // `int_attributes`: name and value.
  TinyModel& Node(const std::string& op, const std::vector<std::string>& inputs,
                  const std::vector<std::string>& outputs,
                  const std::vector<std::pair<std::string, int64_t>>& int_attributes = {},
                  const std::string& domain = "");
  // A constant: in the model, or `bytes` of the file `location` beside it.
  TinyModel& Initializer(const std::string& name, int dtype, const std::vector<int64_t>& dims, const std::string& raw);
  TinyModel& External(const std::string& name, int dtype, const std::vector<int64_t>& dims, const std::string& location,
                      int64_t offset, int64_t bytes);
  TinyModel& Opset(int64_t version) { return opset_ = version, *this; }
  std::string Bytes() const;

 private:
  ProtoWriter graph_;
  int64_t opset_ = 18;
  bool foreign_ = false;  // a node of another domain
};

}  // namespace rondo

#endif  // RONDO_TESTS_SUPPORT_TINY_MODEL_H_

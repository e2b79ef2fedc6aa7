// A folder with an exported language model: which files are what, and what its configuration says. Read:
//   config.json, generation_config.json            Hugging Face
//   genai_config.json                              onnxruntime-genai
//   model.onnx, decoder_model*.onnx, encoder_model.onnx, onnx/*.onnx   Optimum, transformers.js
#ifndef RONDO_API_MODEL_FOLDER_H_
#define RONDO_API_MODEL_FOLDER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace rondo {

struct ModelFolder {
  std::string path;           // the folder, or the file's
  std::string decoder;        // the .onnx file that is stepped
  std::string encoder;        // "": decoder only
  std::string first_decoder;  // gives the encoder's keys and values; "" unless there is an encoder. May be `decoder`.
  bool has_tokenizer = false;

  // -1 or 0 where no file says so.
  std::vector<int64_t> eos_tokens;
  int64_t decoder_start_token = -1;
  int64_t context_length = 0;
  int64_t vocabulary = 0;
  int64_t layers = 0;
  int64_t kv_heads = 0;
  int64_t sliding_window = 0;
};

// `file`: which .onnx of the folder, "" for the usual one. Errors name the file and the field.
absl::StatusOr<ModelFolder> ReadModelFolder(const std::string& path, const std::string& file);

}  // namespace rondo

#endif  // RONDO_API_MODEL_FOLDER_H_

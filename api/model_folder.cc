#include "api/model_folder.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "graph/status.h"
#include "text/json.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using text::Json;

bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

class FolderReader {
 public:
  explicit FolderReader(const std::string& path) : folder_path_(path) { folder_.path = path; }

  absl::StatusOr<ModelFolder> Read(const std::string& file) {
    // transformers.js keeps the graphs in a folder of their own, the configuration beside it.
    const fs::path root = folder_path_;
    graphs_ =
        Exists(root / "onnx" / "model.onnx") || (!HasGraphs(root) && HasGraphs(root / "onnx")) ? root / "onnx" : root;
    RONDO_RETURN_IF_ERROR(ReadConfig());
    RONDO_RETURN_IF_ERROR(ReadGenerationConfig());
    RONDO_RETURN_IF_ERROR(ReadGenaiConfig());
    RONDO_RETURN_IF_ERROR(ChooseGraphs(file));
    folder_.has_tokenizer = Exists(root / "tokenizer.json");
    return std::move(folder_);
  }

 private:
  static bool HasGraphs(const fs::path& folder) { return !Graphs(folder).empty(); }
  static std::vector<std::string> Graphs(const fs::path& folder) {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      if (entry.path().extension() == ".onnx") names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  // Reads `name` if it is there; null otherwise.
  absl::StatusOr<Json> ReadFile(const std::string& name) const {
    const fs::path path = fs::path(folder_path_) / name;
    if (!Exists(path)) return Json();
    RONDO_ASSIGN_OR_RETURN(Json json, text::ReadJsonFile(path.string()));
    if (json.object() == nullptr) {
      return InvalidArgument(path.string(), ": expected an object, got ", json.TypeName());
    }
    return json;
  }

  // The first of `names` that is a positive integer. A wrong type is an error, null is absence.
  static absl::Status ReadInt(const Json& json, absl::string_view file, std::initializer_list<absl::string_view> names,
                              int64_t* value, int64_t minimum = 1) {
    for (absl::string_view name : names) {
      const Json* field = json.Find(name);
      if (field == nullptr || field->is_null()) continue;
      const int64_t* integer = field->integer();
      if (integer == nullptr || *integer < minimum) {
        return InvalidArgument(file, ": ", name, ": expected an integer of at least ", minimum, ", got ",
                               integer == nullptr ? std::string(field->TypeName()) : absl::StrCat(*integer));
      }
      *value = *integer;
      return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  absl::Status ReadEos(const Json& json, absl::string_view file) {
    const Json* field = json.Find("eos_token_id");
    if (field == nullptr || field->is_null()) return absl::OkStatus();
    std::vector<int64_t> ids;
    if (const int64_t* one = field->integer()) {
      ids.push_back(*one);
    } else if (const Json::Array* list = field->array()) {
      for (const Json& element : *list) {
        if (element.integer() == nullptr) {
          return InvalidArgument(file, ": eos_token_id: expected integers, got ", element.TypeName());
        }
        ids.push_back(*element.integer());
      }
    } else {
      return InvalidArgument(file, ": eos_token_id: expected an integer or a list of them, got ", field->TypeName());
    }
    folder_.eos_tokens = std::move(ids);
    return absl::OkStatus();
  }

  absl::Status ReadConfig() {
    RONDO_ASSIGN_OR_RETURN(const Json json, ReadFile("config.json"));
    if (json.is_null()) return absl::OkStatus();
    RONDO_RETURN_IF_ERROR(ReadEos(json, "config.json"));
    // Multimodal models keep the language model's numbers one level down.
    const Json* inner = json.Find("text_config");
    const Json& config = inner != nullptr && inner->object() != nullptr ? *inner : json;
    const auto read = [&](std::initializer_list<absl::string_view> names, int64_t* value, int64_t minimum = 1) {
      return ReadInt(config, "config.json", names, value, minimum);
    };
    RONDO_RETURN_IF_ERROR(
        read({"max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_target_positions"},
             &folder_.context_length));
    RONDO_RETURN_IF_ERROR(read({"vocab_size"}, &folder_.vocabulary));
    RONDO_RETURN_IF_ERROR(
        read({"num_decoder_layers", "decoder_layers", "num_hidden_layers", "n_layer", "num_layers", "n_layers"},
             &folder_.layers));
    RONDO_RETURN_IF_ERROR(read({"num_key_value_heads"}, &folder_.kv_heads));
    RONDO_RETURN_IF_ERROR(read({"decoder_start_token_id"}, &folder_.decoder_start_token, 0));
    const Json* use_window = config.Find("use_sliding_window");
    const bool off = use_window != nullptr && use_window->boolean() != nullptr && !*use_window->boolean();
    if (!off) RONDO_RETURN_IF_ERROR(read({"sliding_window"}, &folder_.sliding_window));
    return absl::OkStatus();
  }

  absl::Status ReadGenerationConfig() {
    RONDO_ASSIGN_OR_RETURN(const Json json, ReadFile("generation_config.json"));
    if (json.is_null()) return absl::OkStatus();
    RONDO_RETURN_IF_ERROR(ReadEos(json, "generation_config.json"));
    return ReadInt(json, "generation_config.json", {"decoder_start_token_id"}, &folder_.decoder_start_token, 0);
  }

  absl::Status ReadGenaiConfig() {
    RONDO_ASSIGN_OR_RETURN(const Json json, ReadFile("genai_config.json"));
    if (json.is_null()) return absl::OkStatus();
    const Json* model = json.Find("model");
    if (model == nullptr || model->object() == nullptr) {
      return InvalidArgument("genai_config.json: model: expected an object");
    }
    RONDO_RETURN_IF_ERROR(ReadEos(*model, "genai_config.json: model"));
    RONDO_RETURN_IF_ERROR(ReadInt(*model, "genai_config.json: model", {"context_length"}, &folder_.context_length));
    RONDO_RETURN_IF_ERROR(ReadInt(*model, "genai_config.json: model", {"vocab_size"}, &folder_.vocabulary));
    const Json* decoder = model->Find("decoder");
    if (decoder == nullptr || decoder->object() == nullptr) return absl::OkStatus();
    const char kDecoder[] = "genai_config.json: model.decoder";
    RONDO_RETURN_IF_ERROR(ReadInt(*decoder, kDecoder, {"num_hidden_layers"}, &folder_.layers));
    RONDO_RETURN_IF_ERROR(ReadInt(*decoder, kDecoder, {"num_key_value_heads"}, &folder_.kv_heads));
    const Json* name = decoder->Find("filename");
    if (name == nullptr) return absl::OkStatus();
    if (name->string() == nullptr || name->string()->find('/') != std::string::npos) {
      return InvalidArgument(kDecoder, ": filename: expected the name of a file in this folder");
    }
    genai_file_ = *name->string();
    return absl::OkStatus();
  }

  absl::Status ChooseGraphs(const std::string& file) {
    const std::vector<std::string> names = Graphs(graphs_);
    const auto has = [&](const std::string& name) {
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    const auto path = [&](const std::string& name) { return (graphs_ / name).string(); };
    if (!file.empty()) {
      if (!has(file)) {
        return InvalidArgument(folder_path_, ": there is no \"", file, "\"; there are: ", absl::StrJoin(names, ", "));
      }
      folder_.decoder = path(file);
    } else if (has("encoder_model.onnx") && (has("decoder_model_merged.onnx") || has("decoder_with_past_model.onnx"))) {
      folder_.encoder = path("encoder_model.onnx");
      const bool merged = has("decoder_model_merged.onnx");
      folder_.decoder = path(merged ? "decoder_model_merged.onnx" : "decoder_with_past_model.onnx");
      folder_.first_decoder = merged ? folder_.decoder : path("decoder_model.onnx");
      if (!merged && !has("decoder_model.onnx")) {
        return InvalidArgument(folder_path_, ": decoder_with_past_model.onnx without decoder_model.onnx, which gives ",
                               "it the encoder's keys and values");
      }
    } else if (!genai_file_.empty()) {
      if (!has(genai_file_)) {
        return InvalidArgument(folder_path_, ": genai_config.json names \"", genai_file_, "\", which is not there");
      }
      folder_.decoder = path(genai_file_);
    } else {
      for (const char* name : {"model.onnx", "decoder_model_merged.onnx", "model_merged.onnx", "decoder_model.onnx"}) {
        if (folder_.decoder.empty() && has(name)) folder_.decoder = path(name);
      }
      if (folder_.decoder.empty() && names.size() == 1) folder_.decoder = path(names[0]);
      if (folder_.decoder.empty()) {
        return InvalidArgument(folder_path_, ": expected model.onnx or one .onnx file, found ",
                               names.empty() ? "none" : absl::StrJoin(names, ", "), " (choose with --model-file)");
      }
    }
    return absl::OkStatus();
  }

  const std::string folder_path_;
  fs::path graphs_;
  std::string genai_file_;
  ModelFolder folder_;
};

}  // namespace

absl::StatusOr<ModelFolder> ReadModelFolder(const std::string& path, const std::string& file) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    absl::StatusOr<ModelFolder> folder = FolderReader(path).Read(file);
    if (!folder.ok()) return Annotate(folder.status(), absl::StrCat(path, ": "));
    return folder;
  }
  if (!fs::exists(path, error)) return absl::NotFoundError(absl::StrCat(path, ": no such file or folder"));
  ModelFolder bare;
  bare.path = bare.decoder = path;
  return bare;
}

}  // namespace rondo

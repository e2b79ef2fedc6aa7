// The models of the shared folder after all rewrites: every attention layer is one Attention, every rotation one
// RotaryEmbedding, and the keys and values of a cached layer are the very values that update its cache.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "executor/program.h"
#include "importer/importer.h"
#include "tests/support/paths.h"

namespace rondo {
namespace {

struct Expected {
  const char* model;
  int attention, rotary;
  // What makes the keys and values of attention, where a cache is behind them; "" for none. Besides these, a graph
  // input: read-only caches of cross attention.
  const char* cache = "";
};

// Counts over all graphs of a model.
const Expected kExpected[] = {
    {"arc-mini", 4, 8, "Concat"},
    {"genai_llama_fp16", 2, 4, "Concat"},
    {"hand_generate_loop_op18", 4, 8, ""},
    {"hand_lm_scatter4d_causal_op24", 2, 4, "TensorScatter"},
    {"hand_lm_scatter4d_mask_op24", 2, 4, "TensorScatter"},
    {"optimum_bert_mlm", 2, 0},
    {"optimum_bloom", 2, 0, "Concat"},
    {"optimum_distilbert_cls", 2, 0},
    {"optimum_gemma2", 2, 4, "Concat"},
    {"optimum_gpt2", 2, 0, "Concat"},
    {"optimum_gpt2_nopast", 2, 0},
    {"optimum_gpt_neox", 2, 4, "Concat"},
    {"optimum_llama", 2, 4, "Concat"},
    {"optimum_llama_fp16", 2, 4, "Concat"},
    {"optimum_mistral", 2, 4, "Concat"},
    {"optimum_phi3", 2, 4, "Concat"},
    {"optimum_qwen2", 2, 4, "Concat"},
    {"optimum_qwen2_dynamo", 2, 4, "Concat"},
    {"optimum_qwen2_nopast", 2, 4},
    {"optimum_t5_decoder", 4, 0, "Transpose"},
    {"optimum_t5_decoder_merged", 8, 0},
    {"optimum_t5_encoder", 2, 0},
    {"optimum_vit_cls", 2, 0},
    {"optimum_whisper_decoder", 4, 0, "Transpose"},
    {"optimum_whisper_decoder_with_past", 4, 0, "Concat"},
    {"optimum_whisper_encoder", 2, 0},
    {"ort_bert_dynamic_int8", 2, 0},
    {"ort_bert_dynamic_u8_perchannel", 2, 0},
    {"ort_bert_float16", 2, 0},
    {"ortopt_bert_mlm", 2, 0},
    {"ortopt_gpt2", 2, 0, "Concat"},
    {"ortopt_llama", 2, 4, "Concat"},
    {"torch_bert_mlm_op18", 2, 0},
    {"torch_clip", 4, 0},
    {"torch_detr", 5, 0},
    {"torch_gemma2_nocache_op20", 2, 4},
    {"torch_gpt2_dyncache_op23", 2, 0, "Concat"},
    {"torch_llama_dyncache_op18", 2, 4, "Concat"},
    {"torch_llama_nativecache_op20", 2, 4, "Concat"},
    {"torch_llama_static_index_put_op23", 2, 4, "ScatterRows"},
    {"torch_qwen2_dyncache_op18", 2, 4, "Concat"},
    {"torch_qwen2_dyncache_op23", 2, 4, "Concat"},
    {"torch_qwen2_dyncache_op24", 2, 4, "Concat"},
    {"torch_qwen2_nocache_op20", 2, 4},
    {"torch_qwen2_static_index_copy_op18", 2, 4, "ScatterRows"},
    {"torch_qwen2_static_index_put_op18", 2, 4, "ScatterRows"},
    {"torch_qwen2_static_index_put_op23", 2, 4, "ScatterRows"},
    {"torch_segformer", 4, 0},
    {"torch_vit_cls", 2, 0},
};

class RewrittenModelsTest : public testing::TestWithParam<Expected> {};
INSTANTIATE_TEST_SUITE_P(Models, RewrittenModelsTest, testing::ValuesIn(kExpected), [](const auto& info) {
  std::string name = info.param.model;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
});

TEST_P(RewrittenModelsTest, AttentionIsOneNodeALayer) {
  RONDO_SKIP_WITHOUT_SHARED("models");
  const std::string path = SharedDir() + "/models/" + GetParam().model + "/model.onnx";
  struct stat file;
  if (stat(path.c_str(), &file) != 0) GTEST_SKIP() << "no " << path;
  absl::StatusOr<ImportedModel> model = ImportModel(path, {});
  ASSERT_TRUE(model.ok()) << model.status();
  auto program = Program::Create(std::move(model->graph), {});
  ASSERT_TRUE(program.ok()) << program.status();
  int attention = 0, rotary = 0, softmax = 0;
  (*program)->graph().ForEachGraph([&](const Graph& graph) {
    for (const auto& node : graph.nodes()) {
      softmax += node->Is("Softmax");
      rotary += node->op().type == "RotaryEmbedding";
      if (!node->Is("Attention")) continue;
      ++attention;
      const std::string expected = GetParam().cache;
      if (expected.empty()) continue;
      for (const Value* operand : {node->input(1), node->input(2)}) {
        if (operand->producer() == nullptr) continue;
        EXPECT_EQ(operand->producer()->op().type, expected) << node->Describe();
        EXPECT_TRUE(operand->is_graph_output()) << node->Describe();
      }
    }
  });
  EXPECT_EQ(attention, GetParam().attention);
  EXPECT_EQ(rotary, GetParam().rotary);
  EXPECT_EQ(softmax, 0);
}

}  // namespace
}  // namespace rondo

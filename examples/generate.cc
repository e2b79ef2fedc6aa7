// Text from an exported language model, printed as it is made.
//
//   build/examples/generate MODEL_DIR "prompt"
#include <cstdio>

#include "rondo/generator.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: generate MODEL_DIR PROMPT\n");
    return 2;
  }
  auto generator = rondo::Generator::Load(argv[1]);
  if (!generator.ok()) {
    std::fprintf(stderr, "%s\n", generator.status().ToString().c_str());
    return 1;
  }
  rondo::Prompt prompt;
  prompt.text = argv[2];
  rondo::GenerateOptions options;
  options.max_new_tokens = 64;
  auto result = generator->Generate({prompt}, options, [](const rondo::GenerationEvent& event) {
    std::fwrite(event.text.data(), 1, event.text.size(), stdout);
    std::fflush(stdout);
  });
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
    return 1;
  }
  std::printf("\n%s\n", result->sequences[0].finish == rondo::FinishReason::kStop ? "(the end)" : "(cut)");
}

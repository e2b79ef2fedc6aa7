// What a profile tells of a step beside its time: the shapes, the bytes that must move, the arithmetic.
#ifndef RONDO_EXECUTOR_STEP_FIGURES_H_
#define RONDO_EXECUTOR_STEP_FIGURES_H_

#include <cstdint>
#include <string>

#include "executor/plan.h"

namespace rondo {

struct StepFigures {
  std::string shapes;  // "float32[1, 64] float32[64, 8] -> float32[1, 8]", as far as they are known
  int64_t bytes = 0;   // operands (of tables the rows that are read) and results, each once; 0: not known
  double flops = 0;    // of products and convolutions; 0: of others, and where it is not known
};

StepFigures FiguresOf(const Plan& plan, const Step& step);

}  // namespace rondo

#endif  // RONDO_EXECUTOR_STEP_FIGURES_H_

#include "tools/interrupt.h"

#include <signal.h>

namespace rondo {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // it is set in a signal handler

void Handle(int) { Interrupt(); }

}  // namespace

void Interrupt() { interrupted.store(true, std::memory_order_relaxed); }

const std::atomic<bool>& CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = Handle;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return interrupted;
}

}  // namespace rondo

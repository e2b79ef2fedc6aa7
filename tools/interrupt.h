// Ctrl-C as a wish: the work ends at the next good place, and what was made is kept.
#ifndef RONDO_TOOLS_INTERRUPT_H_
#define RONDO_TOOLS_INTERRUPT_H_

#include <atomic>

namespace rondo {

// From here on the first SIGINT or SIGTERM sets the flag; a second one ends the program as usual.
const std::atomic<bool>& CatchInterrupts();
// Sets the flag without a signal: nobody reads what is made any more.
void Interrupt();

}  // namespace rondo

#endif  // RONDO_TOOLS_INTERRUPT_H_

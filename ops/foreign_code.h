// Marks calls into libraries, so that what is promised of our own code can be checked: the decode loop allocates
// nothing from its second step on, while oneDNN builds the argument tables of each call anew.
#ifndef RONDO_OPS_FOREIGN_CODE_H_
#define RONDO_OPS_FOREIGN_CODE_H_

namespace rondo {

class ForeignCode {
 public:
  ForeignCode() { ++depth_; }
  ~ForeignCode() { --depth_; }
  ForeignCode(const ForeignCode&) = delete;
  ForeignCode& operator=(const ForeignCode&) = delete;

  // Is the calling thread inside such a call?
  static bool Runs() { return depth_ > 0; }

 private:
  static inline thread_local int depth_ = 0;
};

}  // namespace rondo

#endif  // RONDO_OPS_FOREIGN_CODE_H_

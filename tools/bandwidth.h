// How fast this machine reads memory now: the limit of a decode step, which reads every weight once.
#ifndef RONDO_TOOLS_BANDWIDTH_H_
#define RONDO_TOOLS_BANDWIDTH_H_

namespace rondo {

// Bytes per second, best of a few reads of a buffer that is larger than any cache; 0 when there is no memory for it.
double MeasureReadBandwidth(int threads);

}  // namespace rondo

#endif  // RONDO_TOOLS_BANDWIDTH_H_

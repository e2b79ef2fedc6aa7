#include "executor/activation_recorder.h"

#include <utility>

#include "graph/status.h"

namespace rondo {
namespace {

constexpr int kSpares = 2;

// Elements of a row: all dims behind [batch, rows], or behind [batch * rows] where a graph flattens.
absl::StatusOr<int64_t> WidthOf(const Value& value, absl::string_view name) {
  const ValueType& type = value.type();
  if (type.is_tensor() && type.shape.has_value() && type.shape->rank() >= 2 && type.shape->back().known()) {
    const Shape& shape = *type.shape;
    int64_t width = 1;
    int i = shape.rank() - 1;
    for (; i >= 1 && shape[i].known(); --i) width *= shape[i].value();
    if (i <= 1) return width;
  }
  return InvalidArgument("capture of \"", name,
                         "\": expected a row of known width for each token, [batch, rows, ...], got ", type.ToString());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ActivationRecorder>> ActivationRecorder::Create(const Decoder& decoder,
                                                                               StepRunner* runner, int64_t positions) {
  std::vector<CapturedRow> values;
  for (size_t i = 0; i < decoder.captures().size(); ++i) {
    const Value& value = *decoder.program().graph().outputs()[decoder.capture_outputs()[i]];
    RONDO_ASSIGN_OR_RETURN(const int64_t width, WidthOf(value, decoder.captures()[i]));
    values.push_back({decoder.captures()[i], value.type().dtype, width});
  }
  std::unique_ptr<ActivationRecorder> recorder(new ActivationRecorder(runner, std::move(values)));
  const int segments = runner->sequences() + runner->prompts();
  for (int i = 0; i < segments + kSpares; ++i) {
    RONDO_ASSIGN_OR_RETURN(ActivationBuffer buffer, ActivationBuffer::Create(recorder->values_, positions));
    auto& to = i < segments ? recorder->segments_ : recorder->spare_;
    to.push_back(std::make_unique<ActivationBuffer>(std::move(buffer)));
  }
  ActivationRecorder* const self = recorder.get();
  runner->SetActivationHook([self](const Activation& activation) { self->Take(activation); });
  recorder->thread_ = std::thread([self] { self->Deliver(); });
  return recorder;
}

ActivationRecorder::~ActivationRecorder() {
  runner_->SetActivationHook(nullptr);
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void ActivationRecorder::Begin(RecordSink sink) {
  for (const auto& buffer : segments_) buffer->Clear();
  recording_ = sink != nullptr;
  std::lock_guard lock(mutex_);
  sink_ = std::move(sink);
}

void ActivationRecorder::Take(const Activation& activation) {
  if (!recording_) return;
  const CapturedRow& value = values_[activation.index];
  const size_t row_bytes = ByteSize(value.dtype, value.width);
  const auto* from = static_cast<const char*>(activation.tensor.raw());
  for (size_t b = 0; b < activation.segments.size(); ++b) {
    const int segment = activation.segments[b];
    if (segment < 0) continue;  // padding of the batch
    ActivationBuffer& to = *segments_[segment];
    const int64_t start = activation.starts[b];
    // A continuation begins where the shared prompt ends.
    if (to.rows() < start) to.CopyRows(*segments_[runner_->sequences()], start);
    to.Write(activation.index, start, activation.valid[b],
             from + row_bytes * static_cast<size_t>(static_cast<int64_t>(b) * activation.rows));
  }
}

absl::Status ActivationRecorder::End(int segment, RecordedSequence sequence) {
  if (!recording_) return absl::OkStatus();
  std::unique_ptr<ActivationBuffer>& buffer = segments_[segment];
  const int64_t rows = static_cast<int64_t>(sequence.tokens.size());
  if (buffer->rows() < rows) buffer->CopyRows(*segments_[runner_->sequences()], rows);  // it ended with the prompt
  std::unique_lock lock(mutex_);
  RONDO_RETURN_IF_ERROR(TakeErrorLocked());
  changed_.wait(lock, [&] { return !spare_.empty(); });
  for (size_t i = 0; i < values_.size(); ++i) {
    sequence.names.push_back(values_[i].name);
    sequence.values.push_back(buffer->View(static_cast<int>(i), rows));
  }
  full_.push_back({std::move(buffer), std::move(sequence)});
  buffer = std::move(spare_.back());
  spare_.pop_back();
  buffer->Clear();
  changed_.notify_all();
  return absl::OkStatus();
}

void ActivationRecorder::Deliver() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ending_ || !full_.empty(); });
    if (full_.empty()) return;
    const RecordSink sink = sink_;
    const bool failed = !error_.ok();
    Full& full = full_.front();  // stays where it is: only this thread removes
    lock.unlock();
    const absl::Status status = failed ? absl::OkStatus() : sink(full.sequence);
    lock.lock();
    error_.Update(status);
    spare_.push_back(std::move(full.buffer));
    full_.pop_front();
    changed_.notify_all();
  }
}

absl::Status ActivationRecorder::Finish() {
  recording_ = false;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return full_.empty(); });
  sink_ = nullptr;
  return TakeErrorLocked();
}

absl::Status ActivationRecorder::TakeErrorLocked() { return std::exchange(error_, absl::OkStatus()); }

size_t ActivationRecorder::bytes() const {
  // All buffers have one size.
  return segments_.front()->bytes() * (segments_.size() + kSpares);
}

}  // namespace rondo

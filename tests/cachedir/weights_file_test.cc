#include "cachedir/weights_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cachedir/weight_sweep.h"
#include "tests/support/paths.h"
#include "tests/support/run_program.h"

namespace rondo {
namespace {

using testing::HasSubstr;

constexpr uint64_t kSeed = 77;
const Digest kEntry = {1, 2};

Tensor Pattern(DataType dtype, Dims dims, int first) {
  Tensor tensor = Tensor::Make(dtype, dims);
  auto* bytes = static_cast<uint8_t*>(tensor.mutable_raw());
  for (size_t i = 0; i < tensor.bytes(); ++i) bytes[i] = static_cast<uint8_t>(first + i * 7 + i / 251);
  return tensor;
}

// Small, of several blocks, of whole blocks, empty.
std::vector<WeightToStore> Weights() {
  return {{{1, 1}, "node a", "dnnl:a", Pattern(DataType::kFloat, {3, 5}, 1)},
          {{1, 2}, "", "", Pattern(DataType::kUInt8, {3 << 20, 1}, 2)},
          {{1, 3}, "node \xff\n", "x", Pattern(DataType::kInt8, {2 << 20}, 3)},
          {{1, 4}, "none", "empty", Pattern(DataType::kInt64, {0, 4}, 4)}};
}

class WeightsFileTest : public testing::Test {
 protected:
  void Write(const std::vector<WeightToStore>& weights = Weights()) {
    const absl::StatusOr<int64_t> bytes = WriteWeightsFile(path_, kEntry, kSeed, weights);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    written_ = ReadTestFile(path_);
    EXPECT_EQ(*bytes, static_cast<int64_t>(written_.size()));
  }
  absl::StatusOr<std::shared_ptr<WeightsFile>> Open() const { return WeightsFile::Open(path_, kEntry, kSeed); }
  // The first thing that is found wrong with the file, "" when nothing is.
  std::string WrongWith(const std::string& bytes) {
    WriteTestFile(path_, bytes);
    const auto file = Open();
    if (!file.ok()) return std::string(file.status().message());
    for (const StoredWeight& weight : (*file)->weights()) {
      if (const absl::Status good = (*file)->Check(weight); !good.ok()) return std::string(good.message());
    }
    return "";
  }

  const std::string path_ = NewTempDir() + "/weights-0";
  std::string written_;
};

TEST_F(WeightsFileTest, GivesBackWhatWasWritten) {
  Write();
  const auto file = Open();
  ASSERT_TRUE(file.ok()) << file.status();
  for (const WeightToStore& weight : Weights()) {
    const StoredWeight* found = (*file)->Find(weight.key);
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found->node, weight.node);
    EXPECT_EQ(found->layout, weight.layout);
    EXPECT_TRUE((*file)->Check(*found).ok());
    const Tensor view = (*file)->View(*found);
    EXPECT_EQ(view.dtype(), weight.tensor.dtype());
    EXPECT_EQ(view.dims(), weight.tensor.dims());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view.raw()) % 64, 0u);
    EXPECT_EQ(std::memcmp(view.raw(), weight.tensor.raw(), view.bytes()), 0);
  }
  EXPECT_EQ((*file)->Find({9, 9}), nullptr);
}

TEST_F(WeightsFileTest, AViewOutlivesTheFileAndItsName) {
  Write();
  Tensor view;
  {
    const auto file = Open();
    view = (*file)->View((*file)->weights()[1]);
  }
  ASSERT_EQ(unlink(path_.c_str()), 0);
  EXPECT_EQ(std::memcmp(view.raw(), Weights()[1].tensor.raw(), view.bytes()), 0);
}

TEST_F(WeightsFileTest, EveryChangedByteIsFoundButInTheGaps) {
  Write({Weights()[0], Weights()[3]});
  const StoredWeight weight = (*Open())->weights()[0];
  for (size_t i = 0; i < written_.size(); ++i) {
    std::string bytes = written_;
    bytes[i] ^= 0x10;
    const std::string wrong = WrongWith(bytes);
    // Before the table and before a weight zeros fill up; nobody reads them.
    const bool in_gap = (i >= 120 && i < 128) || (wrong.empty() && (i < weight.offset || i >= weight.offset + 60));
    EXPECT_EQ(wrong.find(path_) == 0, !in_gap) << i << " " << wrong;
    if (in_gap) {
      EXPECT_EQ(written_[i], 0) << i;
    }
  }
}

TEST_F(WeightsFileTest, AnErrorNamesTheBlock) {
  Write();
  const std::vector<StoredWeight> weights = (*Open())->weights();
  for (const StoredWeight& weight : weights) {
    if (weight.bytes == 0) continue;
    for (size_t at : {size_t{0}, weight.bytes / 3, weight.bytes - 1}) {
      std::string bytes = written_;
      bytes[weight.offset + at] ^= 1;
      EXPECT_THAT(WrongWith(bytes), HasSubstr("is damaged: block " + std::to_string(at >> 20) + " of ")) << at;
    }
  }
}

TEST_F(WeightsFileTest, AFileOfAnyOtherLengthIsRefused) {
  Write();
  for (size_t size : {size_t{0}, size_t{1}, size_t{119}, size_t{127}, size_t{128}, size_t{200}, written_.size() / 2,
                      written_.size() - 1}) {
    EXPECT_THAT(WrongWith(written_.substr(0, size)), HasSubstr("truncated")) << size;
  }
  EXPECT_THAT(WrongWith(written_ + "x"), HasSubstr("is damaged: it has"));
}

TEST_F(WeightsFileTest, ForeignFilesAreRefused) {
  Write();
  EXPECT_THAT(std::string(WeightsFile::Open(path_, {3, 4}, kSeed).status().message()), HasSubstr("belongs to entry"));
  EXPECT_THAT(std::string(WeightsFile::Open(path_, kEntry, kSeed + 1).status().message()), HasSubstr("header"));
  EXPECT_THAT(WrongWith(std::string(4096, 'x')), HasSubstr("does not begin as weights do"));
  EXPECT_TRUE(absl::IsNotFound(WeightsFile::Open(path_ + "x", kEntry, kSeed).status()));
  EXPECT_THAT(std::string(WeightsFile::Open(NewTempDir(), kEntry, kSeed).status().message()),
              HasSubstr("is no regular file"));
}

// ---- the sweep ----

TEST_F(WeightsFileTest, ASweepFindsWhatIsDamagedAndNothingElse) {
  Write();
  const size_t damaged = (*Open())->weights()[1].offset + (2 << 20);
  written_[damaged] ^= 1;
  WriteTestFile(path_, written_);
  for (int helpers : {0, 1, 3}) {
    const auto file = *Open();
    WeightSweep sweep({file}, helpers);
    for (int round = 0; round < 2; ++round) {
      for (size_t i : {2, 3, 1, 0}) {
        const absl::Status good = sweep.Check(file->weights()[i]);
        EXPECT_EQ(good.ok(), i != 1) << good;
        if (i == 1) {
          EXPECT_THAT(std::string(good.message()), HasSubstr("block 2 of 3"));
        }
      }
    }
  }
}

TEST_F(WeightsFileTest, SweepsEndEarlyAndServeManyThreads) {
  Write();
  const auto file = *Open();
  for (int i = 0; i < 50; ++i) WeightSweep({file}, 2);
  WeightSweep sweep({file}, 2);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (const StoredWeight& weight : file->weights()) EXPECT_TRUE(sweep.Check(weight).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace rondo

// The emulator: planted bugs are caught, each under every schedule tried, and right kernels are left alone.
#include "support/emulator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/planted.h"
#include "support/device_fixture.h"

namespace dsr1::test {
namespace {

// What the launch says, over schedules: every one must say the same kind of thing.
std::string error_of(Planted bug) {
  std::string first;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    simt::emu::set_seed(seed);
    Device d;
    const float* in = d.put(std::vector<float>(64, 1.0f));
    float* out = d.make<float>(64);
    const float host = 1.0f;
    EXPECT_TRUE(launch_planted(bug, in, out, &host, d.stream));
    const Status s = backend::cuda::synchronize(d.stream);
    const std::string text = s ? "" : s.error().text();
    if (seed == 1) first = text;
    EXPECT_EQ(text.empty(), first.empty()) << "seed " << seed << ": " << text << " / " << first;
  }
  return first;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

#define EXPECT_SAYS(bug, part)                                \
  do {                                                        \
    const std::string said = error_of(bug);                   \
    EXPECT_TRUE(contains(said, part)) << "it said: " << said; \
  } while (0)

TEST(Emulator, RunsARightKernelUnderEverySchedule) {
  EXPECT_EQ(error_of(Planted::kNone), "");
  Device d;
  std::vector<float> v(64);
  for (size_t i = 0; i < 64; ++i) v[i] = static_cast<float>(i);
  float* out = d.make<float>(64);
  ASSERT_TRUE(launch_planted(Planted::kNone, d.put(v), out, nullptr, d.stream));
  const auto r = d.get(out, 64);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(r[i], v[63 - i]);
}

TEST(Emulator, NamesTheLanesMissingFromAShuffle) {
  EXPECT_SAYS(Planted::kLaneMissing, "shfl_xor of warp 0 waits for lanes 5, of which have ended: 5");
  EXPECT_SAYS(Planted::kThreadMissing, "sync_block waits for threads that have ended: 40");
  EXPECT_SAYS(Planted::kMixedCollectives, "meets lanes that wait at another collective");
  EXPECT_SAYS(Planted::kLaneNotNamed, "reads lane 20, which the mask does not name");
}

std::string error_of(PlantedGrid bug, int blocks = 4) {
  std::string first;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    simt::emu::set_seed(seed);
    Device d;
    const auto n = static_cast<size_t>(blocks) * 64;
    const float* in = d.put(std::vector<float>(n, 1.0f));
    uint32_t* word = d.put(std::vector<uint32_t>(1, 0));
    EXPECT_TRUE(launch_planted_grid(bug, blocks, in, d.make<float>(n), d.make<float>(n), word, d.stream));
    const Status s = backend::cuda::synchronize(d.stream);
    const std::string text = s ? "" : s.error().text();
    if (seed == 1) first = text;
    EXPECT_EQ(text.empty(), first.empty()) << "seed " << seed << ": " << text << " / " << first;
  }
  return first;
}

TEST(Emulator, NamesTheBlocksThatNeverReachAGridsBarrier) {
  EXPECT_EQ(error_of(PlantedGrid::kNone), "");
  EXPECT_SAYS(PlantedGrid::kBlockMissing, "sync_grid waits for blocks that have ended: 2");
  EXPECT_SAYS(PlantedGrid::kThreadMissing, "sync_grid waits for threads that have ended: 40");
  EXPECT_SAYS(PlantedGrid::kMixedBarriers, "sync_block waits for threads that wait at sync_grid: 1, 3, 5");
  EXPECT_SAYS(PlantedGrid::kNotResident, "sync_grid in a kernel that launch_resident did not launch");
  const std::string said = error_of(PlantedGrid::kNone, 4 * 32 + 1);
  EXPECT_TRUE(contains(said, "129 blocks cannot be resident at once; 128 can")) << said;
}

std::string error_of(PlantedWgmma bug) {
  std::string first;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    simt::emu::set_seed(seed);
    Device d;
    const std::vector<uint16_t> a(64 * 64, 0x3c00), b(256 * 64, 0x3c00);
    EXPECT_TRUE(launch_planted_wgmma(bug, d.put(a), d.put(b), d.make<float>(64 * 256), d.stream));
    const Status s = backend::cuda::synchronize(d.stream);
    const std::string text = s ? "" : s.error().text();
    if (seed == 1) first = text;
    EXPECT_EQ(text.empty(), first.empty()) << "seed " << seed << ": " << text << " / " << first;
  }
  return first;
}

std::string error_of(PlantedForms bug) {
  Device d;
  const std::vector<uint16_t> a(64 * 64, 0x3c00), v(4 * 64 * 64, 0x3c00);
  EXPECT_TRUE(launch_planted_wgmma_forms(bug, d.put(a), d.put(a), d.put(v), d.make<float>(64 * 64),
                                         d.make<float>(64 * 256), d.stream));
  const Status s = backend::cuda::synchronize(d.stream);
  return s ? "" : s.error().text();
}

TEST(Emulator, NamesWhatAnMbarrierWaitsFor) {
  EXPECT_SAYS(PlantedWgmma::kNoBarrier, "an mbarrier that nobody initialised");
  EXPECT_SAYS(PlantedWgmma::kMissingArrival, "after 0 phases: 1 of 5 arrivals are missing");
  EXPECT_SAYS(PlantedWgmma::kWrongBytes, "0 of 5 arrivals are missing, 32784 bytes expected, 32768 copied");
  EXPECT_SAYS(PlantedWgmma::kTooManyArrivals, "more arrivals than the 5 of a phase");
}

TEST(Emulator, HoldsWarpgroupProductsToTheirRules) {
  EXPECT_EQ(error_of(PlantedWgmma::kNone), "");
  EXPECT_SAYS(PlantedWgmma::kNoFence, "wgmma with no wgmma_fence");
  EXPECT_SAYS(PlantedWgmma::kNotWaited, "ended with a wgmma that nobody waited for");
  EXPECT_SAYS(PlantedWgmma::kRegistersTouched, "the registers of a product in flight were written");
  EXPECT_SAYS(PlantedWgmma::kPartOfAGroup, "of its warpgroup");
  EXPECT_SAYS(PlantedWgmma::kOtherMatrix, "threads of a warpgroup name different matrices");
  EXPECT_SAYS(PlantedWgmma::kNotOnARow, "wgmma wants matrices of rows of 128 bytes");
  EXPECT_EQ(error_of(PlantedForms::kNone), "");
  EXPECT_SAYS(PlantedForms::kMisplaced, "wgmma wants panels of an N-major matrix to begin at multiples of 1,024");
}

class EmulatorAccess : public testing::Test {
  void SetUp() override {
    if (!simt::emu::sees_accesses()) GTEST_SKIP() << "kernels are built with a sanitizer of their own";
  }
};

TEST_F(EmulatorAccess, CatchesAMissingBarrier) {
  EXPECT_SAYS(Planted::kMissingBarrier, "");
  for (Planted bug :
       {Planted::kMissingBarrier, Planted::kReadOverwritten, Planted::kBlocksCollide, Planted::kAsyncNoBarrier}) {
    const std::string said = error_of(bug);
    EXPECT_TRUE(contains(said, "no barrier between") || contains(said, "was never written") ||
                contains(said, "async copy that has not landed"))
        << static_cast<int>(bug) << ": " << said;
  }
}

TEST_F(EmulatorAccess, CatchesAMissingBarrierOfTheGrid) {
  for (PlantedGrid bug : {PlantedGrid::kNoBarrier, PlantedGrid::kOneBarrier}) {
    const std::string said = error_of(bug);
    EXPECT_TRUE(contains(said, "no barrier between") || contains(said, "was never written") ||
                contains(said, "was read by another block"))
        << static_cast<int>(bug) << ": " << said;
  }
}

TEST_F(EmulatorAccess, CatchesMatricesThatAProductMayNotReadYetOrStillReads) {
  EXPECT_SAYS(PlantedWgmma::kNoProxyFence, "stored with no fence_async_proxy since");
  EXPECT_SAYS(PlantedForms::kFenceTooEarly, "stored with no fence_async_proxy since");
  EXPECT_SAYS(PlantedWgmma::kMatrixTouched, "a matrix was overwritten while wgmma may still read it");
  const std::string said = error_of(PlantedWgmma::kWrongParity);
  EXPECT_TRUE(contains(said, "was never written") || contains(said, "has not landed") || contains(said, "no barrier"))
      << said;
}

TEST_F(EmulatorAccess, CatchesReadsAndWritesOutOfBounds) {
  EXPECT_SAYS(Planted::kReadOutOfBounds,
              "load of 4 bytes at byte 256 of a device allocation of 256: byte 0 is not allocated");
  EXPECT_SAYS(Planted::kWriteOutOfBounds,
              "store of 4 bytes at byte 256 of a device allocation of 256: byte 0 is not allocated");
  EXPECT_SAYS(Planted::kHostMemory, "in host memory");
}

TEST_F(EmulatorAccess, CatchesAReadOfWhatNobodyWrote) { EXPECT_SAYS(Planted::kReadUninitialised, "was never written"); }

TEST_F(EmulatorAccess, CatchesAReadOfAnAsyncCopyBeforeItLanded) {
  EXPECT_SAYS(Planted::kAsyncTooEarly, "byte 0");
  const std::string said = error_of(Planted::kAsyncTooEarly);
  EXPECT_TRUE(contains(said, "not landed") || contains(said, "was never written")) << said;
}

TEST(Emulator, RefusesMisalignedWideLoads) {
  EXPECT_SAYS(Planted::kMisaligned, "load16 needs an address that is a multiple of 16");
}

TEST(Emulator, UninitialisedMemoryIsNaN) {
  Device d;
  float* p = d.make<float>(4);
  for (float v : d.get(p, 4)) EXPECT_TRUE(std::isnan(v));
}

TEST(Emulator, AStreamInErrorRefusesUntilItIsRead) {
  Device d;
  float* out = d.make<float>(64);
  const float* in = d.put(std::vector<float>(64, 1.0f));
  ASSERT_TRUE(launch_planted(Planted::kThreadMissing, in, out, nullptr, d.stream));
  ASSERT_TRUE(launch_planted(Planted::kNone, in, out, nullptr, d.stream));
  EXPECT_FALSE(backend::cuda::synchronize(d.stream));
  std::vector<float> v(64);
  std::memcpy(v.data(), out, 256);
  EXPECT_TRUE(std::isnan(v[0])) << "the launch after the failed one ran";
  EXPECT_TRUE(backend::cuda::synchronize(d.stream));
}

TEST(Emulator, AGraphReplaysWithWhatMemoryHoldsThen) {
  Device d;
  std::vector<float> v(64, 1.0f);
  float* in = d.put(v);
  float* out = d.make<float>(64);
  ASSERT_TRUE(backend::cuda::begin_capture(d.stream));
  ASSERT_TRUE(launch_planted(Planted::kNone, in, out, nullptr, d.stream));
  auto graph = backend::cuda::end_capture(d.stream);
  ASSERT_TRUE(graph);
  EXPECT_TRUE(std::isnan(d.get(out, 64)[0])) << "recording ran the kernel";
  for (float x : {2.0f, 3.0f}) {
    v.assign(64, x);
    ASSERT_TRUE(backend::cuda::copy_to_device(in, v.data(), 256, d.stream));
    ASSERT_TRUE((*graph)->launch(d.stream));
    EXPECT_EQ(d.get(out, 64), v);
  }
}

TEST(Emulator, WhileAStreamRecordsNothingIsWaitedForOrAllocated) {
  using backend::cuda::Memory;
  Device d;
  ASSERT_TRUE(backend::cuda::begin_capture(d.stream));
  EXPECT_FALSE(backend::cuda::synchronize(d.stream));
  EXPECT_FALSE(Memory::allocate(Memory::Where::kDevice, 16, "a test"));
  ASSERT_TRUE(backend::cuda::end_capture(d.stream));
  EXPECT_TRUE(backend::cuda::synchronize(d.stream));
  EXPECT_TRUE(Memory::allocate(Memory::Where::kDevice, 16, "a test"));
}

}  // namespace
}  // namespace dsr1::test

// Every simt:: primitive against what the PTX ISA says, bit for bit. Runs over the emulator always and on a GPU where
// there is one (tools/gpu_check): the same expectations hold both, so each is the other's conformance test.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "dsr1/base/half.h"
#include "kernels/planted.h"
#include "support/device_fixture.h"

namespace dsr1::test {
namespace {

class Primitives : public testing::Test {
  void SetUp() override {
    if (auto facts = backend::cuda::open_device(0); !facts) GTEST_SKIP() << facts.error().text();
  }
};

TEST_F(Primitives, GiveWhatThePtxIsaSays) {
  Device d;
  std::vector<float> x(32);
  for (size_t i = 0; i < 32; ++i) x[i] = static_cast<float>(i) * 0.37f - 4.1f;
  float* out = d.make<float>(32 * kProbes);
  ASSERT_TRUE(launch_probe(d.put(x), out, d.stream));
  const auto r = d.get(out, 32 * kProbes);
  uint32_t positive = 0;
  for (size_t i = 0; i < 32; ++i) positive |= static_cast<uint32_t>(x[i] > 0) << i;
  auto sum = [&](size_t begin, size_t n) {  // a butterfly: halves added pairwise
    std::vector<float> v(x.begin() + static_cast<long>(begin), x.begin() + static_cast<long>(begin + n));
    for (size_t bits = n / 2; bits > 0; bits /= 2) {
      auto w = v;
      for (size_t i = 0; i < n; ++i) v[i] = w[i] + w[i ^ bits];
    }
    return v[0];
  };
  for (size_t lane = 0; lane < 32; ++lane) {
    const float* v = &r[lane * kProbes];
    EXPECT_EQ(v[0], x[7]);
    EXPECT_EQ(v[1], x[lane ^ 5]);
    EXPECT_EQ(v[2], static_cast<float>(positive & 0xffffu));
    EXPECT_EQ(v[3], sum(0, 32));
    EXPECT_EQ(v[4], x[31]);
    // bytes, lowest first: -1 * 2 + 1 * -1 + 127 * -128 + -128 * 127
    EXPECT_EQ(v[5], static_cast<float>(-2 - 1 - 2 * 127 * 128 + static_cast<int>(lane)));
    EXPECT_EQ(v[6], f16_to_f32(f32_to_f16(x[lane])));
    EXPECT_EQ(v[7], bf16_to_f32(f32_to_bf16(x[lane])));
    EXPECT_EQ(v[8], std::fma(x[lane], x[lane], 1.0f));
    EXPECT_EQ(v[9], sum(lane / 8 * 8, 8));
    EXPECT_EQ(v[10], lane < 16 ? static_cast<float>(0x9249u) : 0.0f);  // lanes 0, 3, 6, 9, 12, 15
    EXPECT_EQ(v[11], static_cast<float>((lane + 1) % 32 * ((lane + 1) % 32)));
  }
}

TEST_F(Primitives, BlocksOfAResidentLaunchWaitForEachOtherAgainAndAgain) {
  Device d;
  std::vector<float> in(4 * 64);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i);
  float *ring = d.make<float>(in.size()), *out = d.make<float>(in.size());
  uint32_t* word = d.put(std::vector<uint32_t>(1, 0));
  for (int launch = 0; launch < 3; ++launch)
    ASSERT_TRUE(launch_planted_grid(PlantedGrid::kNone, 4, d.put(in), ring, out, word, d.stream));
  const auto r = d.get(out, in.size());
  for (size_t i = 0; i < in.size(); ++i) EXPECT_EQ(r[i], in[(i + 2 * 64) % in.size()]);
  EXPECT_EQ(d.get(word, 1)[0], 0x80000000u) << "nine barriers";
}

// a [16][K] times b [8][K] transposed, plus d, in integers small enough to be exact in every type.
void expect_mma(int kind) {
  const int k_dim = kind == 2 ? 32 : 16;
  std::mt19937 rng(static_cast<uint32_t>(kind + 1));
  std::vector<int> a(static_cast<size_t>(16 * k_dim)), b(static_cast<size_t>(8 * k_dim)), c(16 * 8);
  for (auto* v : {&a, &b, &c})
    for (int& x : *v) x = static_cast<int>(rng() % 17) - 8;
  auto encode = [&](const std::vector<int>& v) {
    std::vector<uint8_t> bytes;
    for (int x : v) {
      if (kind == 2) {
        bytes.push_back(static_cast<uint8_t>(x));
        continue;
      }
      const auto f = static_cast<float>(x);
      const uint16_t h = kind == 0 ? f32_to_f16(f) : f32_to_bf16(f);
      bytes.push_back(static_cast<uint8_t>(h));
      bytes.push_back(static_cast<uint8_t>(h >> 8));
    }
    return bytes;
  };
  std::vector<uint32_t> d;
  for (int x : c)
    d.push_back(kind == 2 ? static_cast<uint32_t>(x) : __builtin_bit_cast(uint32_t, static_cast<float>(x)));
  Device device;
  uint32_t* dd = device.put(d);
  ASSERT_TRUE(launch_mma(kind, device.put(encode(a)), device.put(encode(b)), dd, device.stream));
  const auto r = device.get(dd, d.size());
  for (size_t i = 0; i < 16; ++i)
    for (size_t j = 0; j < 8; ++j) {
      int sum = c[i * 8 + j];
      for (size_t k = 0; k < static_cast<size_t>(k_dim); ++k)
        sum += a[i * static_cast<size_t>(k_dim) + k] * b[j * static_cast<size_t>(k_dim) + k];
      const uint32_t bits = r[i * 8 + j];
      EXPECT_EQ(kind == 2 ? static_cast<double>(static_cast<int32_t>(bits))
                          : static_cast<double>(__builtin_bit_cast(float, bits)),
                sum)
          << kind << " at " << i << ", " << j;
    }
}

TEST_F(Primitives, MatrixProductsFollowTheFragmentMaps) {
  for (int kind : {0, 1, 2}) expect_mma(kind);
}

TEST_F(Primitives, ConversionsAreTheHostsForEveryBitPattern) {
  Device d;
  float* out = d.make<float>(2 * 65536 + 256);
  ASSERT_TRUE(launch_widen(out, d.stream));
  const auto r = d.get(out, 2 * 65536 + 256);
  auto same = [](float a, float b) { return __builtin_bit_cast(uint32_t, a) == __builtin_bit_cast(uint32_t, b); };
  for (size_t i = 0; i < 65536; ++i) {
    ASSERT_TRUE(same(r[i], f16_to_f32(static_cast<uint16_t>(i)))) << i;
    ASSERT_TRUE(same(r[65536 + i], bf16_to_f32(static_cast<uint16_t>(i)))) << i;
  }
  for (size_t i = 0; i < 256; ++i) ASSERT_TRUE(same(r[2 * 65536 + i], f8e4m3_to_f32(static_cast<uint8_t>(i)))) << i;
}

}  // namespace
}  // namespace dsr1::test

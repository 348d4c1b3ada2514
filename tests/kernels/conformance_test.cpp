// The rest of the primitives (primitives_test.cpp) against arithmetic on the host: bit for bit where the PTX ISA leaves
// no choice, within a stated bound where it does. Over the emulator always and on a GPU where there is one.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "dsr1/base/half.h"
#include "kernels/planted.h"
#include "kernels/probes.h"
#include "support/device_fixture.h"

namespace dsr1::test {
namespace {

class Conformance : public testing::Test {
  void SetUp() override {
    if (auto facts = backend::cuda::open_device(0); !facts) GTEST_SKIP() << facts.error().text();
  }
};

TEST_F(Conformance, FunctionsKeepTwoUnitsInTheLastPlace) {
  std::mt19937 rng(5);
  std::vector<float> x = {0.5f, -0.5f, 1.5f, 2.5f, -2.5f, 1e-30f, 126.5f, -87.0f, 1.0f};
  for (int i = 0; i < 500; ++i) x.push_back(std::ldexp(static_cast<float>(rng() % 20001) - 10000.0f, -8) + 0.001f);
  Device d;
  float* out = d.make<float>(x.size() * kArithmetic);
  ASSERT_TRUE(launch_arithmetic(d.put(x), out, static_cast<int>(x.size()), d.stream));
  const auto r = d.get(out, x.size() * kArithmetic);
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = x[i], a = std::abs(v);
    const float* got = &r[i * kArithmetic];
    const double expected[] = {std::exp(v), std::exp2(v), std::log(a), std::log2(a), 1 / std::sqrt(a)};
    for (int k = 0; k < 5; ++k) {
      if (expected[k] > 3.4e38 || std::abs(expected[k]) < 1.2e-38) continue;  // beyond F32's normal range
      // Near 1 the logarithm is a small number; the bound there is of its argument.
      const double bound = 2.4e-7 * std::max(std::abs(expected[k]), k == 2 || k == 3 ? 0.1 : 0.0);
      EXPECT_NEAR(got[k], expected[k], bound) << "function " << k << " of " << v;
    }
    EXPECT_EQ(got[5], x[i] * 0.3f);
    EXPECT_EQ(got[6], std::nearbyint(x[i])) << v;
  }
}

TEST_F(Conformance, LoadsOfMatricesGiveEachLaneItsElements) {
  std::vector<uint16_t> m(256);
  for (size_t i = 0; i < 256; ++i) m[i] = static_cast<uint16_t>(i * 257 + 3);
  Device d;
  uint32_t* out = d.make<uint32_t>(32 * 12);
  ASSERT_TRUE(launch_loads(d.put(m), out, d.stream));
  const auto r = d.get(out, 32 * 12);
  auto element = [&](int matrix, int row, int col) {  // of the 8 x 8 matrix that lanes 8 * matrix ... + 7 name
    return m[static_cast<size_t>((matrix % 2 * 8 + row) * 16 + matrix / 2 * 8 + col)];
  };
  auto pair = [](uint16_t lo, uint16_t hi) { return static_cast<uint32_t>(lo) | static_cast<uint32_t>(hi) << 16; };
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const uint32_t* got = &r[static_cast<size_t>(lane) * 12];
      const int row = lane / 4, col = lane % 4 * 2;
      const uint32_t plain = pair(element(i, row, col), element(i, row, col + 1));
      const uint32_t turned = pair(element(i, col, row), element(i, col + 1, row));
      EXPECT_EQ(got[i], plain) << lane << " " << i;
      EXPECT_EQ(got[4 + i], turned) << lane << " " << i;
      if (i >= 2) continue;
      EXPECT_EQ(got[8 + i], plain) << lane << " " << i;
      EXPECT_EQ(got[10 + i], turned) << lane << " " << i;
    }
}

TEST_F(Conformance, BlocksAddTheirWarpsInOrder) {
  std::mt19937 rng(6);
  std::normal_distribution<float> normal;
  std::vector<float> x(256);
  for (float& v : x) v = normal(rng);
  float sum = 0, top = x[0];
  for (size_t w = 0; w < 8; ++w) {
    std::vector<float> v(x.begin() + static_cast<long>(32 * w), x.begin() + static_cast<long>(32 * w + 32));
    for (size_t bits = 16; bits > 0; bits /= 2) {
      const auto before = v;
      for (size_t i = 0; i < 32; ++i) v[i] = before[i] + before[i ^ bits];
    }
    sum = w == 0 ? v[0] : sum + v[0];
  }
  for (float v : x) top = std::max(top, v);
  Device d;
  float* out = d.make<float>(512);
  ASSERT_TRUE(launch_block_reductions(d.put(x), out, d.stream));
  const auto r = d.get(out, 512);
  for (size_t t = 0; t < 256; ++t) {
    EXPECT_EQ(r[2 * t], sum) << t;
    EXPECT_EQ(r[2 * t + 1], top) << t;
  }
}

TEST_F(Conformance, BytesArePickedAndCopiedAsTheIsaSays) {
  constexpr uint32_t lo = 0x33221100, hi = 0x77665544;
  std::mt19937 rng(7);
  std::vector<uint32_t> selectors;
  for (int i = 0; i < 32; ++i) selectors.push_back(rng() & 0x7777);
  Device d;
  uint32_t* out = d.make<uint32_t>(64);
  ASSERT_TRUE(launch_bytes(d.put(selectors), lo, hi, d.put(std::vector<uint8_t>(16, 0xff)), out, 32, d.stream));
  const auto r = d.get(out, 64);
  for (size_t i = 0; i < 32; ++i) {
    uint32_t expected = 0;
    for (int b = 0; b < 4; ++b) {
      const uint32_t from = selectors[i] >> (4 * b) & 7;
      expected |= ((from < 4 ? lo : hi) >> (8 * (from % 4)) & 255) << (8 * b);
    }
    EXPECT_EQ(r[i], expected) << i;
    uint32_t sum = 0;  // of words of which the first i % 17 bytes are ones
    for (size_t w = 0; w < 4; ++w) {
      const size_t n = std::min<size_t>(4, i % 17 > 4 * w ? i % 17 - 4 * w : 0);
      sum += n == 4 ? ~0u : (1u << (8 * n)) - 1;
    }
    EXPECT_EQ(r[32 + i], sum) << i;
  }
}

// Products are exact; the hardware aligns the 16 of them and the sum so far to the largest and cuts what lies 2^-23
// below it: 17 values lose less than 17 * 2^-23, stated as 2^-18, of the sum of their sizes.
TEST_F(Conformance, MatrixProductsOfRandomFloatsKeepTheStatedBound) {
  for (int kind : {0, 1}) {
    std::mt19937 rng(static_cast<uint32_t>(kind + 20));
    std::normal_distribution<float> normal;
    auto narrow = [&](float x) { return kind == 0 ? f32_to_f16(x) : f32_to_bf16(x); };
    auto widen = [&](uint16_t h) { return kind == 0 ? f16_to_f32(h) : bf16_to_f32(h); };
    for (int round = 0; round < 8; ++round) {
      std::vector<uint16_t> a(16 * 16), b(8 * 16);
      for (auto* v : {&a, &b})
        for (uint16_t& h : *v) h = narrow(std::ldexp(normal(rng), static_cast<int>(rng() % 12) - 6));
      std::vector<float> c(16 * 8);
      for (float& x : c) x = normal(rng);
      Device d;
      float* dd = d.put(c);
      ASSERT_TRUE(launch_mma(kind, d.put(a), d.put(b), dd, d.stream));
      const auto r = d.get(dd, c.size());
      for (size_t i = 0; i < 16; ++i)
        for (size_t j = 0; j < 8; ++j) {
          double sum = c[i * 8 + j], size = std::abs(sum);
          for (size_t k = 0; k < 16; ++k) {
            const double product = static_cast<double>(widen(a[i * 16 + k])) * widen(b[j * 16 + k]);
            sum += product;
            size += std::abs(product);
          }
          EXPECT_NEAR(r[i * 8 + j], sum, std::ldexp(size, -18)) << kind << " at " << i << ", " << j;
        }
    }
  }
}

}  // namespace
}  // namespace dsr1::test

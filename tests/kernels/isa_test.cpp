// Every instruction-set level this machine has gives the scalar twin's bits: all types, shapes with tails, any cut of
// the work.
#include <gtest/gtest.h>

#include <string>

#include "kernels/random_weights.h"

namespace dsr1::backend::cpu {
namespace {

using test::kAllTypes;

const CpuKernels& scalar() { return *find_kernels(Isa::kScalar); }

std::vector<Isa> levels() {
  std::vector<Isa> v;
  for (int i = 1; i < kIsaCount; ++i)
    if (find_kernels(static_cast<Isa>(i))) v.push_back(static_cast<Isa>(i));
  return v;
}

::testing::AssertionResult same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << "sizes differ";
  for (size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(&a[i], &b[i], 4) != 0)
      return ::testing::AssertionFailure() << "element " << i << " of " << a.size() << ": " << a[i] << " and " << b[i];
  return ::testing::AssertionSuccess();
}

class IsaKernels : public ::testing::TestWithParam<Isa> {
 protected:
  const CpuKernels& k() const { return *find_kernels(GetParam()); }
};

TEST_P(IsaKernels, MatmulOfEveryTypeAndShapeHasTheScalarTwinsBits) {
  uint32_t seed = 1;
  for (DType type : kAllTypes) {
    const int64_t block =
        std::max<int64_t>(dtype_traits(type).block_elements,
                          scalar().activation_format(static_cast<uint32_t>(type)) == ActFormat::kFloat ? 1 : 32);
    std::vector<int64_t> widths = {256, 1536, 2304};
    if (block == 32) widths = {32, 64, 96, 288, 576, 1408, 2080};
    if (block == 1) widths = {1, 16, 37, 64, 576, 1024, 1408, 2050};
    for (int64_t cols : widths)
      for (int64_t rows : {1, 7, 35, 67}) {
        const auto w = test::random_weights(type, rows, cols, ++seed);
        const auto x = test::random_activations(41, cols, ++seed);
        const auto all = test::run_matmul(scalar(), w.matrix(), x, 41, rows);
        for (int64_t n : {1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 25, 33, 41}) {
          const std::vector<float> expected(all.begin(), all.begin() + n * rows);
          ASSERT_TRUE(same_bits(test::run_matmul(k(), w.matrix(), x, n, 64), expected))
              << dtype_name(type) << " rows " << rows << " cols " << cols << " n " << n;
        }
      }
  }
}

TEST_P(IsaKernels, AnOutputElementDoesNotDependOnHowTheWorkIsCut) {
  uint32_t seed = 100;
  for (DType type : kAllTypes) {
    const auto w = test::random_weights(type, 67, 512, ++seed);
    const auto x = test::random_activations(129, 512, ++seed);
    const auto whole = test::run_matmul(k(), w.matrix(), x, 129, 67);
    EXPECT_TRUE(same_bits(test::run_matmul(k(), w.matrix(), x, 129, 16, 7), whole)) << dtype_name(type);
    for (int64_t n : {1, 2, 3, 7, 14, 27})
      for (int64_t step : {1, 5, 16, 33})
        EXPECT_TRUE(same_bits(test::run_matmul(k(), w.matrix(), x, n, step, 3),
                              std::vector<float>(whole.begin(), whole.begin() + n * 67)))
            << dtype_name(type) << " n " << n << " step " << step;
  }
}

TEST_P(IsaKernels, ColumnsInTwoCallsHaveTheBitsOfOne) {
  uint32_t seed = 200;
  for (DType type : kAllTypes) {
    const ActFormat format = k().activation_format(static_cast<uint32_t>(type));
    if (format == ActFormat::kFloat) continue;
    constexpr int64_t kCols = 1024, kCut = 256;
    for (int64_t rows : {7, 67})
      for (int64_t n : {1, 7, 16, 20, 40}) {
        const auto w = test::random_weights(type, rows, kCols, ++seed);
        const auto x = test::random_activations(n, kCols, ++seed);
        const auto whole = test::run_matmul(k(), w.matrix(), x, n, 64);
        std::vector<float> y(whole.size(), NAN);
        for (int64_t begin : {int64_t{0}, kCut}) {
          Matrix part = w.matrix();
          part.data = static_cast<const char*>(part.data) + row_bytes(type, begin);
          part.cols = begin == 0 ? kCut : kCols - kCut;
          part.continues = begin != 0;
          test::AlignedBytes acts(k().activation_bytes(format, part.cols, n)), scratch(k().matmul_scratch_bytes());
          k().prepare_activations(format, x.data() + begin, kCols, nullptr, part.cols, n, acts.get(), 0,
                                  k().activation_units(format, part.cols, n));
          for (int64_t r = 0; r < rows; r += 33)
            k().matmul(part, r, std::min(rows, r + 33), acts.get(), n, y.data(), rows, scratch.get());
        }
        EXPECT_TRUE(same_bits(y, whole)) << dtype_name(type) << " rows " << rows << " n " << n;
      }
  }
}

TEST_P(IsaKernels, ActivationsAtTheEdgesOfQuantizationHaveTheScalarTwinsBits) {
  for (DType type : {DType::kQ2_K, DType::kQ6_K, DType::kIQ4_XS, DType::kQ4_1}) {
    const auto w = test::random_weights(type, 16, 768, 3);
    for (int64_t n : {1, 5, 12, 17, 40}) {
      auto x = test::random_activations(n, 768, static_cast<uint32_t>(n));
      const auto group = [&](int64_t row, int64_t g) { return x.begin() + row * 768 + 32 * g; };
      for (int64_t r = 0; r < n; ++r) {
        std::fill_n(group(r, 0), 32, r % 2 == 0 ? 0.0f : -0.0f);
        std::fill_n(group(r, 1), 32, r % 2 == 0 ? 0x1p-100f : 0x1.fffffep-101f);  // the smallest that counts, and below
        std::fill_n(group(r, 2), 32, 0x1p-149f);
        std::fill_n(group(r, 3), 32, -1e30f);
        // A block whose groups are a power of two apart, or just not: from its largest down to 2^-14 of it.
        for (int g = 8; g < 16; ++g)
          std::fill_n(group(r, g), 32, std::ldexp(g % 2 == 0 ? 1.0f : 1.0f + 0x1p-23f, -2 * (g - 8)));
        if (r % 2 != 0) std::fill_n(group(r, 16), 256, r % 4 == 1 ? 0x1p-100f : 0x1.fffffep-101f);  // the same of 256
      }
      EXPECT_TRUE(
          same_bits(test::run_matmul(k(), w.matrix(), x, n, 16), test::run_matmul(scalar(), w.matrix(), x, n, 16)))
          << dtype_name(type) << " " << n;
      for (float bad : {std::nanf(""), -INFINITY}) {  // of one row: its neighbours are as they were
        auto y = x;
        y[static_cast<size_t>((n - 1) * 768 + 40)] = bad;
        const auto with = test::run_matmul(k(), w.matrix(), y, n, 16),
                   without = test::run_matmul(k(), w.matrix(), x, n, 16);
        EXPECT_TRUE(std::equal(with.begin(), with.begin() + (n - 1) * 16, without.begin()));
        for (auto it = with.begin() + (n - 1) * 16; it != with.end(); ++it) EXPECT_FALSE(std::isfinite(*it));
      }
    }
  }
}

TEST_P(IsaKernels, GatheredRowsAreTheRowsNamed) {
  const auto w = test::random_weights(DType::kQ4_K, 32, 256, 5);
  const auto x = test::random_activations(20, 256, 6);
  const std::vector<int32_t> index = {19, 3, 3, 0, 7, 11, 2, 1, 5, 18, 4, 6, 9, 8};
  const auto n = static_cast<int64_t>(index.size());
  std::vector<float> gathered;
  for (int32_t i : index) gathered.insert(gathered.end(), x.begin() + i * 256, x.begin() + (i + 1) * 256);
  const auto expected = test::run_matmul(k(), w.matrix(), gathered, n, 32);
  test::AlignedBytes acts(k().activation_bytes(ActFormat::kInt8Blocks, 256, n)), scratch(k().matmul_scratch_bytes());
  k().prepare_activations(ActFormat::kInt8Blocks, x.data(), 256, index.data(), 256, n, acts.get(), 0,
                          k().activation_units(ActFormat::kInt8Blocks, 256, n));
  std::vector<float> y(expected.size());
  k().matmul(w.matrix(), 0, 32, acts.get(), n, y.data(), 32, scratch.get());
  EXPECT_TRUE(same_bits(y, expected));
}

TEST_P(IsaKernels, RowOperationsHaveTheScalarTwinsBits) {
  for (int64_t n : {1, 7, 16, 31, 64, 576, 1001}) {
    auto x = test::random_activations(1, 1024, static_cast<uint32_t>(n)), u = test::random_activations(1, 1024, 9);
    for (float special : {0.0f, -0.0f, 88.9f, -88.9f, -104.0f, 1e-40f})
      x[static_cast<size_t>(special * special) % 32] = special;
    x.resize(static_cast<size_t>(n)), u.resize(static_cast<size_t>(n));
    std::vector<float> a(x.size()), b(x.size());
    const auto check = [&](const char* what) { EXPECT_TRUE(same_bits(a, b)) << what << " n " << n; };
    k().rms_norm(x.data(), u.data(), n, 1e-6f, a.data()), scalar().rms_norm(x.data(), u.data(), n, 1e-6f, b.data());
    check("rms_norm");
    k().rms_norm(x.data(), nullptr, n, 1e-6f, a.data()), scalar().rms_norm(x.data(), nullptr, n, 1e-6f, b.data());
    check("rms_norm without weight");
    k().add(x.data(), u.data(), n, a.data()), scalar().add(x.data(), u.data(), n, b.data());
    check("add");
    a = b = u;
    k().scale_add(x.data(), 0.37f, n, a.data()), scalar().scale_add(x.data(), 0.37f, n, b.data());
    check("scale_add");
    k().swiglu(x.data(), u.data(), n, a.data()), scalar().swiglu(x.data(), u.data(), n, b.data());
    check("swiglu");
    k().sigmoid(x.data(), n, a.data()), scalar().sigmoid(x.data(), n, b.data());
    check("sigmoid");
    k().softmax(x.data(), n, a.data()), scalar().softmax(x.data(), n, b.data());
    check("softmax");
    std::vector<float> cosine(x.size()), sine(x.size());
    for (size_t i = 0; i < x.size(); ++i)
      cosine[i] = std::cos(static_cast<float>(i)), sine[i] = std::sin(static_cast<float>(i));
    a = b = x;
    k().rope_norm(a.data(), cosine.data(), sine.data(), n / 2),
        scalar().rope_norm(b.data(), cosine.data(), sine.data(), n / 2);
    check("rope_norm");
    a = b = x;
    k().rope_neox(a.data(), cosine.data(), sine.data(), n / 2),
        scalar().rope_neox(b.data(), cosine.data(), sine.data(), n / 2);
    check("rope_neox");
  }
}

TEST_P(IsaKernels, ExponentialsAgreeOverTheWholeRange) {
  std::vector<float> x;
  for (uint32_t b = 0; b < 0xffffffffu - 65521u; b += 65521u) {
    float v;
    std::memcpy(&v, &b, 4);
    if (!std::isnan(v)) x.push_back(v);
  }
  std::vector<float> a(x.size()), b(x.size());
  const auto n = static_cast<int64_t>(x.size());
  k().sigmoid(x.data(), n, a.data()), scalar().sigmoid(x.data(), n, b.data());
  EXPECT_TRUE(same_bits(a, b));
}

TEST_P(IsaKernels, CacheRowsAndDecodedRowsHaveTheScalarTwinsBits) {
  for (int64_t n : {32, 64, 96, 576}) {
    const auto x = test::random_activations(1, n, 77);
    for (uint32_t type : {0u, 1u, 8u}) {
      std::vector<unsigned char> a(static_cast<size_t>(4 * n)), b(a.size());
      k().store_row(type, x.data(), n, a.data()), scalar().store_row(type, x.data(), n, b.data());
      EXPECT_EQ(a, b) << type << " " << n;
      std::vector<float> fa(x.size()), fb(x.size());
      k().load_row(type, a.data(), n, fa.data()), scalar().load_row(type, a.data(), n, fb.data());
      EXPECT_TRUE(same_bits(fa, fb));
    }
  }
  for (DType type : kAllTypes) {
    const auto w = test::random_weights(type, 130, 512, 31);
    std::vector<float> a(512), b(512);
    for (int64_t r : {0, 129}) {
      k().dequantize_row(w.matrix(), r, a.data()), scalar().dequantize_row(w.matrix(), r, b.data());
      EXPECT_TRUE(same_bits(a, b)) << dtype_name(type);
    }
  }
}

struct AttentionCase {
  int64_t k_dim, v_dim, heads, tokens, pos0;
  bool mla;
};

TEST_P(IsaKernels, AttentionHasTheScalarTwinsBitsHoweverItIsCut) {
  const AttentionCase cases[] = {{64, 64, 1, 1, 0, false},      {64, 64, 3, 7, 250, false},
                                 {128, 128, 6, 9, 1020, false}, {96, 96, 5, 1, 700, false},
                                 {576, 512, 16, 3, 300, true},  {32, 32, 1, 60, 230, false},
                                 {192, 128, 2, 30, 0, false}};
  for (const AttentionCase& c : cases)
    for (uint32_t type : {0u, 1u, 8u}) {
      const int64_t n_keys = c.pos0 + c.tokens;
      const auto k_row = static_cast<int64_t>(dsr1::row_bytes(static_cast<DType>(type), c.k_dim));
      const auto v_row = c.mla ? k_row : static_cast<int64_t>(dsr1::row_bytes(static_cast<DType>(type), c.v_dim));
      const auto kf = test::random_activations(n_keys, c.k_dim, 4), vf = test::random_activations(n_keys, c.v_dim, 5);
      std::vector<unsigned char> kc(static_cast<size_t>(n_keys * k_row)), vc(static_cast<size_t>(n_keys * v_row));
      for (int64_t j = 0; j < n_keys; ++j) {
        scalar().store_row(type, kf.data() + j * c.k_dim, c.k_dim, kc.data() + j * k_row);
        if (!c.mla) scalar().store_row(type, vf.data() + j * c.v_dim, c.v_dim, vc.data() + j * v_row);
      }
      const auto q = test::random_activations(c.tokens * c.heads, c.k_dim, 6);
      const Attention a{kc.data(),
                        c.mla ? kc.data() : vc.data(),
                        type,
                        k_row,
                        v_row,
                        c.k_dim,
                        c.v_dim,
                        q.data(),
                        c.heads * c.k_dim,
                        c.k_dim,
                        c.tokens,
                        c.heads,
                        c.pos0,
                        0.01f};
      test::AlignedBytes scratch(k().attention_scratch_bytes(c.k_dim, c.v_dim)),
          scalar_scratch(scalar().attention_scratch_bytes(c.k_dim, c.v_dim));
      const auto size = static_cast<size_t>(c.tokens * c.heads * c.v_dim);
      std::vector<float> expected(size), got(size), split(size);
      scalar().attention(a, expected.data(), c.heads * c.v_dim, c.v_dim, scalar_scratch.get());
      k().attention(a, got.data(), c.heads * c.v_dim, c.v_dim, scratch.get());
      const std::string what =
          "k_dim " + std::to_string(c.k_dim) + " tokens " + std::to_string(c.tokens) + " type " + std::to_string(type);
      ASSERT_TRUE(same_bits(got, expected)) << what;
      // one token at a time
      for (int64_t t = 0; t < c.tokens; ++t) {
        Attention one = a;
        one.q += t * a.q_token_stride, one.n_tokens = 1, one.pos0 += t;
        k().attention(one, got.data() + t * c.heads * c.v_dim, c.heads * c.v_dim, c.v_dim, scratch.get());
      }
      ASSERT_TRUE(same_bits(got, expected)) << what << " token by token";
      // segment by segment
      const int64_t stride = k().attention_partial_floats(c.v_dim), rows = c.tokens * c.heads;
      const int64_t segments = (n_keys + kAttentionSegment - 1) / kAttentionSegment;
      std::vector<float> partial(static_cast<size_t>(segments * rows * stride));
      for (int64_t s = 0; s < segments; ++s)
        k().attention_segment(a, s, partial.data() + s * rows * stride, scratch.get());
      for (int64_t r = 0; r < rows; ++r)
        k().attention_combine(partial.data() + r * stride, rows * stride, segments, c.v_dim,
                              split.data() + r * c.v_dim);
      ASSERT_TRUE(same_bits(split, expected)) << what << " by segments";
    }
}

TEST_P(IsaKernels, ThePinnedLevelIsTheOneThatRuns) {
  const CpuKernels* pinned = select_kernels(isa_name(GetParam()));
  ASSERT_NE(pinned, nullptr);
  EXPECT_EQ(pinned->isa, GetParam());
  EXPECT_STREQ(pinned->name, isa_name(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Levels, IsaKernels, ::testing::ValuesIn(levels()),
                         [](const auto& p) { return std::string(isa_name(p.param)); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(IsaKernels);

TEST(IsaSelection, UnknownAndAbsentLevelsAreNull) {
  EXPECT_EQ(select_kernels("avx3"), nullptr);
  EXPECT_NE(select_kernels("scalar"), nullptr);
  EXPECT_NE(select_kernels("auto"), nullptr);
  EXPECT_NE(std::string(available_isa_names()).find("scalar"), std::string::npos);
}

}  // namespace
}  // namespace dsr1::backend::cpu

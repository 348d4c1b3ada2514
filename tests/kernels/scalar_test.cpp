// The scalar twin against plain double-precision arithmetic.
#include <gtest/gtest.h>

#include <random>

#include "dsr1/quant/all.h"
#include "dsr1/quant/dequantize.h"
#include "kernels/random_weights.h"

namespace dsr1::backend::cpu {
namespace {

using test::kAllTypes;

const CpuKernels& scalar() { return *find_kernels(Isa::kScalar); }

// What the contract says of an activation: groups of 32 rounded to multiples of amax / 127.
std::vector<double> as_quantized(const std::vector<float>& x) {
  std::vector<double> q(x.size());
  for (size_t b = 0; b < x.size(); b += 32) {
    float amax = 0;
    for (size_t i = b; i < b + 32; ++i) amax = std::max(amax, std::fabs(x[i]));
    if (amax < 0x1p-100f) continue;
    for (size_t i = b; i < b + 32; ++i)
      q[i] = static_cast<double>(std::nearbyint(x[i] * (127.0f / amax))) * static_cast<double>(amax / 127.0f);
  }
  return q;
}

// The same for types in blocks of 256: the largest step is amax / 127 of the block, a group's a power of two below it.
struct Rounded {
  double step;
  double q[8][32];
  int shift[8];
};
std::vector<Rounded> in_blocks(const float* x, int64_t k) {
  std::vector<Rounded> blocks(static_cast<size_t>(k / 256));
  for (Rounded& b : blocks) {
    float top[8] = {}, amax = 0;
    for (int i = 0; i < 256; ++i) top[i / 32] = std::max(top[i / 32], std::fabs(x[i]));
    for (float t : top) amax = std::max(amax, t);
    b.step = static_cast<double>(amax / 127.0f);
    for (int g = 0; g < 8; ++g) {
      for (b.shift[g] = 8; b.shift[g] > 0 && std::ldexp(top[g], b.shift[g]) > amax;) --b.shift[g];
      const float factor = std::ldexp(127.0f / amax, b.shift[g]);
      for (int i = 0; i < 32; ++i) b.q[g][i] = static_cast<double>(std::nearbyint(x[32 * g + i] * factor));
    }
    x += 256;
  }
  return blocks;
}

// One product as the contract has it, its sums in double. Dots lose `bits` bits, and those that their group's step is
// finer than the block's; where scales are in the levels (bits = 0) none. Minima meet sums in eighths of the block's
// step.
template <class T>
double block_product(const char* weights, const std::vector<Rounded>& x, int bits) {
  using quant::Form;
  const auto* w = reinterpret_cast<const typename T::Block*>(weights);
  double total = 0;
  for (const Rounded& b : x) {
    double value = 0;
    for (int g = 0; g < 8; ++g) {
      int16_t level[32];
      T::levels(*w, g, level);
      double dot[2] = {}, sum[2] = {};
      for (int i = 0; i < 32; ++i) {
        dot[i / 16] += level[i] * b.q[g][i];
        sum[i / 16] += b.q[g][i];
      }
      const double fine = std::ldexp(1.0, -b.shift[g]), unit = std::ldexp(1.0, bits);
      const auto rounded = [&](double d) { return bits == 0 ? d * fine : std::floor(d * fine / unit + 0.5) * unit; };
      const auto eighths = [&](double s) { return std::nearbyint(8 * s * fine) / 8; };
      const auto f = [](float v) { return static_cast<double>(v); };
      if constexpr (T::kForm == Form::kHalves)
        value += f(T::scale(*w, g, 0)) * rounded(dot[0]) + f(T::scale(*w, g, 1)) * rounded(dot[1]);
      else value += f(T::scale(*w, g)) * rounded(dot[0] + dot[1]);
      if constexpr (T::kForm == Form::kMin) value += f(T::min(*w, g)) * eighths(sum[0] + sum[1]);
      if constexpr (T::kForm == Form::kHalvesMin)
        value += f(T::min(*w, g, 0)) * eighths(sum[0]) + f(T::min(*w, g, 1)) * eighths(sum[1]);
    }
    total += b.step * value;
    ++w;
  }
  return total;
}

double block_product(DType type, const char* weights, const std::vector<Rounded>& x) {
  switch (type) {
    case DType::kQ2_K: return block_product<quant::Q2_K>(weights, x, 0);
    case DType::kQ3_K: return block_product<quant::Q3_K>(weights, x, 0);
    case DType::kQ4_K: return block_product<quant::Q4_K>(weights, x, 2);
    case DType::kQ5_K: return block_product<quant::Q5_K>(weights, x, 2);
    case DType::kQ6_K: return block_product<quant::Q6_K>(weights, x, 2);
    case DType::kIQ4_XS: return block_product<quant::IQ4_XS>(weights, x, 4);
    default: ADD_FAILURE() << dtype_name(type); return 0;
  }
}

TEST(ScalarKernels, MatmulIsTheDotProductOfDecodedWeightsAndQuantizedActivations) {
  for (DType type : kAllTypes) {
    SCOPED_TRACE(dtype_name(type));
    const int64_t k = 1536, rows = 5, n = 3;
    const auto w = test::random_weights(type, rows, k, 7);
    const auto x = test::random_activations(n, k, 8);
    const Matrix m = w.matrix();
    const ActFormat format = scalar().activation_format(m.type);
    const bool is_float = format == ActFormat::kFloat;
    const std::vector<double> xd = is_float ? std::vector<double>(x.begin(), x.end()) : as_quantized(x);
    const auto y = test::run_matmul(scalar(), m, x, n, rows);
    for (int64_t r = 0; r < rows; ++r) {
      std::vector<float> row(static_cast<size_t>(k));
      scalar().dequantize_row(m, r, row.data());
      for (int64_t c = 0; c < n; ++c) {
        double sum = 0, magnitude = 0;
        for (int64_t i = 0; i < k; ++i) {
          const double p = static_cast<double>(row[static_cast<size_t>(i)]) * xd[static_cast<size_t>(c * k + i)];
          sum += p;
          magnitude += std::fabs(p);
        }
        if (format == ActFormat::kInt8Blocks)
          sum = block_product(type, static_cast<const char*>(m.data) + r * m.row_bytes, in_blocks(x.data() + c * k, k));
        EXPECT_NEAR(static_cast<double>(y[static_cast<size_t>(c * rows + r)]), sum, 2e-6 * magnitude) << r << "," << c;
      }
    }
  }
}

// The error of a product against exact activations, over that of one scale for 256 and nothing else rounded, as
// llama.cpp has it.
double error_over_one_scale(DType type, std::vector<float> x) {
  const int64_t k = 1536, rows = 48, n = static_cast<int64_t>(x.size()) / k;
  const auto w = test::random_weights(type, rows, k, 11);
  std::vector<double> one(x.size());
  for (size_t b = 0; b < x.size(); b += 256) {
    float amax = 0;
    for (size_t i = b; i < b + 256; ++i) amax = std::max(amax, std::fabs(x[i]));
    const double step = static_cast<double>(amax) / 127;
    for (size_t i = b; i < b + 256; ++i) one[i] = std::nearbyint(static_cast<double>(x[i]) / step) * step;
  }
  const auto y = test::run_matmul(scalar(), w.matrix(), x, n, rows);
  double ours = 0, theirs = 0;
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<float> row(static_cast<size_t>(k));
    scalar().dequantize_row(w.matrix(), r, row.data());
    for (int64_t c = 0; c < n; ++c) {
      double exact = 0, coarse = 0;
      for (size_t i = 0; i < row.size(); ++i) {
        const auto at = static_cast<size_t>(c * k) + i;
        exact += static_cast<double>(row[i]) * static_cast<double>(x[at]);
        coarse += static_cast<double>(row[i]) * one[at];
      }
      const double e = static_cast<double>(y[static_cast<size_t>(c * rows + r)]) - exact;
      ours += e * e;
      theirs += (coarse - exact) * (coarse - exact);
    }
  }
  return std::sqrt(ours / theirs);
}

TEST(ScalarKernels, BlocksOf256AreRoundedNoCoarserThanWithOneScale) {
  const int64_t k = 1536, n = 24;
  for (DType type : {DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kIQ4_XS}) {
    std::mt19937 rng(5);
    std::normal_distribution<float> normal;
    std::student_t_distribution<float> student(3);
    std::vector<float> x(static_cast<size_t>(n * k));
    for (float& v : x) v = normal(rng);
    EXPECT_LT(error_over_one_scale(type, x), 1.0) << dtype_name(type) << ", normal";
    for (int64_t r = 0; r < n; ++r)
      for (int64_t i = 0; i < 8; ++i) x[static_cast<size_t>(r * k + 191 * i + 7)] *= 30;
    EXPECT_LT(error_over_one_scale(type, x), 0.6) << dtype_name(type) << ", outlier channels";
    for (float& v : x) v = student(rng);
    EXPECT_LT(error_over_one_scale(type, x), 0.75) << dtype_name(type) << ", Student's t";
  }
}

TEST(ScalarKernels, DequantizedRowsAreThoseOfTheQuantLayer) {
  for (DType type : kAllTypes) {
    const auto w = test::random_weights(type, 200, 256, 3);
    TensorView v;
    v.data = reinterpret_cast<const std::byte*>(w.matrix().data);
    v.dtype = type;
    v.n_dims = 2;
    v.dims = {200, 256, 0, 0};
    v.scale_inv = reinterpret_cast<const std::byte*>(w.matrix().scale_inv);
    for (int64_t r : {0, 199}) {
      std::vector<float> a(256), b(256);
      quant::dequantize_row(v, r, a.data());
      scalar().dequantize_row(w.matrix(), r, b.data());
      EXPECT_EQ(a, b) << dtype_name(type);
    }
  }
}

TEST(ScalarKernels, NotANumberAndInfinityInAnActivationReachTheResult) {
  const auto w = test::random_weights(DType::kQ4_K, 4, 256, 1);
  for (float bad : {std::nanf(""), INFINITY}) {
    std::vector<float> x(256, 1.0f);
    x[77] = bad;
    for (float y : test::run_matmul(scalar(), w.matrix(), x, 1, 4)) EXPECT_FALSE(std::isfinite(y));
  }
}

TEST(ScalarKernels, SoftmaxSwigluSigmoidMatchDoublePrecision) {
  std::vector<float> x;
  for (float v = -100; v <= 100; v += 0.37f) x.push_back(v);
  x.push_back(-INFINITY);
  const auto n = static_cast<int64_t>(x.size());
  std::vector<float> up(x.size(), 1.5f), y(x.size());
  scalar().swiglu(x.data(), up.data(), n - 1, y.data());
  for (size_t i = 0; i + 1 < x.size(); ++i) {
    double e = static_cast<double>(x[i]) / (1 + std::exp(-static_cast<double>(x[i]))) * 1.5;
    EXPECT_NEAR(static_cast<double>(y[i]), e, 3e-7 * std::fabs(e) + 1e-36) << x[i];
  }
  scalar().sigmoid(x.data(), n, y.data());
  for (size_t i = 0; i < x.size(); ++i) {
    double e = 1 / (1 + std::exp(-static_cast<double>(x[i])));
    EXPECT_NEAR(static_cast<double>(y[i]), e, 3e-7 * e + 1e-37) << x[i];
  }
  scalar().softmax(x.data(), n, y.data());
  double sum = 0;
  for (float v : x) sum += std::exp(static_cast<double>(v) - 99.9);
  for (size_t i = 0; i < x.size(); ++i) {
    double e = std::exp(static_cast<double>(x[i]) - 99.9) / sum;
    EXPECT_NEAR(static_cast<double>(y[i]), e, 2e-5 * e + 1e-37) << x[i];  // 99.9 is the largest only to 1e-5
  }
}

TEST(ScalarKernels, AttentionIsSoftmaxOverTheVisibleKeys) {
  const int64_t d = 64, heads = 3, tokens = 5, pos0 = 600;
  const int64_t n_keys = pos0 + tokens;
  for (uint32_t type : {0u, 1u, 8u}) {
    const int64_t row = static_cast<int64_t>(dsr1::row_bytes(static_cast<DType>(type), d));
    const auto kf = test::random_activations(n_keys, d, 4), vf = test::random_activations(n_keys, d, 5);
    std::vector<unsigned char> k(static_cast<size_t>(n_keys * row)), v(k.size());
    for (int64_t j = 0; j < n_keys; ++j) {
      scalar().store_row(type, kf.data() + j * d, d, k.data() + j * row);
      scalar().store_row(type, vf.data() + j * d, d, v.data() + j * row);
    }
    const auto q = test::random_activations(tokens * heads, d, 6);
    const Attention a{k.data(), v.data(), type, row, row, d, d, q.data(), heads * d, d, tokens, heads, pos0, 0.125f};
    test::AlignedBytes scratch(scalar().attention_scratch_bytes(d, d));
    std::vector<float> out(q.size());
    scalar().attention(a, out.data(), heads * d, d, scratch.get());
    for (int64_t r = 0; r < tokens * heads; ++r) {
      std::vector<float> qr(q.begin() + r * d, q.begin() + (r + 1) * d);
      std::vector<double> qd = type == 8 ? as_quantized(qr) : std::vector<double>(qr.begin(), qr.end());
      const int64_t visible = pos0 + r / heads + 1;
      std::vector<double> s(static_cast<size_t>(visible)), o(static_cast<size_t>(d));
      std::vector<float> f(static_cast<size_t>(d));
      double max = -1e300, sum = 0;
      for (int64_t j = 0; j < visible; ++j) {
        scalar().load_row(type, k.data() + j * row, d, f.data());
        double dot = 0;
        for (size_t i = 0; i < f.size(); ++i) dot += static_cast<double>(f[i]) * qd[i];
        s[static_cast<size_t>(j)] = dot * 0.125;
        max = std::max(max, dot * 0.125);
      }
      for (int64_t j = 0; j < visible; ++j) {
        const double p = std::exp(s[static_cast<size_t>(j)] - max);
        sum += p;
        scalar().load_row(type, v.data() + j * row, d, f.data());
        for (size_t i = 0; i < f.size(); ++i) o[i] += p * static_cast<double>(f[i]);
      }
      for (size_t i = 0; i < o.size(); ++i)
        EXPECT_NEAR(static_cast<double>(out[static_cast<size_t>(r * d) + i]), o[i] / sum, 2e-3) << type << " " << r;
    }
  }
}

}  // namespace
}  // namespace dsr1::backend::cpu

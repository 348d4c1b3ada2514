// Every op of a backend (backends.h: each program of this folder brings its own) against the reference backend. Bounds
// come from what the op rounds: float ops by float's epsilon, quantized weights by their int8 activations.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "dsr1/backend/ref.h"
#include "dsr1/ops/kv_rows.h"
#include "kernels/random_weights.h"
#include "ops/backends.h"

namespace dsr1::test {
namespace {

using ops::Batch;
using ops::Linear;
using ops::Mat;
using ops::Ops;
using ops::Segment;

// A matrix that owns its memory, rows 64-byte aligned, filled with poison: what an op does not write is seen.
struct Owned {
  explicit Owned(int64_t rows, int64_t cols) : data(static_cast<size_t>(rows * ((cols + 15) / 16 * 16)) + 16, NAN) {
    auto base = (reinterpret_cast<uintptr_t>(data.data()) + 63) / 64 * 64;
    m = {reinterpret_cast<float*>(base), rows, cols, (cols + 15) / 16 * 16};
  }
  Owned& normal(uint32_t seed, float deviation = 1.0f) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> n(0.0f, deviation);
    for (int64_t r = 0; r < m.rows; ++r)
      for (int64_t c = 0; c < m.cols; ++c) m.row(r)[c] = n(rng);
    return *this;
  }
  std::vector<float> data;
  Mat m;
};

double relative_rms(Mat a, Mat expected) {
  double error = 0, size = 0;
  for (int64_t r = 0; r < expected.rows; ++r)
    for (int64_t c = 0; c < expected.cols; ++c) {
      error += std::pow(static_cast<double>(a.row(r)[c]) - expected.row(r)[c], 2);
      size += std::pow(static_cast<double>(expected.row(r)[c]), 2);
    }
  return std::sqrt(error / size);
}

TensorView view(const RandomWeights& w) {
  TensorView t;
  t.data = reinterpret_cast<const std::byte*>(w.bytes.data() + 1);
  t.dtype = w.dtype;
  t.n_dims = 2;
  t.dims = {w.rows, w.cols, 0, 0};
  t.scale_inv = w.scales.empty() ? nullptr : reinterpret_cast<const std::byte*>(w.scales.data());
  return t;
}

ops::Limits limits() {
  ops::Limits l;
  l.max_rows = 512;
  l.max_in = 1024;
  l.n_head = 16;
  l.n_head_kv = 4;
  l.k_dim = l.v_dim = 128;
  l.n_ctx = 2048;
  l.n_expert = 16;
  l.n_expert_used = 4;
  l.n_embd = 256;
  l.n_ff_exp = 128;
  l.mla = {4, 64, 32, 16, 48};
  return l;
}

// Runs a check with the reference and with each backend of this program.
void on_every_backend(const std::function<void(Ops& backend, Ops& ref)>& check, ops::Limits l = limits()) {
  auto ref = backend::make_ref(1);
  for_each_backend(l, [&](Ops& backend) {
    SCOPED_TRACE(backend.name());
    check(backend, *ref);
    const Status s = backend.sync();
    EXPECT_TRUE(s) << (s ? "" : s.error().text());
  });
}

bool is_float(DType t) { return dtype_traits(t).block_elements == 1; }

TEST(Ops, LinearOfEveryTypeAgreesWithTheReference) {
  for (DType type : kAllTypes) {
    SCOPED_TRACE(dtype_name(type));
    const RandomWeights w = random_weights(type, 70, 512, 3);
    const TensorView v = view(w);
    std::vector<float> bias(70, 0.25f);
    on_every_backend([&](Ops& backend, Ops& ref) {
      for (int64_t rows : {int64_t{1}, int64_t{3}, expected().rows}) {
        Owned x(rows, 512), a(rows, 70), b(rows, 70);
        x.normal(static_cast<uint32_t>(rows));
        const Linear ja[] = {{&v, bias.data(), a.m}}, jb[] = {{&v, bias.data(), b.m}};
        backend.linear(x.m, ja);
        ref.linear(x.m, jb);
        // int8 activations: 1/254 of a block's largest value at most, about 0.5 % of normal values' size.
        const double floats = rows > 8 && type != DType::kF32 ? expected().many_rows : 1e-5;
        EXPECT_LT(relative_rms(a.m, b.m), is_float(type) ? floats : 0.012) << rows;
      }
    });
  }
}

TEST(Ops, SeveralMatricesShareOneInput) {
  const RandomWeights q4 = random_weights(DType::kQ4_K, 64, 256, 1), f32 = random_weights(DType::kF32, 33, 256, 2);
  const TensorView v4 = view(q4), v32 = view(f32);
  on_every_backend([&](Ops& backend, Ops&) {
    Owned x(5, 256), a(5, 64), b(5, 33), a1(5, 64), b1(5, 33);
    x.normal(9);
    const Linear both[] = {{&v4, nullptr, a.m}, {&v32, nullptr, b.m}}, one[] = {{&v4, nullptr, a1.m}},
                 other[] = {{&v32, nullptr, b1.m}};
    backend.linear(x.m, both);
    backend.linear(x.m, one);
    backend.linear(x.m, other);
    EXPECT_EQ(relative_rms(a.m, a1.m), 0);
    EXPECT_EQ(relative_rms(b.m, b1.m), 0);
  });
}

TEST(Ops, RowOpsAgreeWithTheReference) {
  on_every_backend([&](Ops& backend, Ops& ref) {
    Owned x(9, 96), up(9, 96), a(9, 96), b(9, 96);
    x.normal(1);
    up.normal(2);
    std::vector<float> weight(48);
    for (size_t i = 0; i < weight.size(); ++i) weight[i] = 0.5f + 0.01f * static_cast<float>(i);
    backend.rms_norm(x.m, weight.data(), 48, 1e-5f, a.m);
    ref.rms_norm(x.m, weight.data(), 48, 1e-5f, b.m);
    EXPECT_LT(relative_rms(a.m, b.m), 1e-6);
    backend.swiglu(x.m, up.m, a.m);
    ref.swiglu(x.m, up.m, b.m);
    EXPECT_LT(relative_rms(a.m, b.m), 1e-6);
    backend.add(x.m, up.m, a.m);
    ref.add(x.m, up.m, b.m);
    EXPECT_EQ(relative_rms(a.m, b.m), 0);
    const std::vector<int32_t> rows = {8, 0, 3};
    backend.copy_rows(x.m, rows, a.m.first_rows(3));
    ref.copy_rows(x.m, rows, b.m.first_rows(3));
    EXPECT_EQ(relative_rms(a.m.first_rows(3), b.m.first_rows(3)), 0);
  });
}

TEST(Ops, RopeTurnsBothWaysLikeTheReferenceAndKeepsLength) {
  ops::RopeTable table;
  for (int i = 0; i < 8; ++i) table.freq.push_back(std::pow(10000.0f, -static_cast<float>(i) / 8));
  const std::vector<int32_t> positions = {0, 1, 1000, 131071};
  on_every_backend([&](Ops& backend, Ops& ref) {
    for (auto pairing : {ops::RopePairing::kNorm, ops::RopePairing::kNeox}) {
      Owned cs(4, 16), cs_ref(4, 16), a(4, 3 * 24), b(4, 3 * 24);
      a.normal(4);
      b.normal(4);
      backend.rope_angles(table, positions, cs.m);
      ref.rope_angles(table, positions, cs_ref.m);
      EXPECT_LT(relative_rms(cs.m, cs_ref.m), 1e-7);
      backend.rope(a.m, 3, 24, pairing, cs.m);
      ref.rope(b.m, 3, 24, pairing, cs_ref.m);
      EXPECT_LT(relative_rms(a.m, b.m), 1e-6);
      Owned before(4, 3 * 24);
      before.normal(4);
      for (int64_t r = 0; r < 4; ++r) {
        double n0 = 0, n1 = 0;
        for (int64_t c = 0; c < 72; ++c) {
          n0 += std::pow(before.m.row(r)[c], 2);
          n1 += std::pow(a.m.row(r)[c], 2);
        }
        EXPECT_NEAR(n1 / n0, 1, 1e-5);
      }
    }
  });
}

// A sequence's cache of one layer, filled with random rows up to n_ctx.
struct Cache {
  Cache(DType type, int n_head_kv, int k_dim, int v_dim, int64_t n_ctx, bool with_v) {
    view.k_type = view.v_type = type;
    view.n_head_kv = n_head_kv;
    view.k_dim = k_dim;
    view.v_dim = v_dim;
    view.n_ctx = n_ctx;
    k.resize(view.k_row_bytes() * static_cast<size_t>(n_head_kv * n_ctx));
    view.k = k.data();
    if (with_v) {
      v.resize(row_bytes(type, v_dim) * static_cast<size_t>(n_head_kv * n_ctx));
      view.v = v.data();
    }
    std::mt19937 rng(11);
    std::normal_distribution<float> normal;
    std::vector<float> row(static_cast<size_t>(std::max(k_dim, v_dim)));
    for (int h = 0; h < n_head_kv; ++h)
      for (int64_t p = 0; p < n_ctx; ++p) {
        for (float& x : row) x = normal(rng);
        ops::store_row(row.data(), type, k_dim, view.k_row(h, p));
        if (with_v) ops::store_row(row.data(), type, v_dim, view.v_row(h, p));
      }
  }
  std::vector<std::byte> k, v;
  ops::KvLayerView view;
};

TEST(Ops, AttentionAgreesWithTheReferenceForEveryCacheType) {
  for (DType type : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    SCOPED_TRACE(dtype_name(type));
    Cache one(type, 4, 64, 64, 700, true), two(type, 4, 64, 64, 700, true);
    on_every_backend([&](Ops& backend, Ops& ref) {
      // A prompt of 30 tokens in a long context and a single token at 3, together.
      const Segment segments[] = {{&one.view, expected().context, 30, false}, {&two.view, 3, 1, false}};
      std::vector<int32_t> tokens(31), positions(31);
      const Batch batch{tokens, positions, segments};
      Owned q(31, 8 * 64), a(31, 8 * 64), b(31, 8 * 64);
      q.normal(6);
      backend.attention(batch, 0, q.m, 8, 0.125f, a.m);
      ref.attention(batch, 0, q.m, 8, 0.125f, b.m);
      // Quantized keys meet int8 queries; the softmax of scores of deviation 1 passes that on.
      EXPECT_LT(relative_rms(a.m, b.m), type == DType::kQ8_0  ? 0.01
                                        : type == DType::kF16 ? expected().attention
                                                              : 1e-5);
    });
  }
}

TEST(Ops, AttentionOverOneLatentForAllHeadsAgreesWithTheReference) {
  for (auto [k_dim, v_dim] : {std::pair{48, 32}, std::pair{96, 64}}) {
    for (DType type : {DType::kF16, DType::kQ8_0}) {
      if (type == DType::kQ8_0 && k_dim % 32 != 0) continue;
      SCOPED_TRACE(dtype_name(type));
      Cache one(type, 1, k_dim, v_dim, 300, false), two(type, 1, k_dim, v_dim, 300, false);
      ops::Limits l = limits();
      l.n_head = 36;
      l.n_head_kv = 1;
      l.k_dim = k_dim;
      l.v_dim = v_dim;
      on_every_backend(
          [&](Ops& backend, Ops& ref) {
            const Segment segments[] = {{&one.view, 290, 1, false}, {&two.view, 5, 1, false}};
            std::vector<int32_t> tokens(2), positions(2);
            const Batch batch{tokens, positions, segments};
            Owned q(2, 36 * k_dim), a(2, 36 * v_dim), b(2, 36 * v_dim);
            q.normal(6);
            const float scale = 1.0f / std::sqrt(static_cast<float>(k_dim));
            backend.attention(batch, 0, q.m, 36, scale, a.m);
            ref.attention(batch, 0, q.m, 36, scale, b.m);
            EXPECT_LT(relative_rms(a.m, b.m), type == DType::kQ8_0 ? 0.01 : expected().attention);
          },
          l);
    }
  }
}

// The latent of R1 whole: the CUDA backend has a form of its own for it from 64 heads on.
TEST(Ops, AttentionOverTheLatentOfR1AgreesWithTheReference) {
  constexpr int kKey = 576, kValue = 512;
  Cache one(DType::kF16, 1, kKey, kValue, 520, false), two(DType::kF16, 1, kKey, kValue, 520, false);
  for (int heads : {64, 128}) {
    SCOPED_TRACE(heads);
    ops::Limits l = limits();
    l.n_head = heads;
    l.n_head_kv = 1;
    l.k_dim = kKey;
    l.v_dim = kValue;
    on_every_backend(
        [&](Ops& backend, Ops& ref) {
          const Segment segments[] = {{&one.view, 135, 1, false}, {&two.view, 5, 1, false}};
          std::vector<int32_t> tokens(2), positions(2);
          const Batch batch{tokens, positions, segments};
          Owned q(2, heads * kKey), a(2, heads * kValue), b(2, heads * kValue);
          q.normal(6);
          const float scale = 1.0f / std::sqrt(static_cast<float>(kKey));
          backend.attention(batch, 0, q.m, heads, scale, a.m);
          ref.attention(batch, 0, q.m, heads, scale, b.m);
          EXPECT_LT(relative_rms(a.m, b.m), expected().attention);
        },
        l);
  }
}

TEST(Ops, ExpandedMlaAgreesWithTheReferenceInBothStorageOrders) {
  ops::MlaDims d = limits().mla;
  d.n_head = expected().heads;
  const int64_t qk = d.nope + d.rope;
  Cache cache(DType::kF16, 1, d.kv_lora_rank + d.rope, d.kv_lora_rank, 600, false);
  for (bool transposed : {false, true}) {
    const RandomWeights wk = transposed ? random_weights(DType::kF32, d.n_head * d.kv_lora_rank, d.nope, 1)
                                        : random_weights(DType::kF32, d.n_head * d.nope, d.kv_lora_rank, 1);
    const RandomWeights wv = random_weights(DType::kF32, d.n_head * d.v_head, d.kv_lora_rank, 2);
    const TensorView vk = view(wk), vv = view(wv);
    const int64_t rows = transposed ? d.kv_lora_rank : d.nope;
    const ops::MlaWeights w{{&vk, d.n_head, 0, rows, rows}, {&vv, d.n_head, 0, d.v_head, d.v_head}, transposed};
    on_every_backend([&](Ops& backend, Ops& ref) {
      // Ending in the middle of a block of keys, the first tokens not seeing all of it: with 500 before, in the third.
      const int64_t n = expected().rows;
      const int32_t before = std::max(expected().context, ops::kMlaBlock - static_cast<int32_t>(n) / 2);
      const Segment segments[] = {{&cache.view, before, static_cast<int32_t>(n), true}};
      const std::vector<int32_t> tokens(static_cast<size_t>(n)), positions(static_cast<size_t>(n));
      Owned q(n, d.n_head * qk), a(n, d.n_head * d.v_head), b(n, d.n_head * d.v_head);
      Owned latent(ops::kMlaBlock, d.kv_lora_rank + d.rope), k(d.n_head * ops::kMlaBlock, qk),
          v(d.n_head * ops::kMlaBlock, d.v_head), state(n, d.n_head * 2);
      q.normal(3, 0.3f);
      const ops::MlaScratch s{latent.m, k.m, v.m, state.m};
      backend.mla_attention_expanded({tokens, positions, segments}, 0, w, d, q.m, 0.1f, s, a.m);
      ref.mla_attention_expanded({tokens, positions, segments}, 0, w, d, q.m, 0.1f, s, b.m);
      EXPECT_LT(relative_rms(a.m, b.m), std::max(1e-4, expected().attention)) << transposed;
    });
  }
}

TEST(Ops, HeadedMatricesAgreeWithTheReference) {
  for (DType type : {DType::kF32, DType::kQ8_0, DType::kQ5_0}) {
    SCOPED_TRACE(dtype_name(type));
    const RandomWeights w = random_weights(type, 4 * 48, 64, 5);
    const TensorView v = view(w);
    const ops::HeadedWeight part{&v, 4, 16, 48, 32};  // the last 32 rows of each head's 48
    on_every_backend([&](Ops& backend, Ops& ref) {
      for (int64_t rows : {1, 20}) {
        Owned x(rows, 4 * 80), a(rows, 4 * 40), b(rows, 4 * 40), c(rows, 4 * 70), e(rows, 4 * 70);
        x.normal(7);
        for (Owned* o : {&a, &b, &c, &e}) o->normal(1);  // gaps between heads stay as they were
        backend.linear_heads(part, x.m, 80, a.m, 40);
        ref.linear_heads(part, x.m, 80, b.m, 40);
        EXPECT_LT(relative_rms(a.m, b.m), is_float(type) ? 1e-5 : 0.015);
        backend.linear_heads_transposed(part, x.m, 80, c.m, 70);
        ref.linear_heads_transposed(part, x.m, 80, e.m, 70);
        EXPECT_LT(relative_rms(c.m, e.m), 1e-5);  // weights are decoded, activations stay float
      }
    });
  }
}

struct Experts {
  Experts(DType type, uint32_t n, int64_t n_embd) {
    for (uint32_t i = 0; i < n; ++i) {
      weights.push_back(random_weights(type, n_embd / 2, n_embd, i));
      weights.push_back(random_weights(type, n_embd / 2, n_embd, 100 + i));
      weights.push_back(random_weights(type, n_embd, n_embd / 2, 200 + i));
    }
    for (size_t i = 0; i < n; ++i) {
      gate.push_back(view(weights[3 * i]));
      up.push_back(view(weights[3 * i + 1]));
      down.push_back(view(weights[3 * i + 2]));
    }
  }
  std::vector<RandomWeights> weights;
  std::vector<TensorView> gate, up, down;
};

TEST(Ops, FusedExpertsEqualTheirComposition) {
  for (DType type : {DType::kF32, DType::kQ8_0}) {
    SCOPED_TRACE(dtype_name(type));
    const int n_expert = expected().experts;
    const int64_t n = expected().n_embd;
    const Experts e(type, static_cast<uint32_t>(n_expert), n);
    const ops::ExpertWeights w{e.gate, e.up, e.down};
    on_every_backend([&](Ops& backend, Ops& ref) {
      for (int64_t rows : {int64_t{1}, expected().rows * 3 / 4}) {
        Owned x(rows, n), weights(rows, 4), fused(rows, n), composed(rows, n), truth(rows, n);
        Owned gathered(rows * 4, n), gate(rows * 4, n / 2), up(rows * 4, n / 2), down(rows * 4, n);
        x.normal(3);
        std::vector<int32_t> ids, slot(static_cast<size_t>(rows * 4)), offsets(17);
        for (int64_t i = 0; i < rows * 4; ++i) {
          ids.push_back(static_cast<int32_t>((i * 7 + i / 4) % n_expert));
          weights.m.row(i / 4)[i % 4] = 0.1f * static_cast<float>(1 + i % 4);
        }
        const ops::MoeScratch s{gathered.m, gate.m, up.m, down.m, slot.data(), offsets.data()};
        backend.moe_ffn(x.m, w, ids.data(), weights.m, s, fused.m);
        backend.Ops::moe_ffn(x.m, w, ids.data(), weights.m, s, composed.m);
        ref.moe_ffn(x.m, w, ids.data(), weights.m, s, truth.m);
        // The fused sum is a chain of fma, the composition's rounds each product.
        EXPECT_LT(relative_rms(fused.m, composed.m), type == DType::kF32 ? 1e-6 : expected().many_against_few);
        EXPECT_LT(relative_rms(fused.m, truth.m), type == DType::kF32 ? 1e-4 : 0.03);
      }
    });
  }
}

TEST(Route, FollowsTheGoldenExamples) {
  // 16 experts, top 4; values computed with DeepSeek's rules for the specification's annex F.
  float logits[] = {-1.87f, 0.51f, -1.02f, 1.36f, -0.17f, -1.7f, 0.68f, -0.85f,
                    1.53f,  0.0f,  -1.53f, 0.85f, -0.68f, 1.7f,  0.17f, -1.36f};
  const float bias[] = {-0.18f, -0.09f, 0.0f,   0.09f, 0.18f, -0.12f, -0.03f, 0.06f,
                        0.15f,  -0.15f, -0.06f, 0.03f, 0.12f, -0.18f, -0.09f, 0.0f};
  struct Case {
    ops::RouterParams p;
    const float* bias;
    std::vector<int32_t> ids;
    std::vector<float> weights;
  };
  using ops::Gating;
  const Case cases[] = {
      {{Gating::kSigmoid, 16, 4, 4, 2, true, 2.5f}, bias, {8, 3, 11, 1}, {0.698239f, 0.675945f, 0.595085f, 0.530731f}},
      {{Gating::kSigmoid, 16, 4, 1, 1, true, 2.5f}, bias, {8, 3, 11, 13}, {0.649526f, 0.628787f, 0.553569f, 0.668118f}},
      {{Gating::kSoftmax, 16, 4, 1, 1, false, 1.0f},
       nullptr,
       {13, 8, 3, 11},
       {0.218079f, 0.183986f, 0.155222f, 0.093210f}},
      {{Gating::kSoftmax, 16, 4, 4, 2, false, 16.0f},
       nullptr,
       {13, 8, 11, 14},
       {3.489267f, 2.943772f, 1.491365f, 0.755551f}},
  };
  for (const Case& c : cases) {
    int32_t ids[4];
    float weights[4];
    ops::route_rows({logits, 1, 16, 16}, c.bias, c.p, ids, {weights, 1, 4, 4});
    EXPECT_EQ(std::vector<int32_t>(ids, ids + 4), c.ids);
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(weights[i], c.weights[i], 2e-6);
  }
}

TEST(Route, PermutingExpertsInsideAGroupPermutesTheChoice) {
  std::mt19937 rng(3);
  std::normal_distribution<float> normal;
  const ops::RouterParams p{ops::Gating::kSigmoid, 32, 6, 8, 4, true, 2.5f};
  for (int trial = 0; trial < 200; ++trial) {
    float logits[32], bias[32], turned[32], turned_bias[32], w[6], tw[6];
    int32_t ids[6], turned_ids[6];
    for (int i = 0; i < 32; ++i) {
      logits[i] = normal(rng);
      bias[i] = 0.1f * normal(rng);
    }
    for (int i = 0; i < 32; ++i) {  // rotate each group of four by one
      const int to = i / 4 * 4 + (i + 1) % 4;
      turned[to] = logits[i];
      turned_bias[to] = bias[i];
    }
    ops::route_rows({logits, 1, 32, 32}, bias, p, ids, {w, 1, 6, 6});
    ops::route_rows({turned, 1, 32, 32}, turned_bias, p, turned_ids, {tw, 1, 6, 6});
    for (int k = 0; k < 6; ++k) {
      EXPECT_EQ(turned_ids[k], ids[k] / 4 * 4 + (ids[k] + 1) % 4);
      EXPECT_FLOAT_EQ(tw[k], w[k]);
    }
  }
}

TEST(Route, NanLogitsNeverLeaveTheTable) {
  float logits[16], w[4];
  int32_t ids[4];
  std::fill_n(logits, 16, NAN);
  ops::route_rows({logits, 1, 16, 16}, nullptr, {ops::Gating::kSoftmax, 16, 4, 4, 2, true, 1.0f}, ids, {w, 1, 4, 4});
  for (int32_t id : ids) EXPECT_TRUE(id >= 0 && id < 16);
}

}  // namespace
}  // namespace dsr1::test

// Tokens chosen on the device against the host's sampler: the same seed, the same token.
#include "cuda_model.h"
#include "dsr1/runtime/generate.h"
#include "dsr1/runtime/sampler.h"

namespace dsr1::test {
namespace {

using runtime::Sampler;
using runtime::SamplerParams;

constexpr int32_t kVocab = 2600, kTokens = 2590;  // three chunks; the last rows are padding

class SampleOnTheDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = no_device(); !why.empty()) GTEST_SKIP() << why;
    ops::Limits l;
    l.max_rows = l.max_logit_rows = 4;
    l.n_vocab = kVocab;
    l.max_in = 64;
    l.n_head = 1;
    l.v_dim = 32;
    auto made = device_ops(l);
    ASSERT_TRUE(made);
    ops_ = std::move(*made);
    ASSERT_TRUE(ops_->reserve());
    auto m = ops_->allocate(4 * kVocab * sizeof(float), "logits");
    ASSERT_TRUE(m);
    memory_ = std::move(*m);
  }

  std::vector<ops::Sampled> sample(const std::vector<std::vector<float>>& logits,
                                   const std::vector<ops::SampleRequest>& requests) {
    const auto rows = static_cast<int64_t>(logits.size());
    std::vector<float> flat;
    for (const auto& row : logits) flat.insert(flat.end(), row.begin(), row.end());
    const ops::Mat device{reinterpret_cast<float*>(memory_->data()), rows, kVocab, kVocab};
    ops_->upload({flat.data(), rows, kVocab, kVocab}, device);
    auto chosen = ops_->sample(device, requests);
    EXPECT_TRUE(chosen) << (chosen ? "" : chosen.error().text());
    return chosen ? std::vector<ops::Sampled>(chosen->begin(), chosen->end()) : std::vector<ops::Sampled>();
  }

  static std::vector<float> random_logits(uint64_t seed, float deviation) {
    std::mt19937_64 rng(seed);
    std::normal_distribution<float> normal(0.0f, deviation);
    std::vector<float> l(kVocab, 100.0f);  // padding would win
    for (int32_t i = 0; i < kTokens; ++i) l[static_cast<size_t>(i)] = normal(rng);
    return l;
  }

  std::unique_ptr<ops::Ops> ops_;
  std::unique_ptr<ops::Memory> memory_;
};

TEST_F(SampleOnTheDevice, TheSameSeedGivesTheHostsToken) {
  std::vector<SamplerParams> all(8);
  all[0].temperature = 0;
  all[1].top_k = 40;
  all[1].min_p = 0.05f;
  all[2].temperature = 1.3f;  // the default nucleus without top-k
  all[3].min_p = 0.02f;
  all[4].top_k = 128;
  all[4].top_p = 1;
  all[4].temperature = 2;
  all[5].top_k = 1;
  all[6].top_k = 20;
  all[6].repeat_penalty = 1.3f;
  all[6].presence_penalty = 0.2f;
  all[6].frequency_penalty = 0.15f;
  all[6].repeat_last_n = -1;
  all[7].temperature = 0;
  all[7].logit_bias = {{7, -INFINITY}, {11, 30.0f}, {12, 30.0f}};
  all[7].repeat_penalty = 1.1f;
  std::vector<Sampler> host, device;
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].seed = 40 + i;
    host.emplace_back(all[i], kTokens);
    device.emplace_back(all[i], kTokens);
  }
  std::vector<std::vector<int32_t>> histories(all.size(), std::vector<int32_t>{3, 3, 500, 2588});
  for (uint64_t step = 0; step < 2; ++step) {
    for (size_t first = 0; first < all.size(); first += 4) {
      std::vector<std::vector<float>> logits;
      std::vector<ops::SampleRequest> requests;
      for (size_t i = first; i < first + 4; ++i) {
        logits.push_back(random_logits(100 * step + i, 6.0f));
        logits.back()[static_cast<size_t>(17 * i)] = NAN;
        const auto r = device[i].request(histories[i], ops_->longest_sample_list());
        ASSERT_TRUE(r) << i;
        requests.push_back(*r);
      }
      const auto chosen = sample(logits, requests);
      ASSERT_EQ(chosen.size(), 4u);
      for (size_t i = first; i < first + 4; ++i) {
        auto truth = host[i].sample(logits[i - first], histories[i]);
        ASSERT_TRUE(truth);
        ASSERT_TRUE(chosen[i - first].covered) << i;
        const runtime::TokenLogprob got = device[i].accept(chosen[i - first]);
        EXPECT_EQ(got.id, truth->id) << "parameters " << i << ", step " << step;
        EXPECT_NEAR(got.logprob, truth->logprob, 1e-5) << i;
        histories[i].push_back(truth->id);
      }
    }
  }
}

TEST_F(SampleOnTheDevice, EqualLogitsGoToTheLowerIdAndWhatIsNotCoveredIsSaid) {
  std::vector<float> flat(kVocab, 1.0f), nothing(kVocab, NAN);
  SamplerParams greedy, wide;
  greedy.temperature = 0;
  wide.top_p = 0.99f;
  Sampler a(greedy, kTokens), b(wide, kTokens), c(greedy, kTokens);
  const auto chosen = sample({flat, flat, nothing}, {*a.request({}, 128), *b.request({}, 128), *c.request({}, 128)});
  ASSERT_EQ(chosen.size(), 3u);
  EXPECT_TRUE(chosen[0].covered);
  EXPECT_EQ(chosen[0].id, 0);
  EXPECT_NEAR(a.accept(chosen[0]).logprob, -std::log(static_cast<double>(kTokens)), 1e-5);
  EXPECT_FALSE(chosen[1].covered) << "99 % of 2,590 equals are more than the list holds";
  EXPECT_FALSE(chosen[2].covered) << "no logit is a number";
}

TEST(SampleRequest, WhatTheDeviceCannotFollowStaysOnTheHost) {
  std::vector<SamplerParams> refused(8);
  refused[0].top_p = 1;  // no filter at all
  refused[1].mirostat = 2;
  refused[2].typical_p = 0.5f;
  refused[3].dry_multiplier = 1;
  refused[4].n_top_logprobs = 3;
  refused[5].top_k = 500;
  refused[6].xtc_probability = 0.5f;
  refused[7].top_p = 1;
  refused[7].min_p = 0.1f;  // alone it draws in the order of ids
  for (size_t i = 0; i < refused.size(); ++i) EXPECT_FALSE(Sampler(refused[i], 100).request({}, 128)) << i;
  EXPECT_FALSE(Sampler({}, 100).request({}, 0));
  EXPECT_TRUE(Sampler({}, 100).request({}, 128));
}

TEST(GenerateOnTheDevice, ATextIsTheOneTheHostsSamplerWrites) {
  if (const std::string why = no_device(); !why.empty()) GTEST_SKIP() << why;
  SyntheticSpec s;
  const auto path = write_model(s, "device-sample");
  runtime::GenerateOptions o;
  o.n_predict = 5;
  o.ignore_eos = true;
  o.sampler.seed = 5;
  o.sampler.top_k = 20;
  o.sampler.presence_penalty = 0.5f;
  std::vector<int32_t> texts[2];
  for (int host = 0; host < 2; ++host) {
    auto e = on_device(16, DType::kF32);
    if (host == 1) e.tap = [](const char*, const ops::Mat&, const int32_t*) {};  // what is shown is not chosen there
    auto engine = open_engine(path, e);
    ASSERT_TRUE(engine);
    EXPECT_EQ(engine->longest_sample_list() > 0, host == 0);
    auto session = engine->new_session();
    ASSERT_TRUE(session);
    auto text = runtime::generate(*engine, **session, some_tokens(5), o, {});
    ASSERT_TRUE(text) << text.error().text();
    texts[host] = text->tokens;
  }
  EXPECT_EQ(texts[0].size(), 5u);
  EXPECT_EQ(texts[0], texts[1]);
}

}  // namespace
}  // namespace dsr1::test

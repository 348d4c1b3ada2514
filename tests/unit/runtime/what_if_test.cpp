#include <gtest/gtest.h>

#include <cmath>

#include "dsr1/runtime/cost.h"
#include "dsr1/runtime/family.h"
#include "dsr1/runtime/fit.h"
#include "support/engine_helpers.h"

namespace dsr1::test {
namespace {

using runtime::Fit;
using runtime::Machine;
using runtime::ModelFacts;

ModelFacts facts(const char* name) {
  const runtime::FamilyName n = runtime::find_family_member(name);
  EXPECT_NE(n.member, nullptr) << name;
  return *runtime::family_facts(*n.member, n.quant);
}

Fit fit_on(const char* model, const std::vector<std::string>& words, int64_t n_ctx = 4096) {
  auto m = runtime::parse_what_if(words);
  EXPECT_TRUE(m) << m.error().text();
  runtime::FitRequest r;
  r.plan.n_ctx = n_ctx;
  return runtime::fit_model(facts(model), *m, r);
}

TEST(WhatIf, FiguresAreReadInTheirUnits) {
  auto m = runtime::parse_what_if({"gpu=24GiB,1008GB/s,165TFLOPS", "ram=128gb,80GB/s,1.5TOPS", "disk=7GB/s"});
  ASSERT_TRUE(m) << m.error().text();
  EXPECT_EQ(m->vram, uint64_t{24} << 30);
  EXPECT_EQ(m->ram, 128000000000u);
  EXPECT_DOUBLE_EQ(m->vram_bytes_per_s, 1008e9);
  EXPECT_DOUBLE_EQ(m->gpu_ops_per_s, 165e12);
  EXPECT_DOUBLE_EQ(m->cpu_ops_per_s, 1.5e12);
  EXPECT_DOUBLE_EQ(m->disk_bytes_per_s, 7e9);
  for (const char* bad : {"gpu", "cpu=1GB", "gpu=24", "gpu=24GiB,fast", "disk=7GB", "ram=-3GB", "ram=nanGB",
                          "ram=1e30GB", "gpu=", "ram=1GB,,", "disk=1GB/s"}) {
    auto r = runtime::parse_what_if({bad});
    ASSERT_FALSE(r) << bad;
    EXPECT_EQ(r.error().code, ErrorCode::kUsage);
  }
}

TEST(WhatIf, EveryByteHasOnePlace) {
  for (const char* model : {"deepseek-r1:671b", "deepseek-r1:70b", "deepseek-r1:1.5b", "DeepSeek-V2-Lite"})
    for (const char* gpu : {"gpu=1GiB,100GB/s", "gpu=24GiB,1008GB/s", "gpu=640GiB,16000GB/s"})
      for (const char* ram : {"ram=8GiB,20GB/s", "ram=64GiB,80GB/s", "ram=1024GiB,400GB/s"}) {
        const Fit f = fit_on(model, {gpu, ram, "disk=5GB/s"});
        const auto sum = static_cast<double>(f.placement.vram + f.placement.ram + f.placement.disk);
        EXPECT_NEAR(sum, static_cast<double>(f.plan.total()), 4) << model << gpu << ram;
        const double read = f.placement.vram_read + f.placement.ram_read + f.placement.disk_read;
        EXPECT_NEAR(read / static_cast<double>(f.plan.weights_needed), 1, 1e-9);
        EXPECT_EQ(f.fits, f.placement.disk == 0) << model << gpu << ram;
        EXPECT_TRUE(!f.fits || f.runs);
      }
}

TEST(WhatIf, ADataSheetSpeedIsBytesOverBandwidthTimesTheShareReached) {
  const Fit f = fit_on("deepseek-r1:7b", {"gpu=24GiB,1008GB/s", "ram=64GiB,80GB/s"});
  const double bytes =
      runtime::weight_bytes_per_token(f.facts) + runtime::kv_bytes_read(f.facts, DType::kF16, DType::kF16, 512);
  EXPECT_EQ(f.prediction.decode_limit, "vram_bandwidth");
  EXPECT_NEAR(f.prediction.decode.low, 0.40 * 1008e9 / bytes, 0.1);
  EXPECT_NEAR(f.prediction.decode.high, 0.90 * 1008e9 / bytes, 0.1);
  EXPECT_FALSE(f.prediction.prefill.known());  // no arithmetic rate was given
  EXPECT_NE(f.prediction.prefill_note.find("TFLOPS"), std::string::npos);
  // A rate that is not known gives no speed at all, not half of one.
  EXPECT_FALSE(fit_on("deepseek-r1:70b", {"gpu=24GiB,1008GB/s", "ram=64GiB"}).prediction.decode.known());
}

TEST(WhatIf, PagedExpertsAreLimitedByTheDisk) {
  const Fit f = fit_on("deepseek-r1:671b", {"gpu=24GiB,1008GB/s", "ram=128GiB,80GB/s", "disk=7GB/s"});
  EXPECT_FALSE(f.fits);
  EXPECT_TRUE(f.runs);
  EXPECT_EQ(f.prediction.decode_limit, "disk");
  EXPECT_LT(f.prediction.decode.high, 1.5);
  EXPECT_NE(f.why.find("paged"), std::string::npos);
  const Fit no = fit_on("deepseek-r1:70b", {"ram=16GiB,80GB/s"});
  EXPECT_FALSE(no.runs);
  EXPECT_NE(no.why.find("does not fit"), std::string::npos);
}

TEST(WhatIf, TheJsonIsTheContractsAndUnknownSpeedsAreNull) {
  const Json j = runtime::fit_json(fit_on("deepseek-r1:7b", {"gpu=24GiB,1008GB/s", "ram=64GiB,80GB/s"}));
  for (const char* key : {"model", "fits", "runs", "why", "bytes", "context", "predicted"})
    EXPECT_NE(j.find(key), nullptr) << key;
  const Json& bytes = *j.find("bytes");
  EXPECT_EQ(bytes.find("weights")->as_uint64() + bytes.find("kv")->as_uint64() + bytes.find("scratch")->as_uint64(),
            bytes.find("total")->as_uint64());
  for (const char* key : {"vram", "ram", "disk"}) EXPECT_NE(bytes.find("by_place")->find(key), nullptr) << key;
  EXPECT_EQ(j.find("context")->as_int64(), 4096);
  const Json& p = *j.find("predicted");
  ASSERT_TRUE(p.find("decode_tok_s")->is_array());
  EXPECT_EQ(p.find("decode_tok_s")->as_array().size(), 3u);
  EXPECT_TRUE(p.find("prefill_tok_s")->is_null());
  EXPECT_EQ(p.find("limit")->as_string(), "vram_bandwidth");
}

// A machine that reads 20 GB/s and does `f` at exactly that.
runtime::MachineRates simple_rates(const runtime::Fit& f) {
  runtime::MachineRates r;
  r.machine = "m";
  r.read_bytes_per_s = {20e9, 20e9};
  r.token_s = runtime::weight_bytes_per_token(f.facts) / 20e9;
  r.token_s_per_key = runtime::kv_bytes_read(f.facts, f.type_k, f.type_v, 1) / 20e9;
  r.prompt_s = 1e-3;
  r.prompt_s_per_key = 1e-6;
  return r;
}

TEST(WhatIf, RatesOfTheMachineMakeThePredictionAndPastErrorsItsInterval) {
  runtime::Fit f = fit_on("deepseek-r1:7b", {"ram=64GiB,80GB/s"});
  const runtime::MachineRates rates = simple_rates(f);
  const auto p = runtime::predict_on(rates, f, 0, 512);
  EXPECT_NEAR(p.decode.mid, 20e9 / static_cast<double>(f.plan.weights_needed), 0.02);
  EXPECT_EQ(p.decode_limit, "ram_bandwidth");
  EXPECT_NEAR(p.prefill.mid, 512 / (512 * 1e-3 + 1e-6 * 512 * 256), 1e-9);
  const double deep = 1 / runtime::predict_on(rates, f, 1000, 512).decode.mid - 1 / p.decode.mid;
  EXPECT_NEAR(deep, 1000 * rates.token_s_per_key, 1e-9);
  // Memory that is half as fast now halves it; five receipts that say "90 % of it, give or take" shift it.
  EXPECT_NEAR(runtime::predict_on(rates, f, 0, 512, 0.5).decode.mid, p.decode.mid / 2, 1e-9);
  const auto learnt = runtime::predict_on(rates, f, 0, 512, 1, {0.88, 0.89, 0.90, 0.91, 0.92});
  EXPECT_NEAR(learnt.decode.mid, p.decode.mid * 0.90, 1e-9);
  EXPECT_NEAR(learnt.decode.low, p.decode.mid * 0.88, 1e-9);
  // A token that takes three times what memory needs is limited by arithmetic, and faster memory takes away its share.
  runtime::MachineRates slow = rates;
  slow.token_s *= 3;
  EXPECT_EQ(runtime::predict_on(slow, f, 0, 512).decode_limit, "int8");
  EXPECT_NEAR(1 / runtime::predict_on(slow, f, 0, 512, 2).decode.mid, rates.token_s * 2.5, 1e-9);
}

TEST(WhatIf, RatesAndReceiptsSurviveTheirFiles) {
  const runtime::MachineRates rates = simple_rates(fit_on("deepseek-r1:7b", {"ram=64GiB,80GB/s"}));
  const auto back = runtime::rates_from_json(runtime::rates_json(rates));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->read_bytes_per_s, rates.read_bytes_per_s);
  EXPECT_EQ(back->decode_seconds(100), rates.decode_seconds(100));
  EXPECT_EQ(back->prefill_seconds(100), rates.prefill_seconds(100));
  EXPECT_FALSE(runtime::rates_from_json(Json::object()));
  const auto dir = temp_dir() / "receipts";
  runtime::store_receipt(dir, {"m", "model", "tg", 10, 9});
  runtime::store_receipt(dir, {"other", "model", "tg", 10, 5});
  runtime::store_receipt(dir, {"m", "model", "pp", 100, 90});
  const auto receipts = runtime::read_receipts(dir, "m", "tg");
  ASSERT_EQ(receipts.size(), 1u);
  EXPECT_EQ(receipts[0].measured, 9);
  EXPECT_TRUE(runtime::read_receipts(dir / "none", "m", "tg").empty());
}

TEST(WhatIf, AProbeOfThisMachineIsKeptAndAskedForOnlyOnce) {
  const auto path = write_model({}, "rates");
  auto file = io::ModelFile::open(path);
  auto model = model::Model::load(*file);
  ASSERT_TRUE(file && model);
  const ModelFacts f = runtime::facts_of(*file, **model, false);
  runtime::RateRequest r;
  r.n_threads = 1;
  r.seconds = 0.02;
  const auto cache = temp_dir() / "rates" / "rates.json";
  r.kept_only = true;
  EXPECT_FALSE(runtime::machine_rates(f, DType::kF16, r, cache));
  r.kept_only = false;
  const auto measured = runtime::machine_rates(f, DType::kF16, r, cache);
  ASSERT_TRUE(measured) << measured.error().text();
  EXPECT_GT(measured->decode_seconds(100), 0);
  EXPECT_GT(measured->prefill_seconds(100), 0);
  r.kept_only = true;
  const auto kept = runtime::machine_rates(f, DType::kF16, r, cache);
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->token_s, measured->token_s);
}

}  // namespace
}  // namespace dsr1::test

#include "dsr1/runtime/bench.h"

#include <gtest/gtest.h>

#include "dsr1/runtime/cost.h"
#include "dsr1/runtime/fingerprint.h"
#include "dsr1/runtime/stats.h"
#include "support/engine_helpers.h"

namespace dsr1::test {
namespace {

using runtime::BenchTest;

TEST(Bench, TestsAreNamedAsLlamaBenchNamesThem) {
  EXPECT_EQ((BenchTest{512, 0, 0}.name()), "pp512");
  EXPECT_EQ((BenchTest{0, 128, 0}.name()), "tg128");
  EXPECT_EQ((BenchTest{512, 128, 0}.name()), "pp512+tg128");
  EXPECT_EQ((BenchTest{0, 32, 4096}.name()), "tg32 @ d4096");
}

std::unique_ptr<runtime::Bench> open_bench(const SyntheticSpec& spec, const std::string& name) {
  runtime::EngineOptions e;
  e.n_threads = 1;
  e.n_ctx = 256;
  e.n_batch = 64;
  runtime::BenchOptions o;
  o.repetitions = 3;
  o.probe_seconds = 0.001;
  o.build_commit = "abc";
  auto bench = runtime::Bench::open(write_model(spec, name).string(), e, 2048, 64, o);
  if (!bench) {
    ADD_FAILURE() << bench.error().text();
    return nullptr;
  }
  return std::move(*bench);
}

TEST(Bench, ARowHasEveryFieldOfLlamaBenchAndOurObject) {
  auto bench = open_bench({}, "bench-row");
  ASSERT_TRUE(bench);
  auto row = bench->run({16, 4, 32});
  ASSERT_TRUE(row) << row.error().text();
  const Json j = runtime::bench_json(*row);
  for (const char* key : {"build_commit",   "build_number",
                          "cpu_info",       "gpu_info",
                          "backends",       "model_filename",
                          "model_type",     "model_size",
                          "model_n_params", "n_batch",
                          "n_ubatch",       "n_threads",
                          "cpu_mask",       "cpu_strict",
                          "poll",           "type_k",
                          "type_v",         "n_gpu_layers",
                          "n_cpu_moe",      "split_mode",
                          "main_gpu",       "no_kv_offload",
                          "flash_attn",     "devices",
                          "tensor_split",   "tensor_buft_overrides",
                          "load_mode",      "embeddings",
                          "no_op_offload",  "no_host",
                          "fit_target",     "fit_min_ctx",
                          "n_prompt",       "n_gen",
                          "n_depth",        "test_time",
                          "avg_ns",         "stddev_ns",
                          "avg_ts",         "stddev_ts",
                          "samples_ns",     "samples_ts"})
    EXPECT_NE(j.find(key), nullptr) << key;
  EXPECT_EQ(j.find("n_prompt")->as_int64(), 16);
  EXPECT_EQ(j.find("n_depth")->as_int64(), 32);
  EXPECT_EQ(j.find("samples_ns")->as_array().size(), 3u);
  EXPECT_EQ(j.find("build_commit")->as_string(), "abc");
  EXPECT_NEAR(j.find("samples_ts")->as_array()[0].as_double() * j.find("samples_ns")->as_array()[0].as_double() / 1e9,
              20, 0.01);
  const Json* own = j.find("dsr1");
  ASSERT_NE(own, nullptr);
  for (const char* key : {"model_sha256",
                          "prompt_tokens_real",
                          "ttft_ms",
                          "e2e_ts",
                          "sm_clock",
                          "mem_clock",
                          "driver",
                          "cuda_runtime",
                          "throttle_bits",
                          "temp_c",
                          "power_w",
                          "joules_per_token",
                          "boot_id",
                          "governor",
                          "page_cache_resident_frac",
                          "kv_bytes",
                          "bytes_read_per_token",
                          "predicted_ts",
                          "probe",
                          "steal_share",
                          "load_1min",
                          "share_of_bandwidth",
                          "share_of_int8"})
    EXPECT_NE(own->find(key), nullptr) << key;
  // A null always has its reason, and only a null has one.
  const Json* reasons = own->find("null_reasons");
  ASSERT_NE(reasons, nullptr);
  for (const auto& [key, value] : own->as_object()) {
    if (key == "null_reasons") continue;
    EXPECT_EQ(value.is_null(), reasons->find(key) != nullptr) << key;
    if (const Json* why = reasons->find(key); why != nullptr) {
      EXPECT_FALSE(why->as_string().empty()) << key;
    }
  }
}

TEST(Bench, GenerationStatesItsBytesAndItsShareOfTheProbe) {
  SyntheticSpec spec;
  spec.dtype = DType::kQ8_0;
  auto bench = open_bench(spec, "bench-bytes");
  ASSERT_TRUE(bench);
  auto row = bench->run({0, 8, 40});
  ASSERT_TRUE(row) << row.error().text();
  const auto& plan = bench->engine().plan();
  const double kv =
      static_cast<double>(runtime::kv_bytes_per_token(bench->engine().config(), 2, DType::kF16, DType::kF16));
  EXPECT_DOUBLE_EQ(row->bytes_per_token, static_cast<double>(plan.weights_needed) + kv * 44);
  ASSERT_EQ(row->probes.read_bytes_per_s.size(), 4u);  // before, between and after three repetitions
  EXPECT_NEAR(row->share_of_bandwidth(),
              row->bytes_per_token * runtime::median(row->rates()) / runtime::median(row->probes.read_bytes_per_s),
              1e-9);
  EXPECT_EQ(row->share_of_int8(), 0);
}

TEST(Bench, APromptReadsItsWeightsOnceAPass) {
  auto bench = open_bench({}, "bench-prompt-bytes");
  ASSERT_TRUE(bench);
  const auto bytes = [&](int64_t n) {
    auto row = bench->run({n, 0, 0});
    EXPECT_TRUE(row);
    return row->bytes_per_token;
  };
  const auto weights = static_cast<double>(bench->engine().plan().weights_needed);
  EXPECT_GT(bytes(1), weights);
  EXPECT_LT(bytes(64), weights / 32);
  EXPECT_GT(bytes(64), weights / 64);
}

TEST(Bench, WhatTheGpuToldDuringTheRunStandsInTheRow) {
  runtime::BenchRow row;
  row.test = {0, 8, 0};
  row.seconds = {1, 1};
  row.on_host = false;
  row.backend = "CUDA";
  row.bytes_per_token = 1000;
  for (int mhz : {1980, 1200}) {
    runtime::GpuState g;
    g.name = "Test GPU";
    g.driver = "999.1";
    g.sm_mhz = mhz;
    g.memory_mhz = runtime::Reading<int>::none("nvmlDeviceGetClockInfo returned 3");
    g.throttle_bits = mhz == 1200 ? 4 : 1;
    row.gpus.push_back({g});
  }
  const Json j = runtime::bench_json(row);
  EXPECT_EQ(j.find("gpu_info")->as_string(), "Test GPU");
  const Json& own = *j.find("dsr1");
  EXPECT_EQ(own.find("sm_clock")->find("n")->as_int64(), 2);
  EXPECT_EQ(own.find("sm_clock")->find("min")->as_double(), 1200);
  EXPECT_EQ(own.find("throttle_bits")->as_uint64(), 5u);
  EXPECT_TRUE(own.find("mem_clock")->is_null());
  EXPECT_EQ(own.find("null_reasons")->find("mem_clock")->as_string(), "nvmlDeviceGetClockInfo returned 3");
  EXPECT_EQ(own.find("bytes_read_per_token")->find("vram")->as_double(), 1000);
  EXPECT_EQ(own.find("bytes_read_per_token")->find("ram")->as_double(), 0);
  EXPECT_TRUE(own.find("share_of_bandwidth")->is_null());
}

TEST(Bench, WhatDoesNotFitTheContextIsRefusedByName) {
  auto bench = open_bench({}, "bench-context");
  ASSERT_TRUE(bench);
  auto row = bench->run({200, 100, 0});
  ASSERT_FALSE(row);
  EXPECT_EQ(row.error().code, ErrorCode::kDoesNotFit);
  EXPECT_NE(row.error().text().find("pp200+tg100"), std::string::npos);
}

TEST(Bench, TheFrontierGivesOneRowAStep) {
  auto bench = open_bench({}, "bench-frontier");
  ASSERT_TRUE(bench);
  std::vector<runtime::FrontierRow> rows;
  const Status s = bench->frontier(50, 200, 4, [&](const runtime::FrontierRow& r) { rows.push_back(r); });
  ASSERT_TRUE(s) << s.error().text();
  ASSERT_EQ(rows.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(rows[i].ctx_tokens, 50 * static_cast<int64_t>(i + 1));
    EXPECT_EQ(rows[i].prefill_tokens, 50);
    EXPECT_GT(rows[i].prefill_tps, 0);
    EXPECT_GT(rows[i].gen_tps, 0);
  }
  EXPECT_EQ(rows[3].kvcache_bytes, 4 * rows[0].kvcache_bytes);
}

TEST(Bench, TheDigestOfAFileIsKeptUntilTheFileChanges) {
  const auto path = write_model({}, "bench-sha");
  const auto cache = temp_dir() / "sha" / "cache.json";
  auto digest = [&](uint64_t most) {
    auto file = io::ModelFile::open(path);
    EXPECT_TRUE(file);
    return runtime::model_sha256(*file, cache, most);
  };
  EXPECT_FALSE(digest(10).value);  // too large to read unasked
  EXPECT_NE(digest(10).reason.find("verify"), std::string::npos);
  const auto first = digest(UINT64_MAX);
  ASSERT_TRUE(first.value);
  EXPECT_EQ(first.value->size(), 64u);
  EXPECT_EQ(digest(10).value, first.value);  // kept
  SyntheticSpec other;
  other.seed = 2;
  SyntheticModel(other).write(path);
  EXPECT_FALSE(digest(10).value);
  EXPECT_NE(digest(UINT64_MAX).value, first.value);
}

TEST(Bench, HashingAModelReportsItsBytesAndCanBeStopped) {
  auto file = io::ModelFile::open(write_model({}, "bench-sha-stopped"));
  ASSERT_TRUE(file);
  const auto cache = temp_dir() / "sha-stopped.json";
  int64_t first = -1, all = 0;
  const auto stopped = runtime::model_sha256(*file, cache, UINT64_MAX, [&](int64_t done, int64_t total) {
    first = done;
    all = total;
    return false;
  });
  EXPECT_FALSE(stopped.value);
  EXPECT_EQ(stopped.reason, "interrupted");
  EXPECT_EQ(first, 0);
  EXPECT_EQ(all, static_cast<int64_t>(file->mapping(0).bytes().size()));
  EXPECT_FALSE(runtime::model_sha256(*file, cache, 0).value) << "a hash that was stopped is not kept";
}

TEST(Bench, TablesHaveOneLineARow) {
  auto bench = open_bench({}, "bench-table");
  ASSERT_TRUE(bench);
  auto a = bench->run({16, 0, 0}), b = bench->run({0, 2, 0});
  ASSERT_TRUE(a && b);
  const std::string md = runtime::bench_markdown({*a, *b}), csv = runtime::bench_csv({*a, *b});
  EXPECT_EQ(std::count(md.begin(), md.end(), '\n'), 4);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 3);
  EXPECT_NE(md.find("| pp16 |"), std::string::npos) << md;
  size_t begin = 0;
  const size_t width = md.find('\n');  // all lines are equally wide; each row of values has one two-byte "±"
  for (int i = 0; i < 4; ++i) {
    const size_t end = md.find('\n', begin);
    EXPECT_EQ(end - begin, width + (i >= 2 ? 1 : 0)) << md;
    begin = end + 1;
  }
}

}  // namespace
}  // namespace dsr1::test

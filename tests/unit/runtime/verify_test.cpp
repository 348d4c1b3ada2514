#include "dsr1/runtime/verify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>

#include "dsr1/runtime/machine.h"
#include "dsr1/runtime/plot.h"
#include "dsr1/runtime/tiers.h"
#include "support/engine_helpers.h"

namespace dsr1::test {
namespace {

using runtime::VerifyCheck;
using Verdict = VerifyCheck::Verdict;

const VerifyCheck& find(const std::vector<VerifyCheck>& all, const std::string& name) {
  static const VerifyCheck none{"absent", Verdict::kSkipped, "", ""};
  const auto it = std::find_if(all.begin(), all.end(), [&](const VerifyCheck& c) { return c.name == name; });
  return it == all.end() ? none : *it;
}

std::vector<VerifyCheck> verify(const std::filesystem::path& path, runtime::VerifyOptions o = {}) {
  auto all = runtime::verify_model(path.string(), o, {});
  EXPECT_TRUE(all) << all.error().text();
  return all ? *all : std::vector<VerifyCheck>{};
}

TEST(Verify, BothPassesReportTheirBytesAndCanBeInterrupted) {
  const auto path = write_model({}, "verify-progress");
  std::vector<std::pair<std::string, int64_t>> seen;
  std::atomic<bool> cancel{false};
  runtime::VerifyOptions o;
  o.cancel = &cancel;
  ASSERT_TRUE(runtime::verify_model(path.string(), o, {}, [&](const char* pass, int64_t done, int64_t total) {
    EXPECT_LE(done, total);
    seen.push_back({pass, done});
  }));
  ASSERT_GE(seen.size(), 2u);
  EXPECT_EQ(seen.front(), (std::pair<std::string, int64_t>("hashing", 0)));
  EXPECT_TRUE(std::find(seen.begin(), seen.end(), std::pair<std::string, int64_t>("scanning", 0)) != seen.end());
  for (const char* pass : {"hashing", "scanning"}) {
    cancel = false;
    std::vector<std::string> given;
    const auto stopped = runtime::verify_model(
        path.string(), o, [&](const VerifyCheck& c) { given.push_back(c.name); },
        [&](const char* now, int64_t, int64_t) { cancel = cancel || std::string(now) == pass; });
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().code, ErrorCode::kInterrupted);
    EXPECT_EQ(given.back(), std::string(pass) == "hashing" ? "parts" : "sha256");
  }
}

TEST(Verify, AWholeModelPassesEveryCheck) {
  for (const char* arch : {"llama", "deepseek2"}) {
    SyntheticSpec spec;
    spec.arch = arch;
    const auto all = verify(write_model(spec, std::string("verify-") + arch));
    EXPECT_EQ(all.size(), 6u);
    for (const VerifyCheck& c : all) {
      if (c.name == "template") {
        EXPECT_EQ(c.verdict, Verdict::kSkipped);  // synthetic models have none
        continue;
      }
      EXPECT_EQ(c.verdict, Verdict::kOk) << c.name << ": " << c.found;
    }
  }
}

TEST(Verify, ATruncatedFileIsNamedAndNothingElseIsTried) {
  const auto path = write_model({}, "verify-cut");
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1000);
  const auto all = verify(path);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].verdict, Verdict::kFailed);
  EXPECT_NE(all[0].found.find("verify-cut"), std::string::npos);
  EXPECT_FALSE(all[0].mend.empty());
}

// Overwrites bytes of a tensor in the file.
void poison(const std::filesystem::path& path, const std::string& tensor, uint64_t at, const std::string& bytes) {
  uint64_t offset = 0;
  {
    auto file = io::ModelFile::open(path);
    ASSERT_TRUE(file);
    offset = file->find(tensor)->offset;
  }
  std::fstream f(path, std::ios::in | std::ios::out | std::ios::binary);
  f.seekp(static_cast<std::streamoff>(offset + at));
  f << bytes;
}

TEST(Verify, OneNotANumberInOneTensorIsFound) {
  struct Case {
    DType type;
    std::string bytes;
    uint64_t at;
  };
  for (const Case& c :
       {Case{DType::kF32, std::string("\0\0\xc0\x7f", 4), 400}, Case{DType::kF16, std::string("\0\x7c", 2), 200},
        Case{DType::kBF16, std::string("\x80\x7f", 2), 200}, Case{DType::kQ8_0, std::string("\x01\x7e", 2), 34 * 7}}) {
    SyntheticSpec spec;
    spec.dtype = c.type;
    const auto path = write_model(spec, "verify-nan");
    poison(path, "blk.1.ffn_up.weight", c.at, c.bytes);
    const auto all = verify(path);
    const VerifyCheck& numbers = find(all, "numbers");
    EXPECT_EQ(numbers.verdict, Verdict::kFailed) << dtype_name(c.type);
    EXPECT_NE(numbers.found.find("blk.1.ffn_up.weight"), std::string::npos) << numbers.found;
    EXPECT_EQ(find(all, "decode").verdict, Verdict::kSkipped);
  }
}

TEST(Verify, ImplausibleScalesAndMatricesOfZerosAreFound) {
  SyntheticSpec spec;
  spec.dtype = DType::kQ8_0;
  auto path = write_model(spec, "verify-huge");
  poison(path, "blk.0.ffn_up.weight", 34 * 3, std::string("\x00\x7b", 2));  // 57344
  EXPECT_NE(find(verify(path), "numbers").found.find("larger"), std::string::npos);
  path = write_model(spec, "verify-zero");
  poison(path, "blk.0.attn_k.weight", 0, std::string(32 * 2 * 34, '\0'));
  EXPECT_NE(find(verify(path), "numbers").found.find("zero"), std::string::npos);
}

TEST(Verify, DigestsAreComparedWithTheListBesideTheModel) {
  const auto dir = temp_dir() / "sums";
  std::filesystem::create_directories(dir);
  const auto path = dir / "m.gguf";
  SyntheticModel({}).write(path);
  const std::string digest = find(verify(path), "sha256").found.substr(0, 64);
  const auto with_list = [&](const std::string& text) {
    std::ofstream(dir / "SHA256SUMS") << text;
    runtime::VerifyOptions o;
    o.decode = false;
    return find(verify(path, o), "sha256").verdict;
  };
  EXPECT_EQ(with_list(digest + "  m.gguf\n"), Verdict::kOk);
  EXPECT_EQ(with_list(digest + " *sub/m.gguf\n"), Verdict::kOk);
  EXPECT_EQ(with_list(std::string(64, '0') + "  m.gguf\n"), Verdict::kFailed);
  EXPECT_EQ(with_list(digest + "  other.gguf\n"), Verdict::kFailed);
}

TEST(Machine, SensorsAreReadWhereTheyAreAndExplainedWhereTheyAreNot) {
  const auto root = temp_dir() / "root";
  const auto put = [&](const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text << "\n";
  };
  runtime::MachineState empty = runtime::read_machine_state(root / "nothing");
  EXPECT_FALSE(empty.cpu_mhz.value || empty.temperature_c.value || empty.boot_id.value || empty.governor.value);
  EXPECT_FALSE(empty.cpu_mhz.reason.empty() || empty.temperature_c.reason.empty() || empty.boot_id.reason.empty());
  const auto counters = runtime::read_machine_counters(root / "nothing");
  EXPECT_FALSE(counters.package_joules.value || counters.throttle_events.value || counters.cpu_seconds.value);
  EXPECT_FALSE(counters.package_joules.reason.empty() || counters.throttle_events.reason.empty());

  put("proc/cpuinfo", "processor : 0\nmodel name\t: Test CPU\nflags : fpu hypervisor sse");
  put("proc/sys/kernel/random/boot_id", "b-1");
  put("proc/loadavg", "1.5 1 1 1/2 3");
  put("proc/stat", "cpu  100 0 0 200 0 0 0 50 0 0");
  put("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "3000000");
  put("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "2000000");
  put("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave");
  put("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "3");
  put("sys/class/hwmon/hwmon0/name", "k10temp");
  put("sys/class/hwmon/hwmon0/temp1_input", "61500");
  put("sys/class/hwmon/hwmon1/name", "nvme");
  put("sys/class/hwmon/hwmon1/temp1_input", "99000");
  put("sys/class/powercap/intel-rapl:0/energy_uj", "5000000");
  put("sys/class/powercap/intel-rapl:0:0/energy_uj", "9000000");
  const runtime::MachineState m = runtime::read_machine_state(root);
  EXPECT_EQ(m.cpu, "Test CPU");
  EXPECT_EQ(*m.cpu_mhz.value, 2500);
  EXPECT_EQ(*m.governor.value, "powersave");
  EXPECT_EQ(*m.temperature_c.value, 61.5);
  EXPECT_EQ(*m.load_1min.value, 1.5);
  EXPECT_TRUE(m.virtualization.value);
  const auto c = runtime::read_machine_counters(root);
  EXPECT_EQ(*c.package_joules.value, 5);
  EXPECT_EQ(*c.throttle_events.value, 3u);
  EXPECT_DOUBLE_EQ(*c.steal_seconds.value / *c.cpu_seconds.value, 50.0 / 350);
}

TEST(Machine, TheManagementLibraryOfNvidiaIsReadThroughItsFunctions) {
  std::string why;
  EXPECT_TRUE(runtime::read_gpus(&why, "libno-such-thing.so").empty());
  EXPECT_NE(why.find("libno-such-thing"), std::string::npos);
  const auto gpus = runtime::read_gpus(&why, DSR1_FAKE_NVML);
  ASSERT_EQ(gpus.size(), 1u) << why;
  EXPECT_EQ(gpus[0].name, "Test GPU");
  EXPECT_EQ(gpus[0].driver, "999.1");
  EXPECT_EQ(*gpus[0].memory_total.value, uint64_t{24} << 30);
  EXPECT_EQ(*gpus[0].sm_mhz.value, 1980);
  EXPECT_EQ(*gpus[0].memory_mhz.value, 10501);
  EXPECT_EQ(*gpus[0].temperature_c.value, 55);
  EXPECT_DOUBLE_EQ(*gpus[0].power_w.value, 120.5);
  EXPECT_FALSE(gpus[0].throttle_bits.value);  // the fake refuses this one
  EXPECT_NE(gpus[0].throttle_bits.reason.find("3"), std::string::npos);
}

TEST(Tiers, EveryMachineAnswersForEveryMemberAndTheClaimsCarryTheirNumbers) {
  const auto rows = runtime::tier_rows(8192);
  EXPECT_EQ(rows.size(), runtime::hardware_tiers().size() * (9 * 4 + 1));
  for (const auto& r : rows) {
    EXPECT_EQ(r.fit.prediction.decode.known(), r.fit.runs) << r.tier << " " << r.model << " " << r.quant;
    EXPECT_TRUE(!r.fit.fits || r.fit.placement.disk == 0);
  }
  const auto find_row = [&](const char* tier, const char* model, const char* quant) -> const runtime::Fit& {
    for (const auto& r : rows)
      if (r.tier.starts_with(tier) && r.model == model && r.quant == quant) return r.fit;
    ADD_FAILURE() << tier << model << quant;
    return rows[0].fit;
  };
  EXPECT_FALSE(find_row("RTX 4090", "DeepSeek-R1", "Q4_K_M").fits);
  EXPECT_EQ(find_row("RTX 4090", "DeepSeek-R1", "Q4_K_M").prediction.decode_limit, "disk");
  EXPECT_TRUE(find_row("8 x A100", "DeepSeek-R1", "Q4_K_M").fits);
  EXPECT_TRUE(find_row("RTX 3060", "DeepSeek-R1-Distill-Qwen-14B", "Q4_K_M").fits);
  EXPECT_FALSE(find_row("Raspberry Pi", "DeepSeek-R1-Distill-Qwen-32B", "Q4_K_M").runs);
  const std::string md = runtime::tiers_markdown(rows, 8192);
  for (const char* part : {"5.5 %", "404 GB", "713 GB", "3.6 tokens a second", "42 tokens a second"})
    EXPECT_NE(md.find(part), std::string::npos) << part;
  const std::string svg = runtime::tiers_svg(rows);
  EXPECT_EQ(svg.substr(0, 4), "<svg");
  EXPECT_NE(svg.find("</svg>"), std::string::npos);
}

TEST(Tiers, TheDocumentsAreAsGenerated) {
  const auto rows = runtime::tier_rows(8192);
  const auto text_of = [](const char* name) {
    std::ifstream in(std::string(DSR1_SOURCE_DIR "/docs/hardware-tiers.") + name);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  // EXPECT_TRUE: a difference would print a megabyte.
  EXPECT_TRUE(text_of("md") == runtime::tiers_markdown(rows, 8192)) << "run dsr1 bench tiers --write docs";
  EXPECT_TRUE(text_of("json") == runtime::tiers_json(rows, 8192).dump(1) + "\n") << "run dsr1 bench tiers --write docs";
  EXPECT_TRUE(text_of("svg") == runtime::tiers_svg(rows)) << "run dsr1 bench tiers --write docs";
}

TEST(Tiers, MostPublishedMeasurementsLieInsideTheirInterval) {
  const auto checks = runtime::check_published();
  size_t inside = 0;
  for (const auto& c : checks) inside += c.inside ? 1 : 0;
  EXPECT_GE(inside * 10, checks.size() * 8) << inside << " of " << checks.size();
}

TEST(Plot, ADepthSeriesAndAFrontierAreDrawn) {
  runtime::BenchRow a, b;
  a.model.type = b.model.type = "llama <1B>";
  a.test = {0, 8, 0};
  b.test = {0, 8, 1024};
  a.seconds = {1, 2};
  b.seconds = {2, 2};
  runtime::FrontierRow f;
  f.ctx_tokens = 512;
  f.prefill_tokens = 512;
  f.prefill_tps = 100;
  const std::string svg = runtime::plot_svg({a, b}, {f});
  EXPECT_NE(svg.find("llama &lt;1B&gt; tg8"), std::string::npos);
  EXPECT_NE(svg.find("Prompts"), std::string::npos);
  size_t lines = 0;
  for (size_t at = 0; (at = svg.find("<polyline", at)) != std::string::npos; ++at) ++lines;
  EXPECT_EQ(lines, 2u);
}

}  // namespace
}  // namespace dsr1::test

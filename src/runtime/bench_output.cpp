// Rows of measurements as JSON, CSV and Markdown, with llama-bench's names (tools/llama-bench/README.md of llama.cpp).
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "dsr1/backend/cuda.h"
#include "dsr1/runtime/bench.h"
#include "dsr1/runtime/stats.h"

namespace dsr1::runtime {
namespace {

std::string lower_name(DType t) {
  std::string s = dtype_name(t);
  for (char& c : s) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return s;
}

std::string fixed(double v, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, v);
  return text;
}

Json numbers(const std::vector<double>& v) {
  Json a = Json::array();
  for (double x : v) a.push(x);
  return a;
}

// {n, min, median, mean, max}
Reading<Json> spread(const std::vector<double>& v, const std::string& none) {
  if (v.empty()) return Reading<Json>::none(none);
  Json j = Json::object();
  j.set("n", static_cast<int64_t>(v.size())).set("min", *std::min_element(v.begin(), v.end()));
  j.set("median", median(v)).set("mean", mean(v)).set("max", *std::max_element(v.begin(), v.end()));
  return j;
}

// What the first GPU told after each repetition.
template <class T>
Reading<Json> over_time(const BenchRow& r, Reading<T> GpuState::*what) {
  std::vector<double> v;
  for (const auto& sample : r.gpus)
    if (const Reading<T>& x = sample.front().*what; x.value) v.push_back(static_cast<double>(*x.value));
  return spread(v, (r.gpus.front().front().*what).reason);
}

int64_t ns(double seconds) { return static_cast<int64_t>(std::llround(seconds * 1e9)); }

// The fields of llama-bench, in its order. What this engine has no choice about has the value that says so.
Json common_fields(const BenchRow& r) {
  const std::vector<double> rates = r.rates();
  std::string gpus;
  if (!r.gpus.empty())
    for (const GpuState& g : r.gpus.front()) gpus += (gpus.empty() ? "" : ", ") + g.name;
  Json j = Json::object();
  j.set("build_commit", r.build_commit).set("build_number", 0).set("cpu_info", r.machine.cpu).set("gpu_info", gpus);
  j.set("backends", r.backend).set("model_filename", r.model.filename).set("model_type", r.model.type);
  j.set("model_size", r.model.size).set("model_n_params", r.model.n_params);
  j.set("n_batch", r.n_batch).set("n_ubatch", r.n_ubatch).set("n_threads", r.n_threads);
  j.set("cpu_mask", "0x0").set("cpu_strict", false).set("poll", 50);
  j.set("type_k", lower_name(r.type_k)).set("type_v", lower_name(r.type_v));
  j.set("n_gpu_layers", 0).set("n_cpu_moe", 0).set("split_mode", "none").set("main_gpu", 0);
  j.set("no_kv_offload", false).set("flash_attn", -1).set("devices", "auto").set("tensor_split", "0.00");
  j.set("tensor_buft_overrides", "none").set("load_mode", r.use_mmap ? "mmap" : "none").set("use_mmap", r.use_mmap);
  j.set("use_direct_io", false).set("embeddings", false).set("no_op_offload", 0).set("no_host", false);
  j.set("fit_target", 0).set("fit_min_ctx", 0);
  j.set("n_prompt", r.test.n_prompt).set("n_gen", r.test.n_gen).set("n_depth", r.test.n_depth);
  j.set("test_time", r.test_time).set("avg_ns", ns(mean(r.seconds))).set("stddev_ns", ns(sample_stddev(r.seconds)));
  j.set("avg_ts", mean(rates)).set("stddev_ts", sample_stddev(rates));
  return j;
}

Json own_object(const BenchRow& r) {
  const std::vector<double> rates = r.rates();
  const bool has_prompt = r.test.n_prompt > 0, has_gen = r.test.n_gen > 0;
  Json j = Json::object();
  set_reading(j, "model_sha256", r.model.sha256);
  j.set("prompt_tokens_real", r.test.n_prompt);
  set_reading(
      j, "ttft_ms",
      has_prompt ? Reading<double>(median(r.prompt_seconds) * 1e3) : Reading<double>::none("the test has no prompt"));
  std::vector<double> e2e;
  for (double s : r.seconds) e2e.push_back(static_cast<double>(r.test.n_gen) / s);
  set_reading(j, "e2e_ts",
              has_prompt && has_gen ? Reading<double>(median(e2e))
                                    : Reading<double>::none("needs prompt and generation in one test (-pg)"));
  j.set("median_ts", median(rates)).set("device", r.device).set("n_ctx", r.n_ctx).set("kv_bytes", r.kv_bytes);

  Json bytes = Json::object();
  bytes.set("ram", r.on_host ? r.bytes_per_token : 0.0).set("vram", r.on_host ? 0.0 : r.bytes_per_token);
  set_reading(bytes, "pcie", r.on_host ? Reading<double>(0.0) : Reading<double>::none("what crosses is not counted"));
  set_reading(bytes, "disk", r.disk_bytes_per_token);
  j.set("bytes_read_per_token", std::move(bytes));
  set_reading(j, "operations_per_token",
              has_prompt ? Reading<double>(r.operations_per_token) : Reading<double>::none("stated for prompts"));

  const char* off = "probes were switched off";
  Json probe = Json::object();
  set_reading(probe, "read_gb_s",
              spread(
                  [&] {
                    std::vector<double> v;
                    for (double x : r.probes.read_bytes_per_s) v.push_back(x / 1e9);
                    return v;
                  }(),
                  off));
  set_reading(probe, "int8_gops",
              spread(
                  [&] {
                    std::vector<double> v;
                    for (double x : r.probes.int8_per_s) v.push_back(x / 1e9);
                    return v;
                  }(),
                  r.probes.int8_how.empty() ? (has_prompt ? off : "measured for prompts") : r.probes.int8_how.c_str()));
  if (!r.probes.int8_how.empty()) probe.set("int8_how", r.probes.int8_how);
  j.set("probe", std::move(probe));
  const char* device = "the probes are of the processor, and a GPU did the work";
  const double bandwidth = r.share_of_bandwidth(), int8 = r.share_of_int8();
  set_reading(j, "share_of_bandwidth",
              bandwidth > 0 ? Reading<double>(bandwidth)
                            : Reading<double>::none(!r.on_host   ? device
                                                    : has_prompt ? "stated for generation alone"
                                                                 : off));
  set_reading(j, "share_of_int8",
              int8 > 0 ? Reading<double>(int8)
                       : Reading<double>::none(!r.on_host ? device
                                               : has_gen  ? "stated for prompts alone"
                                                          : off));

  std::vector<double> mhz;
  for (double hz : r.probes.clock_hz) mhz.push_back(hz / 1e6);
  set_reading(j, "cpu_clock_mhz", spread(mhz, off));
  set_reading(j, "cpufreq_mhz", r.machine.cpu_mhz);
  set_reading(j, "governor", r.machine.governor);
  set_reading(j, "temp_c", r.machine.temperature_c);
  set_reading(j, "power_w", r.watts);
  set_reading(j, "joules_per_token", r.joules_per_token);
  set_reading(j, "cpu_throttle_events", r.throttle_events);
  set_reading(j, "steal_share", r.steal_share);
  set_reading(j, "load_1min", r.machine.load_1min);
  set_reading(j, "boot_id", r.machine.boot_id);
  set_reading(j, "virtualization", r.machine.virtualization);
  j.set("cores_online", r.machine.cores_online);
  set_reading(j, "page_cache_resident_frac", r.page_cache_resident);

  if (r.gpus.empty()) {
    const auto none = Reading<double>::none(r.no_gpu);
    for (const char* key :
         {"sm_clock", "mem_clock", "driver", "cuda_runtime", "throttle_bits", "gpu_temp_c", "gpu_power_w"})
      set_reading(j, key, none);
  } else {
    const GpuState& g = r.gpus.front().front();
    set_reading(j, "sm_clock", over_time(r, &GpuState::sm_mhz));
    set_reading(j, "mem_clock", over_time(r, &GpuState::memory_mhz));
    j.set("driver", g.driver);
    set_reading(j, "cuda_runtime",
                r.on_host ? Reading<std::string>::none("the CPU did the work") : backend::cuda_info().runtime);
    uint64_t bits = 0;  // whatever held it back at any time
    for (const auto& sample : r.gpus) bits |= sample.front().throttle_bits.value.value_or(0);
    set_reading(j, "throttle_bits",
                g.throttle_bits.value ? Reading<uint64_t>(bits) : Reading<uint64_t>::none(g.throttle_bits.reason));
    set_reading(j, "gpu_temp_c", over_time(r, &GpuState::temperature_c));
    set_reading(j, "gpu_power_w", over_time(r, &GpuState::power_w));
  }
  if (r.predicted_ts.empty())
    set_reading(j, "predicted_ts", Reading<double>::none("`dsr1 fit` has not probed this machine yet"));
  else j.set("predicted_ts", numbers(r.predicted_ts));
  return j;
}

std::string csv_field(const Json& value) {
  std::string text = value.is_string() ? value.as_string()
                     : value.is_bool() ? (value.as_bool() ? "1" : "0")
                                       : value.dump();
  std::string quoted = "\"";
  for (char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string pad(const std::string& s, size_t width, bool right) {
  // Width in characters: "±" is one of two bytes.
  size_t n = 0;
  for (char c : s) n += (static_cast<unsigned char>(c) & 0xc0) != 0x80 ? 1 : 0;
  const std::string space(width > n ? width - n : 0, ' ');
  return right ? space + s : s + space;
}

std::string percent(double share) { return share > 0 ? fixed(share * 100, 0) + " %" : "-"; }

}  // namespace

std::string file_type_text(uint32_t file_type) {
  // Names as llama.cpp prints them (llama-model-loader.cpp, llama_model_ftype_name).
  static constexpr std::pair<uint32_t, const char*> names[] = {{0, "all F32"},
                                                               {1, "F16"},
                                                               {2, "Q4_0"},
                                                               {3, "Q4_1"},
                                                               {7, "Q8_0"},
                                                               {8, "Q5_0"},
                                                               {9, "Q5_1"},
                                                               {10, "Q2_K - Medium"},
                                                               {11, "Q3_K - Small"},
                                                               {12, "Q3_K - Medium"},
                                                               {13, "Q3_K - Large"},
                                                               {14, "Q4_K - Small"},
                                                               {15, "Q4_K - Medium"},
                                                               {16, "Q5_K - Small"},
                                                               {17, "Q5_K - Medium"},
                                                               {18, "Q6_K"},
                                                               {21, "Q2_K - Small"},
                                                               {25, "IQ4_NL - 4.5 bpw"},
                                                               {30, "IQ4_XS - 4.25 bpw"},
                                                               {32, "BF16"}};
  for (const auto& [id, name] : names)
    if (id == (file_type & ~1024u)) return name;
  return {};
}

BenchModel describe_model(const io::ModelFile& file, const ModelFacts& facts) {
  BenchModel m;
  m.filename = file.path().string();
  m.n_params = facts.n_params();
  m.size = facts.weights();
  const auto text = [&](const char* key) {
    auto v = file.metadata().get_string(key);
    return v && *v ? std::string(**v) : std::string();
  };
  std::string size = text("general.size_label");
  if (size.empty())
    size = m.n_params >= 1000000000 ? fixed(static_cast<double>(m.n_params) / 1e9, 1) + "B"
                                    : fixed(static_cast<double>(m.n_params) / 1e6, 0) + "M";
  std::string type;
  if (auto id = file.metadata().get_u32("general.file_type"); id && *id) type = file_type_text(**id);
  if (type.empty()) {  // the type that most bytes are in
    std::vector<std::pair<DType, uint64_t>> bytes;
    for (const TensorFact& t : facts.tensors) {
      auto it = std::find_if(bytes.begin(), bytes.end(), [&](const auto& b) { return b.first == t.dtype; });
      if (it == bytes.end()) it = bytes.insert(bytes.end(), {t.dtype, 0});
      it->second += t.bytes;
    }
    const auto most =
        std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    if (most != bytes.end()) type = dtype_name(most->first);
  }
  m.type = facts.config.arch + " " + size + " " + type;
  return m;
}

Json bench_json(const BenchRow& r) {
  Json j = common_fields(r);
  Json times = Json::array();
  for (double s : r.seconds) times.push(ns(s));
  j.set("samples_ns", std::move(times)).set("samples_ts", numbers(r.rates())).set("dsr1", own_object(r));
  return j;
}

std::string bench_csv(const std::vector<BenchRow>& rows, bool header) {
  std::string out;
  for (const BenchRow& r : rows) {
    const Json j = common_fields(r);
    if (header) {
      std::string line;
      for (const auto& [key, value] : j.as_object()) line += (line.empty() ? "" : ",") + key;
      out += line + "\n";
      header = false;
    }
    std::string line;
    for (const auto& [key, value] : j.as_object()) line += (line.empty() ? "" : ",") + csv_field(value);
    out += line + "\n";
  }
  return out;
}

std::string bench_markdown(const std::vector<BenchRow>& rows) {
  struct Column {
    std::string title;
    bool right;
    std::vector<std::string> cells;
  };
  std::vector<Column> columns;
  const auto add = [&](const char* title, bool right, bool shown, auto cell) {
    if (!shown) return;
    Column c{title, right, {}};
    for (const BenchRow& r : rows) c.cells.push_back(cell(r));
    columns.push_back(std::move(c));
  };
  const auto differs = [&](auto value) {
    return std::any_of(rows.begin(), rows.end(), [&](const BenchRow& r) { return value(r) != value(rows.front()); });
  };
  using R = const BenchRow&;
  add("model", false, true, [](R r) { return r.model.type; });
  add("size", true, true, [](R r) { return fixed(static_cast<double>(r.model.size) / (1 << 30), 2) + " GiB"; });
  add("params", true, true, [](R r) { return fixed(static_cast<double>(r.model.n_params) / 1e9, 2) + " B"; });
  add("backend", false, true, [](R r) { return r.backend; });
  add("threads", true, true, [](R r) { return std::to_string(r.n_threads); });
  add("n_batch", true, differs([](R r) { return r.n_batch; }), [](R r) { return std::to_string(r.n_batch); });
  add("n_ubatch", true, differs([](R r) { return r.n_ubatch; }), [](R r) { return std::to_string(r.n_ubatch); });
  add("type_k", true, differs([](R r) { return r.type_k; }), [](R r) { return lower_name(r.type_k); });
  add("type_v", true, differs([](R r) { return r.type_v; }), [](R r) { return lower_name(r.type_v); });
  add("mmap", true, differs([](R r) { return r.use_mmap; }), [](R r) { return std::string(r.use_mmap ? "1" : "0"); });
  add("test", true, true, [](R r) { return r.test.name(); });
  add("t/s", true, true, [](R r) {
    const std::vector<double> rates = r.rates();
    return fixed(mean(rates), 2) + " ± " + fixed(sample_stddev(rates), 2);
  });
  const bool probed = std::any_of(rows.begin(), rows.end(), [](R r) { return !r.probes.read_bytes_per_s.empty(); });
  add("of bandwidth", true, probed, [](R r) { return percent(r.share_of_bandwidth()); });
  add("of int8", true, probed, [](R r) { return percent(r.share_of_int8()); });

  const bool predicted = std::any_of(rows.begin(), rows.end(), [](R r) { return !r.predicted_ts.empty(); });
  add("predicted", true, predicted,
      [](R r) { return r.predicted_ts.empty() ? std::string("-") : fixed(r.predicted_ts[1], 2); });

  std::vector<size_t> widths;
  for (const Column& c : columns) {
    size_t w = c.title.size();
    for (const std::string& cell : c.cells)
      w = std::max(w, pad(cell, 0, false).size() - (cell.find("±") != std::string::npos ? 1 : 0));
    widths.push_back(std::max<size_t>(w, 4));
  }
  std::string out = "|", rule = "|";
  for (size_t i = 0; i < columns.size(); ++i) {
    out += " " + pad(columns[i].title, widths[i], columns[i].right) + " |";
    rule +=
        (columns[i].right ? " " + std::string(widths[i] - 1, '-') + ": |" : " " + std::string(widths[i], '-') + " |");
  }
  out += "\n" + rule + "\n";
  for (size_t row = 0; row < rows.size(); ++row) {
    out += "|";
    for (size_t i = 0; i < columns.size(); ++i)
      out += " " + pad(columns[i].cells[row], widths[i], columns[i].right) + " |";
    out += "\n";
  }
  return out;
}

Json frontier_json(const FrontierRow& r) {
  Json j = Json::object();
  j.set("ctx_tokens", r.ctx_tokens).set("prefill_tokens", r.prefill_tokens).set("prefill_tps", r.prefill_tps);
  j.set("gen_tokens", r.gen_tokens).set("gen_tps", r.gen_tps).set("kvcache_bytes", r.kvcache_bytes);
  j.set("probe_read_gb_s", r.read_bytes_per_s > 0 ? Json(r.read_bytes_per_s / 1e9) : Json());
  return j;
}

std::string frontier_markdown(const std::vector<FrontierRow>& rows) {
  std::string out =
      "| context | prefill t/s | generation t/s | KV cache MiB | probe GB/s |\n| ---: | ---: | ---: | ---: | ---: |\n";
  for (const FrontierRow& r : rows)
    out += "| " + std::to_string(r.ctx_tokens) + " | " + fixed(r.prefill_tps, 2) + " | " + fixed(r.gen_tps, 2) + " | " +
           fixed(static_cast<double>(r.kvcache_bytes) / (1 << 20), 1) + " | " +
           (r.read_bytes_per_s > 0 ? fixed(r.read_bytes_per_s / 1e9, 1) : "-") + " |\n";
  return out;
}

std::string frontier_csv(const std::vector<FrontierRow>& rows, bool header) {
  std::string out = header ? "ctx_tokens,prefill_tokens,prefill_tps,gen_tokens,gen_tps,kvcache_bytes\n" : "";
  for (const FrontierRow& r : rows)
    out += std::to_string(r.ctx_tokens) + "," + std::to_string(r.prefill_tokens) + "," + fixed(r.prefill_tps, 2) + "," +
           std::to_string(r.gen_tokens) + "," + fixed(r.gen_tps, 2) + "," + std::to_string(r.kvcache_bytes) + "\n";
  return out;
}

}  // namespace dsr1::runtime

#include "dsr1/runtime/tiers.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "dsr1/runtime/cost.h"
#include "dsr1/runtime/family.h"

namespace dsr1::runtime {
namespace {

constexpr double kGB = 1e9;
constexpr uint64_t kGiB = uint64_t{1} << 30;

// The context's and driver's share of a GPU; the system's of main memory.
constexpr uint64_t kVramKept = kGiB;

Machine machine(uint64_t vram_gib, double vram_gb_s, double tflops, uint64_t ram_gib, double ram_gb_s, double disk_gb_s,
                int n_gpus = 1) {
  Machine m;
  m.vram = vram_gib > 0 ? vram_gib * kGiB - kVramKept * static_cast<uint64_t>(n_gpus) : 0;
  m.ram = ram_gib * kGiB - std::min<uint64_t>(4, ram_gib / 4) * kGiB;
  m.vram_bytes_per_s = vram_gb_s * kGB;
  m.gpu_ops_per_s = tflops * 1e12;
  m.ram_bytes_per_s = ram_gb_s * kGB;
  m.disk_bytes_per_s = disk_gb_s * kGB;
  m.n_gpus = n_gpus;
  return m;
}

const std::vector<std::string> kTierQuants = {"Q2_K", "Q4_K_M", "Q8_0", "F16"};

std::string number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, v < 10 ? "%.1f" : "%.0f", v);
  return text;
}
std::string gb(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, bytes < 1e11 ? "%.1f GB" : "%.0f GB", bytes / kGB);
  return text;
}

std::string verdict(const Fit& f) {
  if (!f.fits && !f.runs) return "no";
  const Placement& p = f.placement;
  if (p.disk > 0) return "from disk";
  if (p.vram > 0 && p.ram_read < 1) return "GPU";
  if (p.vram > 0) return "GPU + RAM";
  return "RAM";
}

std::string speed(const Interval& i) {
  if (!i.known()) return "-";
  return number(i.low) + " - " + number(i.high);
}

ModelFacts facts_named(const std::string& model, const std::string& quant) {
  const FamilyName n = find_family_member(model);
  DSR1_CHECK(n.member != nullptr, "a name of our own table");
  auto f = family_facts(*n.member, quant);
  DSR1_CHECK(f.has_value(), "a quantization of our own table");
  return std::move(*f);
}

Fit fit_with(const ModelFacts& facts, const Machine& m, int64_t n_ctx) {
  FitRequest r;
  r.plan.n_ctx = n_ctx;
  // The processor's workspace is some tens of megabytes at this context; a tenth of what is kept free for it above.
  r.plan.workspace = uint64_t{64} << 20;
  return fit_model(facts, m, r);
}

std::string claims_markdown() {
  const ModelFacts r1 = facts_named("DeepSeek-R1", "Q4_K_M"), r1_q8 = facts_named("DeepSeek-R1", "Q8_0"),
                   r1_fp8 = facts_named("DeepSeek-R1", "FP8");
  const double total = static_cast<double>(r1.n_params());
  double active = 0;
  for (const TensorFact& t : r1.tensors)
    active += static_cast<double>(t.rows) * static_cast<double>(t.cols) * (t.lookup ? 0 : t.routed ? 8.0 / 256 : 1);
  const ModelFacts b70 = facts_named("DeepSeek-R1-Distill-Llama-70B", "Q4_K_M"),
                   b14 = facts_named("DeepSeek-R1-Distill-Qwen-14B", "Q4_K_M"),
                   b14_q8 = facts_named("DeepSeek-R1-Distill-Qwen-14B", "Q8_0"),
                   b32 = facts_named("DeepSeek-R1-Distill-Qwen-32B", "Q4_K_M"),
                   b1 = facts_named("DeepSeek-R1-Distill-Qwen-1.5B", "Q4_K_M");
  const auto w = [](const ModelFacts& f) { return static_cast<double>(f.weights()); };
  const auto need = [](const ModelFacts& f) { return static_cast<double>(f.weights_needed()); };
  const double gpu24 = 24e9, rest70 = need(b70) - gpu24;
  const auto kv = [](const ModelFacts& f, DType t) {
    return static_cast<double>(kv_bytes_per_token(f.config, f.n_cache_layers, t, t));
  };
  const double room14 = 12e9 - w(b14);
  std::string s = "## What popular guides say, and what the arithmetic says\n\n| Said | Arithmetic |\n| --- | --- |\n";
  const auto row = [&](const std::string& said, const std::string& truth) {
    s += "| " + said + " | " + truth + " |\n";
  };
  row("R1 has 8 experts, two of them active",
      "256 routed experts, 8 chosen for a token, and one shared, in 58 of 61 layers (the first three are dense)");
  row("\"only 10 % of the parameters are active\"",
      number(active / 1e9) + " B of " + number(total / 1e9) + " B = " + number(active / total * 100) + " %");
  row("\"DeepSeek-R1 67B\", distills of 13B and 33B",
      "none exists: R1 has " + number(total / 1e9) + " B; the distills are Qwen 1.5B, 7B, 14B, 32B and Llama 8B, 70B");
  row("R1 takes images", "it takes text only: no tensor of it reads anything else");
  row("R1 at 8 bit on one RTX 4090 in 22 GB", "8 bits are " + gb(w(r1_fp8)) + " (FP8) to " + gb(w(r1_q8)) +
                                                  " (Q8_0). 22 GB hold a 14B at 8 bit (" + gb(w(b14_q8)) +
                                                  ") or a 32B at 4 bit (" + gb(w(b32)) + ")");
  row("the weights need an application and an NDA", "public, MIT licence; distills also carry Qwen's or Llama's terms");
  row("R1 in full on a 4090 (24 GB) with 128 GB RAM and a 500 GB disk",
      "Q4_K_M is " + gb(w(r1)) + ", memory together 152 GB: at least " + gb(w(r1) - 152e9) +
          " are read from the disk again and again; Q8_0 (" + gb(w(r1_q8)) + ") does not even fit the disk");
  row("70B on a 3090 (24 GB) with 64 GB RAM runs well",
      "a token reads " + gb(need(b70)) + ": 24 GB at 936 GB/s and " + gb(rest70) + " at 70 GB/s, at most " +
          number(1 / (gpu24 / 936e9 + rest70 / 70e9)) + " tokens a second; a context of 32,768 takes " +
          gb(kv(b70, DType::kF16) * 32768) + " more");
  row("14B on a 3060 (12 GB)",
      gb(w(b14)) + " of weights leave room for about " + number(std::floor(room14 / kv(b14, DType::kF16) / 1024)) +
          " Ki tokens of context in f16 and " + number(std::floor(room14 / kv(b14, DType::kQ8_0) / 1024)) +
          " Ki in q8_0, before scratch; at most " + number(360e9 / need(b14)) + " tokens a second");
  row("1.5B needs a GPU", "Q4_K_M is " + gb(w(b1)) + "; two threads that read 30 GB/s make at most " +
                              number(30e9 / need(b1)) + " tokens a second of it");
  return s + "\n";
}

}  // namespace

const std::vector<Tier>& hardware_tiers() {
  static const std::vector<Tier> tiers = {
      {"Raspberry Pi 5, 8 GiB", "LPDDR4X-4267, 32 bit: 17.1 GB/s; NVMe on one PCIe 3.0 lane",
       machine(0, 0, 0, 8, 17.1, 0.8)},
      {"Jetson Orin Nano, 8 GiB", "LPDDR5, 128 bit: 102 GB/s, shared by CPU and GPU", machine(0, 0, 0, 8, 102, 2)},
      {"Jetson AGX Orin, 64 GiB", "LPDDR5, 256 bit: 204.8 GB/s, shared by CPU and GPU", machine(0, 0, 0, 64, 204.8, 3)},
      {"Laptop, CPU only, 16 GiB", "dual-channel DDR4-3200: 51.2 GB/s", machine(0, 0, 0, 16, 51.2, 3)},
      {"Laptop, CPU only, 32 GiB", "dual-channel DDR5-5600: 89.6 GB/s", machine(0, 0, 0, 32, 89.6, 5)},
      {"RTX 3060 12 GB, 32 GiB", "360 GB/s; dual-channel DDR4-3200", machine(12, 360, 51, 32, 51.2, 3)},
      {"RTX 3090 24 GB, 64 GiB", "936 GB/s; dual-channel DDR4-3600", machine(24, 936, 142, 64, 57.6, 5)},
      {"RTX 4090 24 GB, 128 GiB", "1008 GB/s; dual-channel DDR5-5200", machine(24, 1008, 165, 128, 83.2, 7)},
      {"A100 80 GB, 512 GiB", "2039 GB/s; eight channels DDR4-3200", machine(80, 2039, 312, 512, 204.8, 7)},
      {"H200 141 GB, 1 TiB", "4800 GB/s; twelve channels DDR5-4800", machine(131, 4800, 790, 1024, 460.8, 14)},
      {"8 x A100 80 GB, 2 TiB", "8 x 2039 GB/s; what tensor parallelism loses is in the interval",
       machine(640, 8 * 2039.0, 8 * 312.0, 2048, 409.6, 14, 8)},
  };
  return tiers;
}

std::vector<TierRow> tier_rows(int64_t n_ctx) {
  std::vector<TierRow> rows;
  for (const Tier& t : hardware_tiers())
    for (const FamilyMember& m : family_members()) {
      std::vector<std::string> quants = kTierQuants;
      if (std::string_view(m.name) == "DeepSeek-R1") quants.insert(quants.end() - 1, "FP8");
      for (const std::string& q : quants)
        rows.push_back({t.name, m.name, q, fit_with(facts_named(m.name, q), t.machine, n_ctx)});
    }
  return rows;
}

std::vector<PublishedCheck> check_published() {
  // Collected with their sources in docs/performance-model.md; bandwidths are those of the machines named there.
  const std::vector<PublishedSpeed> published = {
      {"SGLang, one H100", "SGLang documentation, speculative decoding", "DeepSeek-R1-Distill-Llama-8B", "BF16",
       machine(80, 3350, 790, 256, 300, 7), 158, 158},
      {"ktransformers 0.2, RTX 4090D and one Xeon socket", "kt DeepseekR1_V3_tutorial.md", "DeepSeek-R1", "Q4_K_M",
       machine(24, 1008, 0, 512, 307, 7), 8.73, 8.73},
      {"ktransformers 0.2.1, RTX 4090 and two Xeon sockets", "kt DeepseekR1_V3_tutorial.md", "DeepSeek-R1", "Q4_K_M",
       machine(24, 1008, 0, 1024, 614, 7), 12.2, 13.5},
      {"ik_llama.cpp, Threadripper 7965WX and RTX A6000, UD-Q2_K_XL", "ik_llama.cpp discussion 258", "DeepSeek-R1",
       "Q2_K", machine(48, 768, 0, 512, 225, 7), 13.1, 14.5},
      {"ik_llama.cpp, Xeon 6980P, IQ4_K", "ik_llama.cpp issue 296", "DeepSeek-V3", "Q4_K_M",
       machine(0, 0, 0, 1024, 554, 7), 9.6, 9.6},
      {"ik_llama.cpp, Xeon 6980P, R1", "ik_llama.cpp discussion 201", "DeepSeek-R1", "Q8_0",
       machine(0, 0, 0, 1024, 554, 7), 6.6, 6.6},
      {"ik_llama.cpp, 2 threads of a Ryzen 7950X, Llama-8B", "ik_llama.cpp discussion 164",
       "DeepSeek-R1-Distill-Llama-8B", "Q8_0", machine(0, 0, 0, 64, 63, 7), 7.63, 7.63},
      {"llama.cpp, the same", "ik_llama.cpp discussion 164", "DeepSeek-R1-Distill-Llama-8B", "Q8_0",
       machine(0, 0, 0, 64, 63, 7), 4.95, 4.95},
      {"llama.cpp b11434, 2 threads of a Zen 5 server (46 to 84 GB/s)", "measured with this project's tools",
       "DeepSeek-R1-Distill-Qwen-1.5B", "Q4_K_M", machine(0, 0, 0, 16, 65, 1), 41, 44},
      {"llama.cpp b11434, the same", "measured with this project's tools", "DeepSeek-R1-Distill-Qwen-1.5B", "Q8_0",
       machine(0, 0, 0, 16, 65, 1), 25, 28},
      {"dsr1, 2 threads of a Zen 4 server (29 GB/s)", "docs/performance-model.md", "DeepSeek-R1-Distill-Qwen-1.5B",
       "Q4_K_M", machine(0, 0, 0, 16, 29, 1), 25.2, 26.0},
      {"dsr1, the same (31 GB/s)", "docs/performance-model.md", "DeepSeek-R1-Distill-Qwen-1.5B", "Q8_0",
       machine(0, 0, 0, 16, 31, 1), 15.7, 18.0},
  };
  std::vector<PublishedCheck> checks;
  for (const PublishedSpeed& p : published) {
    PublishedCheck c;
    c.published = p;
    c.predicted = fit_with(facts_named(p.model, p.quant), p.machine, 2048).prediction.decode;
    c.inside = c.predicted.known() && p.decode_high >= c.predicted.low && p.decode_low <= c.predicted.high;
    checks.push_back(std::move(c));
  }
  return checks;
}

std::string tiers_markdown(const std::vector<TierRow>& rows, int64_t n_ctx) {
  std::string s =
      "# What runs on what\n\n"
      "Generated by `dsr1 bench tiers`; not edited by hand. Sizes are exact (tensor lists of the published "
      "models). Speeds are intervals of tokens a second for one stream of generation after a short prompt: "
      "bytes read for a token over data-sheet bandwidth, times the share of it that programs are known to "
      "reach (40 to 90 % of one GPU's or processor's memory, 5 to 40 % of several GPUs together, 60 to 95 % of "
      "a disk). They are arithmetic, not measurements of this program; `dsr1 fit` measures the machine it runs "
      "on. \"From disk\" reads part of the experts from the file for every token.\n\n"
      "Context: " +
      std::to_string(n_ctx) +
      " tokens, cache in f16. Of each GPU 1 GiB and of main memory up to 4 GiB are left to the system.\n\n";
  s += "## At Q4_K_M\n\n| |";
  std::string rule = "| --- |";
  for (const FamilyMember& m : family_members()) {
    s += " " + std::string(m.name).substr(9) + " |";
    rule += " ---: |";
  }
  s += "\n" + rule + "\n";
  for (const Tier& t : hardware_tiers()) {
    s += "| " + t.name + " |";
    for (const TierRow& r : rows)
      if (r.tier == t.name && r.quant == "Q4_K_M")
        s += " " +
             (r.fit.prediction.decode.known() ? speed(r.fit.prediction.decode) + " (" + verdict(r.fit) + ")" : "no") +
             " |";
    s += "\n";
  }
  s += "\n";
  for (const Tier& t : hardware_tiers()) {
    s += "## " + t.name + "\n\n" + t.figures +
         ".\n\n| model | quant | weights | KV cache | where | decode tok/s | limited by | why |\n"
         "| --- | --- | ---: | ---: | --- | ---: | --- | --- |\n";
    for (const TierRow& r : rows) {
      if (r.tier != t.name) continue;
      const Prediction& p = r.fit.prediction;
      const bool known = p.decode.known();
      const double missing = static_cast<double>(r.fit.plan.weights_needed + r.fit.plan.kv + r.fit.plan.scratch) -
                             static_cast<double>(r.fit.plan.available);
      s += "| " + r.model + " | " + r.quant + " | " + human_bytes(static_cast<double>(r.fit.plan.weights)) + " | " +
           human_bytes(static_cast<double>(r.fit.plan.kv)) + " | " + verdict(r.fit) + " | " + speed(p.decode) + " | " +
           (known ? p.decode_limit : std::string("memory")) + " | " +
           (known ? p.decode_note : "short of " + human_bytes(missing) + " for what every token reads") + " |\n";
    }
    s += "\n";
  }
  s += "## Held against published measurements\n\n| measurement | model | measured tok/s | predicted | inside |\n"
       "| --- | --- | ---: | ---: | --- |\n";
  for (const PublishedCheck& c : check_published()) {
    const PublishedSpeed& p = c.published;
    s += "| " + p.what + " (" + p.source + ") | " + p.model + " " + p.quant + " | " + number(p.decode_low) +
         (p.decode_high > p.decode_low ? " - " + number(p.decode_high) : "") + " | " + speed(c.predicted) + " | " +
         (c.inside ? "yes" : "no") + " |\n";
  }
  return s + "\n" + claims_markdown();
}

Json tiers_json(const std::vector<TierRow>& rows, int64_t n_ctx) {
  Json list = Json::array(), checks = Json::array();
  for (const TierRow& r : rows) {
    Json j = Json::object();
    j.set("machine", r.tier).set("member", r.model).set("quant", r.quant).set("where", verdict(r.fit));
    const Json fit = fit_json(r.fit);
    for (const auto& [key, value] : fit.as_object()) j.set(key, value);
    list.push(std::move(j));
  }
  for (const PublishedCheck& c : check_published()) {
    Json j = Json::object(), predicted = Json::array();
    for (double v : {c.predicted.low, c.predicted.mid, c.predicted.high}) predicted.push(v);
    j.set("what", c.published.what).set("source", c.published.source).set("model", c.published.model);
    j.set("quant", c.published.quant).set("measured_low", c.published.decode_low);
    j.set("measured_high", c.published.decode_high).set("predicted", std::move(predicted)).set("inside", c.inside);
    checks.push(std::move(j));
  }
  Json j = Json::object();
  j.set("context", n_ctx).set("rows", std::move(list)).set("published", std::move(checks));
  return j;
}

std::string tiers_svg(const std::vector<TierRow>& rows) {
  const auto& tiers = hardware_tiers();
  const auto& members = family_members();
  constexpr int kLeft = 190, kTop = 130, kCellW = 82, kCellH = 34;
  const int width = kLeft + kCellW * static_cast<int>(members.size()) + 50;
  const int height = kTop + kCellH * static_cast<int>(tiers.size()) + 60;
  std::string s = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + std::to_string(width) + " " +
                  std::to_string(height) +
                  "\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" "
                  "height=\"100%\" fill=\"#ffffff\"/>\n";
  const auto text = [&](int x, int y, const std::string& t, const char* more) {
    s += "<text x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(y) + "\" " + more + ">" + t + "</text>\n";
  };
  text(16, 26, "Generation at Q4_K_M, tokens a second (middle of the predicted interval)",
       "font-size=\"16\" font-weight=\"bold\"");
  for (size_t i = 0; i < members.size(); ++i) {
    const int x = kLeft + kCellW * static_cast<int>(i) + kCellW / 2, y = kTop - 10;
    std::string name = std::string(members[i].name).substr(9);
    if (name == "R1") name = "R1 671B";
    text(x, y, name, ("transform=\"rotate(-35 " + std::to_string(x) + " " + std::to_string(y) + ")\"").c_str());
  }
  for (size_t t = 0; t < tiers.size(); ++t) {
    const int y = kTop + kCellH * static_cast<int>(t);
    text(kLeft - 8, y + 22, tiers[t].name, "text-anchor=\"end\"");
    int column = 0;
    for (const TierRow& r : rows) {
      if (r.tier != tiers[t].name || r.quant != "Q4_K_M") continue;
      const int x = kLeft + kCellW * column++;
      const Interval& d = r.fit.prediction.decode;
      // Red below a readable speed (about 5 a second), green from 20 on, on a logarithmic scale between.
      const double shade = d.known() ? std::clamp(std::log(d.mid / 0.5) / std::log(40.0), 0.0, 1.0) : 0;
      const int hue = static_cast<int>(shade * 125);
      const std::string fill = d.known() ? "hsl(" + std::to_string(hue) + ",60%,78%)" : "#dddddd";
      s += "<rect x=\"" + std::to_string(x + 1) + "\" y=\"" + std::to_string(y + 1) + "\" width=\"" +
           std::to_string(kCellW - 2) + "\" height=\"" + std::to_string(kCellH - 2) + "\" fill=\"" + fill + "\"/>\n";
      text(x + kCellW / 2, y + 16, d.known() ? number(d.mid) : "no", "text-anchor=\"middle\"");
      if (d.known())
        text(x + kCellW / 2, y + 28, verdict(r.fit), "text-anchor=\"middle\" font-size=\"9\" fill=\"#444444\"");
    }
  }
  text(16, height - 18,
       "Arithmetic from exact sizes and data-sheet bandwidths; see hardware-tiers.md for intervals and reasons.",
       "fill=\"#444444\"");
  return s + "</svg>\n";
}

}  // namespace dsr1::runtime

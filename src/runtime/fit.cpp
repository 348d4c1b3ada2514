#include "dsr1/runtime/fit.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>

#include "dsr1/runtime/cost.h"
#include "dsr1/runtime/stats.h"

namespace dsr1::runtime {
namespace {

// What programs reach of data-sheet figures in single-stream decode: from a third (fine-grained mixtures) over one half
// (k-quants) to nine tenths (fp16) of a GPU's bandwidth; 40 to 90 % of a CPU's (docs/performance-model.md names the
// sources). Prompts: a quarter to three quarters of the arithmetic peak.
struct Share {
  double low, mid, high;
};
constexpr Share kVramShare{0.40, 0.65, 0.90}, kRamShare{0.40, 0.65, 0.90}, kDiskShare{0.60, 0.80, 0.95},
    kOpsShare{0.25, 0.45, 0.70};
// Several GPUs that share each matrix: published engines reach 3 to 7 % (all-reduces and small kernels) and hope for
// more.
constexpr Share kManyGpusShare{0.05, 0.15, 0.40};
// How far the kernels' rates miss a whole pass, where no receipts say better.
constexpr double kModelError = 0.10;

std::string human_rate(double bytes_per_s) {
  char text[48];
  std::snprintf(text, sizeof text, "%.3g GB/s", bytes_per_s / 1e9);
  return text;
}
std::string human(double bytes) { return human_bytes(bytes); }

// "24GiB", "1008GB/s", "165TFLOPS" -> number in units of one, and what it is of.
enum class Kind { kBytes, kBytesPerSecond, kOperations, kNone };
Kind parse_quantity(const std::string& text, double* value) {
  char* end = nullptr;
  *value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || !std::isfinite(*value) || *value <= 0) return Kind::kNone;
  std::string unit;
  for (const char* p = end; *p != '\0'; ++p)
    if (*p != ' ') unit += *p >= 'A' && *p <= 'Z' ? static_cast<char>(*p + 32) : *p;
  if (unit.empty()) return Kind::kNone;
  const char prefixes[] = {'k', 'm', 'g', 't'};
  size_t power = 0, at = 0;
  for (size_t i = 0; i < 4; ++i)
    if (unit[0] == prefixes[i]) {
      power = i + 1;
      at = 1;
    }
  const std::string rest = unit.substr(at);
  const double decimal = std::pow(1000.0, static_cast<double>(power)),
               binary = std::pow(1024.0, static_cast<double>(power));
  if (rest == "ib") return *value *= binary, Kind::kBytes;
  if (rest == "b" || (rest.empty() && power > 0)) return *value *= decimal, Kind::kBytes;
  if (rest == "ib/s") return *value *= binary, Kind::kBytesPerSecond;
  if (rest == "b/s") return *value *= decimal, Kind::kBytesPerSecond;
  if (rest == "ops" || rest == "flops" || rest == "op/s" || rest == "flop/s")
    return *value *= decimal, Kind::kOperations;
  return Kind::kNone;
}

// Weights a token reads, split by how they are read.
struct Needed {
  double dense = 0;   // read for every token
  double chosen = 0;  // of the routed experts
  double routed = 0;  // all routed experts
};
Needed needed_of(const ModelFacts& f) {
  Needed n;
  n.routed = static_cast<double>(f.routed_bytes());
  n.chosen = weight_bytes_per_token(f) * 1.0;
  for (const TensorFact& t : f.tensors) n.dense += t.routed || t.lookup ? 0 : static_cast<double>(t.bytes);
  n.chosen -= n.dense;
  return n;
}

// Fills VRAM, then RAM, then leaves the rest in the file: scratch and cache first, then what every token reads, then
// experts, of which every byte is read equally often.
Placement place(const Fit& fit, const Machine& m) {
  Placement p;
  const Needed n = needed_of(fit.facts);
  double vram = static_cast<double>(m.vram), ram = static_cast<double>(m.ram);
  double in_vram = 0, in_ram = 0, on_disk = 0;
  const auto put = [&](double bytes, double* v, double* r, double* d) {
    *v = std::min(bytes, vram);
    vram -= *v;
    *r = std::min(bytes - *v, ram);
    ram -= *r;
    *d = bytes - *v - *r;
    in_vram += *v;
    in_ram += *r;
    on_disk += *d;
  };
  double v = 0, r = 0, d = 0;
  put(static_cast<double>(fit.plan.scratch), &v, &r, &d);
  put(static_cast<double>(fit.plan.kv), &v, &r, &d);
  p.kv_vram_share = fit.plan.kv > 0 ? v / static_cast<double>(fit.plan.kv) : 0;
  put(n.dense, &v, &r, &d);
  p.vram_read = v;
  p.ram_read = r;
  p.disk_read = d;
  put(n.routed, &v, &r, &d);
  const double per_byte = n.routed > 0 ? n.chosen / n.routed : 0;
  p.vram_read += v * per_byte;
  p.ram_read += r * per_byte;
  p.disk_read += d * per_byte;
  // Lookup tables stay with the processor: one row a token.
  const double lookup = static_cast<double>(fit.facts.weights()) - n.dense - n.routed;
  r = std::min(lookup, ram);
  in_ram += r;
  on_disk += lookup - r;
  p.vram = static_cast<uint64_t>(std::llround(in_vram));
  p.ram = static_cast<uint64_t>(std::llround(in_ram));
  p.disk = static_cast<uint64_t>(std::llround(on_disk));
  return p;
}

// A data-sheet prediction: each place's bytes over its share of the rate, one after the other.
Prediction predict_from_figures(const Fit& fit, const Machine& m, int64_t n_prompt) {
  Prediction p;
  const double context = static_cast<double>(std::min(fit.plan.n_ctx, n_prompt));
  const double kv = kv_bytes_read(fit.facts, fit.type_k, fit.type_v, context);
  struct Part {
    const char* limit;
    double bytes, rate;
    Share share;
  };
  const Placement& at = fit.placement;
  const Part parts[] = {{"vram_bandwidth", at.vram_read + kv * at.kv_vram_share, m.vram_bytes_per_s,
                         m.n_gpus > 1 ? kManyGpusShare : kVramShare},
                        {"ram_bandwidth", at.ram_read + kv * (1 - at.kv_vram_share), m.ram_bytes_per_s, kRamShare},
                        {"disk", at.disk_read, m.disk_bytes_per_s, kDiskShare}};
  double slow = 0, mid = 0, fast = 0, longest = 0;
  bool known = fit.runs;
  if (!fit.runs) p.decode_note = p.prefill_note = "it does not run there";
  for (const Part& part : parts) {
    if (part.bytes < 1) continue;
    if (part.rate <= 0) {
      known = false;
      if (p.decode_note.empty()) p.decode_note = std::string("the rate behind ") + part.limit + " is not known";
      continue;
    }
    const double s = part.bytes / part.rate;
    slow += s / part.share.low;
    mid += s / part.share.mid;
    fast += s / part.share.high;
    if (known)
      p.decode_note +=
          (p.decode_note.empty() ? "" : " + ") + human(part.bytes) + " a token at " + human_rate(part.rate);
    if (s / part.share.mid > longest) {
      longest = s / part.share.mid;
      p.decode_limit = part.limit;
    }
  }
  if (known && mid > 0) p.decode = {1 / slow, 1 / mid, 1 / fast};

  const double operations =
      matrix_operations(fit.facts, false) + attention_operations(fit.facts, static_cast<double>(n_prompt) / 2, false);
  // A prompt's weights cross to the GPU where it does the work; the processor does what is left of a mixed placement.
  const bool on_gpu = m.vram > 0 && m.gpu_ops_per_s > 0 && at.ram_read + at.disk_read < 1;
  const double rate = on_gpu ? m.gpu_ops_per_s : m.vram > 0 ? 0 : m.cpu_ops_per_s;
  if (fit.runs && rate > 0 && at.disk_read < 1) {
    p.prefill = {kOpsShare.low * rate / operations, kOpsShare.mid * rate / operations,
                 kOpsShare.high * rate / operations};
    p.prefill_limit = on_gpu ? "gpu_arithmetic" : "int8";
  } else if (fit.runs) {
    p.prefill_note =
        at.disk_read >= 1 ? "prompts are read through the disk" : "no arithmetic rate was given (e.g. 165TFLOPS)";
  }
  return p;
}

}  // namespace

Result<Machine> parse_what_if(const std::vector<std::string>& words) {
  Machine m;
  const char* expected = "expected words like gpu=24GiB,1008GB/s,165TFLOPS ram=128GiB,80GB/s disk=7GB/s";
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    const std::string place = word.substr(0, equals);
    if (equals == std::string::npos || (place != "gpu" && place != "ram" && place != "disk"))
      return Error(ErrorCode::kUsage, "--what-if: unknown word '" + word + "'; " + expected);
    for (size_t begin = equals + 1; begin <= word.size();) {
      const size_t end = std::min(word.find(',', begin), word.size());
      const std::string figure = word.substr(begin, end - begin);
      begin = end + 1;
      double value = 0;
      const Kind kind = parse_quantity(figure, &value);
      const bool sized = place != "disk";
      if (kind == Kind::kBytes && sized && value < 1e18) {
        (place == "gpu" ? m.vram : m.ram) = static_cast<uint64_t>(value);
      } else if (kind == Kind::kBytesPerSecond) {
        (place == "gpu" ? m.vram_bytes_per_s : place == "ram" ? m.ram_bytes_per_s : m.disk_bytes_per_s) = value;
      } else if (kind == Kind::kOperations && sized) {
        (place == "gpu" ? m.gpu_ops_per_s : m.cpu_ops_per_s) = value;
      } else {
        return Error(ErrorCode::kUsage, "--what-if: '" + figure + "' is no figure for " + place + "; " + expected);
      }
    }
  }
  if (m.vram + m.ram == 0) return Error(ErrorCode::kUsage, std::string("--what-if: no memory is named; ") + expected);
  return m;
}

Fit fit_model(const ModelFacts& facts, const Machine& machine, const FitRequest& request) {
  Fit fit;
  fit.facts = facts;
  fit.type_k = request.plan.type_k;
  fit.type_v = request.plan.type_v;
  PlanRequest r = request.plan;
  r.available = machine.ram + machine.vram;
  // All resident if that is possible with any context the request allows; otherwise the rest is paged from the file.
  r.use_mmap = false;
  fit.plan = plan_memory(facts, r);
  Status verdict = check_plan(fit.plan, false);
  fit.fits = verdict.has_value();
  fit.runs = fit.fits;
  if (!fit.fits) {
    r.use_mmap = true;
    const MemoryPlan paged = plan_memory(facts, r);
    const Status runs = check_plan(paged, true);
    fit.runs = runs.has_value();
    fit.plan = paged;
    if (!fit.runs) verdict = runs;
  }
  fit.placement = place(fit, machine);
  const std::string total = human(static_cast<double>(fit.plan.total())),
                    available = human(static_cast<double>(r.available)), context = std::to_string(fit.plan.n_ctx);
  if (fit.fits) fit.why = total + " of " + available + " with a context of " + context + " tokens";
  else if (fit.runs)
    fit.why = "does not fit: " + total + " needed, " + available + " available; runs with " +
              human(static_cast<double>(fit.placement.disk)) + " of the weights paged from the file";
  else fit.why = verdict.error().message;
  fit.prediction = predict_from_figures(fit, machine, request.n_prompt);
  return fit;
}

Prediction predict_on(const MachineRates& rates, const Fit& fit, double context, int64_t n_prompt, double now_over_then,
                      const std::vector<double>& past_ratios, double disk_bytes_per_s) {
  Prediction p;
  if (!fit.runs) {
    p.decode_note = p.prefill_note = "it does not run here";
    return p;
  }
  const double read = rates.read_median();
  // How far the machine's bandwidth moved while it was measured, and how far the model of it may be off.
  double low = 1 - kModelError, high = 1 + kModelError, centre = 1;
  if (past_ratios.size() >= 5) {
    std::vector<double> sorted = past_ratios;
    std::sort(sorted.begin(), sorted.end());
    const auto at = [&](double q) {
      return sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5)];
    };
    low = at(0.1);
    centre = at(0.5);
    high = at(0.9);
  }
  double slowest = 1, fastest = 1;
  if (!rates.read_bytes_per_s.empty() && read > 0) {
    slowest = *std::min_element(rates.read_bytes_per_s.begin(), rates.read_bytes_per_s.end()) / read;
    fastest = *std::max_element(rates.read_bytes_per_s.begin(), rates.read_bytes_per_s.end()) / read;
  }
  const double bytes = weight_bytes_per_token(fit.facts) + kv_bytes_read(fit.facts, fit.type_k, fit.type_v, context);
  const double then = rates.decode_seconds(context);
  // Of that time, what memory alone would take: it moves with the bandwidth of the moment, the rest does not.
  const double memory = read > 0 ? std::min(then, bytes / read) : 0;
  double seconds = then - memory + memory / now_over_then;
  // A layer's matrices: attention's four calls (MLA eight), two of the FFN, three more of a mixture.
  const model::ModelConfig& c = fit.facts.config;
  const double calls = rates.matrix_call_s * (1 + c.n_layer * ((c.is_mla() ? 8 : 2) + 2 + (c.is_moe() ? 3 : 0)));
  p.decode_limit = memory > 0.6 * then ? "ram_bandwidth" : calls > 0.4 * then ? "overhead" : "int8";
  p.decode_note = human(bytes) + " a token, memory reads " + human_rate(read * now_over_then);
  if (const double paged = fit.placement.disk_read; paged >= 1) {
    if (disk_bytes_per_s <= 0) {
      p.decode_limit = "disk";
      p.decode_note = human(paged) + " a token come from the file, and the disk's rate could not be measured";
      p.prefill_note = p.decode_note;
      return p;
    }
    const double waiting = paged / disk_bytes_per_s;
    if (waiting > seconds) p.decode_limit = "disk";
    seconds += waiting;
    p.decode_note += ", " + human(paged) + " of them from the disk at " + human_rate(disk_bytes_per_s);
  }
  if (seconds > 0) p.decode = {slowest * low / seconds, centre / seconds, fastest * high / seconds};
  if (fit.placement.disk_read >= 1) {
    p.prefill_note = "prompts read most experts through the disk";
    return p;
  }
  const double prompt = rates.prefill_seconds(n_prompt);
  if (prompt > 0) {
    const double rate = static_cast<double>(n_prompt) / prompt;
    p.prefill = {rate * (1 - 2 * kModelError), rate, rate * (1 + 2 * kModelError)};
    p.prefill_limit = "int8";
    p.prefill_note = "a prompt of " + std::to_string(n_prompt) + " tokens";
    bool floats = true;
    for (const TensorFact& t : fit.facts.tensors)
      if (t.rows > 1 && !t.lookup && t.dtype != DType::kF16 && t.dtype != DType::kBF16 && t.dtype != DType::kF32)
        floats = false;
    if (floats) p.prefill_limit = "float_arithmetic";
  }
  return p;
}

Json fit_json(const Fit& fit) {
  Json j = Json::object(), bytes = Json::object(), places = Json::object(), predicted = Json::object();
  places.set("vram", fit.placement.vram).set("ram", fit.placement.ram).set("disk", fit.placement.disk);
  bytes.set("weights", fit.plan.weights).set("kv", fit.plan.kv).set("scratch", fit.plan.scratch);
  bytes.set("total", fit.plan.total()).set("by_place", std::move(places));
  const auto interval = [](const Interval& i) {
    if (!i.known()) return Json();
    Json a = Json::array();
    a.push(i.low);
    a.push(i.mid);
    a.push(i.high);
    return a;
  };
  const Prediction& p = fit.prediction;
  predicted.set("decode_tok_s", interval(p.decode)).set("prefill_tok_s", interval(p.prefill));
  predicted.set("limit", p.decode_limit.empty() ? Json() : Json(p.decode_limit));
  predicted.set("prefill_limit", p.prefill_limit.empty() ? Json() : Json(p.prefill_limit));
  predicted.set("decode_note", p.decode_note).set("prefill_note", p.prefill_note);
  j.set("model", fit.facts.name).set("fits", fit.fits).set("runs", fit.runs).set("why", fit.why);
  j.set("bytes", std::move(bytes)).set("context", fit.plan.n_ctx).set("predicted", std::move(predicted));
  return j;
}

void store_receipt(const std::filesystem::path& directory, const Receipt& r) {
  std::error_code ec;
  std::filesystem::create_directories(directory, ec);
  Json j = Json::object();
  j.set("time", static_cast<int64_t>(std::time(nullptr))).set("machine", r.machine).set("model", r.model);
  j.set("test", r.test).set("predicted", r.predicted).set("measured", r.measured);
  std::ofstream out(directory / "receipts.jsonl", std::ios::app);
  out << j.dump() + "\n";
}

std::vector<Receipt> read_receipts(const std::filesystem::path& directory, const std::string& machine,
                                   const std::string& test, size_t most) {
  std::vector<Receipt> all;
  std::ifstream in(directory / "receipts.jsonl");
  for (std::string line; std::getline(in, line);) {
    auto j = Json::parse(line);
    if (!j || !j->is_object()) continue;
    const Json *m = j->find("machine"), *t = j->find("test"), *p = j->find("predicted"), *v = j->find("measured"),
               *name = j->find("model");
    if (m == nullptr || t == nullptr || p == nullptr || v == nullptr || name == nullptr || !m->is_string() ||
        !t->is_string() || !name->is_string() || !p->is_number() || !v->is_number())
      continue;
    if (m->as_string() != machine || !t->as_string().starts_with(test)) continue;
    if (p->as_double() > 0 && v->as_double() > 0)
      all.push_back({m->as_string(), name->as_string(), t->as_string(), p->as_double(), v->as_double()});
  }
  if (all.size() > most) all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(most));
  return all;
}

}  // namespace dsr1::runtime

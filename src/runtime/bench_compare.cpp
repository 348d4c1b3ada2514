#include "dsr1/runtime/bench_compare.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

namespace dsr1::runtime {
namespace {

// Clocks further apart than this make two runs two machines.
constexpr double kClockTolerance = 0.01;
// Probes further apart than this earn a note: the memory was not the same, whatever the program did.
constexpr double kProbeNote = 0.05;

const Json* at(const Json& j, std::initializer_list<const char*> path) {
  const Json* p = &j;
  for (const char* key : path) {
    p = p->find(key);
    if (p == nullptr) return nullptr;
  }
  return p;
}

std::string text_at(const Json& j, std::initializer_list<const char*> path) {
  const Json* p = at(j, path);
  if (p == nullptr || p->is_null()) return {};
  return p->is_string() ? p->as_string() : p->dump();
}

double number_at(const Json& j, std::initializer_list<const char*> path) {
  const Json* p = at(j, path);
  return p != nullptr && p->is_number() ? p->as_double() : 0;
}

std::string test_name(const Json& row) {
  const auto n = [&](const char* key) { return static_cast<int64_t>(number_at(row, {key})); };
  std::string s;
  if (n("n_prompt") > 0) s += "pp" + std::to_string(n("n_prompt"));
  if (n("n_gen") > 0) s += (s.empty() ? "tg" : "+tg") + std::to_string(n("n_gen"));
  if (n("n_depth") > 0) s += " @ d" + std::to_string(n("n_depth"));
  return s;
}

// What must agree besides the values themselves.
struct Same {
  const char* what;
  std::initializer_list<const char*> path;
};
const Same kSame[] = {{"model_sha256", {"dsr1", "model_sha256"}},
                      {"model size", {"model_size"}},
                      {"parameters", {"model_n_params"}},
                      {"processor", {"cpu_info"}},
                      {"cores", {"dsr1", "cores_online"}},
                      {"GPU", {"gpu_info"}},
                      {"threads", {"n_threads"}},
                      {"n_batch", {"n_batch"}},
                      {"n_ubatch", {"n_ubatch"}},
                      {"type_k", {"type_k"}},
                      {"type_v", {"type_v"}},
                      {"n_gpu_layers", {"n_gpu_layers"}}};

// All rows of one test in one file.
struct Group {
  std::vector<const Json*> rows;
  std::vector<double> values() const {
    std::vector<double> samples, runs;
    for (const Json* row : rows) {
      std::vector<double> mine;
      if (const Json* s = row->find("samples_ts"); s != nullptr && s->is_array())
        for (const Json& x : s->as_array())
          if (x.is_number()) mine.push_back(x.as_double());
      if (mine.empty()) mine.push_back(number_at(*row, {"avg_ts"}));
      runs.push_back(median(mine));
      samples.insert(samples.end(), mine.begin(), mine.end());
    }
    // Repetitions of one run resemble each other more than two runs do: with enough runs, a run is the unit.
    return by_run() ? runs : samples;
  }
  bool by_run() const { return rows.size() >= 3; }
  double probe() const {
    std::vector<double> v;
    for (const Json* row : rows)
      if (const double x = number_at(*row, {"dsr1", "probe", "read_gb_s", "median"}); x > 0) v.push_back(x);
    return median(v);
  }
  // Of what did the work.
  double clock() const {
    std::vector<double> v;
    for (const Json* row : rows) {
      const char* whose = text_at(*row, {"backends"}) == "CUDA" ? "sm_clock" : "cpu_clock_mhz";
      if (const double x = number_at(*row, {"dsr1", whose, "median"}); x > 0) v.push_back(x);
    }
    return median(v);
  }
};

std::map<std::string, Group> group(const std::vector<Json>& rows) {
  std::map<std::string, Group> groups;
  for (const Json& row : rows) {
    const std::string test = test_name(row);
    if (!test.empty()) groups[text_at(row, {"model_type"}) + "\n" + test].rows.push_back(&row);
  }
  return groups;
}

std::string number(double v, const char* format) {
  char text[64];
  std::snprintf(text, sizeof text, format, v);
  return text;
}

Comparison compare(const Group& a, const Group& b, const CompareOptions& options) {
  Comparison c;
  const Json &ra = *a.rows.front(), &rb = *b.rows.front();
  c.model = text_at(ra, {"model_type"});
  c.test = test_name(ra);
  for (const Same& s : kSame) {
    const std::string va = text_at(ra, s.path), vb = text_at(rb, s.path);
    if (!va.empty() && !vb.empty() && va != vb)
      c.objections.push_back(std::string(s.what) + " differs: " + va + " and " + vb);
  }
  const double clock_a = a.clock(), clock_b = b.clock();
  if (clock_a > 0 && clock_b > 0 && std::fabs(clock_b / clock_a - 1) > kClockTolerance)
    c.objections.push_back("clocks differ by more than 1 %: " + number(clock_a, "%.0f") + " and " +
                           number(clock_b, "%.0f") + " MHz");
  std::vector<double> va = a.values(), vb = b.values();
  if (a.by_run() != b.by_run()) {
    c.notes.push_back("one file has fewer than three runs of this test: repetitions are compared with runs");
  }
  c.n_a = va.size();
  c.n_b = vb.size();
  c.plain = compare_rates(va, vb, options.confidence);
  if (!c.plain.valid) c.notes.push_back("too few values for an interval: repeat (-r) at least twice");
  const double pa = a.probe(), pb = b.probe();
  if (pa > 0 && pb > 0) {
    c.probe_ratio = pb / pa;
    if (std::fabs(c.probe_ratio - 1) > kProbeNote)
      c.notes.push_back("memory itself was " + number(c.probe_ratio, "%.2f") +
                        " times as fast during B: see the ratio scaled by the probe");
    for (double& x : va) x /= pa;
    for (double& x : vb) x /= pb;
    c.scaled = compare_rates(va, vb, options.confidence);
  }
  return c;
}

std::string verdict(const RatioInterval& r) {
  if (!r.valid) return "unknown";
  if (!r.differs()) return "no difference";
  return r.ratio > 1 ? "B is faster" : "B is slower";
}

Json ratio_json(const RatioInterval& r) {
  if (!r.valid) return {};
  Json j = Json::object();
  j.set("ratio", r.ratio).set("low", r.low).set("high", r.high).set("confidence", r.confidence);
  j.set("verdict", verdict(r));
  return j;
}

}  // namespace

Result<std::vector<Json>> parse_bench_rows(const std::string& text) {
  std::vector<Json> rows;
  if (auto whole = Json::parse(text)) {
    if (whole->is_array()) rows = whole->as_array();
    else rows.push_back(std::move(*whole));
  } else {
    size_t line = 1;
    for (size_t begin = 0; begin < text.size(); ++line) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      const std::string one = text.substr(begin, end - begin);
      begin = end + 1;
      if (one.find_first_not_of(" \t\r") == std::string::npos) continue;
      auto row = Json::parse(one);
      if (!row)
        return Error(ErrorCode::kModel, "line " + std::to_string(line) + " is no JSON (" + row.error().message +
                                            "); expected the output of bench -o json or -o jsonl");
      rows.push_back(std::move(*row));
    }
  }
  rows.erase(std::remove_if(rows.begin(), rows.end(), [](const Json& r) { return test_name(r).empty(); }), rows.end());
  if (rows.empty()) return Error(ErrorCode::kModel, "no measurement in it; expected rows of bench -o json or -o jsonl");
  return rows;
}

Result<std::vector<Comparison>> compare_benches(const std::vector<Json>& a, const std::vector<Json>& b,
                                                const CompareOptions& options) {
  auto in_a = group(a), in_b = group(b);
  std::vector<Comparison> all;
  for (const auto& [key, rows] : in_a) {
    const auto other = in_b.find(key);
    if (other != in_b.end()) all.push_back(compare(rows, other->second, options));
  }
  if (all.empty() && in_a.size() == 1 && in_b.size() == 1 && options.force)
    all.push_back(compare(in_a.begin()->second, in_b.begin()->second, options));
  if (all.empty()) {
    const auto names = [](const std::map<std::string, Group>& groups) {
      std::string s;
      for (const auto& [key, rows] : groups) {
        std::string name = key;
        std::replace(name.begin(), name.end(), '\n', ' ');
        s += (s.empty() ? "" : ", ") + name;
      }
      return s;
    };
    return Error(ErrorCode::kCheckFailed,
                 "the two files have no test of one model in common: A has " + names(in_a) + "; B has " + names(in_b));
  }
  for (const Comparison& c : all)
    if (!c.objections.empty() && !options.force)
      return Error(ErrorCode::kCheckFailed,
                   c.model + " " + c.test + ": not comparable, " + c.objections.front() +
                       (c.objections.size() > 1 ? " (and " + std::to_string(c.objections.size() - 1) + " more)" : "") +
                       "; --force compares nevertheless");
  return all;
}

std::string comparison_text(const std::vector<Comparison>& all) {
  std::string out;
  const auto interval = [](const RatioInterval& r) {
    return number(r.ratio, "%.3f") + " (" + number(r.low, "%.3f") + " to " + number(r.high, "%.3f") + ", " +
           number(r.confidence * 100, "%.0f") + " % interval)";
  };
  for (const Comparison& c : all) {
    out += c.model + " " + c.test + ": " + verdict(c.plain);
    if (c.plain.valid) out += ", B/A " + interval(c.plain);
    out += ", n = " + std::to_string(c.n_a) + " and " + std::to_string(c.n_b) + "\n";
    if (c.scaled.valid) out += "  scaled by the memory probe: " + verdict(c.scaled) + ", " + interval(c.scaled) + "\n";
    for (const std::string& o : c.objections) out += "  forced: " + o + "\n";
    for (const std::string& n : c.notes) out += "  note: " + n + "\n";
  }
  return out;
}

Json comparison_json(const Comparison& c) {
  Json j = Json::object(), objections = Json::array(), notes = Json::array();
  for (const std::string& o : c.objections) objections.push(o);
  for (const std::string& n : c.notes) notes.push(n);
  j.set("model_type", c.model).set("test", c.test).set("n_a", static_cast<int64_t>(c.n_a));
  j.set("n_b", static_cast<int64_t>(c.n_b)).set("speed", ratio_json(c.plain));
  j.set("speed_scaled_by_probe", ratio_json(c.scaled));
  j.set("probe_ratio", c.probe_ratio > 0 ? Json(c.probe_ratio) : Json());
  j.set("objections", std::move(objections)).set("notes", std::move(notes));
  return j;
}

}  // namespace dsr1::runtime

#include "dsr1/runtime/rates.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <sstream>

#include "dsr1/backend/cpu.h"
#include "dsr1/backend/probe.h"
#include "dsr1/base/cpu_placement.h"
#include "dsr1/base/sha256.h"
#include "dsr1/base/thread_pool.h"
#include "dsr1/runtime/cost.h"
#include "dsr1/runtime/machine.h"
#include "dsr1/runtime/rehearsal.h"
#include "dsr1/runtime/stats.h"

namespace dsr1::runtime {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

constexpr int64_t kContext = 2048;     // of the longest token rehearsed
constexpr int64_t kChunkDepth = 1024;  // tokens before the second prompt chunk
constexpr size_t kMostKept = 64;       // models in the file

// What decides a model's speed: types and shapes in their order, the cache's type, what is chosen of the experts.
std::string speed_key(const ModelFacts& facts, DType type_k) {
  std::ostringstream text;
  text << facts.config.arch << ' ' << facts.config.n_head << ' ' << facts.config.n_head_kv << ' '
       << facts.config.router.n_expert_used << ' ' << dtype_name(type_k) << '\n';
  for (const TensorFact& t : facts.tensors)
    text << t.name << ' ' << dtype_name(t.dtype) << ' ' << t.rows << ' ' << t.cols << '\n';
  return sha256_hex(text.str()).substr(0, 16);
}

// The mean of f over at least so many seconds and some passes: what a stretch of generation would see, interruptions
// and all.
template <class F>
double mean_pass(double seconds, F&& f) {
  constexpr int kFewest = 2;
  double sum = 0;
  int n = 0;
  const auto begin = Clock::now();
  do sum += f();
  while (++n < kFewest || seconds_since(begin) < seconds);
  return sum / n;
}

double matrix_call_seconds(const RateRequest& r, int n_threads) {
  constexpr int64_t kSide = 64;
  constexpr int kCalls = 1000;
  ops::Limits limits;
  limits.max_rows = 1;
  limits.max_in = kSide;
  auto ops = backend::make_cpu(r.cpu_isa, n_threads, limits);
  if (!ops) return 0;
  std::vector<float> weights(kSide * kSide, 1.0f), x(kSide, 1.0f), y(kSide);
  TensorView w;
  w.data = reinterpret_cast<const std::byte*>(weights.data());
  w.n_dims = 2;
  w.dims = {kSide, kSide, 0, 0};
  const ops::Linear job[] = {{&w, nullptr, {y.data(), 1, kSide, kSide}}};
  const auto begin = Clock::now();
  for (int i = 0; i < kCalls; ++i) (*ops)->linear({x.data(), 1, kSide, kSide}, job);
  return seconds_since(begin) / kCalls;
}

Status measure(const ModelFacts& facts, DType type_k, const RateRequest& r, int n_threads, MachineRates* rates) {
  const size_t bytes =
      std::clamp<uint64_t>(2 * backend::last_level_cache_bytes(), uint64_t{64} << 20, uint64_t{256} << 20);
  DSR1_TRY(auto probe, backend::CpuProbe::create(n_threads, bytes));
  rates->int8_ops_per_s = probe->int8(r.seconds / 60).per_second;
  rates->matrix_call_s = matrix_call_seconds(r, n_threads);
  Rehearsal::Options o;
  o.cpu_isa = r.cpu_isa;
  o.n_threads = n_threads;
  o.type_k = type_k;
  o.n_ctx = kContext;
  o.n_rows = 1;
  {
    DSR1_TRY(const auto rehearsal, Rehearsal::create(facts, o));
    // Near and far in turn, and their ratio round by round: the machine's speed moves meanwhile. Medians of the rounds.
    rehearsal->token(0);
    rehearsal->token(kContext - 1);
    std::vector<double> near, ratio;
    const auto begin = Clock::now();
    do {
      rates->read_bytes_per_s.push_back(probe->read_bytes_per_s(r.seconds / 60));
      near.push_back(mean_pass(r.seconds / 24, [&] { return rehearsal->token(0); }));
      ratio.push_back(mean_pass(r.seconds / 24, [&] { return rehearsal->token(kContext - 1); }) / near.back());
    } while (seconds_since(begin) < r.seconds * 0.65 || near.size() < 2);
    rates->read_bytes_per_s.push_back(probe->read_bytes_per_s(r.seconds / 60));
    rates->token_s = median(near);
    rates->token_s_per_key = std::max(0.0, median(ratio) - 1) * rates->token_s / (kContext - 1);
  }
  // A chunk of a prompt: as many rows as the engine takes at once, as many layers as the time allows (a third of the
  // integer peak is taken for granted), at least four.
  o.n_rows = 512;
  const double layers = facts.config.n_layer;
  const double operations = static_cast<double>(o.n_rows) * matrix_operations(facts, false);
  const double guess = rates->int8_ops_per_s > 0 ? operations / (rates->int8_ops_per_s / 3) : r.seconds;
  const double share = std::min(1.0, r.seconds * 0.08 / guess);
  o.n_layer = static_cast<int>(std::clamp(layers * share, std::min(layers, 4.0), layers));
  if (r.seconds < 0.1) o.n_rows = 32;  // tests
  DSR1_TRY(const auto rehearsal, Rehearsal::create(facts, o));
  const double scale = layers / o.n_layer / static_cast<double>(o.n_rows);
  rehearsal->chunk(0);
  const double near = std::min(rehearsal->chunk(0), rehearsal->chunk(0)), far = rehearsal->chunk(kChunkDepth);
  const double per_key = std::max(0.0, far - near) * scale / kChunkDepth;
  rates->prompt_s_per_key = per_key;
  rates->prompt_s = std::max(0.0, near * scale - per_key * static_cast<double>(o.n_rows) / 2);
  return {};
}

}  // namespace

double MachineRates::read_median() const { return median(read_bytes_per_s); }

Json rates_json(const MachineRates& r) {
  Json j = Json::object(), read = Json::array();
  for (double x : r.read_bytes_per_s) read.push(x);
  j.set("machine", r.machine).set("read_bytes_per_s", std::move(read)).set("int8_ops_per_s", r.int8_ops_per_s);
  j.set("matrix_call_s", r.matrix_call_s).set("token_s", r.token_s).set("token_s_per_key", r.token_s_per_key);
  j.set("prompt_s", r.prompt_s).set("prompt_s_per_key", r.prompt_s_per_key);
  return j;
}

std::optional<MachineRates> rates_from_json(const Json& j) {
  MachineRates r;
  const auto number = [&](const char* key) {
    const Json* v = j.find(key);
    return v != nullptr && v->is_number() ? v->as_double() : 0.0;
  };
  const Json* machine = j.find("machine");
  const Json* read = j.find("read_bytes_per_s");
  if (machine == nullptr || !machine->is_string() || read == nullptr || !read->is_array()) return std::nullopt;
  r.machine = machine->as_string();
  for (const Json& x : read->as_array())
    if (x.is_number()) r.read_bytes_per_s.push_back(x.as_double());
  r.int8_ops_per_s = number("int8_ops_per_s");
  r.matrix_call_s = number("matrix_call_s");
  r.token_s = number("token_s");
  r.token_s_per_key = number("token_s_per_key");
  r.prompt_s = number("prompt_s");
  r.prompt_s_per_key = number("prompt_s_per_key");
  if (r.read_bytes_per_s.empty() || r.read_median() <= 0 || r.token_s <= 0) return std::nullopt;
  return r;
}

Json read_json_file(const fs::path& path) {
  std::ifstream in(path);
  if (!in) return {};
  std::stringstream text;
  text << in.rdbuf();
  auto parsed = Json::parse(text.str());
  return parsed ? std::move(*parsed) : Json();
}

void write_json_file(const fs::path& path, const Json& json) {
  std::error_code ec;
  fs::create_directories(path.parent_path(), ec);
  const fs::path fresh = path.string() + "." + std::to_string(getpid());
  {
    std::ofstream out(fresh);
    out << json.dump(1) << "\n";
    if (!out.good()) return;
  }
  fs::rename(fresh, path, ec);
}

Result<MachineRates> machine_rates(const ModelFacts& facts, DType type_k, const RateRequest& request,
                                   const fs::path& cache) {
  const int n_threads = request.n_threads > 0 ? request.n_threads : default_threads();
  const std::string machine = read_machine_state().cpu + ", " + std::to_string(n_threads) + " threads, " +
                              request.cpu_isa + ", " + request.version;
  const std::string key = speed_key(facts, type_k);
  Json kept = cache.empty() ? Json() : read_json_file(cache);
  const Json* of_machine = kept.is_object() ? kept.find(machine) : nullptr;
  if (of_machine != nullptr && of_machine->is_object() && !request.fresh)
    if (const Json* mine = of_machine->find(key); mine != nullptr)
      if (auto parsed = rates_from_json(*mine)) return std::move(*parsed);
  if (request.kept_only) return Error(ErrorCode::kRuntime, "this machine has not been probed for such a model");
  MachineRates rates;
  rates.machine = machine;
  DSR1_TRY_STATUS(measure(facts, type_k, request, n_threads, &rates));
  if (!cache.empty()) {
    // Figures of other versions of the program are of no use to it.
    Json file = Json::object(), all = Json::object();
    if (kept.is_object())
      for (const auto& [name, figures] : kept.as_object())
        if (name != machine && name.ends_with(request.version)) file.set(name, figures);
    if (of_machine != nullptr && of_machine->is_object() && of_machine->as_object().size() < kMostKept)
      for (const auto& [k, v] : of_machine->as_object())
        if (k != key) all.set(k, v);
    all.set(key, rates_json(rates));
    file.set(machine, std::move(all));
    write_json_file(cache, file);
  }
  return rates;
}

}  // namespace dsr1::runtime

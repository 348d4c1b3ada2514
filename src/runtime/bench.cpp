#include "dsr1/runtime/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <random>

#include "dsr1/io/page_cache.h"
#include "dsr1/runtime/cost.h"
#include "dsr1/runtime/fingerprint.h"
#include "dsr1/runtime/stats.h"

namespace dsr1::runtime {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

std::string now_rfc3339() {
  const std::time_t t = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&t, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

// Sum of the differences of a counter over several spans of time; the first span without a figure ends it.
template <class T>
void accumulate(Reading<double>& sum, const Reading<T>& before, const Reading<T>& after) {
  if (!sum.value) return;
  if (!before.value) sum = Reading<double>::none(before.reason);
  else if (!after.value) sum = Reading<double>::none(after.reason);
  else if (*after.value < *before.value) sum = Reading<double>::none("the counter went backwards");
  else *sum.value += static_cast<double>(*after.value) - static_cast<double>(*before.value);
}

Reading<double> per(const Reading<double>& sum, double divisor, const char* why_not = "nothing was measured") {
  if (!sum.value) return sum;
  return divisor > 0 ? Reading<double>(*sum.value / divisor) : Reading<double>::none(why_not);
}

}  // namespace

std::string BenchTest::name() const {
  std::string s;
  if (n_prompt > 0) s += "pp" + std::to_string(n_prompt);
  if (n_gen > 0) s += (s.empty() ? "tg" : "+tg") + std::to_string(n_gen);
  if (n_depth > 0) s += " @ d" + std::to_string(n_depth);
  return s;
}

std::vector<double> BenchRow::rates() const {
  std::vector<double> r;
  for (double s : seconds) r.push_back(static_cast<double>(test.tokens()) / s);
  return r;
}

double BenchRow::share_of_bandwidth() const {
  const double limit = median(probes.read_bytes_per_s);
  return limit > 0 && test.n_prompt == 0 && on_host ? bytes_per_token * median(rates()) / limit : 0;
}

double BenchRow::share_of_int8() const {
  const double limit = median(probes.int8_per_s);
  return limit > 0 && test.n_gen == 0 && on_host ? operations_per_token * median(rates()) / limit : 0;
}

struct Bench::Impl {
  BenchOptions options;
  EngineOptions engine_options;
  int n_batch = 0, n_ubatch = 0;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Session> session;
  ModelFacts facts;
  BenchModel model;
  std::unique_ptr<backend::CpuProbe> probe;
  std::function<double()> rehearsed_token;
  std::vector<int32_t> tokens;

  Status prompt(int64_t n) {
    EvalOptions o;
    o.cancel = options.cancel;
    return engine->eval(*session, std::span(tokens).first(static_cast<size_t>(n)), o,
                        [](int64_t, std::span<const float>) {});
  }
  // One token at a time, each a pass that ends in logits; the next token is fixed beforehand, so nothing is sampled.
  Status generate(int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      if (options.cancel != nullptr && options.cancel->load(std::memory_order_relaxed))
        return Error(ErrorCode::kInterrupted, "interrupted");
      const Work work[] = {
          {session.get(), std::span(tokens).subspan(static_cast<size_t>(i) % tokens.size(), 1), false, true}};
      DSR1_TRY_STATUS(engine->forward(work, options.cancel, [](int64_t, std::span<const float>) {}));
    }
    return {};
  }
  void run_probes(bool int8, ProbeSeries* out) {
    if (rehearsed_token) {
      rehearsed_token();  // its weights' addresses are not those of the file: the first pass finds them out
      double sum = 0;
      int n = 0;
      const auto begin = Clock::now();
      do sum += rehearsed_token();
      while (++n < 4 || seconds_since(begin) < 3 * options.probe_seconds);
      out->rehearsed_token_s.push_back(sum / n);  // the mean, as a repetition's time is one
    }
    if (!probe) return;
    out->read_bytes_per_s.push_back(probe->read_bytes_per_s(options.probe_seconds));
    if (int8) {
      const backend::ArithmeticRate r = probe->int8(options.probe_seconds / 2);
      out->int8_how = r.how;
      if (r.per_second > 0) out->int8_per_s.push_back(r.per_second);
    }
    if (const double hz = probe->clock_hz(options.probe_seconds / 5); hz > 0) out->clock_hz.push_back(hz);
  }
  Reading<double> residency() const {
    double held = 0, all = 0;
    const io::ModelFile& file = engine->file();
    if (file.is_copied()) return Reading<double>::none("the file was read into memory (no mmap)");
    for (size_t i = 0; i < file.files().size(); ++i) {
      const io::MappedFile& m = file.mapping(static_cast<uint32_t>(i));
      const auto share = io::resident_share(file.files()[i].path, m.bytes().data(), m.bytes().size());
      if (!share) return Reading<double>::none(share.error().message);
      held += *share * static_cast<double>(m.size());
      all += static_cast<double>(m.size());
    }
    return all > 0 ? Reading<double>(held / all) : Reading<double>::none("no file is mapped");
  }
};

Bench::Bench() : impl_(std::make_unique<Impl>()) {}
Bench::~Bench() = default;
const Engine& Bench::engine() const { return *impl_->engine; }
const ModelFacts& Bench::facts() const { return impl_->facts; }
void Bench::rehearse_with(std::function<double()> token) { impl_->rehearsed_token = std::move(token); }
backend::CpuProbe* Bench::probe() { return impl_->probe.get(); }

Result<std::unique_ptr<Bench>> Bench::open(const std::string& model, const EngineOptions& engine_options, int n_batch,
                                           int n_ubatch, const BenchOptions& options, const ProgressFn& loading) {
  std::unique_ptr<Bench> b(new Bench());
  Impl& i = *b->impl_;
  i.options = options;
  i.engine_options = engine_options;
  i.n_batch = n_batch;
  i.n_ubatch = n_ubatch;
  DSR1_TRY(i.engine, Engine::open(model, engine_options, loading));
  DSR1_TRY(i.session, i.engine->new_session());
  i.facts = facts_of(i.engine->file(), i.engine->model(), engine_options.load_mtp);
  i.model = describe_model(i.engine->file(), i.facts);
  i.model.sha256 = model_sha256(i.engine->file(), options.sha_cache, options.sha_most_bytes);
  if (options.probe_seconds > 0) {
    DSR1_TRY(i.probe, backend::CpuProbe::create(i.engine->n_threads()));
  }
  // The same tokens in every run of every program version: speed must not depend on the experts they choose.
  std::mt19937_64 rng(1);
  i.tokens.resize(static_cast<size_t>(i.engine->n_ctx()));
  for (int32_t& t : i.tokens) t = static_cast<int32_t>(rng() % static_cast<uint64_t>(i.facts.config.n_vocab));
  return b;
}

Result<BenchRow> Bench::run(const BenchTest& test, const ProgressFn& repetition_done) {
  Impl& i = *impl_;
  const int64_t needed = test.n_depth + test.tokens();
  if (needed > i.engine->n_ctx())
    return Error(ErrorCode::kDoesNotFit, "test " + test.name() + " needs a context of " + std::to_string(needed) +
                                             " tokens, " + std::to_string(i.engine->n_ctx()) + " are available");
  BenchRow row;
  row.model = i.model;
  row.test = test;
  row.on_host = i.session->on_host();
  row.backend = row.on_host ? "CPU" : "CUDA";
  row.device = i.engine->device_name();
  row.n_threads = i.engine->n_threads();
  row.n_batch = i.n_batch;
  row.n_ubatch = i.n_ubatch;
  row.type_k = i.engine->type_k();
  row.type_v = i.engine->type_v();
  row.use_mmap = i.engine_options.use_mmap;
  row.n_ctx = i.engine->n_ctx();
  row.kv_bytes = i.engine->plan().kv;
  row.build_commit = i.options.build_commit;
  if (test.n_gen > 0) {
    const double context = static_cast<double>(test.n_depth + test.n_prompt) + static_cast<double>(test.n_gen) / 2;
    row.bytes_per_token += static_cast<double>(test.n_gen) *
                           (weight_bytes_per_token(i.facts) + kv_bytes_read(i.facts, row.type_k, row.type_v, context));
  }
  if (test.n_prompt > 0) {
    const double context = static_cast<double>(test.n_depth) + static_cast<double>(test.n_prompt) / 2;
    const auto n = static_cast<double>(test.n_prompt);
    // A pass reads its weights once for all its tokens, and the cache before it once for all of them.
    const int64_t rows = std::min<int64_t>(test.n_prompt, i.engine->n_batch());
    row.bytes_per_token += n * (weight_bytes_per_token(i.facts, rows) +
                                kv_bytes_read(i.facts, row.type_k, row.type_v, context) / static_cast<double>(rows));
    row.operations_per_token = matrix_operations(i.facts, false) +
                               (matrix_operations(i.facts, true) - matrix_operations(i.facts, false)) / n +
                               attention_operations(i.facts, context, false);
  }

  row.bytes_per_token /= static_cast<double>(test.tokens());

  Session& s = *i.session;
  s.rewind(0);
  if (test.n_depth > 0) DSR1_TRY_STATUS(i.prompt(test.n_depth));
  if (i.options.warmup) {
    if (test.n_prompt > 0) DSR1_TRY_STATUS(i.prompt(std::min<int64_t>(test.n_prompt, i.n_ubatch)));
    if (test.n_gen > 0) DSR1_TRY_STATUS(i.generate(1));
    s.rewind(test.n_depth);
  }
  row.test_time = now_rfc3339();
  const bool int8 = test.n_prompt > 0;
  i.run_probes(int8, &row.probes);
  Reading<double> joules(0.0), disk(0.0), steal(0.0), cpu(0.0), throttled(0.0);
  double measured = 0;
  for (int r = 0; r < i.options.repetitions; ++r) {
    s.rewind(test.n_depth);  // what stands before is kept: the depth is evaluated once
    const MachineCounters before = read_machine_counters();
    const auto begin = Clock::now();
    if (test.n_prompt > 0) {
      DSR1_TRY_STATUS(i.prompt(test.n_prompt));
      row.prompt_seconds.push_back(seconds_since(begin));
    }
    if (test.n_gen > 0) DSR1_TRY_STATUS(i.generate(test.n_gen));
    row.seconds.push_back(seconds_since(begin));
    measured += row.seconds.back();
    const MachineCounters after = read_machine_counters();
    accumulate(joules, before.package_joules, after.package_joules);
    accumulate(disk, before.disk_read_bytes, after.disk_read_bytes);
    accumulate(steal, before.steal_seconds, after.steal_seconds);
    accumulate(cpu, before.cpu_seconds, after.cpu_seconds);
    accumulate(throttled, before.throttle_events, after.throttle_events);
    if (auto gpus = read_gpus(&row.no_gpu); !gpus.empty()) row.gpus.push_back(std::move(gpus));
    i.run_probes(int8, &row.probes);
    if (repetition_done) repetition_done(r + 1, i.options.repetitions);
  }
  const double tokens = static_cast<double>(test.tokens()) * i.options.repetitions;
  row.disk_bytes_per_token = per(disk, tokens);
  row.joules_per_token = per(joules, tokens);
  row.watts = per(joules, measured);
  row.steal_share = per(steal, cpu.value.value_or(0), "too short a run for the ticks of /proc/stat");
  row.throttle_events = throttled;
  row.page_cache_resident = i.residency();
  row.machine = read_machine_state();
  return row;
}

Status Bench::frontier(int64_t step, int64_t last, int64_t n_gen, const std::function<void(const FrontierRow&)>& give) {
  Impl& i = *impl_;
  if (last + n_gen > i.engine->n_ctx())
    return Error(ErrorCode::kDoesNotFit, "a frontier up to " + std::to_string(last) + " and " + std::to_string(n_gen) +
                                             " generated tokens need more than the context of " +
                                             std::to_string(i.engine->n_ctx()));
  Session& s = *i.session;
  s.rewind(0);
  if (i.options.warmup) {
    DSR1_TRY_STATUS(i.prompt(std::min<int64_t>(step, i.n_ubatch)));
    s.rewind(0);
  }
  for (int64_t at = step; at <= last; at += step) {
    FrontierRow row;
    row.ctx_tokens = at;
    row.prefill_tokens = at - s.n_past();
    auto begin = Clock::now();
    DSR1_TRY_STATUS(i.prompt(row.prefill_tokens));
    row.prefill_tps = static_cast<double>(row.prefill_tokens) / seconds_since(begin);
    row.gen_tokens = n_gen;
    begin = Clock::now();
    DSR1_TRY_STATUS(i.generate(n_gen));
    row.gen_tps = n_gen > 0 ? static_cast<double>(n_gen) / seconds_since(begin) : 0;
    s.rewind(at);
    row.kvcache_bytes =
        kv_bytes_per_token(i.facts.config, i.facts.n_cache_layers, i.engine->type_k(), i.engine->type_v()) *
        static_cast<uint64_t>(at);
    if (i.probe) row.read_bytes_per_s = i.probe->read_bytes_per_s(i.options.probe_seconds);
    give(row);
  }
  return {};
}

}  // namespace dsr1::runtime

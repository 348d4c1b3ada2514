// `dsr1 bench`: llama-bench's tests on our engine, with the machine's own limits measured beside them.
#include "dsr1/runtime/bench.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "command.h"
#include "dsr1/base/log.h"
#include "dsr1/runtime/bench_compare.h"
#include "dsr1/runtime/fit.h"
#include "dsr1/runtime/plot.h"
#include "dsr1/runtime/rehearsal.h"
#include "dsr1/runtime/tiers.h"
#include "file_sink.h"
#include "input.h"
#include "model_options.h"
#include "number_list.h"
#include "output.h"
#include "paths.h"
#include "signals.h"
#include "terminal.h"
#include "version.h"

namespace dsr1::cli {
namespace {

using runtime::BenchRow;
using runtime::BenchTest;

class BenchCommand final : public Command {
 public:
  CommandInfo info() const override {
    return {"bench",
            "how fast a model runs here",
            "Measures prompts (pp) and generation (tg) as llama-bench does, with its options and field names. Loading, "
            "tokenizing and "
            "sampling are not part of the times. Between the repetitions the memory and the integer arithmetic of this "
            "machine are probed, and each row says what share of them it reached. Options take several values, "
            "separated by commas or as ranges (128-512+128, 1-8*2); every combination is run. "
            "`bench compare A B` holds two JSON outputs against each other and refuses what is not comparable. "
            "`bench tiers` prints what each member of the family would do on typical machines.",
            {{"dsr1 bench model.gguf", "pp512 and tg128, five times each"},
             {"dsr1 bench a.gguf b.gguf -p 512 -n 64 -o json", "two models in one table, as JSON"},
             {"dsr1 bench model.gguf -p 0 -n 32 -d 0,8192,32768", "generation at growing contexts"},
             {"dsr1 bench model.gguf --frontier 16384", "instantaneous speed every 512 tokens"},
             {"dsr1 bench model.gguf -d 0,1024,4096 --plot speed.svg", "the same as a picture"},
             {"dsr1 bench tiers --write docs", "what runs on what, from arithmetic"},
             {"dsr1 bench compare before.json after.json", "is the difference real?"}}};
  }
  void declare(OptionTable& table) override {
    table.positional("MODEL", &models_, "GGUF files or Hugging Face directories; or: compare A.json B.json; or: tiers")
        .completes(Complete::kModel);
    table.section("Tests");
    table.add("-p,--n-prompt", "N", &prompts_, "tokens of a prompt test (default: 512)");
    table.add("-n,--n-gen", "N", &gens_, "tokens of a generation test (default: 128)");
    table.add("-pg,--pg", "PP,TG", &pairs_, "a prompt and then generation, timed together");
    table.add("-d,--n-depth", "N", &depths_, "tokens already in the context (default: 0)");
    table.add("-r,--repetitions", "N", &repetitions_, "times each test is run (default: 5)");
    table.add("--frontier", "N", &frontier_, "instead: prefill and generation at growing contexts up to N");
    table.add("--frontier-step", "N", &frontier_step_, "tokens between its rows (default: 512)");
    table.flag("--no-warmup", &no_warmup_, "no untimed run before each test");
    table.add("--delay", "SECONDS", &delay_, "rest between the tests (default: 0)");
    table.add("--probe-ms", "N", &probe_ms_,
              "length of the memory probe between repetitions; 0 switches the probes off (default: 100)");
    table.section("Output");
    table.add("-o,--output", "FORMAT", &output_, "md (default), json, jsonl or csv")
        .one_of({"md", "json", "jsonl", "csv"});
    table.flag("--predict", &predict_, "probe the kernels first where that is not kept, and predict every test");
    table.add("--plot", "FILE.svg", &plot_, "draw the speeds over the context").completes(Complete::kFile);
    table.add("--write", "DIR", &write_, "tiers: write hardware-tiers.md, .json and .svg there")
        .completes(Complete::kFile);
    table.flag("--force", &force_, "compare: also what differs in model, machine or clocks");
    table.flag("--progress", &progress_, "say on stderr which test runs");
    table.section("Model and machine");
    table.add("-m,--model", "PATH", &more_models_, "a model, as the positional argument").completes(Complete::kModel);
    table.add("-t,--threads", "N", &threads_, "threads (default: all usable cores)");
    table.add("-b,--batch-size", "N", &batches_, "most prompt tokens handed over at once (default: 2048)");
    table.add("-ub,--ubatch-size", "N", &ubatches_, "most tokens in one forward pass (default: 512)");
    table.add("-ctk,--cache-type-k", "TYPE", &types_k_, "type of cached keys: f16 (default), f32, q8_0");
    table.add("-ctv,--cache-type-v", "TYPE", &types_v_, "type of cached values, as -ctk");
    table.add("-ngl,--gpu-layers,--n-gpu-layers", "N", &one_.gpu_layers, "layers on the GPU: a number, auto or all");
    table.add("--device", "DEVICE", &one_.device, "auto, cpu, cuda, cuda:N, or ref, the slow scalar reference");
    table.add("--cpu-isa", "LEVEL", &one_.cpu_isa, "instruction set of the CPU (default: the best it has)")
        .one_of({"auto", "scalar", "avx2", "avx_vnni", "avx512", "avx512_vnni", "avx512_bf16", "avx512_fp16", "neon"});
    table.add("--expert-groups", "MODE", &one_.expert_groups, "group-limited expert choice, where the family has it")
        .one_of({"auto", "off"});
    table.flag("--mlock", &one_.mlock, "keep the weights in memory");
    table.flag("--no-mmap", &one_.no_mmap, "read the file instead of mapping it");
  }
  Status run() override;

 private:
  Result<std::vector<BenchTest>> tests() const;
  Status run_engine(const std::string& path, const ModelOptions& options, const std::vector<BenchTest>& tests,
                    const std::atomic<bool>* cancel);
  Status run_compare() const;
  Status run_tiers() const;
  void predict(runtime::MachineRates rates, const runtime::Bench& bench, BenchRow* row) const;
  Status draw() const;
  void give(BenchRow row);
  void finish() const;

  std::vector<std::string> models_, more_models_, prompts_, gens_, pairs_, depths_, threads_, batches_, ubatches_;
  std::vector<std::string> types_k_, types_v_;
  ModelOptions one_;
  std::string output_ = "md";
  int repetitions_ = 5, probe_ms_ = 100;
  int64_t frontier_ = 0, frontier_step_ = 512;
  float delay_ = 0;
  bool no_warmup_ = false, progress_ = false, force_ = false, predict_ = false;
  std::optional<std::string> plot_, write_;
  std::vector<BenchRow> rows_;
  std::vector<runtime::FrontierRow> frontier_rows_;
};

std::vector<std::string> or_default(const std::vector<std::string>& given, const char* value) {
  return given.empty() ? std::vector<std::string>{value} : given;
}

Result<std::vector<int64_t>> numbers(const std::vector<std::string>& given, const char* fallback, int64_t min,
                                     const char* option) {
  return parse_number_list(or_default(given, fallback), min).context(option);
}

Result<std::vector<BenchTest>> BenchCommand::tests() const {
  // As llama-bench: with -pg alone the two default tests run as well.
  DSR1_TRY(const auto prompts, numbers(prompts_, "512", 0, "-p"));
  DSR1_TRY(const auto gens, numbers(gens_, "128", 0, "-n"));
  DSR1_TRY(const auto depths, numbers(depths_, "0", 0, "-d"));
  auto parsed = parse_pairs(pairs_);
  DSR1_TRY(const auto pairs, std::move(parsed).context("-pg"));
  std::vector<BenchTest> all;
  for (int64_t d : depths) {
    for (int64_t p : prompts)
      if (p > 0) all.push_back({p, 0, d});
    for (int64_t n : gens)
      if (n > 0) all.push_back({0, n, d});
    for (const auto& [p, n] : pairs) all.push_back({p, n, d});
  }
  if (all.empty()) return Error(ErrorCode::kUsage, "no test: -p 0 and -n 0 leave nothing to run");
  return all;
}

Status BenchCommand::run_compare() const {
  if (models_.size() != 3)
    return Error(ErrorCode::kUsage, "bench compare needs two files: dsr1 bench compare A.json B.json");
  std::vector<Json> rows[2];
  for (size_t i = 0; i < 2; ++i) {
    DSR1_TRY(const std::string text, read_input_file(models_[i + 1]));
    auto parsed = runtime::parse_bench_rows(text);
    DSR1_TRY(rows[i], std::move(parsed).context(models_[i + 1]));
  }
  DSR1_TRY(const auto all, runtime::compare_benches(rows[0], rows[1], {.confidence = 0.99, .force = force_}));
  if (output_ == "json" || output_ == "jsonl") {
    Json list = Json::array();
    for (const runtime::Comparison& c : all) list.push(runtime::comparison_json(c));
    Output::get().write(list.dump(output_ == "json" ? 2 : -1) + "\n");
  } else {
    Output::get().write(runtime::comparison_text(all));
  }
  return {};
}

Status write_file(const std::string& path, const std::string& text) {
  FileSink sink;
  DSR1_TRY_STATUS(sink.open(path));
  DSR1_TRY_STATUS(sink.write(text.data(), text.size()));
  return sink.close();
}

Status BenchCommand::run_tiers() const {
  if (models_.size() != 1) return Error(ErrorCode::kUsage, "bench tiers takes no model: it shows the whole family");
  constexpr int64_t kContext = 8192;
  const auto rows = runtime::tier_rows(kContext);
  const std::string md = runtime::tiers_markdown(rows, kContext),
                    json = runtime::tiers_json(rows, kContext).dump(1) + "\n";
  if (!write_) {
    if (output_ != "md" && output_ != "json") return Error(ErrorCode::kUsage, "bench tiers: -o md or json");
    Output::get().write(output_ == "json" ? json : md);
    return {};
  }
  const std::string base = *write_ + "/hardware-tiers";
  DSR1_TRY_STATUS(write_file(base + ".md", md));
  DSR1_TRY_STATUS(write_file(base + ".json", json));
  return write_file(base + ".svg", runtime::tiers_svg(rows));
}

Status BenchCommand::draw() const {
  if (!plot_ || (rows_.empty() && frontier_rows_.empty())) return {};
  return write_file(*plot_, runtime::plot_svg(rows_, frontier_rows_));
}

// What the rates say of this test, at the speed that a rehearsal (or else memory) has in its own minutes; and the
// receipt of it.
void BenchCommand::predict(runtime::MachineRates rates, const runtime::Bench& bench, BenchRow* row) const {
  const BenchTest& t = row->test;
  if ((t.n_prompt > 0 && t.n_gen > 0) || (t.n_prompt > 0 && t.n_depth > 0)) return;  // neither one thing nor the other
  const double then = rates.read_median(), now = runtime::median(row->probes.read_bytes_per_s);
  double scale = then > 0 && now > 0 ? now / then : 1;
  if (row->probes.rehearsed_token_s.size() > 1) {
    // A repetition lies between two of the probes: what it can expect is their mean.
    const std::vector<double>& probes = row->probes.rehearsed_token_s;
    std::vector<double> expected;
    for (size_t r = 0; r + 1 < probes.size(); ++r) expected.push_back((probes[r] + probes[r + 1]) / 2);
    const double slower = runtime::median(expected) / rates.token_s;
    for (double* s : {&rates.token_s, &rates.token_s_per_key, &rates.prompt_s, &rates.prompt_s_per_key}) *s *= slower;
    scale = 1;
  }
  runtime::Fit fit;
  fit.facts = bench.facts();
  fit.type_k = row->type_k;
  fit.type_v = row->type_v;
  fit.runs = fit.fits = true;
  const double context = static_cast<double>(t.n_depth) + static_cast<double>(t.n_gen) / 2;
  const runtime::Prediction p = runtime::predict_on(rates, fit, context, std::max<int64_t>(t.n_prompt, 1), scale);
  const runtime::Interval& i = t.n_gen > 0 ? p.decode : p.prefill;
  if (!i.known()) return;
  row->predicted_ts = {i.low, i.mid, i.high};
  if (const auto dir = state_dir(); !dir.empty())
    runtime::store_receipt(dir / "receipts", {rates.machine, row->model.type, t.n_gen > 0 ? "tg" : "pp", i.mid,
                                              runtime::median(row->rates())});
}

Status BenchCommand::run() {
  if (!models_.empty() && models_[0] == "compare") return run_compare();
  if (!models_.empty() && models_[0] == "tiers") return run_tiers();
  if (repetitions_ < 1 || repetitions_ > 100000) return Error(ErrorCode::kUsage, "--repetitions must be 1 to 100000");
  if (probe_ms_ < 0 || probe_ms_ > 60000) return Error(ErrorCode::kUsage, "--probe-ms must be 0 to 60000");
  if (!(delay_ >= 0 && delay_ < 1e6f)) return Error(ErrorCode::kUsage, "--delay must be 0 or more");
  if (frontier_ != 0 && (frontier_step_ < 1 || frontier_ < frontier_step_))
    return Error(ErrorCode::kUsage, "--frontier must be at least --frontier-step, and that at least 1");
  DSR1_TRY(const std::vector<BenchTest> all, tests());
  DSR1_TRY(const auto threads, numbers(threads_, "0", 0, "-t"));
  DSR1_TRY(const auto batches, numbers(batches_, "2048", 1, "-b"));
  DSR1_TRY(const auto ubatches, numbers(ubatches_, "512", 1, "-ub"));
  std::vector<std::string> names = models_;
  names.insert(names.end(), more_models_.begin(), more_models_.end());
  std::vector<std::string> paths;
  for (const std::string& n : names) {
    DSR1_TRY(std::string path, resolve_model(n, false));
    paths.push_back(std::move(path));
  }
  if (paths.empty()) {
    DSR1_TRY(std::string path, resolve_model(std::nullopt, false));
    paths.push_back(std::move(path));
  }
  std::vector<std::string> types_k, types_v;
  const auto split_types = [](const std::vector<std::string>& given, std::vector<std::string>* out) {
    for (const std::string& text : given)
      for (size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
        end = text.find(',', begin);
        out->push_back(text.substr(begin, end - begin));
      }
    if (out->empty()) out->push_back("");
  };
  split_types(types_k_, &types_k);
  split_types(types_v_, &types_v);

  if (plot_) DSR1_TRY_STATUS(check_can_create(*plot_));
  const Interruptible interruptible;
  Status status;
  for (const std::string& path : paths)
    for (int64_t b : batches)
      for (int64_t ub : ubatches)
        for (const std::string& k : types_k)
          for (const std::string& v : types_v)
            for (int64_t t : threads) {
              if (!status) break;
              ModelOptions o = one_;
              o.n_batch = static_cast<int>(std::min<int64_t>(b, 1 << 30));
              o.n_ubatch = static_cast<int>(std::min<int64_t>(ub, 1 << 30));
              o.n_threads = static_cast<int>(std::min<int64_t>(t, 1 << 30));
              if (!k.empty()) o.type_k = k;
              if (!v.empty()) o.type_v = v;
              // One type for both where only one is named: this engine's caches have one.
              if (!k.empty() && v.empty() && types_v_.empty()) o.type_v = k;
              if (!v.empty() && k.empty() && types_k_.empty()) o.type_k = v;
              status = run_engine(path, o, all, interruptible.flag());
            }
  finish();
  const Status drawn = draw();
  return status ? drawn : status;
}

Status BenchCommand::run_engine(const std::string& path, const ModelOptions& options,
                                const std::vector<BenchTest>& tests, const std::atomic<bool>* cancel) {
  DSR1_TRY(runtime::EngineOptions engine, options.engine_options());
  int64_t context = frontier_ > 0 ? frontier_ + 128 : 0;
  for (const BenchTest& t : tests)
    if (frontier_ == 0) context = std::max(context, t.n_depth + t.tokens());
  engine.n_ctx = (context + 255) / 256 * 256;
  runtime::BenchOptions o;
  o.repetitions = repetitions_;
  o.warmup = !no_warmup_;
  o.probe_seconds = probe_ms_ / 1000.0;
  if (const auto dir = cache_dir(); !dir.empty()) o.sha_cache = dir / "sha256.json";
  o.build_commit = commit_id();
  o.cancel = cancel;
  std::unique_ptr<runtime::Bench> bench;
  {
    ProgressBar bar("loading");
    DSR1_TRY(bench, runtime::Bench::open(path, engine, options.n_batch, options.n_ubatch, o,
                                         [&](int64_t done, int64_t total) { bar.update(done, total); }));
  }
  if (frontier_ > 0) {
    ProgressBar bar("frontier");
    int64_t n_gen = 32;
    if (!gens_.empty()) {
      DSR1_TRY(const auto gens, numbers(gens_, "32", 0, "-n"));
      n_gen = std::min<int64_t>(gens.front(), 128);
    }
    return bench->frontier(frontier_step_, frontier_, n_gen, [&](const runtime::FrontierRow& row) {
      bar.update(row.ctx_tokens, frontier_);
      frontier_rows_.push_back(row);
      if (output_ == "jsonl") Output::get().show(runtime::frontier_json(row).dump() + "\n");
    });
  }
  std::optional<runtime::MachineRates> rates;
  if (engine.device != "ref" && bench->engine().plan().total() <= bench->engine().plan().available) {
    runtime::RateRequest r;
    r.cpu_isa = options.cpu_isa;
    r.n_threads = options.n_threads;
    r.version = commit_id();
    r.kept_only = !predict_;
    const auto dir = cache_dir();
    auto kept =
        runtime::machine_rates(bench->facts(), bench->engine().type_k(), r, dir.empty() ? dir : dir / "rates.json");
    if (kept) rates = std::move(*kept);
    else if (predict_) return Error(std::move(kept).error());
  }
  std::unique_ptr<runtime::Rehearsal> rehearsal;
  if (rates && predict_) {
    DSR1_TRY(rehearsal, runtime::Rehearsal::create(bench->facts(), {.cpu_isa = options.cpu_isa,
                                                                    .n_threads = bench->engine().n_threads(),
                                                                    .type_k = bench->engine().type_k(),
                                                                    .n_ctx = 1,
                                                                    .n_rows = 1,
                                                                    .n_layer = 0}));
    bench->rehearse_with([&] { return rehearsal->token(0); });
  }
  for (const BenchTest& t : tests) {
    const std::string label =
        std::to_string(&t - tests.data() + 1) + "/" + std::to_string(tests.size()) + " " + t.name();
    if (progress_) to_stderr("dsr1: bench: " + label + ": starting\n");
    ProgressBar bar(label);
    DSR1_TRY(BenchRow row, bench->run(t, [&](int64_t done, int64_t total) { bar.update(done, total); }));
    if (rates) predict(*rates, *bench, &row);
    give(std::move(row));
    if (delay_ > 0) std::this_thread::sleep_for(std::chrono::duration<float>(delay_));
  }
  return {};
}

void BenchCommand::give(BenchRow row) {
  if (output_ == "jsonl") Output::get().show(runtime::bench_json(row).dump() + "\n");
  if (output_ == "csv") Output::get().show(runtime::bench_csv({row}, rows_.empty()));
  rows_.push_back(std::move(row));
}

// What is printed at the end, of all that was measured (also when it was interrupted).
void BenchCommand::finish() const {
  if (rows_.empty() && frontier_rows_.empty()) return;
  if (output_ == "json") {
    Json all = Json::array();
    for (const BenchRow& r : rows_) all.push(runtime::bench_json(r));
    for (const runtime::FrontierRow& r : frontier_rows_) all.push(runtime::frontier_json(r));
    Output::get().write(all.dump(2) + "\n");
  }
  if (!frontier_rows_.empty() && (output_ == "md" || output_ == "csv"))
    Output::get().write(output_ == "csv" ? runtime::frontier_csv(frontier_rows_)
                                         : runtime::frontier_markdown(frontier_rows_));
  if (!rows_.empty() && output_ == "md") Output::get().write(runtime::bench_markdown(rows_));
}

}  // namespace

std::unique_ptr<Command> make_bench() { return std::make_unique<BenchCommand>(); }

}  // namespace dsr1::cli

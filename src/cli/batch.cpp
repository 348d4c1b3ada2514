// `dsr1 batch`: a file of prompts, answered, whatever happens in between.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "batch_plan.h"
#include "batch_run.h"
#include "command.h"
#include "dsr1/base/log.h"
#include "dsr1/base/sha256.h"
#include "dsr1/io/mapped_file.h"
#include "dsr1/runtime/fingerprint.h"
#include "generation_options.h"
#include "input.h"
#include "model_options.h"
#include "output.h"
#include "paths.h"
#include "signals.h"
#include "version.h"

namespace dsr1::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kDefaultParallel = 16;

class BatchCommand final : public Command {
 public:
  CommandInfo info() const override {
    return {"batch",
            "answer a file of prompts",
            "Reads one request a line (the format of OpenAI's batch files), or with --text one prompt a line, or with "
            "--csv one prompt a record, and writes one line for each to OUT. Several rows are worked on at once; what "
            "their prompts begin with alike is read once. Each row is on the disk before it counts as done: after a "
            "crash, a full disk or Ctrl-C the same command with --resume does the rest, and the result is the same. "
            "Rows that fail go to OUT.errors.jsonl and make exit code 5. A row's answer depends on the row, the model, "
            "the settings and the seed alone.",
            {{"dsr1 batch -i in.jsonl -o out.jsonl model.gguf", "OpenAI batch lines"},
             {"dsr1 batch -i in.jsonl -o out.jsonl --resume model.gguf", "go on where it stopped"},
             {"dsr1 batch --text -i prompts.txt -o out.jsonl --think off -n 200", "a prompt a line"},
             {"dsr1 batch --csv question -i table.csv -o out.jsonl --ordered", "a column, answers in its order"},
             {"dsr1 batch -i in.jsonl --dry-run model.gguf", "rows, tokens and time; runs nothing"},
             {"cat in.jsonl | dsr1 batch -i - -o out.jsonl --best-of 5", "five answers each, majority vote"}}};
  }
  void declare(OptionTable& table) override;
  Status run() override;

 private:
  Status check_options() const;
  Status read_manifest();
  Json settings_json(const runtime::Engine& engine, const runtime::GenerateOptions& options) const;
  Status open_outputs(const Manifest& manifest, const InputFacts& facts, RowMaker& maker);
  Status scan(RowFile& file, bool errors, RowMaker& maker);
  BatchFormat format() const { return text_ ? BatchFormat::kText : csv_ ? BatchFormat::kCsv : BatchFormat::kOpenAi; }
  std::string manifest_path() const { return *output_ + ".manifest.json"; }
  std::string errors_path() const { return errors_.value_or(*output_ + ".errors.jsonl"); }

  ModelOptions model_;
  GenerationOptions generation_;
  std::optional<std::string> positional_model_, input_, output_, errors_, csv_, system_, system_file_;
  bool text_ = false, resume_ = false, ordered_ = false, dry_run_ = false, raw_ = false, json_ = false,
       verbose_ = false;
  int n_parallel_ = 0, samples_ = 1, best_of_ = 0;
  int64_t limit_ = -1;

  std::optional<Manifest> then_;  // of the run that --resume goes on with
  BatchOutputs outputs_;
};

void BatchCommand::declare(OptionTable& table) {
  table.positional("MODEL", &positional_model_, "a GGUF file or a Hugging Face directory").completes(Complete::kModel);
  table.section("Rows");
  table.add("-i,--input", "FILE", &input_, "the rows; - is standard input").completes(Complete::kFile);
  table.flag("--text", &text_, "each line is a prompt");
  table.add("--csv", "COLUMN", &csv_, "each record's field in this column is a prompt");
  table.add("--limit", "N", &limit_, "only the first N rows");
  table.add("-sys,--system-prompt", "TEXT", &system_, "system prompt of rows that have none");
  table.add("-sysf,--system-prompt-file", "FILE", &system_file_, "read it from a file").completes(Complete::kFile);
  table.flag("--raw", &raw_, "--text and --csv: no chat format, go on with the text as it is");
  table.section("Output");
  table.add("-o,--output", "FILE", &output_, "answers, a JSON line each; what exists is never overwritten")
      .completes(Complete::kFile);
  table.add("--errors", "FILE", &errors_, "rows that failed (default: the output's name with .errors.jsonl)")
      .completes(Complete::kFile);
  table.flag("--resume", &resume_, "go on with an output that was begun");
  table.flag("--ordered", &ordered_, "write rows in the order of the input");
  table.flag("--dry-run", &dry_run_, "count rows and tokens, estimate the time, run nothing");
  table.flag("--json", &json_, "--dry-run: one JSON object");
  table.flag("--verbose", &verbose_, "counts and speed on stderr at the end, also where that is no terminal");
  table.section("Work");
  table.add("-np,--parallel", "N", &n_parallel_, "rows worked on at once (default: 16, fewer where memory is short)");
  table.add("--samples", "N", &samples_, "answers a row, for rows without n (default: 1)");
  table.add("--best-of", "N", &best_of_, "of N answers keep the one that most agree with (\\boxed{} or last line)");
  generation_.declare(table);
  model_.declare(table, "context of each row, in tokens (default: the model's, at most 32768, and what fits)");
}

Status BatchCommand::check_options() const {
  auto contradiction = [](const std::string& a, const std::string& b) {
    return Error(ErrorCode::kUsage, a + " contradicts " + b);
  };
  if (!input_) return Error(ErrorCode::kUsage, "no input: name the file of rows with -i FILE, or -i - for a pipe");
  if (!output_ && !dry_run_) return Error(ErrorCode::kUsage, "no output: name the file for the answers with -o FILE");
  if (output_ == "-" || output_ == "/dev/stdout")
    return Error(ErrorCode::kUsage, "--output must be a file that a later run can go on with, not standard output");
  if (text_ && csv_) return contradiction("--text", "--csv");
  if (raw_ && format() == BatchFormat::kOpenAi)
    return Error(ErrorCode::kUsage, "--raw goes with --text or --csv; in a batch file url /v1/completions says it");
  if (raw_ && (system_ || system_file_)) return contradiction("--raw", "a system prompt");
  if (raw_ && generation_.chat) return contradiction("--raw", "--chat");
  if (system_ && system_file_) return contradiction("--system-prompt", "--system-prompt-file");
  if (dry_run_ && resume_) return contradiction("--dry-run", "--resume");
  if (json_ && !dry_run_) return Error(ErrorCode::kUsage, "--json goes with --dry-run; OUT holds JSON lines anyway");
  if (samples_ > 1 && best_of_ > 0) return contradiction("--samples", "--best-of");
  for (const auto& [name, value, low] :
       {std::tuple{"--samples", samples_, 1}, {"--best-of", best_of_, 0}, {"--parallel", n_parallel_, 0}})
    if (value < low || value > (name[2] == 'p' ? 4096 : kMostChoices))
      return Error(ErrorCode::kUsage, std::string(name) + " must be between 1 and " +
                                          std::to_string(name[2] == 'p' ? 4096 : kMostChoices) + ", found " +
                                          std::to_string(value));
  if (limit_ < -1) return Error(ErrorCode::kUsage, "--limit must be 0 or more, found " + std::to_string(limit_));
  if (!output_) return {};
  std::error_code ec;
  auto same = [&](const std::string& a, const std::string& b) {
    return fs::equivalent(a, b, ec) || fs::absolute(a, ec).lexically_normal() == fs::absolute(b, ec).lexically_normal();
  };
  if (same(*output_, *input_)) return Error(ErrorCode::kUsage, "input and output are the same file: " + *output_);
  if (same(errors_path(), *input_)) return Error(ErrorCode::kUsage, "input and --errors are the same file");
  if (same(errors_path(), *output_)) return Error(ErrorCode::kUsage, "--output and --errors are the same file");
  return {};
}

// What --resume goes on with; nothing where there is nothing yet.
Status BatchCommand::read_manifest() {
  std::error_code ec;
  const bool has_output = fs::exists(*output_, ec), has_manifest = fs::exists(manifest_path(), ec);
  if (!resume_) {
    for (const std::string& path : {*output_, errors_path()})
      if (fs::exists(path, ec))
        return Error(ErrorCode::kUsage, path + " exists; --resume goes on with it, another name starts anew");
    return {};
  }
  // A manifest alone is what is left of a batch whose rows were removed.
  if ((!has_output || fs::file_size(*output_, ec) == 0) && !fs::exists(errors_path(), ec) &&
      !(has_output && has_manifest))
    return {};
  if (!has_manifest) {
    return Error(ErrorCode::kUsage, "--resume: " + *output_ + " has no manifest (" + manifest_path() +
                                        ") that says which batch it belongs to");
  }
  DSR1_TRY(const std::string text, io::read_text_file(manifest_path(), 16 << 20));
  auto manifest = Manifest::parse(text);
  if (!manifest) return Error(manifest.error().code, manifest_path() + ": " + manifest.error().text());
  then_ = std::move(*manifest);
  return {};
}

Json BatchCommand::settings_json(const runtime::Engine& engine, const runtime::GenerateOptions& o) const {
  const runtime::SamplerParams& s = o.sampler;
  const auto number = short_number;
  Json j = Json::object();
  j.set("format", text_ ? "text" : csv_ ? "csv" : "openai");
  if (csv_) j.set("column", *csv_);
  if (raw_) j.set("raw", true);
  if (ordered_) j.set("ordered", true);
  if (samples_ != 1) j.set("samples", samples_);
  if (best_of_ > 0) j.set("best-of", best_of_);
  if (system_) j.set("system-prompt", *system_);
  if (!raw_ || format() == BatchFormat::kOpenAi) {
    const auto chat = generation_.chat_template(engine.file());
    j.set("chat", chat ? Json(chat->name()) : Json());
    j.set("think", generation_.think == "hide" ? "auto" : generation_.think);
  }
  if (generation_.parse_special) j.set("parse-special", true);
  const std::string device = engine.device_name();
  j.set("device", device.substr(0, device.find(' ')));
  j.set("ctx-size", engine.n_ctx());
  j.set("cache-type-k", dtype_name(engine.type_k())).set("cache-type-v", dtype_name(engine.type_v()));
  j.set("expert-groups", model_.expert_groups);
  j.set("on-context-full", generation_.on_context_full);
  j.set("seed", s.seed);
  j.set("predict", o.n_predict).set("think-budget", o.think_budget).set("answer-budget", o.answer_budget);
  j.set("temp", number(s.temperature)).set("top-k", s.top_k).set("top-p", number(s.top_p));
  j.set("min-p", number(s.min_p)).set("typical", number(s.typical_p)).set("top-nsigma", number(s.top_n_sigma));
  j.set("repeat-last-n", s.repeat_last_n).set("repeat-penalty", number(s.repeat_penalty));
  j.set("presence-penalty", number(s.presence_penalty)).set("frequency-penalty", number(s.frequency_penalty));
  j.set("dry", Json(Json::Array{number(s.dry_multiplier), number(s.dry_base), s.dry_allowed_length,
                                s.dry_penalty_last_n, static_cast<int64_t>(s.dry_breakers.size())}));
  j.set("xtc", Json(Json::Array{number(s.xtc_probability), number(s.xtc_threshold)}));
  j.set("dynatemp", Json(Json::Array{number(s.dynatemp_range), number(s.dynatemp_exponent)}));
  j.set("mirostat", Json(Json::Array{s.mirostat, number(s.mirostat_tau), number(s.mirostat_eta)}));
  Json stops = Json::array(), bias = Json::array();
  for (const std::string& stop : o.stop) stops.push(stop);
  for (const std::string& b : generation_.logit_bias) bias.push(b);
  j.set("stop", std::move(stops)).set("logit-bias", std::move(bias));
  if (generation_.redact)
    if (const auto rules = read_input_file(*generation_.redact)) j.set("redact", sha256_hex(*rules));
  j.set("ignore-eos", o.ignore_eos).set("loop-check", o.detect_loops);
  return j;
}

// Which lines an earlier run is done with.
Status BatchCommand::scan(RowFile& file, bool errors, RowMaker& maker) {
  return file.repair([&](const Json& line) -> Status {
    const Json* holder = errors ? line.find("error") : line.find("response");
    if (!errors && holder != nullptr) holder = holder->find("body");
    if (!errors && holder != nullptr) holder = holder->find("dsr1");
    const Json* number = holder != nullptr ? holder->find("line") : nullptr;
    const Json* name = line.find("custom_id");
    if (number == nullptr || !number->fits_int64() || number->as_int64() < 1 ||
        number->as_int64() >= static_cast<int64_t>(outputs_.done.size()) || name == nullptr)
      return Error(ErrorCode::kRuntime, "no row of this batch");
    const auto at = static_cast<size_t>(number->as_int64());
    if (outputs_.done[at]) return Error(ErrorCode::kRuntime, "input line " + std::to_string(at) + " is there twice");
    outputs_.done[at] = true;
    ++(errors ? outputs_.failed_rows : outputs_.done_rows);
    const Json* code = errors ? holder->find("code") : nullptr;
    const bool duplicate = code != nullptr && code->is_string() && code->as_string() == "duplicate_custom_id";
    if (name->is_string() && !duplicate) maker.remember(name->as_string());
    return {};
  });
}

Status BatchCommand::open_outputs(const Manifest& manifest, const InputFacts& facts, RowMaker& maker) {
  const auto begin = resume_ ? RowFile::Begin::kGoOn : RowFile::Begin::kNew;
  outputs_.errors_path = errors_path();
  DSR1_TRY_STATUS(outputs_.out.open(*output_, begin));
  outputs_.done.assign(static_cast<size_t>(facts.lines) + 2, false);
  if (!then_) {
    if (Status written = write_whole_file(manifest_path(), manifest.json().dump(2) + "\n"); !written) {
      outputs_.out.discard();
      return written;
    }
  } else {
    DSR1_TRY_STATUS(scan(outputs_.out, false, maker));
    std::error_code ec;
    if (fs::exists(errors_path(), ec)) {
      DSR1_TRY_STATUS(outputs_.errors.open(errors_path(), RowFile::Begin::kGoOn));
      DSR1_TRY_STATUS(scan(outputs_.errors, true, maker));
    }
  }
  DSR1_TRY_STATUS(outputs_.stats.open(*output_ + ".stats.jsonl", RowFile::Begin::kGoOn));
  return outputs_.stats.repair([](const Json&) { return Status(); });
}

// Plain continuations need no chat format; that a model has none is said at once, not once a row.
bool first_row_chats(BatchInput& input) {
  BatchRecord record;
  const auto more = input.next(record);
  const bool chats = more && *more && !record.error && parse_batch_row(record.text).row.chat;
  input.rewind();
  return chats;
}

Status BatchCommand::run() {
  const Interruptible interruptible;
  DSR1_TRY_STATUS(check_options());
  DSR1_TRY(const auto typed, one_model(model_.model, positional_model_));
  DSR1_TRY(const std::string path, resolve_model(typed, false));
  if (system_file_) {
    DSR1_TRY(std::string text, read_input_file(*system_file_));
    if (text.ends_with('\n')) text.pop_back();
    system_ = std::move(text);
  }
  if (output_ && !dry_run_) DSR1_TRY_STATUS(read_manifest());
  const auto stopped = [&] {
    return Error(ErrorCode::kResumable, "stopped before the first row; the same command starts anew");
  };
  DSR1_TRY(auto input, BatchInput::open(*input_, format(), csv_.value_or("")));
  auto surveyed = input->survey(interruptible.flag());
  if (!surveyed) return surveyed.error().code == ErrorCode::kInterrupted ? stopped() : Error(surveyed.error());
  const InputFacts& facts = *surveyed;

  auto then_number = [&](const char* key) -> std::optional<int64_t> {
    const Json* v = then_ ? then_->settings.find(key) : nullptr;
    return v != nullptr && v->fits_int64() ? std::optional(v->as_int64()) : std::nullopt;
  };
  DSR1_TRY(runtime::EngineOptions engine_options, model_.engine_options());
  if (engine_options.n_ctx == 0) engine_options.n_ctx = then_number("ctx-size").value_or(0);
  DSR1_TRY(auto engine, open_engine_for_many(path, engine_options, n_parallel_, dry_run_ ? 1 : kDefaultParallel));
  DSR1_TRY(const text::Tokenizer* tokenizer, tokenizer_of(*engine));
  GenerationOptions generation = generation_;
  if (generation.seed == -1) generation.seed = then_number("seed").value_or(-1);
  DSR1_TRY(runtime::GenerateOptions options, generation.make(*tokenizer));

  BatchSettings settings;
  settings.options = options;
  settings.thinking = generation_.thinking();
  settings.system = system_;
  settings.raw = raw_;
  settings.parse_special = generation_.parse_special;
  settings.samples = samples_;
  settings.best_of = best_of_;
  settings.model = fs::path(path).stem().string();
  settings.format = format();
  if (!raw_) {
    auto chat = generation_.chat_template(engine->file());
    if (chat) settings.chat = *chat;
    else if (format() != BatchFormat::kOpenAi || generation_.chat || first_row_chats(*input))
      return Error(chat.error());
  }
  const bool names = format() == BatchFormat::kOpenAi;
  RowMaker maker(*tokenizer, settings, engine->n_ctx(), names ? static_cast<size_t>(facts.long_lines) : 0);
  if (dry_run_)
    return plan_batch(*engine, *input, maker, n_parallel_ > 0 ? n_parallel_ : kDefaultParallel, limit_, json_,
                      interruptible.flag());

  Manifest manifest;
  manifest.input_sha256 = facts.sha256;
  manifest.input_bytes = facts.bytes;
  manifest.model = settings.model;
  manifest.version = "dsr1 " + version_number() + " (" + commit_id() + ")";
  const fs::path kept = cache_dir().empty() ? fs::path() : cache_dir() / "sha256.json";
  ProgressBar hashing("hashing the model, once");
  const auto digest = runtime::model_sha256(engine->file(), kept, UINT64_MAX, [&](int64_t done, int64_t total) {
    hashing.update(done, total);
    return !interruptible.interrupted();
  });
  hashing.clear();
  manifest.model_sha256 = digest.value.value_or("");
  if (interruptible.interrupted()) return stopped();
  manifest.settings = settings_json(*engine, options);
  manifest.make_id();
  if (then_) {
    DSR1_TRY_STATUS(check_same(*then_, manifest));
    if (then_->version != manifest.version)
      log_warn("this batch was begun by " + then_->version + "; rows from now on are by " + manifest.version);
    manifest.id = then_->id;
    manifest.created = then_->created;
  }
  DSR1_TRY_STATUS(open_outputs(manifest, facts, maker));

  DSR1_TRY(auto scheduler, runtime::Scheduler::create(*engine, engine->plan().n_sessions));
  BatchRun batch(*engine, *scheduler, *input, facts, maker, manifest, outputs_,
                 {.ordered = ordered_, .limit = limit_, .cancel = interruptible.flag()});
  const std::string start = engine->device_name() + ", " + std::to_string(engine->plan().n_sessions) +
                            " rows at once, context " + std::to_string(engine->n_ctx()) + " tokens each, seed " +
                            std::to_string(options.sampler.seed);
  const bool watched = is_terminal(STDERR_FILENO);
  if (watched || verbose_) to_stderr(start + "\n");
  else log_info(start);
  DSR1_TRY_STATUS(batch.run());
  const BatchTotals& t = batch.totals();
  const auto& c = scheduler->counts();
  if (watched || verbose_) {
    auto rate = [&](int64_t n) {
      return t.seconds > 0 ? static_cast<int64_t>(static_cast<double>(n) / t.seconds) : int64_t{0};
    };
    to_stderr(std::to_string(t.rows) + " rows in " + human_seconds(t.seconds) + ": " + std::to_string(c.prompt) +
              " prompt tokens read" + (c.shared > 0 ? " (" + std::to_string(c.shared) + " shared)" : "") + ", " +
              std::to_string(c.generated) + " generated, " + std::to_string(rate(c.prompt + c.generated)) +
              " tokens/s; answers in " + *output_ + "\n");
  }
  const int64_t failed = outputs_.failed_rows + t.failed;
  if (failed == 0) return {};
  return Error(ErrorCode::kBatchFailed, std::to_string(failed) + (failed == 1 ? " row" : " rows") + " failed of " +
                                            std::to_string(failed + outputs_.done_rows + t.rows) + "; see " +
                                            errors_path());
}

}  // namespace

std::unique_ptr<Command> make_batch() { return std::make_unique<BatchCommand>(); }

}  // namespace dsr1::cli

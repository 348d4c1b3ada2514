// `dsr1 fit`: will it fit, where does each part go, how fast, and why.
#include "dsr1/runtime/fit.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "command.h"
#include "dsr1/backend/cpu.h"
#include "dsr1/backend/probe.h"
#include "dsr1/base/cpu_placement.h"
#include "dsr1/base/log.h"
#include "dsr1/base/thread_pool.h"
#include "dsr1/io/model_file.h"
#include "dsr1/runtime/engine.h"
#include "dsr1/runtime/family.h"
#include "dsr1/runtime/machine.h"
#include "dsr1/runtime/stats.h"
#include "dsr1/runtime/vocab_loader.h"
#include "model_options.h"
#include "output.h"
#include "paths.h"
#include "version.h"

namespace dsr1::cli {
namespace {

using runtime::Fit;
using runtime::Interval;

std::string fixed(double v, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, v);
  return text;
}
std::string size(uint64_t bytes) { return human_bytes(static_cast<double>(bytes)); }
std::string speed(double v) { return fixed(v, v < 10 ? 2 : v < 100 ? 1 : 0); }

class FitCommand final : public Command {
 public:
  CommandInfo info() const override {
    return {
        "fit",
        "will a model fit, and how fast will it be",
        "Plans the memory of a model exactly as loading it would, says where each part goes, and predicts its speed "
        "from a probe of this machine (some seconds, kept for the next time). MODEL is a GGUF file (its header alone "
        "is enough), a Hugging Face directory, or the name of a published member of the family with its "
        "quantization: nothing is downloaded. With --what-if the answer is for a machine described by words such as "
        "gpu=24GiB,1008GB/s,165TFLOPS ram=128GiB,80GB/s disk=7GB/s.",
        {{"dsr1 fit model.gguf", "this file on this machine"},
         {"dsr1 fit DeepSeek-R1-Distill-Qwen-32B:Q4_K_M", "a file you do not have yet"},
         {"dsr1 fit deepseek-r1:671b --what-if gpu=24GiB,1008GB/s ram=512GiB,300GB/s disk=7GB/s",
          "a machine you do not have yet"}}};
  }
  void declare(OptionTable& table) override {
    table.positional("MODEL", &words_, "a file, a directory or a published model's name; words of --what-if may follow")
        .completes(Complete::kModel);
    table.section("Question");
    table.add("--what-if", "WORD", &what_if_, "another machine: gpu=SIZE,RATE ram=SIZE,RATE disk=RATE");
    table.add("-p,--n-prompt", "N", &n_prompt_, "prompt length of the predictions (default: 512)");
    table.flag("--probe", &fresh_, "probe this machine anew");
    table.flag("--no-probe", &no_probe_, "memory only, no prediction unless a probe is kept");
    table.flag("--list", &list_, "list the published models and quantizations that are known by name");
    table.section("Output");
    table.flag("--json", &json_, "print one JSON object");
    options_.declare(table, "context (default: the model's, at most 32768, at most what fits)");
  }
  Status run() override;

 private:
  Result<runtime::ModelFacts> facts(const std::string& name);
  Status predict(Fit* fit, const std::string& path);
  std::string text(const Fit& fit) const;

  std::vector<std::string> words_, what_if_;
  ModelOptions options_;
  int64_t n_prompt_ = 512;
  bool fresh_ = false, no_probe_ = false, list_ = false, json_ = false;
  std::optional<std::string> path_;  // of a model that is here
  // Held while the free memory is asked for, as loading holds them by then.
  std::optional<io::ModelFile> file_;
  std::unique_ptr<model::Model> model_;
  std::optional<Result<text::Tokenizer>> tokenizer_;
  std::string past_, long_context_;
};

bool is_what_if_word(const std::string& w) {
  return w.starts_with("gpu=") || w.starts_with("ram=") || w.starts_with("disk=");
}

Result<runtime::ModelFacts> FitCommand::facts(const std::string& name) {
  auto path = resolve_model(name, false);
  if (!path) {
    const runtime::FamilyName known = runtime::find_family_member(name);
    if (known.member == nullptr)
      return Error(ErrorCode::kModel,
                   "no model file or directory '" + name +
                       "', and no published model is known by that name; dsr1 fit --list shows those");
    return runtime::family_facts(*known.member, known.quant);
  }
  path_ = *path;
  DSR1_TRY(io::ModelFile opened, io::ModelFile::open(*path, {.allow_truncated = true}));
  const io::ModelFile& file = file_.emplace(std::move(opened));
  if (!file.gaps().empty())
    log_warn(std::to_string(file.gaps().size()) + " part(s) of the tensor data are not there (" + file.gaps().front() +
             "); sizes come from the header");
  DSR1_TRY(model_,
           model::Model::load(
               file, {.expert_groups = options_.expert_groups != "off", .load_mtp = false, .require_data = false}));
  tokenizer_.emplace(runtime::load_tokenizer(file));
  return runtime::facts_of(file, *model_, false);
}

Status FitCommand::run() {
  if (list_) {
    std::string out;
    for (const runtime::FamilyMember& m : runtime::family_members())
      out += std::string(m.name) + (*m.aliases != '\0' ? std::string("  (") + m.aliases + ")" : "") + "\n";
    out += "quantizations:";
    for (const std::string& q : runtime::family_quants()) out += " " + q;
    Output::get().write(out + "\n");
    return {};
  }
  std::vector<std::string> models, words = what_if_;
  for (const std::string& w : words_) (is_what_if_word(w) ? words : models).push_back(w);
  if (options_.model) models.push_back(*options_.model);
  if (models.size() > 1)
    return Error(ErrorCode::kUsage, "one model at a time, found '" + models[0] + "' and '" + models[1] + "'");
  if (models.empty())
    return Error(ErrorCode::kUsage, "which model? a GGUF file, a directory, or a published name (dsr1 fit --list)");
  if (n_prompt_ < 1 || n_prompt_ > (1 << 24)) return Error(ErrorCode::kUsage, "--n-prompt must be 1 or more");
  DSR1_TRY(const runtime::EngineOptions engine, options_.engine_options());
  DSR1_TRY(const runtime::ModelFacts model, facts(models.front()));

  runtime::FitRequest request;
  request.n_prompt = n_prompt_;
  request.plan.n_ctx = engine.n_ctx;
  request.plan.n_batch = engine.n_batch;
  request.plan.type_k = engine.type_k.value_or(DType::kF16);
  request.plan.type_v = model.config.is_mla() ? request.plan.type_k : engine.type_v.value_or(request.plan.type_k);
  const int n_threads = engine.n_threads > 0 ? engine.n_threads : default_threads();
  // The very workspace that loading would take; memory that nobody touches costs nothing.
  DSR1_TRY(auto ops, backend::make_cpu(engine.cpu_isa, n_threads,
                                       model::limits_of(model.config, runtime::most_context(model.config, engine.n_ctx),
                                                        engine.n_batch)));
  request.plan.workspace = ops->workspace_bytes();
  runtime::Machine machine;
  if (!words.empty()) {
    DSR1_TRY(machine, runtime::parse_what_if(words));
  } else {
    machine.ram = runtime::available_memory();
  }
  ops.reset();  // its threads would disturb the probe
  Fit fit = runtime::fit_model(model, machine, request);
  if (words.empty()) DSR1_TRY_STATUS(predict(&fit, path_.value_or("")));
  Output::get().write(json_ ? runtime::fit_json(fit).dump(2) + "\n" : text(fit));
  return fit.runs ? Status() : Status(Error(ErrorCode::kDoesNotFit, ""));
}

// This machine: the rates of its own kernels, its own past errors.
Status FitCommand::predict(Fit* fit, const std::string& path) {
  runtime::RateRequest r;
  r.cpu_isa = options_.cpu_isa;
  r.n_threads = options_.n_threads;
  r.version = commit_id();
  r.fresh = fresh_;
  r.kept_only = no_probe_;
  const auto cache = cache_dir();
  auto rates = runtime::machine_rates(fit->facts, fit->type_k, r, cache.empty() ? cache : cache / "rates.json");
  if (!rates) {
    if (!no_probe_) return Error(std::move(rates).error());
    fit->prediction = {};
    fit->prediction.decode_note = fit->prediction.prefill_note = rates.error().message;
    return {};
  }
  std::vector<double> ratios, errors;
  if (const auto dir = state_dir(); !dir.empty())
    for (const runtime::Receipt& past : runtime::read_receipts(dir / "receipts", rates->machine, "tg")) {
      ratios.push_back(past.measured / past.predicted);
      errors.push_back(std::fabs(past.predicted / past.measured - 1));
    }
  if (!errors.empty())
    past_ = std::to_string(errors.size()) + (errors.size() == 1 ? " earlier prediction" : " earlier predictions") +
            " on this machine: off by " + fixed(runtime::median(errors) * 100, 0) + " % (median), " +
            fixed(*std::max_element(errors.begin(), errors.end()) * 100, 0) + " % (worst)";
  double disk = 0;
  if (fit->placement.disk_read >= 1 && !path.empty()) {
    std::error_code ec;
    if (std::filesystem::is_regular_file(path, ec))
      disk = runtime::disk_read_rate(path, 0, std::filesystem::file_size(path, ec));
  }
  const double context = static_cast<double>(std::min(fit->plan.n_ctx, n_prompt_));
  fit->prediction = runtime::predict_on(*rates, *fit, context, n_prompt_, 1, ratios, disk);
  const runtime::Prediction full =
      runtime::predict_on(*rates, *fit, static_cast<double>(fit->plan.n_ctx), n_prompt_, 1, ratios, disk);
  if (full.decode.known()) long_context_ = speed(full.decode.mid) + " tok/s with the context full";
  return {};
}

std::string FitCommand::text(const Fit& fit) const {
  const runtime::MemoryPlan& plan = fit.plan;
  const auto line = [](const char* label, const std::string& what) {
    return std::string(label) + std::string(11 - std::string_view(label).size(), ' ') + what + "\n";
  };
  std::string out = line(
      "model", fit.facts.name + " (" + fixed(static_cast<double>(fit.facts.n_params()) / 1e9, 2) + " B parameters)");
  out += line(fit.fits ? "fits" : fit.runs ? "runs" : "no", fit.why);
  out += line("weights", size(plan.weights) + ", of which a token reads " + size(plan.weights_needed));
  const uint64_t per_token = plan.n_ctx > 0 ? plan.kv / static_cast<uint64_t>(plan.n_ctx) : 0;
  std::string type = dtype_name(fit.type_k);
  std::transform(type.begin(), type.end(), type.begin(), [](unsigned char c) { return std::tolower(c); });
  out += line("KV cache", size(plan.kv) + " for " + std::to_string(plan.n_ctx) + " tokens (" + type + ", " +
                              std::to_string(per_token) + " bytes a token)");
  out += line("scratch", size(plan.scratch));
  const runtime::Placement& at = fit.placement;
  out += line("placed", (at.vram > 0 ? "GPU " + size(at.vram) + ", " : "") + "RAM " + size(at.ram) +
                            (at.disk > 0 ? ", file " + size(at.disk) : ""));
  const auto predicted = [&](const char* label, const Interval& i, const std::string& limit, const std::string& note) {
    if (!i.known()) return line(label, "unknown: " + note);
    return line(label, speed(i.mid) + " tok/s (" + speed(i.low) + " to " + speed(i.high) + "), limited by " + limit +
                           (note.empty() ? "" : ": " + note));
  };
  const runtime::Prediction& p = fit.prediction;
  out += predicted("decode", p.decode, p.decode_limit, p.decode_note);
  if (!long_context_.empty()) out += line("", long_context_);
  out += predicted("prefill", p.prefill, p.prefill_limit, p.prefill_note);
  if (!past_.empty()) out += line("past", past_);
  return out;
}

}  // namespace

std::unique_ptr<Command> make_fit() { return std::make_unique<FitCommand>(); }

}  // namespace dsr1::cli

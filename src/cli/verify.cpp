// `dsr1 verify`: is this file whole and sane.
#include "dsr1/runtime/verify.h"

#include "command.h"
#include "dsr1/base/json.h"
#include "model_options.h"
#include "output.h"
#include "paths.h"
#include "signals.h"
#include "terminal.h"

namespace dsr1::cli {
namespace {

using runtime::VerifyCheck;

class VerifyCommand final : public Command {
 public:
  CommandInfo info() const override {
    return {
        "verify",
        "is a model file whole and sane",
        "Checks that all parts are there, the SHA-256 against a list (SHA256SUMS beside the model, or --sha256), that "
        "no "
        "number is NaN, infinite or implausible, that the tokenizer gives texts back unchanged, that the chat template "
        "meets its tokens, and that eight generated tokens agree with the scalar reference. Ends with 8 where a check "
        "fails.",
        {{"dsr1 verify model.gguf", ""},
         {"dsr1 verify model.gguf --sha256 SHA256SUMS --quick", "without the slow decode"}}};
  }
  void declare(OptionTable& table) override {
    table.positional("MODEL", &model_, "a GGUF file (any part of a split set) or a Hugging Face directory")
        .completes(Complete::kModel);
    table.section("Checks");
    table.add("--sha256", "FILE", &list_, "digests to compare with, as sha256sum writes them")
        .completes(Complete::kFile);
    table.flag("--quick", &quick_, "leave out the comparison with the reference");
    table.add("-t,--threads", "N", &n_threads_, "threads (default: all usable cores)");
    table.section("Output");
    table.flag("--json", &json_, "print one JSON object");
  }
  Status run() override {
    DSR1_TRY(const std::string path, resolve_model(model_, false));
    runtime::VerifyOptions o;
    o.n_threads = n_threads_;
    o.decode = !quick_;
    if (list_) o.sha256_list = *list_;
    if (const auto dir = cache_dir(); !dir.empty()) o.sha256_cache = dir / "sha256.json";
    const Interruptible interruptible;
    o.cancel = interruptible.flag();
    bool whole = true;
    Json checks = Json::array();
    const auto on_check = [&](const VerifyCheck& c) {
      const bool failed = c.verdict == VerifyCheck::Verdict::kFailed;
      const char* verdict = failed ? "FAILED" : c.verdict == VerifyCheck::Verdict::kOk ? "ok" : "skipped";
      whole = whole && !failed;
      if (json_) {
        Json j = Json::object();
        j.set("check", c.name).set("verdict", verdict).set("found", c.found).set("mend", c.mend);
        checks.push(std::move(j));
        return;
      }
      const auto padded = [](const std::string& s, size_t n) {
        return s + std::string(n > s.size() ? n - s.size() : 1, ' ');
      };
      Output::get().show(padded(verdict, 8) + padded(c.name, 10) + c.found + "\n" +
                         (c.mend.empty() ? "" : std::string(18, ' ') + "-> " + c.mend + "\n"));
    };
    {
      ProgressBar bar("verifying");
      const auto show = [&](const char* pass, int64_t done, int64_t total) { bar.update(done, total, pass); };
      DSR1_TRY(const auto all, runtime::verify_model(path, o, on_check, show));
    }
    if (json_) {
      Json j = Json::object();
      j.set("model", path).set("sane", whole).set("checks", std::move(checks));
      Output::get().write(j.dump(2) + "\n");
    }
    return whole ? Status() : Status(Error(ErrorCode::kCheckFailed, ""));
  }

 private:
  std::optional<std::string> model_, list_;
  int n_threads_ = 0;
  bool quick_ = false, json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_verify() { return std::make_unique<VerifyCommand>(); }

}  // namespace dsr1::cli

#include "run_samples.h"

#include <algorithm>

#include "dsr1/runtime/scheduler.h"
#include "dsr1/runtime/vote.h"
#include "output.h"
#include "run_json.h"
#include "signals.h"
#include "terminal.h"

namespace dsr1::cli {
namespace {

Json sample_json(const runtime::Generation& g) {
  Json j = Json::object();
  j.set("seed", g.seed).set("prompt_tokens", g.prompt_tokens);
  const Json generated = generation_json(g);
  for (const auto& [key, value] : generated.as_object()) j.set(key, value);
  return j;
}

void print(const runtime::Generation& g, const PrintOptions& how) {
  AnswerPrinter printer(how);
  runtime::TokenEvent event;
  event.id = 0;
  event.thought = g.thought;
  event.thinking = true;
  if (how.show_thoughts && !g.thought.empty()) printer.print(event);
  event.thought = {};
  event.thinking = false;
  event.answer = g.answer;
  printer.print(event);
  printer.finish(g);
}

}  // namespace

Status answer_samples(runtime::Engine& engine, const std::vector<int32_t>& prompt, runtime::GenerateOptions options,
                      const SampleOptions& o) {
  const Interruptible interruptible;
  options.prompt_progress = {};
  const auto n = static_cast<size_t>(o.samples);
  DSR1_TRY(auto scheduler, runtime::Scheduler::create(engine, std::min(o.samples, engine.plan().n_sessions)));
  for (size_t i = 0; i < n; ++i) {
    runtime::SequenceRequest r;
    r.tag = i;
    r.prompt = prompt;
    r.options = options;
    r.options.sampler.seed += i;
    scheduler->submit(std::move(r));
  }
  Output& out = Output::get();
  std::vector<std::optional<runtime::Generation>> done(n);
  Status status;
  size_t n_done = 0, printed = 0;
  ProgressBar bar("answering");
  auto print_next = [&] {
    for (; !o.vote && !o.json && printed < n && done[printed]; ++printed) {
      bar.clear();
      if (printed > 0) out.write("---\n");
      print(*done[printed], o.print);
      to_stderr(end_note(*done[printed]));
      if (o.verbose) to_stderr(footer(*done[printed]));
    }
  };
  while (!scheduler->idle() && status && out.ok()) {
    const Status step =
        scheduler->step(interruptible.flag(), [&](uint64_t tag, Result<runtime::Generation> generation) {
          ++n_done;
          if (generation) done[tag] = std::move(*generation);
          else if (status) status = Error(generation.error());
        });
    if (!step) status = step;
    print_next();
    const auto& c = scheduler->counts();
    bar.update(static_cast<int64_t>(n_done), static_cast<int64_t>(n),
               std::to_string(n_done) + "/" + std::to_string(n) + " done, " + std::to_string(c.generated) + " tokens");
  }
  bar.clear();
  if (!status && status.error().code != ErrorCode::kInterrupted) return status;
  std::erase_if(done, [](const auto& g) { return !g.has_value(); });
  runtime::Vote vote;
  if (o.vote && !done.empty()) {
    std::vector<std::string> answers;
    for (const auto& g : done) answers.push_back(g->answer);
    vote = runtime::majority(answers);
  }
  if (o.json) {
    Json choices = Json::array();
    for (const auto& g : done) choices.push(sample_json(*g));
    Json j = Json::object();
    j.set("model", o.model).set("seed", options.sampler.seed).set("prompt_tokens", static_cast<int64_t>(prompt.size()));
    if (o.vote && !done.empty())
      j.set("best", Json::object()
                        .set("index", static_cast<int64_t>(vote.winner))
                        .set("votes", static_cast<int64_t>(vote.votes))
                        .set("answer", vote.answer));
    out.write(j.set("choices", std::move(choices)).dump(2) + "\n");
  } else if (o.vote && !done.empty() && status) {
    const runtime::Generation& winner = *done[vote.winner];
    print(winner, o.print);
    to_stderr(end_note(winner));
    if (o.verbose)
      to_stderr((vote.votes > 0
                     ? std::to_string(vote.votes) + " of " + std::to_string(done.size()) + " agree on " + vote.answer
                     : "none of the answers is short enough to vote on; this is the first") +
                "\n" + footer(winner));
  }
  if (!status) return Error(ErrorCode::kInterrupted, "");
  return {};
}

}  // namespace dsr1::cli

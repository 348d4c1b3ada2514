#include "batch_plan.h"

#include <algorithm>

#include "dsr1/runtime/fit.h"
#include "output.h"
#include "paths.h"
#include "version.h"

namespace dsr1::cli {
namespace {

struct Sums {
  int64_t rows = 0, bad = 0, sequences = 0;
  int64_t prompt = 0, longest = 0, longest_line = 0;
  int64_t read = 0;     // prompt tokens less what each shares with the row before
  int64_t most = 0;     // generated at most
  bool limited = true;  // every row has its own limit of tokens
  int64_t first_bad = 0;
  std::string first_error;
};

struct Seconds {
  double prompts = 0, answers = 0;
};

// From the rates of this machine's kernels; nothing where they cannot be had.
std::optional<Seconds> predict(const runtime::Engine& engine, const Sums& s, int n_parallel) {
  runtime::RateRequest request;
  request.n_threads = engine.n_threads();
  request.version = commit_id();
  const auto facts = runtime::facts_of(engine.file(), engine.model(), false);
  const auto dir = cache_dir();
  request.kept_only = true;
  auto rates = runtime::machine_rates(facts, engine.type_k(), request, dir.empty() ? dir : dir / "rates.json");
  if (!rates) {  // measured in a hurry, and not kept
    request.kept_only = false;
    request.seconds = 1;
    rates = runtime::machine_rates(facts, engine.type_k(), request, {});
  }
  if (!rates || s.sequences == 0) return {};
  const auto prompt = std::max<int64_t>(s.prompt / s.sequences, 1);
  const double rows = static_cast<double>(s.sequences), together = std::min<double>(n_parallel, rows);
  const double context = static_cast<double>(prompt) + static_cast<double>(s.most) / rows / 2;
  // A pass of several rows takes as long as one row does (weights are read once), or as its arithmetic.
  const double one = rates->decode_seconds(context);
  const double sums = rates->prefill_seconds(512) / 512 * together;
  Seconds out;
  out.prompts = rates->prefill_seconds(prompt) / static_cast<double>(prompt) * static_cast<double>(s.read);
  out.answers = static_cast<double>(s.most) / together * std::max(one, sums);
  return out;
}

std::string thousands(int64_t n) {
  std::string s = std::to_string(n);
  for (auto at = static_cast<std::ptrdiff_t>(s.size()) - 3; at > 0; at -= 3) s.insert(static_cast<size_t>(at), ",");
  return s;
}

}  // namespace

Status plan_batch(const runtime::Engine& engine, BatchInput& input, RowMaker& maker, int n_parallel, int64_t limit,
                  bool json, const std::atomic<bool>* cancel) {
  Sums s;
  BatchRecord record;
  std::vector<int32_t> last;
  ProgressBar bar("counting");
  while (limit < 0 || s.rows < limit) {
    if (cancel->load(std::memory_order_relaxed)) return Error(ErrorCode::kInterrupted, "interrupted");
    DSR1_TRY(const bool more, input.next(record));
    if (!more) break;
    ++s.rows;
    PreparedRow row = maker.make(record);
    if (row.result.error) {
      if (s.bad++ == 0) {
        s.first_bad = record.line;
        s.first_error = row.result.error->message;
      }
      continue;
    }
    const auto n = static_cast<int64_t>(row.prompt.size());
    const auto same = std::mismatch(row.prompt.begin(), row.prompt.end(), last.begin(), last.end()).first;
    s.read += n - std::min<int64_t>(same - row.prompt.begin(), n - 1);
    s.prompt += n * row.n;
    s.sequences += row.n;
    if (n > s.longest) {
      s.longest = n;
      s.longest_line = record.line;
    }
    const int64_t room = engine.n_ctx() - n + 1, limit_of_row = row.options.n_predict;
    s.limited = s.limited && limit_of_row >= 0;
    s.most += row.n * (limit_of_row >= 0 ? std::min(limit_of_row, room) : room);
    last = std::move(row.prompt);
    bar.update(s.rows, std::max<int64_t>(s.rows, limit), thousands(s.rows) + " rows");
  }
  bar.clear();
  const auto time = predict(engine, s, n_parallel);
  const double low = time ? time->prompts : 0, high = time ? time->prompts + time->answers : 0;
  if (json) {
    Json j = Json::object();
    j.set("rows", s.rows).set("failing_rows", s.bad).set("answers", s.sequences);
    j.set("prompt_tokens", s.prompt).set("prompt_tokens_read", s.read).set("longest_prompt_tokens", s.longest);
    j.set("max_answer_tokens", s.most).set("answers_limited", s.limited).set("parallel", n_parallel);
    j.set("eta_seconds", time ? Json(Json::Array{low, high}) : Json());
    Output::get().write(j.dump(2) + "\n");
  } else {
    std::string out = "rows      " + thousands(s.rows);
    if (s.bad > 0)
      out += ", of which " + thousands(s.bad) + " would fail; the first, line " + thousands(s.first_bad) + ": " +
             s.first_error;
    out += "\nprompts   " + thousands(s.prompt) + " tokens, " + thousands(s.read) +
           " to read (the rest is shared with the row before); the longest " + thousands(s.longest);
    if (s.longest_line > 0) out += ", line " + thousands(s.longest_line);
    out += "\nanswers   " + thousands(s.sequences) + ", at most " + thousands(s.most) + " tokens";
    if (!s.limited) out += " (as much as the context holds; -n N or max_tokens limit them)";
    out += "\ntime      ";
    out += time ? human_seconds(low) + " for the prompts, at most " + human_seconds(high) + " with the answers, " +
                      std::to_string(n_parallel) + " at once"
                : std::string("unknown: this machine's rates could not be measured");
    Output::get().write(out + "\n");
  }
  if (s.bad == 0) return {};
  return Error(ErrorCode::kBatchFailed, thousands(s.bad) + (s.bad == 1 ? " row" : " rows") + " would fail");
}

}  // namespace dsr1::cli

#include "batch_run.h"

#include <algorithm>
#include <chrono>

#include "dsr1/runtime/vote.h"
#include "output.h"

namespace dsr1::cli {
namespace {

// Choices of one row share a tag's upper bits.
constexpr int kChoiceBits = 20;
// Failed rows are collected up to this before they are written; done ones are written after every pass.
constexpr size_t kMostPending = size_t{1} << 20;
// --ordered: rows that may wait for an earlier one.
constexpr size_t kOrderedWindow = 64;

std::string rounded(double x, int decimals) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", decimals, x);
  return text;
}

}  // namespace

struct BatchRun::Row {
  BatchResult result;
  bool vote = false;
  size_t left = 0;  // choices that are still being made
  runtime::Timings timings;
};

BatchRun::BatchRun(runtime::Engine& engine, runtime::Scheduler& scheduler, BatchInput& input, const InputFacts& facts,
                   RowMaker& maker, const Manifest& manifest, BatchOutputs& outputs, const Options& options)
    : engine_(engine),
      scheduler_(scheduler),
      input_(input),
      facts_(facts),
      maker_(maker),
      manifest_(manifest),
      outputs_(outputs),
      options_(options) {}
BatchRun::~BatchRun() = default;

Status BatchRun::run() {
  const auto start = std::chrono::steady_clock::now();
  ProgressBar bar("batch");
  const runtime::Scheduler::DoneFn done = [this](uint64_t tag, Result<runtime::Generation> g) {
    on_done(tag, std::move(g));
  };
  Status status;
  while (status) {
    status = fill();
    if (status && scheduler_.idle() && input_ended_) break;
    if (status) status = scheduler_.step(options_.cancel, done);
    const Status written = flush();
    if (!written) status = written;
    totals_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    show_progress(bar);
  }
  if (status) status = flush();
  bar.clear();
  const std::string& out = outputs_.out.path();
  const int64_t written = outputs_.done_rows + outputs_.failed_rows + totals_.rows + totals_.failed;
  const std::string so_far = std::to_string(written) + (written == 1 ? " row is" : " rows are") + " written to " + out;
  if (!status && status.error().code == ErrorCode::kInterrupted)
    return Error(ErrorCode::kResumable, "stopped: " + so_far + "; the same command with --resume does the rest");
  if (!status && status.error().code == ErrorCode::kResumable)
    return Error(ErrorCode::kResumable,
                 status.error().text() + "; " + so_far + ", and the same command with --resume does the rest");
  if (!status) return status;

  runtime::Scheduler::Counts c = scheduler_.counts();
  Json summary = Json::object();
  summary.set("rows", totals_.rows).set("failed", totals_.failed);
  summary.set("prompt_tokens", c.prompt).set("shared_tokens", c.shared).set("completion_tokens", c.generated);
  summary.set("passes", c.passes).set("most_together", c.most_together).set("seconds", totals_.seconds);
  const Status noted = outputs_.stats.append(Json::object().set("summary", std::move(summary)).dump() + "\n", false);
  static_cast<void>(noted);  // of interest, not of value
  return {};
}

// Rows into every free place.
Status BatchRun::fill() {
  BatchRecord record;
  while (!input_ended_ && scheduler_.n_free() > 0 &&
         order_.size() < kOrderedWindow + 4 * static_cast<size_t>(engine_.plan().n_sessions)) {
    if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed))
      return Error(ErrorCode::kInterrupted, "interrupted");
    if (options_.limit >= 0 && rows_read_ >= options_.limit) {
      input_ended_ = true;
      break;
    }
    DSR1_TRY(const bool more, input_.next(record));
    if (!more) {
      input_ended_ = true;
      break;
    }
    ++rows_read_;
    last_line_ = record.line;
    const auto line = static_cast<size_t>(record.line);
    if (line < outputs_.done.size() && outputs_.done[line]) continue;
    DSR1_TRY_STATUS(take(record));
    if (error_lines_.size() > kMostPending) DSR1_TRY_STATUS(flush());
  }
  return {};
}

Status BatchRun::take(const BatchRecord& record) {
  PreparedRow prepared = maker_.make(record);
  if (options_.ordered) order_.push_back(record.line);
  if (prepared.result.error) {
    close(record.line, true, error_line(prepared.result, manifest_), {});
    return {};
  }
  ++admitted_;
  admitted_tokens_ += static_cast<int64_t>(prepared.prompt.size()) * prepared.n;
  auto row = std::make_unique<Row>();
  row->result = std::move(prepared.result);
  row->vote = prepared.vote;
  row->left = static_cast<size_t>(prepared.n);
  row->result.choices.resize(row->left);
  const auto open_tag = engine_.tokenizer()->find_special("<think>");
  const auto close_tag = engine_.tokenizer()->find_special("</think>");
  for (int i = 0; i < prepared.n; ++i) {
    runtime::SequenceRequest r;
    r.tag = next_row_ << kChoiceBits | static_cast<uint64_t>(i);
    r.prompt = i + 1 < prepared.n ? prepared.prompt : std::move(prepared.prompt);
    r.options = prepared.options;
    r.options.sampler.seed += static_cast<uint64_t>(i);
    if (row->result.logprobs) {
      BatchChoice* choice = &row->result.choices[static_cast<size_t>(i)];
      r.on_token = [choice, open_tag, close_tag](const runtime::TokenEvent& e) {
        if (e.id >= 0 && !e.forced && e.id != open_tag && e.id != close_tag)
          choice->chances.push_back({e.id, e.logprob, e.thinking, {e.top.begin(), e.top.end()}});
        return true;
      };
    }
    scheduler_.submit(std::move(r));
  }
  rows_.emplace(next_row_++, std::move(row));
  return {};
}

void BatchRun::on_done(uint64_t tag, Result<runtime::Generation> generation) {
  const auto found = rows_.find(tag >> kChoiceBits);
  Row& row = *found->second;
  if (generation) {
    const runtime::Timings& t = generation->timings;
    row.timings.cache_n += t.cache_n;
    row.timings.prompt_n += t.prompt_n;
    row.timings.predicted_n += t.predicted_n;
    row.timings.prompt_ms = std::max(row.timings.prompt_ms, t.prompt_ms);
    row.timings.predicted_ms = std::max(row.timings.predicted_ms, t.predicted_ms);
    finished_tokens_ += t.predicted_n;
    row.result.choices[tag & ((uint64_t{1} << kChoiceBits) - 1)].generation = std::move(*generation);
  } else if (!row.result.error) {
    const Error& e = generation.error();
    row.result.error = RowError{e.code == ErrorCode::kDoesNotFit ? "context_length_exceeded"
                                : e.code == ErrorCode::kUsage    ? "invalid_request"
                                                                 : "model_error",
                                e.text()};
  }
  if (--row.left > 0) return;
  ++finished_;
  settle(row);
  rows_.erase(found);
}

// All its choices are made: its line.
void BatchRun::settle(Row& row) {
  BatchResult& r = row.result;
  if (r.error) return close(r.line, true, error_line(r, manifest_), {});
  if (row.vote) {
    std::vector<std::string> answers;
    for (const BatchChoice& c : r.choices) answers.push_back(c.generation.answer);
    const runtime::Vote vote = runtime::majority(answers);
    r.vote = Json::object()
                 .set("of", static_cast<int64_t>(answers.size()))
                 .set("votes", static_cast<int64_t>(vote.votes))
                 .set("answer", vote.answer);
    BatchChoice winner = std::move(r.choices[vote.winner]);
    for (size_t i = 0; i < r.choices.size(); ++i)
      if (i != vote.winner) r.spent_tokens += static_cast<int64_t>(r.choices[i].generation.tokens.size());
    r.choices.clear();
    r.choices.push_back(std::move(winner));
  }
  const runtime::Timings& t = row.timings;
  Json stats = Json::object();
  stats.set("line", r.line).set("custom_id", r.custom_id);
  stats.set("prompt_tokens", t.prompt_n).set("shared_tokens", t.cache_n).set("completion_tokens", t.predicted_n);
  stats.set("prompt_ms", t.prompt_ms).set("predicted_ms", t.predicted_ms);
  close(r.line, false, output_line(r, manifest_, *engine_.tokenizer()), stats.dump() + "\n");
}

void BatchRun::close(int64_t line, bool failed, std::string text, std::string stats) {
  auto put = [this](Closed& c) {
    (c.failed ? error_lines_ : out_lines_) += c.text;
    ++(c.failed ? error_rows_ : out_rows_);
    stats_lines_ += c.stats;
  };
  Closed closed{failed, std::move(text), std::move(stats)};
  if (!options_.ordered) return put(closed);
  closed_.emplace(line, std::move(closed));
  while (!order_.empty()) {
    const auto first = closed_.find(order_.front());
    if (first == closed_.end()) break;
    put(first->second);
    closed_.erase(first);
    order_.pop_front();
  }
}

Status BatchRun::flush() {
  if (!out_lines_.empty()) {
    DSR1_TRY_STATUS(outputs_.out.append(out_lines_));
    totals_.rows += out_rows_;
  }
  out_lines_.clear();
  out_rows_ = 0;
  if (!error_lines_.empty()) {
    if (!outputs_.errors.is_open()) DSR1_TRY_STATUS(outputs_.errors.open(outputs_.errors_path, RowFile::Begin::kGoOn));
    DSR1_TRY_STATUS(outputs_.errors.append(error_lines_));
    totals_.failed += error_rows_;
  }
  error_lines_.clear();
  error_rows_ = 0;
  if (!stats_lines_.empty()) DSR1_TRY_STATUS(outputs_.stats.append(stats_lines_, false));
  stats_lines_.clear();
  return {};
}

// By tokens: those of the rows still to come are taken to be like those seen so far.
void BatchRun::show_progress(ProgressBar& bar) {
  if (admitted_ == 0) return;
  const runtime::Scheduler::Counts& c = scheduler_.counts();
  const auto done = static_cast<double>(c.prompt + c.shared + c.generated);
  const int64_t seen = outputs_.done_rows + outputs_.failed_rows + totals_.rows + totals_.failed;
  double all = static_cast<double>(facts_.lines);
  if (last_line_ > 0)  // a row may have several lines, and a line none
    all = std::max(static_cast<double>(rows_read_),
                   all * static_cast<double>(rows_read_) / static_cast<double>(last_line_));
  if (options_.limit >= 0) all = std::min(all, static_cast<double>(options_.limit));
  if (input_ended_) all = static_cast<double>(rows_read_);
  const double to_do = std::max(all - static_cast<double>(outputs_.done_rows + outputs_.failed_rows), 1.0);
  const double prompt = static_cast<double>(admitted_tokens_) / static_cast<double>(admitted_);
  const double in_flight = static_cast<double>(c.generated - finished_tokens_) / static_cast<double>(rows_.size() + 1);
  const double answer =
      finished_ > 0 ? std::max(static_cast<double>(finished_tokens_) / static_cast<double>(finished_), in_flight)
                    : 2 * in_flight + 32;
  const double total = std::max(to_do * (prompt + answer), done);
  const double rate = totals_.seconds > 0 ? done / totals_.seconds : 0;
  bar.update(static_cast<int64_t>(done), static_cast<int64_t>(total),
             std::to_string(seen) + "/" + rounded(all, 0) + " rows" +
                 (outputs_.failed_rows + totals_.failed > 0
                      ? " (" + std::to_string(outputs_.failed_rows + totals_.failed) + " failed)"
                      : "") +
                 "  " + rounded(rate, rate < 10 ? 1 : 0) + " tok/s");
}

}  // namespace dsr1::cli

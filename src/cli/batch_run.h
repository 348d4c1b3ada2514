// BatchRun: rows in, generations through the Scheduler, lines out.
//
// Holds the rows in flight (as many as the scheduler has places, and with --ordered those that wait for an earlier
// one), and of the others 20 bytes for the name and one bit that it is done. A row counts as done once its line is on
// the disk.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "batch_input.h"
#include "batch_json.h"
#include "dsr1/runtime/scheduler.h"
#include "terminal.h"

namespace dsr1::cli {

// Names seen, kept as 128 bits of their SHA-256.
class NameSet {
 public:
  explicit NameSet(size_t expected);
  bool insert(std::string_view name);  // false where it is there already

 private:
  using Key = std::array<uint64_t, 2>;
  static bool is_free(const Key& k) { return k[0] == 0 && k[1] == 0; }
  bool place(const Key& key);
  std::vector<Key> keys_;
  size_t n_ = 0;
};

struct BatchSettings {
  runtime::GenerateOptions options;  // of a row that says nothing else
  text::Thinking thinking = text::Thinking::kAuto;
  std::optional<text::ChatTemplate> chat;
  std::optional<std::string> system;  // for rows without a system message
  bool raw = false;                   // --text and --csv: plain continuation
  bool parse_special = false;
  int samples = 1, best_of = 0;
  std::string model;  // of rows that name none
  BatchFormat format = BatchFormat::kOpenAi;
};

// What a row asks of the model.
struct PreparedRow {
  BatchResult result;  // names, and the error where it has one
  std::vector<int32_t> prompt;
  runtime::GenerateOptions options;
  int n = 1;
  bool vote = false;
};

// Records into requests: the same for a real run and for --dry-run.
class RowMaker {
 public:
  RowMaker(const text::Tokenizer& tokenizer, const BatchSettings& settings, int64_t n_ctx, size_t n_names)
      : tokenizer_(tokenizer), settings_(settings), n_ctx_(n_ctx), names_(n_names) {}
  PreparedRow make(const BatchRecord& record);
  // A row of an earlier run.
  void remember(std::string_view custom_id) { names_.insert(custom_id); }

 private:
  std::optional<RowError> prepare(const BatchRow& row, PreparedRow& out) const;
  std::optional<RowError> apply(const BatchRow& row, PreparedRow& out) const;
  void warn_unknown(const std::vector<std::string>& fields, int64_t line);

  const text::Tokenizer& tokenizer_;
  const BatchSettings& settings_;
  const int64_t n_ctx_;
  NameSet names_;
  std::unordered_set<std::string> warned_;
};

struct BatchOutputs {
  RowFile out, errors, stats;
  std::string errors_path;
  int64_t done_rows = 0, failed_rows = 0;  // by earlier runs
  std::vector<bool> done;                  // by line number
};

struct BatchTotals {
  int64_t rows = 0, failed = 0;  // of this run
  double seconds = 0;
};

class BatchRun {
 public:
  struct Options {
    bool ordered = false;
    int64_t limit = -1;
    const std::atomic<bool>* cancel = nullptr;
  };
  BatchRun(runtime::Engine& engine, runtime::Scheduler& scheduler, BatchInput& input, const InputFacts& facts,
           RowMaker& maker, const Manifest& manifest, BatchOutputs& outputs, const Options& options);
  ~BatchRun();

  // Until the last row is written. kResumable where *cancel became true or the disk is full; whatever the error, all
  // rows reported so far are safe.
  Status run();
  const BatchTotals& totals() const { return totals_; }

 private:
  struct Row;
  Status fill();
  Status take(const BatchRecord& record);
  void on_done(uint64_t tag, Result<runtime::Generation> generation);
  void settle(Row& row);
  void close(int64_t line, bool failed, std::string text, std::string stats);
  Status flush();
  void show_progress(ProgressBar& bar);

  runtime::Engine& engine_;
  runtime::Scheduler& scheduler_;
  BatchInput& input_;
  const InputFacts& facts_;
  RowMaker& maker_;
  const Manifest& manifest_;
  BatchOutputs& outputs_;
  const Options options_;

  bool input_ended_ = false;
  int64_t rows_read_ = 0, last_line_ = 0;
  uint64_t next_row_ = 0;
  std::unordered_map<uint64_t, std::unique_ptr<Row>> rows_;  // in flight
  std::string out_lines_, error_lines_, stats_lines_;        // not written yet
  int64_t out_rows_ = 0, error_rows_ = 0;                    // in them
  struct Closed {
    bool failed = false;
    std::string text, stats;
  };
  std::deque<int64_t> order_;         // --ordered: lines that are not written yet
  std::map<int64_t, Closed> closed_;  // of them, those that are done
  BatchTotals totals_;
  // For the estimate of what is left.
  int64_t admitted_ = 0, admitted_tokens_ = 0, finished_ = 0, finished_tokens_ = 0;
};

}  // namespace dsr1::cli

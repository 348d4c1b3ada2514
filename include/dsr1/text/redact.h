// Redaction: words and patterns that an operator keeps out of what a model says, applied to a stream.
//
// A rule matches at most kMostCharacters characters, which is proven from its text before it is taken; so a stream
// holds back a bounded tail, and no beginning of a match is ever let through. Rules apply to the text from left to
// right: of those that match first the longest, which becomes kMask, and then on behind it. The result does not depend
// on how the text is cut. A Redactor is immutable and may be shared; a RedactStream belongs to one text.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "dsr1/base/result.h"

namespace dsr1::text {

class Redactor {
 public:
  static constexpr int kMostCharacters = 256;
  static constexpr std::string_view kMask = "[redacted]";

  // One rule a line: a word or phrase, wherever it stands and in either case; or /PATTERN/, a regular expression as
  // PCRE2 has them (/PATTERN/i: in either case). Empty lines and lines that begin with # are no rules.
  // kUsage, naming line and reason, for patterns that are wrong, match nothing at all, could match more than
  // kMostCharacters, or hold what cannot be bounded (back references, \A, \K, recursion ...); and for no rule at all.
  static Result<Redactor> parse(std::string_view rules);
  ~Redactor();
  Redactor(Redactor&&) noexcept;
  Redactor& operator=(Redactor&&) noexcept;

 private:
  friend class RedactStream;
  struct Impl;
  explicit Redactor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The most characters a regular expression can match or look at ahead, or why no such number can be given. Exposed for
// its tests.
Result<int> most_characters(std::string_view pattern);

class RedactStream {
 public:
  // Null: nothing is redacted. The redactor outlives the stream.
  explicit RedactStream(const Redactor* rules) : rules_(rules) {}
  // Appends what is settled. Whole characters in, whole characters out.
  void push(std::string_view text, std::string& out);
  void finish(std::string& out);  // the text ends here. Ready for the next text after it

 private:
  void settle(bool final, std::string& out);
  const Redactor* rules_;
  std::string held_;  // some characters of context, then what is not settled
  size_t begin_ = 0;  // of the latter
};

}  // namespace dsr1::text

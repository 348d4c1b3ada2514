#define PCRE2_CODE_UNIT_WIDTH 8
#include "dsr1/text/redact.h"

#include <pcre2.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "dsr1/base/check.h"

namespace dsr1::text {
namespace {

// Steps of one match; a pattern that wants more is one that backtracks without end, and what it was to look at is
// masked.
constexpr uint32_t kMatchLimit = 200000;
// Words of one compiled alternation; PCRE2's patterns may not exceed 64 KiB.
constexpr size_t kWordsTogether = 8 << 10;

struct CodeFree {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
};
struct DataFree {
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};
struct ContextFree {
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};
using Code = std::unique_ptr<pcre2_code, CodeFree>;

// The word as a pattern: everything but letters and digits of ASCII escaped.
std::string literal(std::string_view word) {
  std::string s;
  for (const char c : word) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80) != 0;
    if (!plain) s += '\\';
    s += c;
  }
  return s;
}

size_t characters(std::string_view s) {
  return static_cast<size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

Result<Code> compile(const std::string& pattern, bool either_case) {
  int error = 0;
  PCRE2_SIZE where = 0;
  const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | (either_case ? PCRE2_CASELESS : 0u);
  Code code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error, &where, nullptr));
  if (!code) {
    PCRE2_UCHAR text[200];
    pcre2_get_error_message(error, text, sizeof text);
    return Error(ErrorCode::kUsage,
                 std::string(reinterpret_cast<const char*>(text)) + " (at byte " + std::to_string(where + 1) + ")");
  }
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);  // where it cannot, it is interpreted
  return code;
}

}  // namespace

struct Redactor::Impl {
  std::vector<Code> rules;
  size_t context = 1;  // characters that a rule may look back at, and one
  std::unique_ptr<pcre2_match_context, ContextFree> limits;
};

Redactor::Redactor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Redactor::~Redactor() = default;
Redactor::Redactor(Redactor&&) noexcept = default;
Redactor& Redactor::operator=(Redactor&&) noexcept = default;

Result<Redactor> Redactor::parse(std::string_view rules) {
  auto impl = std::make_unique<Impl>();
  impl->limits.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(impl->limits.get(), kMatchLimit);
  std::vector<std::string> words;
  int line = 0;
  if (rules.starts_with("\xEF\xBB\xBF")) rules.remove_prefix(3);
  while (!rules.empty()) {
    const size_t newline = rules.find('\n');
    std::string_view rule = rules.substr(0, newline);
    rules.remove_prefix(newline == std::string_view::npos ? rules.size() : newline + 1);
    ++line;
    const size_t begin = std::min(rule.find_first_not_of(" \t\r"), rule.size());
    rule = rule.substr(begin, rule.find_last_not_of(" \t\r") + 1 - begin);
    if (rule.empty() || rule[0] == '#') continue;
    auto refuse = [&](const std::string& why) {
      return Error(ErrorCode::kUsage, "line " + std::to_string(line) + ": " + why);
    };
    const bool either_case = rule.ends_with("/i");
    if (rule[0] != '/' || rule.size() < 2 || (!rule.ends_with('/') && !either_case)) {
      if (rule[0] == '/') return refuse("a pattern must end with / or /i");
      if (characters(rule) > kMostCharacters)
        return refuse("the word is longer than " + std::to_string(kMostCharacters) + " characters");
      words.emplace_back(rule);
      continue;
    }
    const std::string pattern(rule.substr(1, rule.size() - (either_case ? 3 : 2)));
    if (pattern.empty()) return refuse("the pattern is empty");
    auto code = compile(pattern, either_case);
    if (!code) return refuse("the pattern is wrong: " + code.error().message);
    const auto most = most_characters(pattern);
    if (!most)
      return refuse("the pattern could match more than " + std::to_string(kMostCharacters) +
                    " characters, or it cannot be told: " + most.error().message);
    if (*most > kMostCharacters)
      return refuse("the pattern can match " + std::to_string(*most) + " characters, more than " +
                    std::to_string(kMostCharacters));
    uint32_t matches_empty = 0, behind = 0;
    pcre2_pattern_info(code->get(), PCRE2_INFO_MATCHEMPTY, &matches_empty);
    pcre2_pattern_info(code->get(), PCRE2_INFO_MAXLOOKBEHIND, &behind);
    if (matches_empty != 0 || *most == 0) return refuse("the pattern can match nothing at all");
    impl->context = std::max<size_t>(impl->context, behind + 1);
    impl->rules.push_back(std::move(*code));
  }
  // Longest first: of the words that begin at one place the longest wins.
  std::stable_sort(words.begin(), words.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  for (size_t i = 0; i < words.size();) {
    std::string pattern = literal(words[i++]);
    while (i < words.size() && pattern.size() < kWordsTogether) pattern += "|" + literal(words[i++]);
    auto code = compile(pattern, true);
    if (!code) return Error(ErrorCode::kUsage, "the words are no text: " + code.error().message);
    impl->rules.push_back(std::move(*code));
  }
  if (impl->rules.empty()) return Error(ErrorCode::kUsage, "it holds no rule");
  return Redactor(std::move(impl));
}

void RedactStream::push(std::string_view text, std::string& out) {
  if (rules_ == nullptr) {
    out.append(text);
    return;
  }
  if (text.empty()) return;
  held_.append(text);
  settle(false, out);
}

void RedactStream::finish(std::string& out) {
  if (rules_ == nullptr) return;
  settle(true, out);
  held_.clear();
  begin_ = 0;
}

void RedactStream::settle(bool final, std::string& out) {
  const Redactor::Impl& r = *rules_->impl_;
  std::unique_ptr<pcre2_match_data, DataFree> data(pcre2_match_data_create(1, nullptr));
  DSR1_CHECK(data != nullptr, "no memory for a match");
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
  auto let_through = [&](size_t end) {
    out.append(held_, begin_, end - begin_);
    begin_ = end;
  };
  while (begin_ < held_.size()) {
    size_t first = held_.size(), last = 0;  // of the earliest match, the longest of those
    size_t maybe = held_.size();            // where the earliest unfinished one begins
    bool gave_up = false;
    for (const Code& rule : r.rules) {
      const int n = pcre2_match(rule.get(), reinterpret_cast<PCRE2_SPTR>(held_.data()), held_.size(), begin_,
                                final ? 0 : PCRE2_PARTIAL_HARD, data.get(), r.limits.get());
      if (n == PCRE2_ERROR_PARTIAL) {
        maybe = std::min(maybe, ends[0]);
      } else if (n >= 0) {
        if (ends[0] > first || (ends[0] == first && ends[1] <= last)) continue;
        first = ends[0];
        last = ends[1];
      } else if (n != PCRE2_ERROR_NOMATCH) {
        gave_up = true;
      }
    }
    if (gave_up) {
      out.append(Redactor::kMask);
      begin_ = held_.size();
      break;
    }
    if (maybe <= first) {  // held back, or (nothing found) the end of the text
      let_through(maybe);
      break;
    }
    let_through(first);
    out.append(Redactor::kMask);
    begin_ = last;
  }
  // What rules may look back at stays.
  size_t keep = begin_;
  for (size_t n = 0; keep > 0 && n < r.context;) {
    --keep;
    if ((held_[keep] & 0xC0) != 0x80) ++n;
  }
  held_.erase(0, keep);
  begin_ -= keep;
}

}  // namespace dsr1::text

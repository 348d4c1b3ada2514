#include "dsr1/runtime/vote.h"

#include <map>

#include "dsr1/base/check.h"

namespace dsr1::runtime {
namespace {

// A last line longer than this is prose, not an answer.
constexpr size_t kLongestLine = 80;

std::string_view trimmed(std::string_view s, std::string_view marks = " \t\r\n") {
  const size_t begin = s.find_first_not_of(marks);
  if (begin == std::string_view::npos) return {};
  return s.substr(begin, s.find_last_not_of(marks) - begin + 1);
}

// The content of the last \boxed{...} or \fbox{...} whose braces close.
std::string_view last_box(std::string_view s) {
  std::string_view found;
  size_t found_at = 0;
  for (std::string_view word : {"\\boxed{", "\\fbox{"}) {
    for (size_t at = s.find(word); at != std::string_view::npos; at = s.find(word, at + 1)) {
      const size_t begin = at + word.size();
      size_t end = begin;
      for (int depth = 1; end < s.size(); ++end) {
        depth += s[end] == '{' ? 1 : s[end] == '}' ? -1 : 0;
        if (depth == 0) break;
      }
      if (end == s.size() || at < found_at) continue;
      found = s.substr(begin, end - begin);
      found_at = at;
    }
  }
  return found;
}

bool eat(std::string_view& s, std::string_view word) {
  if (s.size() < word.size()) return false;
  for (size_t i = 0; i < word.size(); ++i) {
    const char c = s[i] >= 'A' && s[i] <= 'Z' ? static_cast<char>(s[i] + 32) : s[i];
    if (c != word[i]) return false;
  }
  s.remove_prefix(word.size());
  return true;
}

std::string normalised(std::string_view s) {
  constexpr std::string_view kDecoration = " \t\r\n*_`$.!\"'";
  s = trimmed(s, kDecoration);
  for (bool again = true; again;) {
    again = false;
    for (std::string_view lead :
         {"the final answer is", "the answer is", "final answer", "answer", "\\(", "\\[", ":", "is", "="}) {
      std::string_view rest = s;
      if (!eat(rest, lead)) continue;
      // "is" and "answer" only as words: "island" is an answer.
      const bool word = lead.back() >= 'a' && lead.back() <= 'z';
      if (word && (rest.empty() || (rest[0] >= 'a' && rest[0] <= 'z') || (rest[0] >= 'A' && rest[0] <= 'Z'))) continue;
      s = trimmed(rest, kDecoration);
      again = true;
    }
  }
  for (std::string_view tail : {"\\)", "\\]"})
    if (s.ends_with(tail)) s = trimmed(s.substr(0, s.size() - tail.size()), kDecoration);
  if (std::string_view inner = s; eat(inner, "\\text{") && inner.ends_with('}')) s = inner.substr(0, inner.size() - 1);
  std::string out;
  for (size_t i = 0; i < s.size(); ++i) {
    const char c = s[i];
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') continue;
    auto digit = [&](size_t k) { return k < s.size() && s[k] >= '0' && s[k] <= '9'; };
    // 1,234 is 1234; "1,2" is a pair.
    if (c == ',' && i > 0 && digit(i - 1) && digit(i + 1) && digit(i + 2) && digit(i + 3) && !digit(i + 4)) continue;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  return out;
}

}  // namespace

std::string short_answer(std::string_view answer) {
  if (const std::string_view box = last_box(answer); !box.empty()) return normalised(box);
  answer = trimmed(answer);
  const size_t newline = answer.rfind('\n');
  const std::string_view line = trimmed(newline == std::string_view::npos ? answer : answer.substr(newline + 1));
  return line.size() <= kLongestLine ? normalised(line) : std::string();
}

Vote majority(std::span<const std::string> answers) {
  DSR1_CHECK(!answers.empty(), "a vote over nothing");
  std::map<std::string, std::pair<size_t, size_t>> votes;  // short answer -> votes, first of them
  for (size_t i = 0; i < answers.size(); ++i) {
    std::string s = short_answer(answers[i]);
    if (s.empty()) continue;
    ++votes.try_emplace(std::move(s), 0, i).first->second.first;
  }
  Vote v;
  for (const auto& [text, count] : votes) {
    if (count.first < v.votes || (count.first == v.votes && count.second > v.winner)) continue;
    v = {count.second, count.first, text};
  }
  return v;
}

}  // namespace dsr1::runtime

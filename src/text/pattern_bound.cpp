// How much a regular expression can match at most, read from its text. Whatever is not understood is refused.
#include <algorithm>

#include "dsr1/text/redact.h"

namespace dsr1::text {
namespace {

constexpr int kDeepest = 32;
constexpr int kTooMany = 1 << 20;  // numbers saturate here

class Bound {
 public:
  explicit Bound(std::string_view pattern) : p_(pattern) {}

  Result<int> run() {
    const int n = alternatives(0);
    if (why_.empty() && at_ < p_.size()) fail("a ) closes nothing");
    if (!why_.empty()) return Error(ErrorCode::kUsage, why_);
    return n;
  }

 private:
  int fail(std::string why) {
    if (why_.empty()) why_ = std::move(why);
    at_ = p_.size();
    return 0;
  }
  bool more() const { return at_ < p_.size(); }
  char peek(size_t ahead = 0) const { return at_ + ahead < p_.size() ? p_[at_ + ahead] : '\0'; }
  bool eat(std::string_view word) {
    if (p_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

  int alternatives(int depth) {
    if (depth > kDeepest) return fail("groups are nested too deeply");
    int most = 0;
    while (true) {
      most = std::max(most, sequence(depth));
      if (peek() != '|' || !more()) return most;
      ++at_;
    }
  }

  int sequence(int depth) {
    int sum = 0;
    while (more() && peek() != '|' && peek() != ')') {
      const int one = atom(depth);
      sum = std::min(kTooMany, sum + std::min(kTooMany, one * repeats()));
    }
    return sum;
  }

  // The most repetitions that the quantifier here, if any, allows.
  int repeats() {
    int most = 1;
    if (peek() == '*' || peek() == '+') return fail("* and + match without limit; give one: {0,20}");
    if (peek() == '?') {
      ++at_;
    } else if (peek() == '{') {
      size_t i = at_ + 1;
      auto number = [&](int& n) {
        const size_t begin = i;
        for (; i < p_.size() && is_digit(p_[i]); ++i) n = std::min(100000, n * 10 + (p_[i] - '0'));
        return i > begin;
      };
      int low = 0, high = 0;
      if (!number(low)) return 1;  // a brace that stands for itself
      bool open = false;
      if (i < p_.size() && p_[i] == ',') {
        ++i;
        open = !number(high);
      } else {
        high = low;
      }
      if (i >= p_.size() || p_[i] != '}') return 1;
      if (open) return fail("{n,} matches without limit; give one: {1,20}");
      most = std::max(low, high);
      at_ = i + 1;
    } else {
      return 1;
    }
    if (peek() == '?' || peek() == '+') ++at_;  // lazy, possessive
    return most;
  }

  int atom(int depth) {
    const char c = peek();
    if (c == '(') return group(depth);
    if (c == '[') return character_class();
    if (c == '\\') return escape();
    if (c == '^' || c == '$') {
      ++at_;
      return 0;
    }
    ++at_;
    while (more() && (static_cast<unsigned char>(p_[at_]) & 0xC0) == 0x80) ++at_;
    return 1;
  }

  int group(int depth) {
    ++at_;
    if (peek() == '*') return fail("verbs such as (*ACCEPT) are not taken");
    bool behind = false;
    if (eat("?")) {
      if (eat("#")) return fail("comments in patterns are not taken");
      if (eat("<=") || eat("<!")) behind = true;
      else if (eat(":") || eat(">") || eat("|") || eat("=") || eat("!")) {
      } else if (peek() == '<' || peek() == '\'' || (peek() == 'P' && peek(1) == '<')) {
        const size_t end = p_.find(peek() == '\'' ? '\'' : '>', at_ + 1);
        if (end == std::string_view::npos) return fail("the name of a group does not end");
        at_ = end + 1;
      } else {
        while (peek() == 'i' || peek() == 'm' || peek() == 's' || peek() == 'U' || peek() == '-') ++at_;
        if (eat(")")) return 0;  // options up to the end of the group
        if (!eat(":"))
          return fail("only the options i, m, s and U, and no recursion or condition, are taken in groups");
      }
    }
    const int n = alternatives(depth + 1);
    if (!why_.empty()) return 0;
    if (!eat(")")) return fail("a ( is not closed");
    // What is looked at ahead is counted too: it must be here before the match can be known.
    return behind ? 0 : n;
  }

  int character_class() {
    ++at_;
    if (peek() == '^') ++at_;
    bool first = true;
    while (more() && (first || peek() != ']')) {
      first = false;
      if (peek() == '[' && (peek(1) == ':' || peek(1) == '.' || peek(1) == '=')) {
        const size_t end = p_.find(std::string{peek(1), ']'}, at_ + 2);
        if (end != std::string_view::npos) {
          at_ = end + 2;
          continue;
        }
      }
      if (peek() == '\\') {
        if (peek(1) == 'Q' || peek(1) == 'E') return fail("\\Q and \\E are not taken");
        ++at_;
      }
      ++at_;
    }
    if (!more()) return fail("a [ is not closed");
    ++at_;
    return 1;
  }

  int escape() {
    ++at_;
    if (!more()) return fail("it ends with a backslash");
    const char c = peek();
    ++at_;
    if (!is_letter(c) && !is_digit(c)) {  // the character itself
      while (more() && (static_cast<unsigned char>(p_[at_]) & 0xC0) == 0x80) ++at_;
      return 1;
    }
    auto braces = [&] {
      const size_t end = peek() == '{' ? p_.find('}', at_) : std::string_view::npos;
      if (end != std::string_view::npos) at_ = end + 1;
      return end != std::string_view::npos;
    };
    switch (c) {
      case 'b':
      case 'B': return 0;
      case 'd':
      case 'D':
      case 'w':
      case 'W':
      case 's':
      case 'S':
      case 'h':
      case 'H':
      case 'v':
      case 'V':
      case 'N':
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'e':
      case 'a': return c == 'N' && peek() == '{' ? fail("\\N{...} is not taken") : 1;
      case 'R': return 2;
      case 'c': ++at_; return 1;
      case 'x':
        if (!braces())
          for (int i = 0;
               i < 2 && (is_digit(peek()) || (peek() >= 'a' && peek() <= 'f') || (peek() >= 'A' && peek() <= 'F')); ++i)
            ++at_;
        return 1;
      case 'o': return braces() ? 1 : fail("\\o needs braces");
      case 'p':
      case 'P':
        if (!braces()) ++at_;
        return 1;
      case '0':
        for (int i = 0; i < 2 && peek() >= '0' && peek() <= '7'; ++i) ++at_;
        return 1;
      default:
        return fail(std::string("\\") + c +
                    " is not taken: what it matches has no limit, or depends on what came before");
    }
  }

  std::string_view p_;
  size_t at_ = 0;
  std::string why_;
};

}  // namespace

Result<int> most_characters(std::string_view pattern) { return Bound(pattern).run(); }

}  // namespace dsr1::text

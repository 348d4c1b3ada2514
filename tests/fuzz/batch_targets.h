// What a fuzzer does with one line of a batch, or one file of redaction rules. Any crash, sanitizer report or failed
// check is a defect.
#pragma once

#include <string>
#include <string_view>

#include "batch_row.h"
#include "dsr1/base/check.h"
#include "dsr1/base/json.h"
#include "dsr1/io/byte_reader.h"
#include "dsr1/text/redact.h"

namespace dsr1::test {

// Whether the line is a row.
inline bool fuzz_batch_row(std::string_view line) {
  const cli::ParsedRow p = cli::parse_batch_row(std::string(line));
  if (p.error) {
    DSR1_CHECK(!p.error->message.empty() && p.error->message.size() < 4096, "a complaint is short");
    DSR1_CHECK(!p.error->code.empty(), "a complaint has a code");
    static_cast<void>(Json(p.error->message).dump());
    return false;
  }
  const cli::BatchRow& r = p.row;
  DSR1_CHECK(!r.custom_id.empty() && r.custom_id.size() <= 512, "a row has a name");
  DSR1_CHECK(!r.chat || !r.messages.empty(), "a chat has messages");
  DSR1_CHECK(!r.n || (*r.n >= 1 && *r.n <= cli::kMostChoices), "choices are bounded");
  DSR1_CHECK(!r.max_tokens || *r.max_tokens >= 1, "limits mean something");
  DSR1_CHECK(!r.temperature || *r.temperature >= 0, "and so do temperatures");
  DSR1_CHECK(r.top_logprobs >= 0 && r.top_logprobs <= 20, "alternatives are bounded");
  return true;
}

// Rules, a NUL, a text: the text redacted in one piece and character by character must be the same.
inline bool fuzz_redact(std::string_view input) {
  const size_t nul = input.find('\0');
  const auto rules = text::Redactor::parse(input.substr(0, nul));
  if (!rules) {
    DSR1_CHECK(!rules.error().message.empty(), "a refusal says why");
    return false;
  }
  const std::string_view body = nul == std::string_view::npos ? std::string_view() : input.substr(nul + 1);
  if (body.size() > 2000 || !io::is_valid_utf8(body)) return true;
  std::string whole, pieces;
  text::RedactStream a(&*rules), b(&*rules);
  a.push(body, whole);
  a.finish(whole);
  for (size_t i = 0; i < body.size();) {
    size_t n = 1;
    while (i + n < body.size() && (static_cast<unsigned char>(body[i + n]) & 0xC0) == 0x80) ++n;
    b.push(body.substr(i, n), pieces);
    i += n;
  }
  b.finish(pieces);
  DSR1_CHECK(whole == pieces, "redaction does not depend on how the text is cut");
  return true;
}

}  // namespace dsr1::test

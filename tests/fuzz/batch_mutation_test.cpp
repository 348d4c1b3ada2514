// Mutated batch lines and redaction rules.
#include "fuzz/batch_targets.h"
#include "fuzz/campaign.h"

namespace dsr1::test {
namespace {

const std::vector<std::string>& row_seeds() {
  static const std::vector<std::string> seeds = {
      R"({"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"system",)"
      R"("content":"s"},{"role":"user","content":[{"type":"text","text":"hi"}]}],"max_tokens":5,"temperature":0.5,"n":2}})",
      R"({"custom_id":"b","url":"/v1/completions","body":{"prompt":"x","logprobs":3,"stop":["a","b"],"seed":7,"top_k":4}})",
      R"({"custom_id":"c","url":"/v1/completions","body":{"prompt":[1,2,3],"logit_bias":{"5":-100},"min_p":0.1}})",
      R"({"custom_id":"d","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"q"},{"role":)"
      R"("assistant","content":"a","prefix":true}],"logprobs":true,"top_logprobs":2,"reasoning_effort":"low"}})"};
  return seeds;
}

const std::vector<std::string>& rule_seeds() {
  auto with = [](const std::string& rules, const std::string& text) { return rules + '\0' + text; };
  static const std::vector<std::string> seeds = {
      with("secret\nab\n/\\d{4}(-\\d{4}){1,3}/\n", "my secret 1234-5678 abab"),
      with("/(?<=a)b{1,3}(?!c)|[^x]\\p{L}?y/i\n", "abbbc aby Bxby"),
      with("/(?m)^(ab|cd){0,3}e$/\n\xc3\xa9\n", "abcde\ne\n\xc3\xa9")};
  return seeds;
}

TEST(MutatedBatch, RowsNeverCrash) {
  for (const std::string& s : row_seeds()) EXPECT_TRUE(fuzz_batch_row(s)) << s;
  campaign(
      DSR1_FUZZ_DEFAULT, [&](Mutator& m) { return m.mutate(row_seeds()); }, fuzz_batch_row);
}

TEST(MutatedBatch, RedactionRulesNeverCrashNorDependOnTheCut) {
  for (const std::string& s : rule_seeds()) EXPECT_TRUE(fuzz_redact(s)) << s;
  campaign(
      DSR1_FUZZ_DEFAULT / 4, [&](Mutator& m) { return m.mutate(rule_seeds()); }, fuzz_redact);
}

}  // namespace
}  // namespace dsr1::test

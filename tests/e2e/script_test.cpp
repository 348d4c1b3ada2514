// `dsr1 run` in scripts: several answers, votes, redaction, stop strings.
#include "e2e/batch_helpers.h"
#include "support/scripted_model.h"

namespace dsr1::test {
namespace {

const std::string& speaker() {
  static const std::string path = [] {
    const auto p = scratch() / "speaker.gguf";
    scripted_model({.pieces = {"the pass", "word", "</think>", "\n\n", "My pass", "wo", "rd is ", "12", "34-56", "78",
                               " STOP", "more"}})
        .write(p);
    return p.string();
  }();
  return path;
}

TEST(Script, SamplesShareThePromptAndAreThoseOfTheirSeedsAlone) {
  const Ran r = run({"run", "--raw", "-p", std::string(60, 'x'), "-n", "12", "--temp", "1", "--seed", "30", "--samples",
                     "11", "--json", "-t", "1", batch_model()});
  ASSERT_EQ(r.code, 0) << r.err;
  const Json j = parsed(r.out);
  ASSERT_EQ(at(j, "choices").as_array().size(), 11u);
  int64_t read = 0;
  const Json choices = at(j, "choices");
  for (const Json& c : choices.as_array()) read += at(c, "timings.prompt_n").as_int64();
  EXPECT_LE(read, 61 + 3);  // once, and the last token again for those that enter later
  for (const int k : {0, 1, 9}) {
    const Ran alone = run({"run", "--raw", "-p", std::string(60, 'x'), "-n", "12", "--temp", "1", "--seed",
                           std::to_string(30 + k), "--json", "-t", "1", batch_model()});
    EXPECT_EQ(at(j, "choices." + std::to_string(k) + ".tokens").dump(), at(parsed(alone.out), "tokens").dump()) << k;
    EXPECT_EQ(at(j, "choices." + std::to_string(k) + ".seed").as_int64(), 30 + k);
  }
  const Ran text = run({"run", "--raw", "-p", "x", "-n", "3", "--samples", "3", "--temp", "0", "-t", "1", speaker()});
  EXPECT_EQ(text.out, "the password</think>\n---\nthe password</think>\n---\nthe password</think>\n") << text.err;
}

TEST(Script, BestOfPrintsTheAnswerOfTheMajority) {
  const Ran r = run({"run", "-p", "x", "--best-of", "3", "--temp", "0", "--stop", " STOP", speaker()});
  EXPECT_EQ(r.code, 0);
  EXPECT_EQ(r.out, "My password is 1234-5678\n");
  EXPECT_EQ(r.err, "");
  const Ran json = run({"run", "-p", "x", "--best-of", "3", "--temp", "0", "--stop", " STOP", "--json", speaker()});
  EXPECT_EQ(at(parsed(json.out), "best").dump(), R"({"index":0,"votes":3,"answer":"mypasswordis1234-5678"})");
  EXPECT_EQ(at(parsed(json.out), "choices").as_array().size(), 3u);
  expect_refusal(run({"run", "-p", "x", "--best-of", "3", "--samples", "2", speaker()}), 2, {"--samples", "--best-of"});
}

TEST(Script, RedactionTakesWordsOutOfAllThatIsPrinted) {
  const std::string rules = fresh("rules.txt");
  write_file(rules, "# secrets\npassword\n/\\d{4}-\\d{4}/\n");
  const Ran r = run({"run", "-p", "x", "--temp", "0", "--think", "on", "--redact", rules, speaker()});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(r.out, "<think>\nthe [redacted]\n</think>\n\nMy [redacted] is [redacted] STOPmore\n");
  const Ran json = run({"run", "-p", "x", "--temp", "0", "--redact", rules, "--json", speaker()});
  const Json j = parsed(json.out);
  EXPECT_EQ(at(j, "answer").as_string(), "My [redacted] is [redacted] STOPmore");
  EXPECT_EQ(at(j, "tokens").as_array().size(), 0u);
  EXPECT_EQ(json.out.find("password"), std::string::npos);
  EXPECT_EQ(json.out.find("5678"), std::string::npos);
  const Ran stream = run({"run", "-p", "x", "--temp", "0", "--redact", rules, "--json-stream", speaker()});
  for (const char* secret : {"pass", "wo\"", "1234", "34-56", "\"id\"", "logprob"})
    EXPECT_EQ(stream.out.find(secret), std::string::npos) << secret;
  // Stop strings see what the model wrote.
  EXPECT_EQ(run({"run", "-p", "x", "--temp", "0", "--redact", rules, "--stop", "1234-5678", speaker()}).out,
            "My [redacted] is \n");

  write_file(rules, "fine\n/a*/\n");
  expect_refusal(run({"run", "-p", "x", "--redact", rules, speaker()}), 2, {"--redact", "line 2", "limit"});
  expect_refusal(run({"run", "-p", "x", "--redact", rules + ".none", speaker()}), 2, {"No such file"});

  const std::string in = fresh("in.txt"), out = fresh("out.jsonl");
  write_file(rules, "password\n");
  write_file(in, "x\n");
  ASSERT_EQ(run({"batch", "--text", "-i", in, "-o", out, "--temp", "0", "--redact", rules, speaker()}).code, 0);
  EXPECT_EQ(read_file(out).find("password"), std::string::npos);
  EXPECT_NE(read_file(out).find("My [redacted] is"), std::string::npos);
  write_file(rules, "other\n");
  expect_refusal(run({"batch", "--text", "-i", in, "-o", out, "--temp", "0", "--redact", rules, "--resume", speaker()}),
                 2, {"redact is"});
}

TEST(Script, NothingToReadNeverHangs) {
  const Ran r = run({"run", speaker()});  // stdin is an empty file
  expect_refusal(r, 2, {"no prompt"});
  const Ran closed = run({"run", speaker(), "-p", "x", "--temp", "0"}, {.broken_pipe = true});
  EXPECT_EQ(closed.code, 0);
  EXPECT_EQ(closed.err, "");
  const Ran samples = run({"run", speaker(), "-p", "x", "--temp", "0", "--samples", "9"}, {.broken_pipe = true});
  EXPECT_EQ(samples.code, 0);
  EXPECT_EQ(samples.err, "");
}

}  // namespace
}  // namespace dsr1::test

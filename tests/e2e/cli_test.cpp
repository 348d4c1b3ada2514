// The command line as a user meets it: the built program, run with real arguments, streams and signals.
#include <cmath>
#include <csignal>

#include "dsr1/base/json.h"
#include "e2e/program.h"
#include "support/scripted_model.h"

namespace dsr1::test {
namespace {

// A model that thinks "hm", answers "Hello, world" and ends.
const std::string& talker() {
  static const std::string path = [] {
    const auto p = scratch() / "talker.gguf";
    scripted_model({.pieces = {"hm", "</think>", "\n\n", "Hello", ", ", "world"}}).write(p);
    return p.string();
  }();
  return path;
}

// One that says "tick tock " for ever.
const std::string& endless() {
  static const std::string path = [] {
    const auto p = scratch() / "endless.gguf";
    scripted_model({.pieces = {"tick ", "tock "}, .loops = true, .n_ctx = 4096}).write(p);
    return p.string();
  }();
  return path;
}

TEST(Cli, OneShotPrintsTheAnswerAlone) {
  const Ran r = run({"run", talker(), "-p", "hi"});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(r.out, "Hello, world\n");
  EXPECT_EQ(r.err, "");
}

TEST(Cli, ThePromptComesFromArgumentFileAndPipeInThatOrderReversed) {
  const std::string file = (scratch() / "prompt.txt").string();
  write_file(file, "from file\n");
  auto prompt_tokens = [](const Ran& r) {
    const auto j = Json::parse(r.out);
    EXPECT_TRUE(j) << r.out << r.err;
    return j ? j->find("prompt_tokens")->as_int64() : -1;
  };
  // Every byte is a token; BOS, User, Assistant, <think> and a newline stand around the text.
  EXPECT_EQ(prompt_tokens(run({"run", talker(), "hello", "--json"})), 5 + 5);
  EXPECT_EQ(prompt_tokens(run({"run", talker(), "-f", file, "--json"})), 5 + 9);
  EXPECT_EQ(prompt_tokens(run({"run", talker(), "--json"}, {.in = "piped\n"})), 5 + 5);
  EXPECT_EQ(prompt_tokens(run({"run", talker(), "-p", "arg", "-f", file, "--json"}, {.in = "piped\n"})),
            5 + 5 + 1 + 9 + 1 + 3);
  EXPECT_EQ(prompt_tokens(run({"run", "-m", talker(), "-p", "[a,b]", "--json"})), 5 + 5);
  EXPECT_EQ(prompt_tokens(run({"run", talker(), "-p", "--help", "--json"})), 5 + 6);
  EXPECT_EQ(prompt_tokens(run({"run", talker(), "--json", "--", "-x-"})), 5 + 3);
  EXPECT_EQ(prompt_tokens(run({"run", talker(), "--json", "-p", ""})), 5);
}

TEST(Cli, UserTextIsNoControlTokenUnlessAsked) {
  auto count = [](const std::vector<std::string>& more) {
    std::vector<std::string> args = {"run", talker(), "--json", "-p", "<｜User｜><think>"};
    args.insert(args.end(), more.begin(), more.end());
    const auto j = Json::parse(run(args).out);
    return j ? j->find("prompt_tokens")->as_int64() : -1;
  };
  EXPECT_EQ(count({}), 5 + 12 + 7);
  EXPECT_EQ(count({"--parse-special"}), 5 + 2);
}

TEST(Cli, JsonHasTheDocumentedFields) {
  const Ran r = run({"run", talker(), "-p", "hi", "--json", "-s", "11"});
  const auto j = Json::parse(r.out);
  ASSERT_TRUE(j) << r.out;
  EXPECT_EQ(j->find("model")->as_string(), talker());
  EXPECT_EQ(j->find("seed")->as_int64(), 11);
  EXPECT_EQ(j->find("reasoning_content")->as_string(), "hm");
  EXPECT_EQ(j->find("answer")->as_string(), "Hello, world");
  EXPECT_EQ(j->find("text")->as_string(), "hm</think>\n\nHello, world");
  EXPECT_EQ(j->find("finish_reason")->as_string(), "stop");
  EXPECT_EQ(j->find("think_end")->as_string(), "model");
  EXPECT_EQ(j->find("tokens")->as_array().size(), 7u);
  EXPECT_EQ(j->find("usage")->find("total_tokens")->as_int64(), 7 + 7);
  EXPECT_EQ(j->find("usage")->find("completion_tokens_details")->find("reasoning_tokens")->as_int64(), 2);
  for (const char* name : {"cache_n", "prompt_n", "prompt_ms", "prompt_per_token_ms", "prompt_per_second",
                           "predicted_n", "predicted_ms", "predicted_per_token_ms", "predicted_per_second"})
    EXPECT_NE(j->find("timings")->find(name), nullptr) << name;
}

TEST(Cli, JsonStreamAndSamples) {
  const Ran stream = run({"run", talker(), "-p", "hi", "--json-stream"});
  std::istringstream lines(stream.out);
  std::string line, answer;
  Json last;
  while (std::getline(lines, line)) {
    auto j = Json::parse(line);
    ASSERT_TRUE(j) << line;
    if (const Json* content = j->find("content")) answer += content->as_string();
    last = *j;
  }
  EXPECT_EQ(answer, "Hello, world");
  EXPECT_EQ(last.find("answer")->as_string(), "Hello, world");

  const auto j = Json::parse(run({"run", talker(), "-p", "hi", "--json", "--samples", "3", "--seed", "5"}).out);
  ASSERT_TRUE(j);
  ASSERT_EQ(j->find("choices")->as_array().size(), 3u);
  EXPECT_EQ(j->find("choices")->as_array()[2].find("seed")->as_int64(), 7);
  EXPECT_EQ(j->find("choices")->as_array()[2].find("timings")->find("prompt_n")->as_int64(), 0);
}

TEST(Cli, ThoughtsAreShownWhereAskedAndNeverLost) {
  EXPECT_EQ(run({"run", talker(), "-p", "hi", "--think", "on"}).out, "<think>\nhm\n</think>\n\nHello, world\n");
  EXPECT_EQ(run({"run", talker(), "-p", "hi", "--think", "hide"}).out, "Hello, world\n");
  const Ran open = run({"run", talker(), "-p", "hi", "-n", "1"});
  EXPECT_EQ(open.code, 0);
  EXPECT_EQ(open.out, "");
  EXPECT_EQ(open.err, "hm\ndsr1: the answer ended inside its thought: the limit of tokens was reached\n");
}

TEST(Cli, RawGoesOnWithTheText) {
  EXPECT_EQ(run({"run", talker(), "--raw", "-p", "hi"}).out, "hm</think>\n\nHello, world\n");
}

TEST(Cli, StopStringsAndLoops) {
  EXPECT_EQ(run({"run", talker(), "-p", "hi", "--stop", "o, w"}).out, "Hell\n");
  EXPECT_EQ(run({"run", talker(), "-p", "hi", "-r", "xx", "-r", "wor"}).out, "Hello, \n");
  const Ran loop = run({"run", endless(), "-p", "hi", "--think", "off", "--temp", "0"});
  EXPECT_EQ(loop.code, 0);
  EXPECT_NE(loop.err.find("repeated itself"), std::string::npos) << loop.err;
}

TEST(Cli, WrongUsageIsExitTwoInOneLine) {
  expect_refusal(run({"run", talker(), "--temprature", "1", "-p", "x"}), 2,
                 {"--temprature", "did you mean --temperature"});
  expect_refusal(run({"rum"}), 2, {"rum", "dsr1 run"});
  expect_refusal(run({"serve"}), 2, {"not in this version"});
  expect_refusal(run({talker()}), 2, {"dsr1 run"});
  expect_refusal(run({"run", talker(), "-p", "x", "--temp", "hot"}), 2, {"--temp", "'hot'"});
  expect_refusal(run({"run", talker(), "-p", "x", "--top-p", "1.5"}), 2, {"--top-p"});
  expect_refusal(run({"run", talker(), "-p", "x", "--think", "maybe"}), 2, {"--think", "auto, on, off, hide"});
  expect_refusal(run({"run", talker(), "-p"}), 2, {"--prompt", "needs a value"});
  expect_refusal(run({"run", talker(), "a", "b"}), 2, {"'b'", "quotes"});
  expect_refusal(run({"run", talker(), "a", "-p", "b"}), 2, {"two prompts"});
  expect_refusal(run({"run", talker()}), 2, {"no prompt"});
  expect_refusal(run({"run", talker(), "-p", "x", "--json", "--json-stream"}), 2, {"contradicts"});
  expect_refusal(run({"run", talker(), "-p", "x", "--chat", "r2"}), 2, {"--chat", "known:"});
  expect_refusal(run({"run", talker(), "-p", "x", "--logit-bias", "999999+1"}), 2, {"999999"});
  expect_refusal(run({"run", talker(), "-f", "/nonexistent/file"}), 2, {"/nonexistent/file"});
  expect_refusal(run({"run", talker(), "-f", scratch().string()}), 2, {"cannot read"});
  EXPECT_EQ(run({}).code, 2);
}

TEST(Cli, OldAndForeignSpellingsAreUnderstood) {
  EXPECT_EQ(run({"run", talker(), "-p", "hi", "--repeat_penalty", "1.1", "--n-predict", "3", "-ngl", "0", "-ub", "64",
                 "-ctk", "f32", "-ctv", "f32"})
                .code,
            0);
  expect_refusal(run({"run", talker(), "-p", "hi", "-ngl", "99"}), 6, {"GPU"});
}

// In a build with CUDA and in one without: nothing here has a GPU, or the test leaves (tools/gpu_check runs there).
TEST(Cli, AGpuAskedForAndAbsentIsExitSixAndAutoTakesTheProcessor) {
  const Ran list = run({"--list-devices"});
  if (list.out.find("cuda    none: ") == std::string::npos) GTEST_SKIP() << "there is a GPU here";
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"run", talker(), "-p", "hi", "--device", "cuda"},
        {"run", talker(), "-p", "hi", "--device", "cuda:0"},
        {"fit", talker(), "--device", "cuda"},
        {"bench", talker(), "-p", "8", "-n", "0", "--device", "cuda"}})
    expect_refusal(run(args), 6, {"cuda"});
  const Ran automatic = run({"run", talker(), "-p", "hi", "--device", "auto"});
  EXPECT_EQ(automatic.code, 0) << automatic.err;
  EXPECT_EQ(automatic.out, "Hello, world\n");
  EXPECT_EQ(automatic.err, "");
}

TEST(Cli, BadModelFilesAreExitThreeInOneLine) {
  expect_refusal(run({"run", "no-such-model"}), 3, {"no-such-model", "for a prompt use -p"});
  expect_refusal(run({"run", "/nonexistent.gguf", "-p", "x"}), 3, {"/nonexistent.gguf"});
  const std::string html = (scratch() / "page.gguf").string();
  write_file(html, "<!DOCTYPE html><html><body>404</body></html>");
  expect_refusal(run({"run", html, "-p", "x"}), 3, {"HTML"});
  const std::string empty = (scratch() / "empty.gguf").string();
  write_file(empty, "");
  expect_refusal(run({"run", empty, "-p", "x"}), 3, {"empty"});
  std::filesystem::create_directories(scratch() / "dir");
  expect_refusal(run({"run", (scratch() / "dir").string(), "-p", "x"}), 3, {"config.json"});

  GgufWriter other = scripted_model({.pieces = {"a"}});
  other.without("general.architecture").kv("general.architecture", "starcoder2");
  const std::string unknown = (scratch() / "unknown.gguf").string();
  other.write(unknown);
  expect_refusal(run({"run", unknown, "-p", "x"}), 3, {"starcoder2", "qwen2"});
  GgufWriter pre = scripted_model({.pieces = {"a"}});
  pre.without("tokenizer.ggml.pre").kv("tokenizer.ggml.pre", "klingon");
  const std::string klingon = (scratch() / "klingon.gguf").string();
  pre.write(klingon);
  expect_refusal(run({"run", klingon, "-p", "x"}), 3, {"klingon", "deepseek-v3"});
}

TEST(Cli, AHeaderServesInspectAndTokenizeAndRunSaysHowMuchIsMissing) {
  const GgufWriter model = scripted_model({.pieces = {"Hello"}});
  const std::string header = (scratch() / "header.gguf").string();
  write_file(header, model.header_bytes());
  const auto missing = std::to_string(model.bytes().size() - model.header_bytes().size());
  expect_refusal(run({"run", header, "-p", "x"}), 3, {missing, "byte"});
  const Ran inspect = run({"inspect", header});
  EXPECT_EQ(inspect.code, 0) << inspect.err;
  EXPECT_NE(inspect.out.find("INCOMPLETE"), std::string::npos) << inspect.out;
  EXPECT_NE(inspect.out.find("deepseek-r1-distill"), std::string::npos) << inspect.out;
  EXPECT_EQ(run({"tokenize", header, "--ids", "ab"}).out, "256 97 98\n");
  const auto j = Json::parse(run({"inspect", header, "--json", "--tensors"}).out);
  ASSERT_TRUE(j);
  EXPECT_FALSE(j->find("complete")->as_bool());
  EXPECT_FALSE(j->find("tensors")->as_array().front().find("present")->as_bool());
  EXPECT_EQ(j->find("config")->find("n_layer")->as_int64(), 1);
}

TEST(Cli, TokenizeAndDetokenizeAreEachOthersInverseByteForByte) {
  std::string bytes;
  for (int b = 0; b < 256; ++b) bytes += static_cast<char>(b);
  bytes += "\n\n";
  const Ran ids = run({"tokenize", talker(), "--ids", "--no-bos"}, {.in = bytes});
  EXPECT_EQ(ids.code, 0) << ids.err;
  EXPECT_EQ(run({"detokenize", talker()}, {.in = ids.out}).out, bytes);
  EXPECT_EQ(run({"tokenize", talker(), "--ids", "<think>"}).out, "256 60 116 104 105 110 107 62\n");
  EXPECT_EQ(run({"tokenize", talker(), "--ids", "--parse-special", "--no-bos", "<think>"}).out, "260\n");
  EXPECT_EQ(run({"detokenize", talker(), "256", "97"}).out, "a");
  EXPECT_EQ(run({"detokenize", talker(), "--special", "260", "97"}).out, "<think>a");
  expect_refusal(run({"detokenize", talker(), "12x"}), 2, {"12x"});
  expect_refusal(run({"detokenize", talker(), "99999"}), 2, {"99999", "vocabulary"});
}

TEST(Cli, PromptsAndContextsThatDoNotFitAreExitFour) {
  expect_refusal(run({"run", talker(), "-c", "32", "-p", std::string(100, 'x')}), 4, {"105", "32"});
  const Ran full = run({"run", endless(), "-c", "64", "-p", "x", "--think", "off", "--on-context-full", "error"});
  EXPECT_EQ(full.code, 4);
  EXPECT_NE(full.err.find("context of 64 tokens is full"), std::string::npos) << full.err;
  const Ran stop = run({"run", endless(), "-c", "64", "-p", "x", "--think", "off"});
  EXPECT_EQ(stop.code, 0);
  EXPECT_NE(stop.err.find("context is full"), std::string::npos) << stop.err;
}

TEST(Cli, PerplexityFollowsTheProtocol) {
  const std::string text = (scratch() / "text.txt").string();
  write_file(text, std::string(200, 'a'));
  const std::string lines = (scratch() / "lp.jsonl").string(), rows = (scratch() / "rows.bin").string();
  const Ran r = run({"perplexity", talker(), "-f", text, "-c", "64", "--json", "--logprobs", lines, "--logits", rows,
                     "--top-logprobs", "2"});
  ASSERT_EQ(r.code, 0) << r.err;
  const auto j = Json::parse(r.out);
  ASSERT_TRUE(j) << r.out;
  EXPECT_EQ(j->find("windows")->as_int64(), 3);                // 201 tokens with BOS
  EXPECT_EQ(j->find("tokens")->as_int64(), 3 * (64 / 2 - 1));  // i = 32 ... 62
  EXPECT_NEAR(std::log(j->find("ppl")->as_double()), j->find("nll")->as_double(), 1e-9);
  std::istringstream in(read_file(lines));
  std::string line;
  int n = 0;
  while (std::getline(in, line)) {
    const auto one = Json::parse(line);
    ASSERT_TRUE(one) << line;
    if (n == 0) {
      EXPECT_EQ(one->find("pos")->as_int64(), 33);
    }
    ++n;
    EXPECT_EQ(one->find("id")->as_int64(), 97);
    EXPECT_EQ(one->find("top")->as_array().size(), 2u);
  }
  EXPECT_EQ(n, 93);
  const auto vocab = static_cast<uintmax_t>(
      Json::parse(run({"inspect", talker(), "--json"}).out)->find("config")->find("n_vocab")->as_int64());
  EXPECT_EQ(std::filesystem::file_size(rows), 93 * vocab * 4);
  expect_refusal(run({"perplexity", talker(), "-f", text, "-c", "250"}), 2, {"201 tokens", "250"});
  expect_refusal(run({"perplexity", talker()}), 2, {"-f"});
}

TEST(Cli, EnvironmentAndConfigFileSetDefaultsInThatOrder) {
  auto seed = [](const std::vector<std::string>& more, const std::vector<std::string>& env) {
    std::vector<std::string> args = {"run", talker(), "-p", "hi", "--json"};
    args.insert(args.end(), more.begin(), more.end());
    const auto j = Json::parse(run(args, {.env = env}).out);
    return j ? j->find("seed")->as_int64() : -1;
  };
  const std::string config = (scratch() / "config.json").string();
  write_file(config, R"({"seed": 1, "run": {"seed": 2}})");
  EXPECT_EQ(seed({}, {"DSR1_CONFIG=" + config}), 2);
  EXPECT_EQ(seed({}, {"DSR1_CONFIG=" + config, "DSR1_SEED=3"}), 3);
  EXPECT_EQ(seed({"-s", "4"}, {"DSR1_CONFIG=" + config, "DSR1_SEED=3"}), 4);
  expect_refusal(run({"run", talker(), "-p", "x"}, {.env = {"DSR1_TEMP=warm"}}), 2, {"DSR1_TEMP", "warm"});
  write_file(config, "{");
  expect_refusal(run({"run", talker(), "-p", "x"}, {.env = {"DSR1_CONFIG=" + config}}), 2, {"config"});
  EXPECT_EQ(run({"run", "-p", "hi"}, {.env = {"DSR1_MODEL=" + talker()}}).out, "Hello, world\n");
}

TEST(Cli, AClosedPipeEndsQuietlyAndAFullDiskDoesNot) {
  const Ran pipe = run({"run", endless(), "-p", "hi", "--think", "off", "--no-loop-check"}, {.broken_pipe = true});
  EXPECT_EQ(pipe.code, 0);
  EXPECT_EQ(pipe.signal, 0);
  EXPECT_EQ(pipe.err, "");
  const Ran full = run({"run", talker(), "-p", "hi"}, {.out_path = "/dev/full"});
  EXPECT_EQ(full.code, 1);
  EXPECT_EQ(full.err, "dsr1: error: cannot write to standard output: No space left on device\n");
  EXPECT_EQ(run({"--help"}, {.close_stdout = true}).code, 1);
}

TEST(Cli, SignalsEndItWithWhatItHas) {
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, {SIGTERM, 143}}) {
    const Ran r =
        run({"run", endless(), "-p", "hi", "--think", "off", "--no-loop-check", "--on-context-full", "drop-oldest"},
            {.kill_signal = signal});
    EXPECT_EQ(r.code, code);
    EXPECT_TRUE(r.out.starts_with("tick ")) << r.out.substr(0, 80);
    EXPECT_TRUE(r.out.ends_with("\n"));
  }
}

TEST(Cli, HelpVersionManAndCompletionComeFromTheTable) {
  const Ran help = run({"run", "--help"});
  EXPECT_EQ(help.code, 0);
  for (const char* word : {"Examples:", "--ctx-size", "-ngl", "--on-context-full", "--think"})
    EXPECT_NE(help.out.find(word), std::string::npos) << word;
  const Ran version = run({"--version"});
  for (const char* word : {"dsr1 0", "commit", "compiler", "CPU levels", "CUDA"})
    EXPECT_NE(version.out.find(word), std::string::npos) << version.out;
  EXPECT_EQ(run({"run", "--version"}).out, version.out);
  const Ran man = run({"--man"});
  for (const char* word : {".TH DSR1 1", "on\\-context\\-full", ".SH EXIT STATUS"})
    EXPECT_NE(man.out.find(word), std::string::npos) << word;
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const Ran script = run({"completion", shell});
    EXPECT_EQ(script.code, 0);
    EXPECT_NE(script.out.find("on-context-full"), std::string::npos) << shell;
    EXPECT_NE(script.out.find("drop-oldest"), std::string::npos) << shell;
  }
  EXPECT_EQ(run({"doctor"}).code, 0);
  EXPECT_TRUE(Json::parse(run({"doctor", "--json"}).out));
  EXPECT_NE(run({"--list-devices"}).out.find("cpu"), std::string::npos);
}

TEST(Cli, TheBashCompletionIsValidAndCompletes) {
  const std::string script = (scratch() / "complete.bash").string();
  write_file(script, run({"completion", "bash"}).out + R"(
COMP_WORDS=(dsr1 run --th); COMP_CWORD=2; _dsr1; echo "${COMPREPLY[@]}"
COMP_WORDS=(dsr1 run --think h); COMP_CWORD=3; _dsr1; echo "${COMPREPLY[@]}"
COMP_WORDS=(dsr1 insp); COMP_CWORD=1; _dsr1; echo "${COMPREPLY[@]}"
)");
  const std::string out = (scratch() / "complete.out").string();
  ASSERT_EQ(std::system(("bash " + script + " > " + out + " 2>&1").c_str()), 0) << read_file(out);
  EXPECT_EQ(read_file(out), "--think --think-budget --threads --threads-batch\nhide\ninspect\n");
}

}  // namespace
}  // namespace dsr1::test

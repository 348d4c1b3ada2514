// `dsr1 batch` as a user meets it.
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <set>

#include "e2e/batch_helpers.h"
#include "support/scripted_model.h"

namespace dsr1::test {
namespace {

// A model with a chat format that thinks "hm" and answers "Hello, world".
const std::string& talker() {
  static const std::string path = [] {
    const auto p = scratch() / "batch-talker.gguf";
    scripted_model({.pieces = {"hm", "</think>", "\n\n", "Hello", ", ", "world"}}).write(p);
    return p.string();
  }();
  return path;
}

TEST(Batch, AnOpenAiRowComesBackInOpenAisForm) {
  const std::string in = fresh("in.jsonl"), out = fresh("out.jsonl");
  write_file(in, R"({"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"my-model",)"
                 R"("messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":[{"type":"text",)"
                 R"("text":"Hi"}]}],"logprobs":true,"top_logprobs":2}})"
                 "\n");
  const Ran r = run({"batch", "-i", in, "-o", out, talker(), "--temp", "0"});
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(r.out, "");
  EXPECT_EQ(r.err, "");
  const auto lines = lines_of(out);
  ASSERT_EQ(lines.size(), 1u);
  const Json j = parsed(lines[0]);
  EXPECT_EQ(at(j, "custom_id").as_string(), "a");
  EXPECT_TRUE(at(j, "error").is_null());
  EXPECT_TRUE(at(j, "id").as_string().starts_with("batch_req_"));
  EXPECT_EQ(at(j, "response.status_code").as_int64(), 200);
  EXPECT_FALSE(at(j, "response.request_id").as_string().empty());
  const Json body = at(j, "response.body");
  EXPECT_EQ(at(body, "object").as_string(), "chat.completion");
  EXPECT_EQ(at(body, "model").as_string(), "my-model");
  EXPECT_EQ(at(body, "choices.0.message.role").as_string(), "assistant");
  EXPECT_EQ(at(body, "choices.0.message.content").as_string(), "Hello, world");
  EXPECT_EQ(at(body, "choices.0.message.reasoning_content").as_string(), "hm");
  EXPECT_EQ(at(body, "choices.0.finish_reason").as_string(), "stop");
  EXPECT_EQ(at(body, "choices.0.dsr1.think_end").as_string(), "model");
  EXPECT_EQ(at(body, "choices.0.logprobs.content.1.token").as_string(), "Hello");
  EXPECT_EQ(at(body, "choices.0.logprobs.content.1.top_logprobs").as_array().size(), 2u);
  EXPECT_EQ(at(body, "choices.0.logprobs.reasoning_content.0.token").as_string(), "hm");
  EXPECT_EQ(at(body, "usage.completion_tokens").as_int64(), 7);
  EXPECT_EQ(at(body, "usage.total_tokens").as_int64(), at(body, "usage.prompt_tokens").as_int64() + 7);
  const Json manifest = parsed(read_file(out + ".manifest.json"));
  EXPECT_EQ(at(body, "created").as_int64(), at(manifest, "created").as_int64());
  struct stat st {};
  for (const char* suffix : {"", ".manifest.json", ".stats.jsonl"}) {
    ASSERT_EQ(::stat((out + suffix).c_str(), &st), 0) << suffix;
    EXPECT_EQ(st.st_mode & 0777, 0600u) << suffix;
  }
}

TEST(Batch, BytesAreTheSameForAnyNumberAtOnceThreadsAndPassSize) {
  const std::string rows = many_rows(24);
  const Batch one(rows);
  EXPECT_EQ(one.run({"-np", "1", "--ordered"}).code, 5);
  const std::string expected = read_file(one.out), expected_errors = read_file(one.errors());
  EXPECT_EQ(lines_of(one.out).size(), 24u);
  for (const std::vector<std::string>& more :
       std::vector<std::vector<std::string>>{{"-np", "3"}, {"-np", "7", "-ub", "9"}, {"-np", "24", "-t", "2"}, {}}) {
    const Batch b(rows);
    auto options = more;
    options.push_back("--ordered");
    EXPECT_EQ(b.run(options).code, 5);
    EXPECT_EQ(read_file(b.out), expected);
    EXPECT_EQ(read_file(b.errors()), expected_errors);
  }
  const Batch unordered(rows);
  EXPECT_EQ(unordered.run({"-np", "5"}).code, 5);
  EXPECT_EQ(lines_of(unordered.out).size(), 24u);
  // Neither the settings' hash nor anything else but the order of rows may differ in the answers.
  std::set<std::string> texts, texts_unordered;
  for (const auto& l : lines_of(one.out)) texts.insert(at(parsed(l), "response.body.choices").dump());
  for (const auto& l : lines_of(unordered.out)) texts_unordered.insert(at(parsed(l), "response.body.choices").dump());
  EXPECT_EQ(texts, texts_unordered);
}

TEST(Batch, ARowsAnswerIsThatOfRunWithItsSeed) {
  const Batch b(row("a", "Once upon a time there was", R"("max_tokens":12,"seed":99)"));
  ASSERT_EQ(b.run().code, 0);
  const Ran alone = run({"run", "--raw", "-p", "Once upon a time there was", "-n", "12", "--seed", "99", "--temp", "1",
                         "-t", "1", "--json", batch_model()});
  EXPECT_EQ(at(parsed(lines_of(b.out)[0]), "response.body.choices.0.text").as_string(),
            at(parsed(alone.out), "answer").as_string());
}

TEST(Batch, FailedRowsAreNamedByLineAndTheRestRunsOn) {
  std::string rows = row("ok-1", "hi", R"("max_tokens":2)");
  rows += "{\"custom_id\":\"half\",\n";
  rows += row("ok-1", "again");
  rows += row("type", "hi", R"("max_tokens":"2")");
  rows += row("range", "hi", R"("top_p":3)");
  rows += row("contradiction", "hi", R"("max_tokens":2,"max_completion_tokens":3)");
  rows += row("tools", "hi", R"("tools":[{"type":"function"}])");
  rows += row("format", "hi", R"("response_format":{"type":"json_object"})");
  rows += "[1,2]\n\n";
  rows += R"({"url":"/v1/completions","body":{"prompt":"x"}})"
          "\n";
  rows += R"({"custom_id":"url","url":"/v1/embeddings","body":{"input":"x"}})"
          "\n";
  rows += row("long", std::string(400, 'x'));
  rows += row("bias", "hi", R"("logit_bias":{"99999":1})");
  rows += row("ok-2", "hi", R"("max_tokens":2,"unheard_of":1,"n":2)");
  const Batch b(rows.substr(0, rows.size() - 1));  // no newline at the end
  const Ran r = b.run();
  EXPECT_EQ(r.code, 5);
  EXPECT_NE(r.err.find("12 rows failed of 14"), std::string::npos) << r.err;
  EXPECT_NE(r.err.find("\"body.unheard_of\""), std::string::npos) << r.err;
  EXPECT_EQ(lines_of(b.out).size(), 2u);
  std::map<int64_t, std::pair<std::string, std::string>> errors;  // line -> code, message
  for (const auto& l : lines_of(b.errors())) {
    const Json j = parsed(l);
    EXPECT_TRUE(at(j, "response").is_null());
    errors[at(j, "error.line").as_int64()] = {at(j, "error.code").as_string(), at(j, "error.message").as_string()};
  }
  const std::map<int64_t, std::pair<std::string, std::string>> expected = {
      {2, {"invalid_json", ""}},
      {3, {"duplicate_custom_id", "ok-1"}},
      {4, {"invalid_request", "body.max_tokens must be an integer, found a string"}},
      {5, {"invalid_request", "body.top_p must be between"}},
      {6, {"invalid_request", "contradicts body.max_completion_tokens"}},
      {7, {"unsupported", "body.tools"}},
      {8, {"unsupported", "body.response_format"}},
      {9, {"invalid_json", "expected an object"}},
      {11, {"invalid_request", "custom_id is missing"}},
      {12, {"invalid_request", "/v1/embeddings"}},
      {13, {"context_length_exceeded", "401 tokens, the context 256"}},
      {14, {"invalid_request", "99999"}}};
  ASSERT_EQ(errors.size(), expected.size());
  for (const auto& [line, e] : expected) {
    EXPECT_EQ(errors[line].first, e.first) << line;
    EXPECT_NE(errors[line].second.find(e.second), std::string::npos) << line << ": " << errors[line].second;
  }
}

TEST(Batch, LinesAndColumnsAreRowsToo) {
  const Batch text("first prompt\n\nsecond\r\nthird");
  EXPECT_EQ(text.run({"--text", "--raw", "-n", "3"}).code, 0);
  std::set<std::string> ids;
  for (const auto& l : lines_of(text.out)) ids.insert(at(parsed(l), "custom_id").as_string());
  EXPECT_EQ(ids, (std::set<std::string>{"1", "3", "4"}));

  const Batch csv(
      "id,\"the question\",x\r\n1,\"a, \"\"quoted\"\"\nquestion\",y\r\n2,plain,z\n3,\"unclosed,z\n4,last,w\n5,few\n");
  const Ran r = csv.run({"--csv", "the question", "--raw", "-n", "3"});
  EXPECT_EQ(r.code, 5) << r.err;
  ids.clear();
  for (const auto& l : lines_of(csv.out)) {
    const Json j = parsed(l);
    ids.insert(at(j, "custom_id").as_string());
    if (at(j, "custom_id").as_string() == "2") {
      EXPECT_EQ(at(j, "response.body.usage.prompt_tokens").as_int64(), 1 + 20);  // BOS and the bytes
    }
  }
  EXPECT_EQ(ids, (std::set<std::string>{"2", "4", "6"}));
  EXPECT_EQ(lines_of(csv.errors()).size(), 2u);  // lines 5 and 7
  const Ran wrong = csv.run({"--csv", "question", "-o", fresh("out")});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_NE(wrong.err.find("the question"), std::string::npos) << wrong.err;

  const Batch piped("");
  const Ran from_pipe =
      run({"batch", "-i", "-", "-o", piped.out, "--text", "--raw", "-n", "2", batch_model()}, {.in = "a\nb\n"});
  EXPECT_EQ(from_pipe.code, 0) << from_pipe.err;
  EXPECT_EQ(lines_of(piped.out).size(), 2u);
}

TEST(Batch, ALineOfAHundredMegabytesIsRefusedInBoundedMemory) {
  const std::string in = fresh("big.jsonl"), out = fresh("out.jsonl");
  {
    std::ofstream f(in, std::ios::binary);
    f << row("before", "hi", R"("max_tokens":1)") << R"({"custom_id":"big","body":")";
    const std::string chunk(1 << 20, 'x');
    for (int i = 0; i < 100; ++i) f << chunk;
    f << "\"}\n" << row("after", "hi", R"("max_tokens":1)");
  }
  rusage before{}, after{};
  ::getrusage(RUSAGE_CHILDREN, &before);
  const Ran r = run({"batch", "-i", in, "-o", out, "-t", "1", "-c", "64", batch_model()});
  ::getrusage(RUSAGE_CHILDREN, &after);
  EXPECT_EQ(r.code, 5) << r.err;
  EXPECT_EQ(lines_of(out).size(), 2u);
  const auto errors = lines_of(out + ".errors.jsonl");
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(at(parsed(errors[0]), "error.code").as_string(), "line_too_long");
  EXPECT_EQ(at(parsed(errors[0]), "error.line").as_int64(), 2);
  EXPECT_LT(after.ru_maxrss, std::max<long>(before.ru_maxrss, 90 * 1024));  // KiB
}

TEST(Batch, ResumeGoesOnAndRefusesAnotherBatch) {
  const std::string rows = many_rows(12);
  const Batch whole(rows), b(rows);
  EXPECT_EQ(whole.run().code, 5);
  EXPECT_EQ(b.run({"--limit", "5"}).code, 5);  // the 5th is a bad one
  EXPECT_EQ(lines_of(b.out).size(), 4u);
  expect_refusal(b.run(), 2, {"exists", "--resume"});
  expect_refusal(b.run({"--resume", "--temp", "0.5"}), 2, {"--resume", "temp is 0.5, it was 1"});
  expect_refusal(b.run({"--resume", "--seed", "8"}), 2, {"seed is 8, it was 7"});
  write_file(b.in, rows + row("one-more", "x"));
  expect_refusal(b.run({"--resume"}), 2, {"the input is another one"});
  write_file(b.in, rows);
  const std::string manifest = read_file(b.out + ".manifest.json");
  std::filesystem::remove(b.out + ".manifest.json");
  expect_refusal(b.run({"--resume"}), 2, {"manifest"});
  write_file(b.out + ".manifest.json", "{}");
  expect_refusal(b.run({"--resume"}), 3, {"manifest"});
  write_file(b.out + ".manifest.json", manifest);
  EXPECT_EQ(b.run({"--resume", "-np", "2", "-t", "2"}).code, 5);
  EXPECT_EQ(sorted_lines(b.out), sorted_lines(whole.out));
  EXPECT_EQ(sorted_lines(b.errors()), sorted_lines(whole.errors()));
  const std::string done = read_file(b.out);
  EXPECT_EQ(b.run({"--resume"}).code, 5);  // nothing left to do
  EXPECT_EQ(read_file(b.out), done);
}

TEST(Batch, ATornLastLineIsRepairedWhereverItWasTorn) {
  std::string rows;
  for (int i = 0; i < 4; ++i) rows += row("r" + std::to_string(i), "prompt", R"("max_tokens":3)");
  const Batch whole(rows);
  ASSERT_EQ(whole.run({"--ordered"}).code, 0);
  const std::string full = read_file(whole.out), manifest = read_file(whole.out + ".manifest.json");
  const size_t third = full.rfind('\n', full.rfind('\n', full.size() - 2) - 1) + 1;
  const Batch b(rows);
  write_file(b.out + ".manifest.json", manifest);
  for (size_t cut : {size_t{0}, size_t{1}, third, third + 1, third + 300, full.size() - 2, full.size() - 1}) {
    write_file(b.out, full.substr(0, cut));
    EXPECT_EQ(b.run({"--resume", "--ordered"}).code, 0) << cut;
    EXPECT_EQ(read_file(b.out), full) << cut;
  }
  // A crash of the machine may leave zeros where a line was to be.
  write_file(b.out, full.substr(0, third) + std::string(700, '\0') + "\n");
  EXPECT_EQ(b.run({"--resume", "--ordered"}).code, 0);
  EXPECT_EQ(read_file(b.out), full);
  // Damage before good lines is no crash's work.
  std::string damaged = full;
  damaged[5] = '\x01';
  write_file(b.out, damaged);
  const Ran r = b.run({"--resume", "--ordered"});
  EXPECT_EQ(r.code, 1);
  EXPECT_NE(r.err.find("line 1: damaged"), std::string::npos) << r.err;
  EXPECT_EQ(read_file(b.out), damaged);
}

TEST(Batch, AFullDiskEndsItCleanlyAndRoomLetsItGoOn) {
  const std::string rows = many_rows(20);
  const Batch whole(rows), b(rows);
  ASSERT_EQ(whole.run().code, 5);
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit small{4000, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);  // the child inherits it
  const Ran full = b.run();
  ::setrlimit(RLIMIT_FSIZE, &old);
  expect_refusal(full, 75, {"cannot write", "--resume"});
  const std::string left = read_file(b.out);
  ASSERT_FALSE(left.empty());
  EXPECT_EQ(left.back(), '\n');
  EXPECT_LE(left.size(), 4000u);
  EXPECT_EQ(b.run({"--resume"}).code, 5);
  EXPECT_EQ(sorted_lines(b.out), sorted_lines(whole.out));
}

TEST(Batch, AFullTmpfsEndsItCleanly) {
  const auto dir = scratch() / "small";
  std::filesystem::create_directories(dir);
  if (::mount("none", dir.c_str(), "tmpfs", 0, "size=16k") != 0) GTEST_SKIP() << "needs the right to mount";
  const std::string rows = many_rows(40);
  const Batch whole(rows);
  EXPECT_EQ(whole.run().code, 5);
  Batch b(rows);
  b.out = (dir / "out.jsonl").string();
  const Ran full = b.run();
  EXPECT_EQ(full.code, 75) << full.err;
  EXPECT_NE(full.err.find("No space left"), std::string::npos) << full.err;
  EXPECT_EQ(::mount("none", dir.c_str(), "tmpfs", MS_REMOUNT, "size=4m"), 0);
  EXPECT_EQ(b.run({"--resume"}).code, 5);
  EXPECT_EQ(sorted_lines(b.out), sorted_lines(whole.out));
  std::filesystem::remove(b.out);
  EXPECT_EQ(::mount("none", dir.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, ""), 0);
  const Ran read_only = b.run({"-o", (dir / "new.jsonl").string()});
  EXPECT_EQ(read_only.code, 1);
  EXPECT_NE(read_only.err.find("Read-only"), std::string::npos) << read_only.err;
  ::umount(dir.c_str());
}

TEST(Batch, ASignalEndsItResumably) {
  std::string rows;
  for (int i = 0; i < 400; ++i)
    rows += row("r" + std::to_string(i), "prompt " + std::to_string(i), R"("max_tokens":60)");
  const Batch b(rows);
  for (const int signal : {SIGTERM, SIGINT}) {
    const std::string base = fresh("signal");
    write_file(base, "");
    const pid_t pid = spawn({"batch", "-i", b.in, "-o", b.out, "--resume", "--temp", "0", "-t", "1", "-c", "256",
                             "--seed", "1", batch_model()},
                            {}, base, base + ".out", base + ".err");
    const auto before = lines_of(b.out).size();
    for (int i = 0; i < 2000 && lines_of(b.out).size() <= before; ++i) ::usleep(2000);
    ::kill(pid, signal);
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 75) << read_file(base + ".err");
    EXPECT_NE(read_file(base + ".err").find("--resume does the rest"), std::string::npos);
    EXPECT_GT(lines_of(b.out).size(), before);
    EXPECT_LT(lines_of(b.out).size(), 400u);
  }
}

TEST(Batch, ALockedOutputIsLeftAlone) {
  const Batch b(many_rows(3));
  EXPECT_EQ(b.run().code, 5);
  const std::string left = read_file(b.out);
  const int fd = ::open(b.out.c_str(), O_RDWR);
  ASSERT_EQ(::flock(fd, LOCK_EX), 0);
  expect_refusal(b.run({"--resume"}), 1, {"locked"});
  ::close(fd);
  EXPECT_EQ(read_file(b.out), left);
}

TEST(Batch, WrongUsageIsRefusedBeforeAnythingIsWritten) {
  const Batch b(many_rows(3));
  auto refused = [&](std::vector<std::string> args, int code, const std::vector<std::string>& words) {
    args.insert(args.begin(), "batch");
    args.push_back(batch_model());
    expect_refusal(run(args), code, words);
  };
  refused({"-o", b.out}, 2, {"-i"});
  refused({"-i", b.in}, 2, {"-o"});
  refused({"-i", b.in, "-o", b.in}, 2, {"same file"});
  refused({"-i", b.in, "-o", b.out, "--errors", b.out}, 2, {"same file"});
  refused({"-i", b.in, "-o", b.out, "--text", "--csv", "x"}, 2, {"--text contradicts --csv"});
  refused({"-i", b.in, "-o", b.out, "--samples", "2", "--best-of", "3"}, 2, {"--samples contradicts --best-of"});
  refused({"-i", b.in, "-o", b.out, "--raw"}, 2, {"--raw"});
  refused({"-i", b.in, "-o", b.out, "-np", "-3"}, 2, {"--parallel"});
  refused({"-i", b.in, "-o", b.out, "--text"}, 2, {"no chat template"});
  refused({"-i", b.in + ".none", "-o", b.out}, 2, {"No such file"});
  refused({"-i", scratch().string(), "-o", b.out}, 2, {"directory"});
  refused({"-i", b.in, "-o", scratch().string()}, 2, {"exists"});
  refused({"-i", b.in, "-o", scratch().string() + "/no/such/out"}, 1, {"No such file"});
  refused({"-i", b.in, "-o", b.out, "--temp", "nan"}, 2, {"temp"});
  refused({"-i", b.in, "-o", b.out, "-np", "4000", "-c", "16000000"}, 4, {"4000 sequences of 16000000 tokens", "-np"});
  EXPECT_FALSE(std::filesystem::exists(b.out));
}

TEST(Batch, AnEmptyInputIsAnEmptyBatch) {
  const Batch b("");
  EXPECT_EQ(b.run().code, 0);
  EXPECT_EQ(read_file(b.out), "");
}

TEST(Batch, DryRunCountsAndRunsNothing) {
  const Batch b(many_rows(9));
  const Ran r = run({"batch", "-i", b.in, "--dry-run", "--json", "-t", "1", "-c", "256", batch_model()});
  EXPECT_EQ(r.code, 5);
  const Json j = parsed(r.out);
  EXPECT_EQ(at(j, "rows").as_int64(), 12);
  EXPECT_EQ(at(j, "failing_rows").as_int64(), 3);
  EXPECT_EQ(at(j, "answers").as_int64(), 9);
  EXPECT_GT(at(j, "prompt_tokens").as_int64(), at(j, "prompt_tokens_read").as_int64());
  EXPECT_EQ(at(j, "max_answer_tokens").as_int64(), 1 + 6 + 11 + 16 + 4 + 9 + 14 + 2 + 7);
  EXPECT_EQ(at(j, "eta_seconds").as_array().size(), 2u);
  EXPECT_FALSE(std::filesystem::exists(b.out));
}

TEST(Batch, SeveralAnswersARowHaveTheSeedsThatFollow) {
  const Batch b(row("a", "Once", R"("max_tokens":10,"seed":5,"n":3)") +
                row("b", "Once", R"("max_tokens":10,"seed":7)"));
  ASSERT_EQ(b.run({"--ordered"}).code, 0);
  const auto lines = lines_of(b.out);
  ASSERT_EQ(lines.size(), 2u);
  const Json a = parsed(lines[0]);
  ASSERT_EQ(at(a, "response.body.choices").as_array().size(), 3u);
  EXPECT_EQ(at(a, "response.body.choices.2.text").as_string(),
            at(parsed(lines[1]), "response.body.choices.0.text").as_string());
  EXPECT_NE(at(a, "response.body.choices.0.text").as_string(), at(a, "response.body.choices.1.text").as_string());
}

TEST(Batch, BestOfKeepsTheAnswerOfTheMajority) {
  const std::string in = fresh("in.txt"), out = fresh("out.jsonl");
  write_file(in, "2+2?\n");
  ASSERT_EQ(run({"batch", "-i", in, "-o", out, "--text", "--best-of", "3", talker(), "--temp", "0"}).code, 0);
  const Json j = parsed(lines_of(out)[0]);
  EXPECT_EQ(at(j, "response.body.choices").as_array().size(), 1u);
  EXPECT_EQ(at(j, "response.body.dsr1.best_of").dump(), R"({"of":3,"votes":3,"answer":"hello,world"})");
  EXPECT_EQ(at(j, "response.body.usage.completion_tokens").as_int64(), 21);
}

}  // namespace
}  // namespace dsr1::test

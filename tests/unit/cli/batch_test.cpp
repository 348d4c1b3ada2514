// Rows, records and the set of names of `dsr1 batch`, apart from any model.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "batch_input.h"
#include "batch_run.h"

namespace dsr1::cli {
namespace {

std::string chat(const std::string& body) {
  return R"({"custom_id":"x","url":"/v1/chat/completions","body":{)" + body + "}}";
}

TEST(BatchRow, EveryFieldOfTheContractIsRead) {
  const ParsedRow p = parse_batch_row(chat(
      R"("model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"u","name":"n"},)"
      R"({"role":"assistant","content":"a","reasoning_content":"old","prefix":true}],"max_completion_tokens":9,)"
      R"("temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"stop":["a","b"],"seed":18446744073709551615,)"
      R"("presence_penalty":-1,"frequency_penalty":1.5,"logit_bias":{"5":-100},"logprobs":true,"top_logprobs":3,"n":4,)"
      R"("reasoning_effort":"low","thinking_token_budget":77,"user":"u","stream":false,"tools":[],"tool_choice":"auto",)"
      R"("response_format":{"type":"text"},"presence":null)"));
  ASSERT_FALSE(p.error) << p.error->message;
  EXPECT_TRUE(p.unknown.empty());
  const BatchRow& r = p.row;
  EXPECT_EQ(r.custom_id, "x");
  EXPECT_TRUE(r.chat);
  EXPECT_EQ(r.model, "m");
  ASSERT_EQ(r.messages.size(), 3u);
  EXPECT_EQ(r.messages[0].role, text::Role::kSystem);
  EXPECT_EQ(r.messages[2].content, "a");
  EXPECT_TRUE(r.messages[2].prefix);
  EXPECT_EQ(r.max_tokens, 9);
  EXPECT_EQ(r.temperature, 0.5);
  EXPECT_EQ(r.top_k, 40);
  EXPECT_EQ(r.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(r.seed, UINT64_MAX);
  EXPECT_EQ(r.logit_bias, (std::vector<std::pair<int64_t, double>>{{5, -100}}));
  EXPECT_TRUE(r.logprobs);
  EXPECT_EQ(r.top_logprobs, 3);
  EXPECT_EQ(r.n, 4);
  EXPECT_EQ(r.reasoning_effort, "low");
  EXPECT_EQ(r.think_budget, 77);
}

TEST(BatchRow, PromptsAreTextOrIds) {
  auto prompt = [](const std::string& value) {
    return parse_batch_row(R"({"custom_id":"x","url":"/v1/completions","body":{"logprobs":2,"prompt":)" + value + "}}");
  };
  EXPECT_EQ(prompt(R"("text")").row.prompt, "text");
  EXPECT_EQ(prompt(R"(["text"])").row.prompt, "text");
  EXPECT_EQ(prompt("[1,2,3]").row.prompt_ids, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(prompt("[[1,2]]").row.prompt_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(prompt(R"("text")").row.top_logprobs, 2);
  for (const char* bad : {R"(["a","b"])", "[-1]", "[1.5]", "[4294967296]", "{}", "[]", "5", "true"})
    EXPECT_TRUE(prompt(bad).error) << bad;
}

TEST(BatchRow, AComplaintNamesTheFieldAndKeepsTheName) {
  const std::pair<std::string, std::string> cases[] = {
      {chat(R"("messages":"hi")"), "body.messages must be an array, found a string"},
      {chat(R"("messages":[])"), "body.messages is empty"},
      {chat(R"("messages":[{"role":"user"}])"), "body.messages[0].content is missing"},
      {chat(R"("messages":[{"role":"king","content":""}])"), "role must be"},
      {chat(R"("messages":[{"role":"tool","content":""}])"), "\"tool\" is not supported"},
      {chat(R"("messages":[{"role":"user","content":[{"type":"image_url"}]}])"), "image_url"},
      {chat(R"("messages":[{"role":"user","content":""}],"n":0)"), "body.n must be an integer from 1 to 128, found 0"},
      {chat(R"("messages":[{"role":"user","content":""}],"n":1.5)"), "body.n"},
      {chat(R"("messages":[{"role":"user","content":""}],"temperature":1e309)"), ""},
      {chat(R"("messages":[{"role":"user","content":""}],"temperature":"1")"), "body.temperature must be a number"},
      {chat(R"("messages":[{"role":"user","content":""}],"max_tokens":9007199254740993)"), "body.max_tokens"},
      {chat(R"("messages":[{"role":"user","content":""}],"stop":[1])"), "body.stop"},
      {chat(R"("messages":[{"role":"user","content":""}],"stop":"")"), "empty string"},
      {chat(R"("messages":[{"role":"user","content":""}],"seed":1.5)"), "body.seed"},
      {chat(R"("messages":[{"role":"user","content":""}],"top_logprobs":2)"), "needs body.logprobs"},
      {chat(R"("messages":[{"role":"user","content":""}],"logit_bias":{"x":1})"), "token id"},
      {chat(R"("messages":[{"role":"user","content":""}],"stream":true)"), "batch"},
      {chat(R"("messages":[{"role":"user","content":""}],"reasoning_effort":"huge")"), "huge"},
      {chat(R"("prompt":"x")"), "body.prompt has no place"},
      {R"({"custom_id":"x","url":"/v1/chat/completions"})", "body is missing"},
      {R"({"custom_id":"x","body":{}})", "url is missing"},
      {R"({"custom_id":"x","url":"/v1/completions","method":"GET","body":{}})", "method must be"},
      {R"({"custom_id":"x","custom_id":"x"})", "duplicate key"}};
  for (const auto& [line, words] : cases) {
    const ParsedRow p = parse_batch_row(line);
    ASSERT_TRUE(p.error) << line;
    EXPECT_NE(p.error->message.find(words), std::string::npos) << p.error->message;
    EXPECT_EQ(p.row.custom_id, p.error->code == "invalid_json" ? "" : "x") << line;
  }
  for (const char* bad : {"", "5", "[]", "{", "null", "{\"custom_id\":5}", "{\"custom_id\":\"\"}", "\xff"})
    EXPECT_TRUE(parse_batch_row(bad).error) << bad;
}

TEST(BatchRow, UnknownFieldsAreNoted) {
  const ParsedRow p = parse_batch_row(
      R"({"custom_id":"x","url":"/v1/chat/completions","colour":1,"body":{"top_a":1,"messages":[{"role":"user","content":"u","mood":1}]}})");
  EXPECT_FALSE(p.error);
  EXPECT_EQ(p.unknown, (std::vector<std::string>{"colour", "body.top_a", "body.messages[].mood"}));
}

// The records of a text: "line:text", or "line!code" where one is refused.
std::vector<std::string> records(const std::string& text, BatchFormat format, const std::string& column = "") {
  const auto path = std::filesystem::temp_directory_path() / ("dsr1-batch-unit-" + std::to_string(::getpid()));
  std::ofstream(path, std::ios::binary) << text;
  std::vector<std::string> out;
  auto input = BatchInput::open(path.string(), format, column);
  EXPECT_TRUE(input) << input.error().text();
  if (!input) return out;
  for (int round = 0; round < 2; ++round) {
    out.clear();
    BatchRecord r;
    while (true) {
      const auto more = (*input)->next(r);
      EXPECT_TRUE(more);
      if (!more || !*more) break;
      out.push_back(std::to_string(r.line) + (r.error ? "!" + r.error->code : ":" + r.text));
    }
    (*input)->rewind();
  }
  std::filesystem::remove(path);
  return out;
}

using Lines = std::vector<std::string>;

TEST(BatchInput, LinesWithAnyEndAreRecordsAndBlankOnesAreNot) {
  EXPECT_EQ(records("\xEF\xBB\xBF"
                    "a\r\n\n  \nb\n\t\nc",
                    BatchFormat::kText),
            (Lines{"1:a", "4:b", "6:c"}));
  EXPECT_EQ(records("", BatchFormat::kText), Lines{});
  EXPECT_EQ(records("\n\n", BatchFormat::kOpenAi), Lines{});
  const std::string long_line(BatchInput::kLongestRecord, 'x');
  EXPECT_EQ(records("a\n" + long_line + "y\nb\n", BatchFormat::kText), (Lines{"1:a", "2!line_too_long", "3:b"}));
  EXPECT_EQ(records(long_line, BatchFormat::kText).at(0).size(), long_line.size() + 2);
}

TEST(BatchInput, CsvFieldsMayHoldCommasQuotesAndLineBreaks) {
  EXPECT_EQ(records("id,q\n1,plain\n2,\"a,b\"\n3,\"say \"\"hi\"\"\nnow\"\n4,\n5,\"\"\n6,last", BatchFormat::kCsv, "q"),
            (Lines{"2:plain", "3:a,b", "4:say \"hi\"\nnow", "6:", "7:", "8:last"}));
  EXPECT_EQ(records("q\r\na\r\n\r\nb\r\n", BatchFormat::kCsv, "q"), (Lines{"2:a", "4:b"}));
  EXPECT_EQ(records("\"the, q\",x\n1,2\n", BatchFormat::kCsv, "the, q"), (Lines{"2:1"}));
}

TEST(BatchInput, ABadCsvRecordIsRefusedAndTheNextLineRead) {
  EXPECT_EQ(records("id,q\n1,\"open\n2,b\n3\n4,c,d\n5,\"x\"y\n6,d\n", BatchFormat::kCsv, "q"),
            (Lines{"2!invalid_csv", "3:b", "4!invalid_csv", "5!invalid_csv", "6!invalid_csv", "7:d"}));
}

TEST(BatchInput, ASurveyCountsAndHashes) {
  const auto path = std::filesystem::temp_directory_path() / ("dsr1-batch-survey-" + std::to_string(::getpid()));
  std::ofstream(path, std::ios::binary) << "abc\n\nthis line is longer\nend";
  auto input = BatchInput::open(path.string(), BatchFormat::kText, "");
  ASSERT_TRUE(input);
  const auto facts = (*input)->survey(nullptr);
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->bytes, 28);
  EXPECT_EQ(facts->lines, 4);
  EXPECT_EQ(facts->long_lines, 1);
  EXPECT_EQ(facts->sha256.size(), 64u);
  const std::atomic<bool> cancel{true};
  EXPECT_EQ((*input)->survey(&cancel).error().code, ErrorCode::kInterrupted);
  std::filesystem::remove(path);
}

TEST(NameSet, KnowsWhatItWasGivenAlsoBeyondWhatItExpected) {
  NameSet names(10);
  for (int i = 0; i < 5000; ++i) EXPECT_TRUE(names.insert("name " + std::to_string(i)));
  for (int i = 0; i < 5000; ++i) EXPECT_FALSE(names.insert("name " + std::to_string(i)));
  EXPECT_TRUE(names.insert(""));
}

TEST(RowSeed, DependsOnSeedAndNameAlone) {
  EXPECT_EQ(row_seed(1, "a"), row_seed(1, "a"));
  EXPECT_NE(row_seed(1, "a"), row_seed(2, "a"));
  EXPECT_NE(row_seed(1, "a"), row_seed(1, "b"));
  EXPECT_LT(row_seed(1, "a"), uint64_t{1} << 53);
}

}  // namespace
}  // namespace dsr1::cli

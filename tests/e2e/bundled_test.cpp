// The bundled miniatures: r1-nano and r1-nano-distill say what transformers says (models/*/expected.json, written by
// tools/train/expect.py), and the program finds them wherever it stands.
#include "dsr1/base/json.h"
#include "e2e/program.h"

namespace dsr1::test {
namespace {

const std::filesystem::path kModels = std::filesystem::path(DSR1_SOURCE_DIR) / "models";

std::string gguf(const std::string& name) { return (kModels / name / (name + ".gguf")).string(); }
std::string directory(const std::string& name) { return (kModels / name / "safetensors").string(); }

Json parsed(const std::string& text) {
  auto j = Json::parse(text);
  EXPECT_TRUE(j) << text;
  return j ? *j : Json();
}

Json expected(const std::string& name) { return parsed(read_file(kModels / name / "expected.json")); }

std::vector<int64_t> numbers(const Json& list) {
  std::vector<int64_t> out;
  for (const Json& n : list.as_array()) out.push_back(n.as_int64());
  return out;
}

class Bundled : public testing::TestWithParam<std::string> {};

TEST_P(Bundled, SaysGreedilyWhatTransformersSays) {
  const Json want = expected(GetParam());
  for (const Json& reply : want.find("replies")->as_array()) {
    const std::string prompt = reply.find("prompt")->as_string();
    for (const std::string& model : {gguf(GetParam()), directory(GetParam())}) {
      const Ran r = run({"run", model, "-p", prompt, "--temp", "0", "--json", "-n", "220"});
      ASSERT_EQ(r.code, 0) << r.err;
      const Json got = parsed(r.out);
      EXPECT_EQ(got.find("prompt_tokens")->as_int64(), reply.find("prompt_tokens")->as_int64()) << prompt;
      EXPECT_EQ(numbers(*got.find("tokens")), numbers(*reply.find("tokens"))) << model << ": " << prompt;
      EXPECT_EQ(got.find("reasoning_content")->as_string(), reply.find("thought")->as_string()) << prompt;
      EXPECT_EQ(got.find("answer")->as_string(), reply.find("answer")->as_string()) << prompt;
    }
  }
}

TEST_P(Bundled, GivesATextTheLikelihoodTransformersGives) {
  const Json want = expected(GetParam());
  const std::string text = (scratch() / "text.txt").string();
  write_file(text, want.find("text")->as_string());
  auto nll = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args = {"perplexity", "-f", text, "-c", std::to_string(want.find("window")->as_int64()),
                                     "--json"};
    args.insert(args.end(), more.begin(), more.end());
    const Ran r = run(args);
    EXPECT_EQ(r.code, 0) << r.err;
    const Json got = parsed(r.out);
    EXPECT_EQ(got.find("tokens")->as_int64(), want.find("scored")->as_int64());
    return got.find("nll")->as_double();
  };
  EXPECT_NEAR(nll({directory(GetParam()), "--device", "ref"}), want.find("nll")->as_double(), 1e-4);
  EXPECT_NEAR(nll({gguf(GetParam())}), want.find("nll")->as_double(), 0.05);  // Q8_0, int8 activations, f16 KV
}

INSTANTIATE_TEST_SUITE_P(Models, Bundled, testing::Values("r1-nano", "r1-nano-distill"));

TEST(BundledModel, IsWhatRunsWhereNoModelIsNamed) {
  const Ran r = run({"run", "-p", "What is 417 + 38?", "--temp", "0", "--json"});
  ASSERT_EQ(r.code, 0) << r.err;
  const Json got = parsed(r.out);
  EXPECT_TRUE(got.find("model")->as_string().ends_with("models/r1-nano/r1-nano.gguf")) << r.out;
  EXPECT_EQ(got.find("answer")->as_string(), "455");
}

TEST(BundledModel, TravelsWithAnInstalledProgram) {
  namespace fs = std::filesystem;
  const fs::path prefix = scratch() / "prefix", models = prefix / "share/dsr1/models";
  fs::create_directories(prefix / "bin");
  fs::create_directories(models);
  fs::copy_file(DSR1_PROGRAM, prefix / "bin/dsr1");
  RunOptions installed;
  installed.program = (prefix / "bin/dsr1").string();
  expect_refusal(run({"run", "-p", "1+1"}, installed), 3, {"no model is bundled", "dsr1 run MODEL"});
  for (const std::string name : {"r1-nano", "a-nano"}) {  // the bundled one is chosen by name, not by order
    fs::create_directories(models / name);
    fs::copy_file(gguf("r1-nano"), models / name / (name + ".gguf"));
  }
  auto model_of = [&](std::vector<std::string> args) {
    args.insert(args.begin(), "run");
    args.insert(args.end(), {"-p", "What is 417 + 38?", "--temp", "0", "--json"});
    const Ran r = run(args, installed);
    EXPECT_EQ(r.code, 0) << r.err;
    return parsed(r.out).find("model")->as_string();
  };
  EXPECT_EQ(model_of({}), (models / "r1-nano/r1-nano.gguf").string());
  EXPECT_EQ(model_of({"a-nano"}), (models / "a-nano/a-nano.gguf").string());
}

}  // namespace
}  // namespace dsr1::test

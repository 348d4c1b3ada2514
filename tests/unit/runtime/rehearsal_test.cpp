// A rehearsal runs the model's own pass on weights that are not there: for every architecture, layout and type.
#include "dsr1/runtime/rehearsal.h"

#include <gtest/gtest.h>

#include "support/engine_helpers.h"

namespace dsr1::test {
namespace {

runtime::ModelFacts facts_of(const SyntheticSpec& spec) {
  const auto path = write_model(spec, "rehearsal");
  auto file = io::ModelFile::open(path);
  auto model = model::Model::load(*file);
  EXPECT_TRUE(file && model);
  return runtime::facts_of(*file, **model, false);
}

runtime::Rehearsal::Options small() {
  runtime::Rehearsal::Options o;
  o.n_ctx = 128;
  o.n_rows = 16;
  return o;
}

TEST(Rehearsal, RunsEveryArchitectureLayoutAndType) {
  for (const char* arch : {"llama", "qwen2", "qwen3", "deepseek2"}) {
    for (DType type : {DType::kF32, DType::kQ8_0, DType::kBF16}) {
      for (bool variant : {false, true}) {
        SyntheticSpec s;
        s.arch = arch;
        s.dtype = type;
        s.tied = variant;
        s.mla = variant ? MlaLayout::kSplit : MlaLayout::kJoined;
        s.merged_gate_up = variant;
        s.n_layer = 3;
        const runtime::ModelFacts facts = facts_of(s);
        for (int n_layer : {0, 2}) {
          runtime::Rehearsal::Options o = small();
          o.n_layer = n_layer;
          auto r = runtime::Rehearsal::create(facts, o);
          ASSERT_TRUE(r) << arch << ": " << r.error().text();
          EXPECT_GT((*r)->token(0), 0);
          EXPECT_GT((*r)->token(127), 0);
          EXPECT_GT((*r)->chunk(112), 0);
        }
      }
    }
  }
}

TEST(Rehearsal, TensorsThatAreNoModelAreRefusedByName) {
  SyntheticSpec s;
  runtime::ModelFacts facts = facts_of(s);
  std::erase_if(facts.tensors, [](const runtime::TensorFact& t) { return t.name == "blk.1.ffn_up.weight"; });
  const auto r = runtime::Rehearsal::create(facts, small());
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, ErrorCode::kModel);
  EXPECT_NE(r.error().text().find("blk.1.ffn_up.weight is missing"), std::string::npos) << r.error().text();
}

TEST(Rehearsal, LeavesNoMemoryBehind) {
  SyntheticSpec s;
  s.arch = "deepseek2";
  const runtime::ModelFacts facts = facts_of(s);
  const uint64_t before = Buffer::live_bytes();
  ASSERT_TRUE(runtime::Rehearsal::create(facts, small()));
  EXPECT_EQ(Buffer::live_bytes(), before);
}

}  // namespace
}  // namespace dsr1::test

// Every metadata field matters: changing it changes the logits, or the model is refused with the field's name.
#include <gtest/gtest.h>

#include "support/engine_helpers.h"

namespace dsr1::test {
namespace {

using Change = std::function<void(GgufWriter&)>;

struct Case {
  std::string name;
  SyntheticSpec spec;
  Change change;
  std::string refusal;  // empty: must load, and the logits differ
};

SyntheticSpec dense(const char* arch) {
  SyntheticSpec s;
  s.arch = arch;
  return s;
}
SyntheticSpec deepseek(MlaLayout layout = MlaLayout::kSplit) {
  SyntheticSpec s;
  s.arch = "deepseek2";
  s.mla = layout;
  return s;
}
template <class T>
Change set(std::string key, T value) {
  return [=](GgufWriter& w) { w.without(key).kv(key, value); };
}
Change drop(std::string key) {
  return [=](GgufWriter& w) { w.without(key); };
}
Change both(Change a, Change b) {
  return [=](GgufWriter& w) {
    a(w);
    b(w);
  };
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* arch : {"llama", "qwen2", "qwen3"}) {
    const std::string a = std::string(arch) + ".";
    const SyntheticSpec s = dense(arch);
    auto add = [&](const std::string& name, Change c, const std::string& refusal = "") {
      all.push_back({a + name, s, std::move(c), refusal});
    };
    for (const char* key : {"block_count", "context_length", "embedding_length", "feed_forward_length",
                            "attention.head_count", "attention.layer_norm_rms_epsilon"}) {
      add(std::string("missing ") + key, drop(a + key), "required key " + a + key + " is missing");
      add(std::string("string ") + key, set(a + key, "x"), a + key);
    }
    add("fewer layers", set(a + "block_count", 1u));
    add("more layers", set(a + "block_count", 3u), "blk.2.attn_norm.weight is missing");
    add("no layers", set(a + "block_count", 0u), a + "block_count is 0");
    add("2^31 layers", set(a + "block_count", 1u << 31), a + "block_count is 2147483648");
    add("context 0", set(a + "context_length", 0u), a + "context_length is 0");
    add("other width", set(a + "embedding_length", 128u), "token_embd.weight has shape [300, 64], expected [300, 128]");
    add("other ffn width", set(a + "feed_forward_length", 128u),
        "ffn_gate.weight has shape [96, 64], expected [128, 64]");
    add("ffn width by layer", set(a + "feed_forward_length", std::vector<uint32_t>{96, 64}), "differs between layers");
    add("head count 0", set(a + "attention.head_count", 0u), a + "attention.head_count is 0");
    add("heads that do not divide", set(a + "attention.head_count", 5u), "does not divide");
    add("other head count", set(a + "attention.head_count", 8u), "attn_k.weight has shape");
    add("kv heads that do not divide", set(a + "attention.head_count_kv", 3u), "does not divide");
    add("missing kv heads", drop(a + "attention.head_count_kv"), "attn_k.weight has shape [32, 64], expected [64, 64]");
    add("eps", set(a + "attention.layer_norm_rms_epsilon", 0.1f));
    add("negative eps", set(a + "attention.layer_norm_rms_epsilon", -1.0f), "layer_norm_rms_epsilon");
    add("NaN eps", set(a + "attention.layer_norm_rms_epsilon", NAN), "layer_norm_rms_epsilon");
    add("rope base", set(a + "rope.freq_base", 500000.0f));
    add("rope base 0", set(a + "rope.freq_base", 0.0f), "rope.freq_base");
    add("rope dimensions", set(a + "rope.dimension_count", 8u));
    add("odd rope dimensions", set(a + "rope.dimension_count", 7u), "rope.dimension_count is 7");
    add("too many rope dimensions", set(a + "rope.dimension_count", 32u), "rope.dimension_count is 32");
    add("linear scaling", both(set(a + "rope.scaling.type", "linear"), set(a + "rope.scaling.factor", 4.0f)));
    add("legacy linear scaling", set(a + "rope.scale_linear", 4.0f));
    add("unknown scaling", set(a + "rope.scaling.type", "dynamic"), "rope.scaling.type is \"dynamic\"");
    const Change yarn =
        both(set(a + "rope.scaling.type", "yarn"),
             both(set(a + "rope.scaling.factor", 4.0f), set(a + "rope.scaling.original_context_length", 128u)));
    add("yarn", yarn);
    add("key length", set(a + "attention.key_length", 8u), "attn_q.weight has shape [64, 64], expected [32, 64]");
    add("value length", set(a + "attention.value_length", 8u), "attn_v.weight has shape");
    add("vocab size larger than the embedding", set(a + "vocab_size", 301u), "vocab_size is 301");
    add(
        "rope_freqs of the wrong size",
        [](GgufWriter& w) { w.tensor_f32("rope_freqs.weight", {5}, std::vector<float>(5, 1.0f)); },
        "rope_freqs.weight has shape");
    add(
        "rope_freqs of zero",
        [](GgufWriter& w) { w.tensor_f32("rope_freqs.weight", {8}, std::vector<float>(8, 0.0f)); },
        "rope_freqs.weight holds");
    add("rope_freqs", [](GgufWriter& w) { w.tensor_f32("rope_freqs.weight", {8}, std::vector<float>(8, 4.0f)); });
    add("llama3 scaling without factors", set(a + "rope.scaling.type", "llama3"), "low_freq_factor is missing");
    add("llama3 scaling", both(set(a + "rope.scaling.type", "llama3"),
                               both(set(a + "rope.scaling.factor", 8.0f),
                                    both(set(a + "rope.scaling.low_freq_factor", 1.0f),
                                         both(set(a + "rope.scaling.high_freq_factor", 4.0f),
                                              set(a + "rope.scaling.original_context_length", 64u))))));
  }
  const std::string d = "deepseek2.";
  auto add = [&](const std::string& name, Change c, const std::string& refusal = "", SyntheticSpec s = deepseek()) {
    all.push_back({d + name, std::move(s), std::move(c), refusal});
  };
  for (const char* key :
       {"block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count",
        "attention.layer_norm_rms_epsilon", "attention.kv_lora_rank", "rope.dimension_count",
        "leading_dense_block_count", "expert_count", "expert_used_count", "expert_feed_forward_length"}) {
    add(std::string("missing ") + key, drop(d + key), "required key " + d + key + " is missing");
  }
  add("missing key length (joined)", drop(d + "attention.key_length"), "attention.key_length is missing",
      deepseek(MlaLayout::kJoined));
  add("missing key length mla", drop(d + "attention.key_length_mla"), "attention.key_length_mla is missing");
  add("missing q_lora_rank", drop(d + "attention.q_lora_rank"), "blk.0.attn_q.weight is missing");
  add("q_lora_rank", set(d + "attention.q_lora_rank", 32u), "attn_q_a.weight has shape [48, 64], expected [32, 64]");
  add("kv_lora_rank", set(d + "attention.kv_lora_rank", 64u), "attention.key_length is 48, expected");
  add("kv_lora_rank (joined)", set(d + "attention.kv_lora_rank", 64u),
      "attn_kv_a_mqa.weight has shape [48, 64], expected [80, 64]", deepseek(MlaLayout::kJoined));
  add("rope as long as the key", set(d + "rope.dimension_count", 32u), "not less than the key length");
  add("kv heads", set(d + "attention.head_count_kv", 2u), "expected 1 or");
  add("expert count 0", set(d + "expert_count", 0u), "expert_count is 0");
  add("expert count 2^31", set(d + "expert_count", 1u << 31), "expert_count is 2147483648");
  add("other expert count", set(d + "expert_count", 32u), "ffn_gate_inp.weight has shape [16, 64], expected [32, 64]");
  add("experts used", set(d + "expert_used_count", 3u));
  add("more experts used than there are", set(d + "expert_used_count", 17u), "expert_used_count is 17");
  add("more experts used than the groups hold", set(d + "expert_used_count", 9u),
      "expert_used_count is 9, more than the 8");
  add("group count that does not divide", set(d + "expert_group_count", 5u), "does not divide");
  add("group count", set(d + "expert_group_count", 8u));
  add("groups used", set(d + "expert_group_used_count", 1u));
  add("more groups used than there are", set(d + "expert_group_used_count", 5u), "expert_group_used_count is 5");
  add("shared experts", set(d + "expert_shared_count", 2u),
      "ffn_gate_shexp.weight has shape [32, 64], expected [64, 64]");
  add("no shared experts", set(d + "expert_shared_count", 0u));
  add("expert width", set(d + "expert_feed_forward_length", 64u), "ffn_gate_exps.weight has shape");
  add("gating", set(d + "expert_gating_func", 1u));
  add("unknown gating", set(d + "expert_gating_func", 3u), "expert_gating_func is 3");
  add("weights norm", set(d + "expert_weights_norm", false));
  add("weights norm of the wrong type", set(d + "expert_weights_norm", 1u), "expert_weights_norm");
  add("weights scale", set(d + "expert_weights_scale", 1.0f));
  add("dense layers", set(d + "leading_dense_block_count", 2u), "blk.1.ffn_gate.weight is missing");
  add("more dense layers than layers", set(d + "leading_dense_block_count", 3u), "leading_dense_block_count is 3");
  add("yarn log multiplier", set(d + "rope.scaling.yarn_log_multiplier", 0.0707f));
  add("yarn factor", set(d + "rope.scaling.factor", 40.0f));
  add("yarn original context", set(d + "rope.scaling.original_context_length", 32u));
  add("yarn beta fast", set(d + "rope.scaling.yarn_beta_fast", 4.0f));
  add("yarn beta slow", set(d + "rope.scaling.yarn_beta_slow", 0.1f));
  add("yarn attn factor", set(d + "rope.scaling.attn_factor", 1.5f));
  add("no yarn", set(d + "rope.scaling.type", "none"));
  add("rope base", set(d + "rope.freq_base", 50000.0f));
  add("more MTP layers than layers", set(d + "nextn_predict_layers", 2u), "nextn_predict_layers is 2");
  auto without_bias = deepseek();
  without_bias.with_bias = false;
  add(
      "router bias",
      [](GgufWriter& w) {
        w.tensor_f32("blk.1.exp_probs_b.bias", {16},
                     std::vector<float>{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
      },
      "", without_bias);
  return all;
}

Rows run(SyntheticSpec spec, const Change& change, std::string* error) {
  SyntheticModel model(spec);
  if (change) change(model.file());
  const auto path = temp_dir() / "config.gguf";
  model.write(path);
  runtime::EngineOptions o;
  o.n_threads = 1;
  o.type_k = o.type_v = DType::kF32;
  auto engine = runtime::Engine::open(path.string(), o);
  if (!engine) {
    EXPECT_EQ(engine.error().code, ErrorCode::kModel) << engine.error().text();
    *error = engine.error().text();
    return {};
  }
  return all_logits(**engine, some_tokens(40));
}

TEST(Config, EveryFieldChangesTheOutputOrIsRefusedByName) {
  std::map<std::string, Rows> unchanged;
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    std::string error;
    const Rows rows = run(c.spec, c.change, &error);
    if (!c.refusal.empty()) {
      EXPECT_NE(error.find(c.refusal), std::string::npos) << "refusal: \"" << error << "\"";
      continue;
    }
    ASSERT_EQ(error, "");
    Rows& base = unchanged[c.spec.arch + (c.spec.with_bias ? "+bias" : "")];
    if (base.empty()) base = run(c.spec, nullptr, &error);
    EXPECT_GT(largest_difference(rows, base), 1e-5);
  }
}

TEST(Config, UnknownArchitectureNamesTheKnown) {
  std::string error;
  run(dense("llama"), set("general.architecture", "mamba"), &error);
  EXPECT_NE(error.find("unknown architecture \"mamba\""), std::string::npos) << error;
  for (const char* known : {"deepseek2", "qwen2", "llama", "qwen3"})
    EXPECT_NE(error.find(known), std::string::npos) << error;
}

TEST(Config, ATensorMissingOrOfAWrongShapeIsRefusedByName) {
  for (const char* arch : {"llama", "qwen2", "qwen3", "deepseek2"}) {
    SyntheticSpec s;
    s.arch = arch;
    SyntheticModel whole(s);
    for (const std::string& name : whole.file().tensor_names()) {
      if (name == "output.weight" || name == "blk.1.exp_probs_b.bias") continue;  // optional
      if (name == "token_embd.weight") continue;                                  // its own message
      std::string error;
      run(
          s, [&](GgufWriter& w) { w.without_tensor(name); }, &error);
      // Without one of k_b and v_b a file is a damaged split layout.
      EXPECT_NE(error.find(name), std::string::npos) << arch << " without " << name << ": " << error;
      EXPECT_NE(error.find("is missing, expected with shape ["), std::string::npos) << error;
      error.clear();
      bool square = false;
      run(
          s, [&](GgufWriter& w) { square = !w.transpose_tensor(name); }, &error);
      if (square) continue;  // no shape tells
      EXPECT_NE(error.find(name), std::string::npos) << arch << " transposed " << name << ": " << error;
      const bool experts = error.find(" experts of shape [") != std::string::npos;  // split along what is not theirs
      EXPECT_TRUE(experts || error.find(" has shape [") != std::string::npos) << error;
      EXPECT_NE(error.find(experts ? " of shape [" : ", expected ["), std::string::npos) << error;
    }
  }
}

TEST(Config, AStackOfExpertsOfAnotherNumberIsRefusedWithBothShapes) {
  std::string error;
  run(
      deepseek(),
      [&](GgufWriter& w) {
        // The router says 16, one of the stacks holds 8.
        w.without_tensor("blk.1.ffn_up_exps.weight");
        w.tensor_f32("blk.1.ffn_up_exps.weight", {8, 32, 64}, std::vector<float>(size_t{64} * 32 * 8));
      },
      &error);
  EXPECT_NE(error.find("blk.1.ffn_up_exps.weight holds 8 experts of shape [32, 64], expected 16 of shape [32, 64]"),
            std::string::npos)
      << error;
}

TEST(Config, R1FilesWithoutGroupKeysRouteWithTheOfficialGroups) {
  SyntheticSpec s = deepseek();
  s.n_expert = 256;
  s.n_expert_used = 8;
  s.n_group = 8;
  s.n_group_used = 4;
  s.n_ff_exp = 32;
  std::string error;
  const Rows with_keys = run(s, nullptr, &error);
  const Change no_keys = both(drop("deepseek2.expert_group_count"), drop("deepseek2.expert_group_used_count"));
  EXPECT_EQ(run(s, no_keys, &error), with_keys);
  SyntheticModel model(s);
  no_keys(model.file());
  model.write(temp_dir() / "groups.gguf");
  runtime::EngineOptions o;
  o.n_threads = 1;
  o.type_k = o.type_v = DType::kF32;
  auto engine = open_engine(temp_dir() / "groups.gguf", o);
  ASSERT_TRUE(engine);
  EXPECT_NE(engine->config().expert_groups_note.find("8 groups, 4 used"), std::string::npos);
  o.expert_groups = false;
  engine = open_engine(temp_dir() / "groups.gguf", o);
  ASSERT_TRUE(engine);
  EXPECT_EQ(engine->config().router.n_group, 1);
  EXPECT_GT(largest_difference(all_logits(*engine, some_tokens(40)), with_keys), 1e-5);
}

}  // namespace
}  // namespace dsr1::test

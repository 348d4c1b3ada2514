// ScriptedModel: a llama-shaped GGUF that says a script: after any token that is not part of it comes its first piece,
// after each piece the next, after the last the end token. Its layers add nothing; embedding and output rows are
// one-hot. Tests of generation and of the command line know every token of it in advance.
//
// The vocabulary is SyntheticModel's: 256 bytes, BOS 256, EOS 257, User 258, Assistant 259, <think> 260, </think> 261;
// two spaces 262; then one token a piece. A piece "<think>", "</think>" or of one byte is the token of that name; no
// piece occurs twice.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "support/gguf_writer.h"

namespace dsr1::test {

struct Script {
  std::vector<std::string> pieces;
  bool loops = false;  // the first piece follows the last
  uint32_t n_ctx = 256;
  std::vector<size_t> nearly_closes = {};  // after these pieces </think> is nearly as likely as what follows
  // Recognised as the distills' format of February 2025 by what it contains; empty: no template.
  std::string chat_template =
      "{{bos_token}}<｜User｜>{{content}}{% set content = content.split('</think>')[-1] %}<｜Assistant｜><think>\\n";
};

inline GgufWriter scripted_model(const Script& script) {
  auto symbols = [](const std::string& text) {  // GPT-2's printable alphabet for bytes
    std::string out;
    auto put = [&](int c) {
      if (c < 0x80) out += static_cast<char>(c);
      else out += {static_cast<char>(0xc0 | (c >> 6)), static_cast<char>(0x80 | (c & 63))};
    };
    for (char raw : text) {
      const int b = static_cast<unsigned char>(raw);
      int extra = 0;
      for (int i = 0; i < b; ++i) extra += !((i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i <= 0xac) || i >= 0xae);
      const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
      put(printable ? b : 256 + extra);
    }
    return out;
  };
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  for (int b = 0; b < 256; ++b) tokens.push_back(symbols(std::string(1, static_cast<char>(b))));
  types.assign(256, 1);
  for (const char* t :
       {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"}) {
    tokens.emplace_back(t);
    types.push_back(t[1] == 't' || t[1] == '/' ? 4 : 3);
  }
  tokens.push_back(symbols("  "));  // the one merge: a BPE vocabulary without any is refused
  types.push_back(1);
  std::vector<int32_t> ids;
  for (size_t i = 0; i < script.pieces.size(); ++i) {
    const std::string& piece = script.pieces[i];
    if (piece == "<think>" || piece == "</think>") {
      ids.push_back(piece == "<think>" ? 260 : 261);
      continue;
    }
    if (piece.size() == 1) {  // its byte's own token, which no prompt may end with
      ids.push_back(static_cast<unsigned char>(piece[0]));
      continue;
    }
    ids.push_back(static_cast<int32_t>(tokens.size()));
    tokens.push_back(symbols(piece));
    types.push_back(1);
  }
  const size_t n = (tokens.size() + 31) / 32 * 32;
  for (size_t i = tokens.size(); i < n; ++i) {
    tokens.push_back("[PAD" + std::to_string(i) + "]");
    types.push_back(5);
  }

  std::vector<float> embedding(n * n, 0), output(n * n, 0);
  const int32_t first = ids.empty() ? 257 : ids.front();
  std::vector<int32_t> next(n, first);
  for (size_t i = 0; i < ids.size(); ++i)
    next[static_cast<size_t>(ids[i])] = i + 1 < ids.size() ? ids[i + 1] : script.loops ? first : 257;
  for (size_t t = 0; t < n; ++t) {
    embedding[t * n + t] = 1;
    output[static_cast<size_t>(next[t]) * n + t] = 2;
  }
  for (size_t i : script.nearly_closes) output[size_t{261} * n + static_cast<size_t>(ids[i])] = 1.95f;
  const std::vector<float> ones(n, 1);
  const auto d = static_cast<int64_t>(n);
  GgufWriter w;
  w.kv("general.architecture", "llama").kv("general.name", "scripted").kv("llama.block_count", 1u);
  w.kv("llama.context_length", script.n_ctx).kv("llama.embedding_length", static_cast<uint32_t>(n));
  w.kv("llama.feed_forward_length", 32u).kv("llama.attention.head_count", 4u).kv("llama.attention.head_count_kv", 1u);
  w.kv("llama.attention.layer_norm_rms_epsilon", 1e-5f).kv("llama.rope.freq_base", 10000.0f);
  w.kv("tokenizer.ggml.model", "gpt2").kv("tokenizer.ggml.pre", "deepseek-v3");
  w.kv("tokenizer.ggml.tokens", tokens).kv("tokenizer.ggml.token_type", types);
  w.kv("tokenizer.ggml.merges", std::vector<std::string>{symbols(" ") + " " + symbols(" ")});
  w.kv("tokenizer.ggml.bos_token_id", 256u)
      .kv("tokenizer.ggml.eos_token_id", 257u)
      .kv("tokenizer.ggml.add_bos_token", true);
  if (!script.chat_template.empty()) w.kv("tokenizer.chat_template", script.chat_template);
  auto zeros = [&](const std::string& name, int64_t rows, int64_t cols) {
    w.tensor_f32(name, {rows, cols}, std::vector<float>(static_cast<size_t>(rows * cols), 0));
  };
  w.tensor_f32("token_embd.weight", {d, d}, embedding);
  w.tensor_f32("output.weight", {d, d}, output);
  w.tensor_f32("output_norm.weight", {d}, ones);
  w.tensor_f32("blk.0.attn_norm.weight", {d}, ones);
  w.tensor_f32("blk.0.ffn_norm.weight", {d}, ones);
  zeros("blk.0.attn_q.weight", d, d);
  zeros("blk.0.attn_k.weight", d / 4, d);
  zeros("blk.0.attn_v.weight", d / 4, d);
  zeros("blk.0.attn_output.weight", d, d);
  zeros("blk.0.ffn_gate.weight", 32, d);
  zeros("blk.0.ffn_up.weight", 32, d);
  zeros("blk.0.ffn_down.weight", d, 32);
  return w;
}

}  // namespace dsr1::test

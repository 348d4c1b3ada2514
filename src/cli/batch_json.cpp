#include "batch_json.h"

#include <charconv>
#include <cmath>

#include "dsr1/base/sha256.h"

namespace dsr1::cli {
namespace {

std::string derived_id(const Manifest& manifest, const BatchResult& row) {
  // Rows that share a name, or have none, are told apart by their line.
  const bool by_line = row.custom_id.empty() || (row.error && row.error->code == "duplicate_custom_id");
  const std::string name = by_line ? std::string("\0line ", 6) + std::to_string(row.line) : row.custom_id;
  return sha256_hex(manifest.id + "\n" + name).substr(0, 24);
}

Json token_text(const text::Tokenizer& tokenizer, int32_t id) { return Json(tokenizer.piece(id, true)); }

Json token_bytes(const text::Tokenizer& tokenizer, int32_t id) {
  Json bytes = Json::array();
  for (const char c : tokenizer.piece(id, true)) bytes.push(static_cast<int>(static_cast<unsigned char>(c)));
  return bytes;
}

Json chance_json(const text::Tokenizer& tokenizer, int32_t id, float logprob) {
  Json j = Json::object();
  j.set("token", token_text(tokenizer, id)).set("logprob", short_number(logprob));
  j.set("bytes", token_bytes(tokenizer, id));
  return j;
}

Json chat_logprobs(const BatchChoice& choice, const text::Tokenizer& tokenizer) {
  Json content = Json::array(), thought = Json::array();
  for (const TokenChance& c : choice.chances) {
    Json top = Json::array();
    for (const auto& t : c.top) top.push(chance_json(tokenizer, t.id, t.logprob));
    Json one = chance_json(tokenizer, c.id, c.logprob);
    one.set("top_logprobs", std::move(top));
    (c.thought ? thought : content).push(std::move(one));
  }
  Json j = Json::object();
  j.set("content", std::move(content));
  if (!thought.as_array().empty()) j.set("reasoning_content", std::move(thought));
  return j;
}

Json completion_logprobs(const BatchChoice& choice, const text::Tokenizer& tokenizer) {
  Json tokens = Json::array(), logprobs = Json::array(), tops = Json::array(), offsets = Json::array();
  int64_t offset = 0;
  for (const TokenChance& c : choice.chances) {
    const std::string_view piece = tokenizer.piece(c.id, true);
    tokens.push(Json(piece));
    logprobs.push(short_number(c.logprob));
    Json top = Json::object();
    for (const auto& t : c.top) top.set(tokenizer.piece(t.id, true), short_number(t.logprob));
    tops.push(std::move(top));
    offsets.push(offset);
    for (const char byte : piece) offset += (static_cast<unsigned char>(byte) & 0xC0) != 0x80;  // characters
  }
  Json j = Json::object();
  j.set("tokens", std::move(tokens)).set("token_logprobs", std::move(logprobs));
  j.set("top_logprobs", std::move(tops)).set("text_offset", std::move(offsets));
  return j;
}

Json choice_json(const BatchResult& row, size_t index, const text::Tokenizer& tokenizer) {
  const BatchChoice& choice = row.choices[index];
  const runtime::Generation& g = choice.generation;
  Json j = Json::object();
  j.set("index", static_cast<int64_t>(index));
  if (row.chat) {
    Json message = Json::object();
    message.set("role", "assistant").set("content", g.answer);
    if (!g.thought.empty()) message.set("reasoning_content", g.thought);
    j.set("message", std::move(message));
  } else {
    j.set("text", g.answer);
  }
  if (!row.logprobs) j.set("logprobs", nullptr);
  else j.set("logprobs", row.chat ? chat_logprobs(choice, tokenizer) : completion_logprobs(choice, tokenizer));
  j.set("finish_reason", g.finish_reason == runtime::FinishReason::kStop ? "stop" : "length");
  Json ours = Json::object();
  ours.set("finish_reason", finish_reason_name(g.finish_reason)).set("think_end", think_end_name(g.think_end));
  if (g.in_thought) ours.set("in_thought", true);
  if (g.dropped_tokens > 0) ours.set("dropped_tokens", g.dropped_tokens);
  j.set("dsr1", std::move(ours.set("seed", g.seed)));
  return j;
}

}  // namespace

std::string output_line(const BatchResult& row, const Manifest& manifest, const text::Tokenizer& tokenizer) {
  const std::string id = derived_id(manifest, row);
  Json choices = Json::array();
  int64_t generated = row.spent_tokens, thought = 0;
  for (size_t i = 0; i < row.choices.size(); ++i) {
    choices.push(choice_json(row, i, tokenizer));
    generated += static_cast<int64_t>(row.choices[i].generation.tokens.size());
    thought += row.choices[i].generation.thought_tokens;
  }
  const int64_t prompt = row.choices.empty() ? 0 : row.choices.front().generation.prompt_tokens;
  Json usage = Json::object();
  usage.set("prompt_tokens", prompt).set("completion_tokens", generated).set("total_tokens", prompt + generated);
  usage.set("completion_tokens_details", Json::object().set("reasoning_tokens", thought));
  Json ours = Json::object();
  ours.set("line", row.line);
  if (row.vote) ours.set("best_of", *row.vote);
  Json body = Json::object();
  body.set("id", (row.chat ? "chatcmpl-" : "cmpl-") + id);
  body.set("object", row.chat ? "chat.completion" : "text_completion");
  body.set("created", manifest.created).set("model", row.model).set("choices", std::move(choices));
  body.set("usage", std::move(usage)).set("dsr1", std::move(ours));
  Json response = Json::object();
  response.set("status_code", 200).set("request_id", "req_" + id).set("body", std::move(body));
  Json line = Json::object();
  line.set("id", "batch_req_" + id).set("custom_id", row.custom_id).set("response", std::move(response));
  return line.set("error", nullptr).dump() + "\n";
}

std::string error_line(const BatchResult& row, const Manifest& manifest) {
  Json error = Json::object();
  error.set("code", row.error->code).set("message", row.error->message).set("line", row.line);
  Json line = Json::object();
  line.set("id", "batch_req_" + derived_id(manifest, row));
  line.set("custom_id", row.custom_id.empty() ? Json() : Json(row.custom_id));
  return line.set("response", nullptr).set("error", std::move(error)).dump() + "\n";
}

Json short_number(float x) {
  if (!std::isfinite(x)) return Json(static_cast<double>(x));
  char text[40];
  const auto end = std::to_chars(text, text + sizeof text, x).ptr;
  double read = 0;
  std::from_chars(text, end, read);
  return Json(read);
}

uint64_t row_seed(uint64_t seed, std::string_view custom_id) {
  const auto digest = sha256("dsr1 row seed " + std::to_string(seed) + "\n" + std::string(custom_id));
  uint64_t out = 0;
  for (int i = 0; i < 8; ++i) out = out << 8 | digest[static_cast<size_t>(i)];
  // Below 2^53, which every JSON reader keeps exactly.
  return out >> 11;
}

}  // namespace dsr1::cli

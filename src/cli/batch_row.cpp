#include "batch_row.h"

#include <algorithm>
#include <cmath>

#include "dsr1/base/json.h"

namespace dsr1::cli {
namespace {

// A request has a handful of values a message; this bounds the memory of a hostile line to some 20 MB.
constexpr size_t kMostValues = 200000;
constexpr size_t kMostStops = 16, kLongestStop = 256, kLongestId = 512;

const char* kind_name(const Json& j) {
  switch (j.kind()) {
    case Json::Kind::kNull: return "null";
    case Json::Kind::kBool: return "a boolean";
    case Json::Kind::kString: return "a string";
    case Json::Kind::kArray: return "an array";
    case Json::Kind::kObject: return "an object";
    default: return "a number";
  }
}

// Reads the members of a body one by one; the first complaint stays.
class RowParser {
 public:
  explicit RowParser(ParsedRow& out) : out_(out), row_(out.row) {}

  void line(std::string_view text) {
    auto json = Json::parse(text, 64, kMostValues);
    if (!json) {
      // nlohmann counts lines of its own; here the line is known.
      std::string why = json.error().message;
      constexpr std::string_view kPosition = "parse error at line 1, column ";
      if (const size_t at = why.find(kPosition); at != std::string::npos) why.replace(at, kPosition.size(), "byte ");
      return fail("invalid_json", why);
    }
    if (!json->is_object()) return fail("invalid_json", std::string("expected an object, found ") + kind_name(*json));
    // First of all the name, so that a complaint about the rest can carry it.
    const Json* id = json->find("custom_id");
    if (id != nullptr && id->is_string() && id->as_string().size() <= kLongestId) row_.custom_id = id->as_string();
    if (id == nullptr) return fail("custom_id is missing");
    if (!id->is_string()) return wrong_type("custom_id", "a string", *id);
    if (id->as_string().empty()) return fail("custom_id is empty");
    if (id->as_string().size() > kLongestId)
      return fail("custom_id is longer than " + std::to_string(kLongestId) + " bytes");

    const Json* body = nullptr;
    bool has_url = false;
    for (const auto& [key, value] : json->as_object()) {
      if (key == "custom_id") continue;
      if (key == "method") {
        if (!value.is_string()) return wrong_type(key, "\"POST\"", value);
        if (value.as_string() != "POST") return fail("method must be \"POST\", found " + shown(value));
      } else if (key == "url") {
        if (!value.is_string()) return wrong_type(key, "a string", value);
        has_url = true;
        row_.chat = value.as_string() == "/v1/chat/completions";
        if (!row_.chat && value.as_string() != "/v1/completions")
          return fail("url must be /v1/chat/completions or /v1/completions, found " + shown(value));
      } else if (key == "body") {
        body = &value;
      } else {
        out_.unknown.push_back(key);
      }
    }
    if (!has_url) return fail("url is missing; expected /v1/chat/completions or /v1/completions");
    if (body == nullptr) return fail("body is missing");
    if (!body->is_object()) return wrong_type("body", "an object", *body);
    this->body(*body);
  }

 private:
  void fail(std::string message) { fail("invalid_request", std::move(message)); }
  void fail(const char* code, std::string message) {
    if (!out_.error) out_.error = RowError{code, std::move(message)};
  }
  static std::string shown(const Json& value) {
    std::string s = value.dump();
    if (s.size() > 60) {
      s.resize(57);
      while (!s.empty() && (static_cast<unsigned char>(s.back()) & 0xC0) == 0x80) s.pop_back();
      if (!s.empty() && static_cast<unsigned char>(s.back()) >= 0xC0) s.pop_back();
      s += "...";
    }
    return s;
  }
  void wrong_type(std::string_view field, const char* expected, const Json& found) {
    fail(std::string(field) + " must be " + expected + ", found " + kind_name(found));
  }
  void unsupported(const std::string& field, const std::string& why) { fail("unsupported", field + " " + why); }

  bool number(std::string_view field, const Json& v, double low, double high, std::optional<double>& out) {
    if (!v.is_number()) return wrong_type(field, "a number", v), false;
    const double x = v.as_double();
    if (!(x >= low && x <= high)) {
      auto text = [](double d) { return Json(d).dump(); };
      return fail(std::string(field) + " must be between " + text(low) + " and " + text(high) + ", found " + shown(v)),
             false;
    }
    out = x;
    return true;
  }
  bool integer(std::string_view field, const Json& v, int64_t low, int64_t high, std::optional<int64_t>& out) {
    if (!v.is_number()) return wrong_type(field, "an integer", v), false;
    if (!v.fits_int64() || v.as_int64() < low || v.as_int64() > high)
      return fail(std::string(field) + " must be an integer from " + std::to_string(low) + " to " +
                  std::to_string(high) + ", found " + shown(v)),
             false;
    out = v.as_int64();
    return true;
  }

  void body(const Json& body) {
    constexpr int64_t kMostTokens = int64_t{1} << 24;
    const Json *logprobs = nullptr, *top_logprobs = nullptr, *messages = nullptr, *prompt = nullptr;
    std::optional<int64_t> max_tokens, max_completion_tokens;
    for (const auto& [key, v] : body.as_object()) {
      if (out_.error) return;
      if (v.is_null()) continue;  // as if it were absent
      const std::string field = "body." + key;
      if (key == "messages") messages = &v;
      else if (key == "prompt") prompt = &v;
      else if (key == "model") {
        if (!v.is_string()) wrong_type(field, "a string", v);
        else row_.model = v.as_string();
      } else if (key == "max_tokens") integer(field, v, 1, kMostTokens, max_tokens);
      else if (key == "max_completion_tokens") integer(field, v, 1, kMostTokens, max_completion_tokens);
      else if (key == "temperature") number(field, v, 0, 100, row_.temperature);
      else if (key == "top_p") number(field, v, 0, 1, row_.top_p);
      else if (key == "min_p") number(field, v, 0, 1, row_.min_p);
      else if (key == "top_k") integer(field, v, -1, kMostTokens, row_.top_k);
      else if (key == "presence_penalty") number(field, v, -100, 100, row_.presence_penalty);
      else if (key == "frequency_penalty") number(field, v, -100, 100, row_.frequency_penalty);
      else if (key == "n") integer(field, v, 1, kMostChoices, row_.n);
      else if (key == "thinking_token_budget") integer(field, v, 0, kMostTokens, row_.think_budget);
      else if (key == "seed") seed(v);
      else if (key == "stop") stop(v);
      else if (key == "logit_bias") logit_bias(v);
      else if (key == "logprobs") logprobs = &v;
      else if (key == "top_logprobs") top_logprobs = &v;
      else if (key == "reasoning_effort") reasoning_effort(v);
      else if (key == "tools" || key == "functions") {
        if (!v.is_array() || !v.as_array().empty()) unsupported(field, "is not supported");
      } else if (key == "tool_choice" || key == "function_call") {
        if (!v.is_string() || (v.as_string() != "none" && v.as_string() != "auto"))
          unsupported(field, "is not supported");
      } else if (key == "response_format") response_format(v);
      else if (key == "stream") {
        if (!v.is_bool()) wrong_type(field, "a boolean", v);
        else if (v.as_bool()) unsupported(field, "has no meaning in a batch; leave it out");
      } else if (key != "user" && key != "metadata") {
        out_.unknown.push_back(field);
      }
    }
    if (out_.error) return;
    if (max_tokens && max_completion_tokens && *max_tokens != *max_completion_tokens)
      return fail("body.max_tokens (" + std::to_string(*max_tokens) + ") contradicts body.max_completion_tokens (" +
                  std::to_string(*max_completion_tokens) + ")");
    row_.max_tokens = max_completion_tokens ? max_completion_tokens : max_tokens;
    log_probabilities(logprobs, top_logprobs);
    if (out_.error) return;
    if (row_.chat) {
      if (prompt != nullptr) return fail("body.prompt has no place in /v1/chat/completions; expected body.messages");
      if (messages == nullptr) return fail("body.messages is missing");
      this->messages(*messages);
    } else {
      if (messages != nullptr) return fail("body.messages has no place in /v1/completions; expected body.prompt");
      if (prompt == nullptr) return fail("body.prompt is missing");
      this->prompt(*prompt);
    }
  }

  void seed(const Json& v) {
    if (!v.is_integer()) return wrong_type("body.seed", "an integer", v);
    row_.seed = v.kind() == Json::Kind::kUint ? v.as_uint64() : static_cast<uint64_t>(v.as_int64());
  }

  void stop(const Json& v) {
    std::vector<std::string> stops;
    if (v.is_string()) {
      stops.push_back(v.as_string());
    } else if (v.is_array()) {
      for (const Json& s : v.as_array()) {
        if (!s.is_string()) return wrong_type("body.stop", "a string or an array of strings", s);
        stops.push_back(s.as_string());
      }
    } else {
      return wrong_type("body.stop", "a string or an array of strings", v);
    }
    if (stops.size() > kMostStops) return fail("body.stop has more than " + std::to_string(kMostStops) + " strings");
    for (const std::string& s : stops) {
      if (s.empty()) return fail("body.stop has an empty string");
      if (s.size() > kLongestStop)
        return fail("body.stop has a string of more than " + std::to_string(kLongestStop) + " bytes");
    }
    row_.stop = std::move(stops);
  }

  void logit_bias(const Json& v) {
    if (!v.is_object()) return wrong_type("body.logit_bias", "an object of token ids", v);
    for (const auto& [id, bias] : v.as_object()) {
      const bool digits = !id.empty() && id.size() <= 9 && id.find_first_not_of("0123456789") == std::string::npos;
      if (!digits) return fail("body.logit_bias: expected a token id, found " + shown(Json(id)));
      std::optional<double> x;
      if (!number("body.logit_bias." + id, bias, -100, 100, x)) return;
      row_.logit_bias.emplace_back(std::stoll(id), *x);
    }
  }

  void reasoning_effort(const Json& v) {
    if (!v.is_string()) return wrong_type("body.reasoning_effort", "a string", v);
    for (const char* known : {"none", "minimal", "low", "medium", "high", "xhigh", "max"})
      if (v.as_string() == known) {
        row_.reasoning_effort = known;
        return;
      }
    fail("body.reasoning_effort must be none, minimal, low, medium, high, xhigh or max, found " + shown(v));
  }

  void response_format(const Json& v) {
    if (!v.is_object()) return wrong_type("body.response_format", "an object", v);
    const Json* type = v.find("type");
    if (type == nullptr || !type->is_string() || type->as_string() != "text")
      unsupported("body.response_format", "other than {\"type\":\"text\"} is not supported");
  }

  void log_probabilities(const Json* logprobs, const Json* top) {
    std::optional<int64_t> n;
    if (!row_.chat) {  // a number: so many alternatives
      if (top != nullptr)
        return fail("body.top_logprobs has no place in /v1/completions; logprobs is the number there");
      if (logprobs == nullptr) return;
      if (!integer("body.logprobs", *logprobs, 0, 20, n)) return;
      row_.logprobs = true;
      row_.top_logprobs = static_cast<int>(*n);
      return;
    }
    if (logprobs != nullptr) {
      if (!logprobs->is_bool()) return wrong_type("body.logprobs", "a boolean", *logprobs);
      row_.logprobs = logprobs->as_bool();
    }
    if (top == nullptr || !integer("body.top_logprobs", *top, 0, 20, n)) return;
    if (!row_.logprobs && *n > 0) return fail("body.top_logprobs needs body.logprobs: true");
    row_.top_logprobs = static_cast<int>(*n);
  }

  void prompt(const Json& v) {
    const Json* one = &v;
    if (v.is_array() && v.as_array().size() == 1 && !v.as_array()[0].is_number()) one = &v.as_array()[0];
    if (one->is_string()) {
      row_.prompt = one->as_string();
      return;
    }
    if (!one->is_array()) return wrong_type("body.prompt", "a string or an array of token ids", *one);
    for (const Json& id : one->as_array()) {
      if (id.is_string())
        return unsupported("body.prompt", "with several prompts is not supported; give each its own line");
      if (!id.is_integer() || !id.fits_int64() || id.as_int64() < 0 || id.as_int64() > INT32_MAX)
        return fail("body.prompt: expected a token id, found " + shown(id));
      row_.prompt_ids.push_back(static_cast<int32_t>(id.as_int64()));
    }
    if (row_.prompt_ids.empty()) fail("body.prompt is an empty array");
  }

  void messages(const Json& v) {
    if (!v.is_array()) return wrong_type("body.messages", "an array", v);
    if (v.as_array().empty()) return fail("body.messages is empty");
    for (size_t i = 0; i < v.as_array().size() && !out_.error; ++i)
      message(v.as_array()[i], "body.messages[" + std::to_string(i) + "]", i + 1 == v.as_array().size());
  }

  void message(const Json& v, const std::string& where, bool last) {
    if (!v.is_object()) return wrong_type(where, "an object", v);
    text::ChatMessage m;
    bool has_role = false, has_content = false;
    for (const auto& [key, value] : v.as_object()) {
      const std::string field = where + "." + key;
      if (key == "role") {
        if (!value.is_string()) return wrong_type(field, "a string", value);
        const std::string& name = value.as_string();
        const auto role = text::role_by_name(name == "developer" ? "system" : name);
        if (!role) return fail(field + " must be system, developer, user or assistant, found " + shown(value));
        if (*role == text::Role::kTool) return unsupported(field, "\"tool\" is not supported");
        m.role = *role;
        has_role = true;
      } else if (key == "content") {
        has_content = true;
        if (!content(value, field, m.content)) return;
      } else if (key == "tool_calls" || key == "function_call") {
        if (!value.is_null() && !(value.is_array() && value.as_array().empty()))
          return unsupported(field, "is not supported");
      } else if (key == "prefix") {
        if (!value.is_bool()) return wrong_type(field, "a boolean", value);
        m.prefix = value.as_bool();
      } else if (key != "name" && key != "reasoning_content" && key != "reasoning" && key != "thinking" &&
                 key != "refusal") {
        // Old thoughts are not fed back (DeepSeek's templates); the others say nothing to a model.
        out_.unknown.push_back("body.messages[]." + key);
      }
    }
    if (!has_role) return fail(where + ".role is missing");
    if (!has_content) return fail(where + ".content is missing");
    if (m.prefix && (m.role != text::Role::kAssistant || !last))
      return fail(where + ".prefix: only a last message of the assistant can be gone on with");
    row_.messages.push_back(std::move(m));
  }

  bool content(const Json& v, const std::string& field, std::string& out) {
    if (v.is_string()) {
      out = v.as_string();
      return true;
    }
    if (v.is_null()) return true;
    if (!v.is_array()) return wrong_type(field, "a string or an array of parts", v), false;
    for (const Json& part : v.as_array()) {
      if (!part.is_object()) return wrong_type(field + "[]", "an object", part), false;
      const Json *type = part.find("type"), *text = part.find("text");
      if (type == nullptr || !type->is_string()) return fail(field + "[].type is missing"), false;
      if (type->as_string() != "text")
        return unsupported(field, "with parts of type " + shown(*type) + " is not supported: this model reads text"),
               false;
      if (text == nullptr || !text->is_string()) return fail(field + "[].text is missing"), false;
      out += text->as_string();
    }
    return true;
  }

  ParsedRow& out_;
  BatchRow& row_;
};

}  // namespace

ParsedRow parse_batch_row(std::string_view line) {
  ParsedRow parsed;
  RowParser(parsed).line(line);
  return parsed;
}

}  // namespace dsr1::cli

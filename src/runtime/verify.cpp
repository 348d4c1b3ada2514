#include "dsr1/runtime/verify.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "dsr1/base/cpu_placement.h"
#include "dsr1/base/half.h"
#include "dsr1/base/thread_pool.h"
#include "dsr1/runtime/fingerprint.h"
#include "dsr1/runtime/vocab_loader.h"
#include "dsr1/text/chat_template.h"

namespace dsr1::runtime {
namespace {

namespace fs = std::filesystem;
using Verdict = VerifyCheck::Verdict;

// Larger than any scale or weight of a trained model (the largest seen are norms of some hundreds).
constexpr float kImplausible = 1e4f;

// Where the half-precision scales of a block stand (specification 2.2, 2.3).
struct Scales {
  DType type;
  int n;
  size_t at[2];
};
constexpr Scales kScales[] = {{DType::kQ4_0, 1, {0, 0}},   {DType::kQ4_1, 2, {0, 2}},   {DType::kQ5_0, 1, {0, 0}},
                              {DType::kQ5_1, 2, {0, 2}},   {DType::kQ8_0, 1, {0, 0}},   {DType::kQ2_K, 2, {80, 82}},
                              {DType::kQ3_K, 1, {108, 0}}, {DType::kQ4_K, 2, {0, 2}},   {DType::kQ5_K, 2, {0, 2}},
                              {DType::kQ6_K, 1, {208, 0}}, {DType::kIQ4_NL, 1, {0, 0}}, {DType::kIQ4_XS, 1, {0, 0}}};

struct Seen {
  uint64_t not_finite = 0, huge = 0;
  bool nonzero = false;
  void add(float v) {
    if (!std::isfinite(v)) ++not_finite;
    else if (std::fabs(v) > kImplausible) ++huge;
    if (v != 0) nonzero = true;
  }
};

template <class Convert>
void scan(const std::byte* data, size_t n, size_t stride, Convert convert, Seen* seen) {
  for (size_t i = 0; i < n; ++i) seen->add(convert(data + i * stride));
}

float half_at(const std::byte* p) { return f16_to_f32(load_unaligned<uint16_t>(p)); }

VerifyCheck ok(const char* name, std::string found) { return {name, Verdict::kOk, std::move(found), {}}; }
VerifyCheck failed(const char* name, std::string found, std::string mend) {
  return {name, Verdict::kFailed, std::move(found), std::move(mend)};
}
VerifyCheck skipped(const char* name, std::string why) { return {name, Verdict::kSkipped, std::move(why), {}}; }

Result<VerifyCheck> check_sha256(const io::ModelFile& file, const VerifyOptions& o, const VerifyProgressFn& progress) {
  fs::path list = o.sha256_list;
  std::error_code ec;
  if (list.empty()) {
    const fs::path beside = fs::path(file.files().front().path).parent_path() / "SHA256SUMS";
    if (fs::exists(beside, ec)) list = beside;
  }
  const Reading<std::string> digests = model_sha256(file, o.sha256_cache, UINT64_MAX, [&](int64_t done, int64_t total) {
    if (progress) progress("hashing", done, total);
    return o.cancel == nullptr || !o.cancel->load(std::memory_order_relaxed);
  });
  if (!digests.value) return Error(ErrorCode::kInterrupted, "interrupted");
  if (list.empty())
    return ok("sha256", *digests.value + "; no list to compare with (--sha256 FILE or SHA256SUMS beside the model)");
  std::ifstream in(list);
  if (!in) return failed("sha256", "the list " + list.string() + " cannot be read", "name a readable list");
  std::vector<std::pair<std::string, std::string>> expected;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string digest, name;
    if (!(words >> digest >> name)) continue;
    if (name.starts_with("*")) name.erase(0, 1);  // sha256sum's mark of binary mode
    std::transform(digest.begin(), digest.end(), digest.begin(), [](unsigned char c) { return std::tolower(c); });
    expected.emplace_back(fs::path(name).filename().string(), digest);
  }
  std::istringstream all(*digests.value);
  size_t compared = 0;
  for (const io::ModelFile::File& f : file.files()) {
    std::string digest;
    std::getline(all, digest, ',');
    for (const auto& [name, wanted] : expected) {
      if (name != f.path.filename().string()) continue;
      if (wanted != digest)
        return failed("sha256", f.path.string() + " has " + digest + ", the list says " + wanted,
                      "the file differs from the published one: download it again");
      ++compared;
    }
  }
  if (compared < file.files().size())
    return failed(
        "sha256",
        list.string() + " names " + std::to_string(compared) + " of " + std::to_string(file.files().size()) + " files",
        "use the list that belongs to this model");
  return ok("sha256", std::to_string(compared) + " file(s) as " + list.string() + " says");
}

Result<VerifyCheck> check_numbers(const io::ModelFile& file, int n_threads, const std::atomic<bool>* cancel,
                                  const VerifyProgressFn& progress) {
  const auto tensors = file.tensors();
  std::vector<std::string> problems(tensors.size());
  std::atomic<size_t> next{0};
  std::atomic<int64_t> done{0};
  int64_t total = 0;
  for (const io::TensorInfo& t : tensors) total += static_cast<int64_t>(t.bytes);
  if (progress) progress("scanning", 0, total);
  ThreadPool pool(n_threads);
  pool.run([&](int thread) {
    for (size_t i; (i = next.fetch_add(1)) < tensors.size();) {
      if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return;
      file.will_need(tensors[i]);
      problems[i] = implausible_numbers(tensors[i].view);
      done.fetch_add(static_cast<int64_t>(tensors[i].bytes));
      if (thread == 0 && progress) progress("scanning", done.load(), total);
    }
  });
  if (cancel != nullptr && cancel->load()) return Error(ErrorCode::kInterrupted, "interrupted");
  size_t n = 0;
  std::string first;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (problems[i].empty()) continue;
    if (n++ == 0) first = tensors[i].name + ": " + problems[i];
  }
  if (n > 0)
    return failed("numbers", first + (n > 1 ? " (and " + std::to_string(n - 1) + " more tensors)" : ""),
                  "the file is damaged or was converted badly: get it again, or from another source");
  return ok("numbers", std::to_string(tensors.size()) + " tensors, " + human_bytes(static_cast<double>(total)) +
                           ": no NaN, no infinity, plausible scales");
}

VerifyCheck check_tokenizer(const Result<text::Tokenizer>& tokenizer) {
  if (!tokenizer) return failed("tokenizer", tokenizer.error().message, "get a file whose tokenizer is complete");
  const std::string samples[] = {"The quick brown fox jumps over 13 lazy dogs.\n\n  Indented\ttabs  ",
                                 "Zażółć gęślą jaźń; naïve café, Ελληνικά, русский язык",
                                 "深度求索 \xE6\x8E\xA8\xE7\x90\x86, 日本語 한국어",
                                 "int main() { return 0x7f + 1e-5; } // 12345678901",
                                 "\xF0\x9F\x98\x80 \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB",
                                 "'ll 're I'm don't WON'T"};
  size_t n_tokens = 0;
  for (const std::string& s : samples) {
    const auto ids = tokenizer->encode(s, text::Match::kNone);
    n_tokens += ids.size();
    if (tokenizer->decode(ids) != s)
      return failed("tokenizer",
                    "\"" + s.substr(0, 30) + "...\" comes back as \"" + tokenizer->decode(ids).substr(0, 60) + "\"",
                    "the vocabulary is damaged or of a kind that this version reads wrongly: please report it");
  }
  return ok("tokenizer", std::to_string(tokenizer->size()) + " tokens; " + std::to_string(std::size(samples)) +
                             " texts (" + std::to_string(n_tokens) + " tokens) come back unchanged");
}

VerifyCheck check_template(const io::ModelFile& file, const Result<text::Tokenizer>& tokenizer) {
  auto text = file.metadata().get_string("tokenizer.chat_template");
  if (!text || !*text) return skipped("template", "the file has no chat template");
  const auto known = text::ChatTemplate::detect(**text);
  if (!known) return skipped("template", "the file's chat template is none this version knows (dsr1 inspect shows it)");
  if (!tokenizer) return skipped("template", "no tokenizer to test it with");
  const text::ChatMessage messages[] = {{text::Role::kUser, "What is 2 + 2?"}};
  const auto prompt = known->render(messages);
  if (!prompt) return failed("template", prompt.error().message, "use --chat NAME or --raw");
  const auto segments = prompt->segments();
  const auto ids = tokenizer->encode(segments);
  size_t control = 0;
  for (int32_t id : ids) control += tokenizer->is_control(id) || tokenizer->type(id) == text::TokenType::kUserDefined;
  if (ids.empty() || tokenizer->decode(ids, true).find("What is 2 + 2?") == std::string::npos)
    return failed("template", "a question does not come through the template " + std::string(known->name()),
                  "use --chat NAME or --raw");
  if (control == 0)
    return failed("template",
                  "the marks of the template " + std::string(known->name()) + " are no tokens of this vocabulary",
                  "template and vocabulary belong to different models: use --chat NAME");
  return ok("template", std::string(known->name()) + ": one question makes " + std::to_string(ids.size()) +
                            " tokens, " + std::to_string(control) + " of them marks");
}

// Kullback-Leibler divergence of the softmax of b from that of a, in nats.
double divergence(std::span<const float> a, std::span<const float> b) {
  const auto log_sum = [](std::span<const float> v) {
    const double top = *std::max_element(v.begin(), v.end());
    double sum = 0;
    for (float x : v) sum += std::exp(x - top);
    return top + std::log(sum);
  };
  const double za = log_sum(a), zb = log_sum(b);
  double kl = 0;
  for (size_t i = 0; i < a.size(); ++i) kl += std::exp(a[i] - za) * ((a[i] - za) - (b[i] - zb));
  return kl;
}

// What the model is for, where it says how to ask: a chat model is sure of itself in a chat.
std::vector<int32_t> question(const io::ModelFile& file, const text::Tokenizer& tokenizer) {
  if (auto chat = file.metadata().get_string("tokenizer.chat_template"); chat && *chat) {
    const text::ChatMessage messages[] = {{text::Role::kUser, "What is 2 + 2?"}};
    if (const auto known = text::ChatTemplate::detect(**chat))
      if (const auto prompt = known->render(messages)) return tokenizer.encode(prompt->segments());
  }
  return tokenizer.encode("The capital of France is", text::Match::kNone, true);
}

Result<VerifyCheck> check_decode(const std::string& path, const VerifyOptions& o) {
  constexpr int64_t kTokens = 8;
  // Int8 activations cost 0.003 nats a token on trained models, some 0.1 where a router's near-tie falls the other way
  // (docs/numerics.md); a wrong scale or position costs whole nats. The mean decides: one token may be a tie.
  constexpr double kMostDivergence = 0.2;
  std::vector<int32_t> tokens;
  std::vector<std::vector<float>> truth;
  double worst = 0, sum = 0;
  int agreed = 0;
  for (const char* device : {"ref", "cpu"}) {
    EngineOptions e;
    e.device = device;
    e.cpu_isa = o.cpu_isa;
    e.n_threads = o.n_threads;
    e.n_ctx = 256;
    e.n_batch = 16;
    DSR1_TRY(auto engine, Engine::open(path, e));
    DSR1_TRY(auto session, engine->new_session());
    const bool first = tokens.empty();
    if (first) {
      const auto& tokenizer = engine->tokenizer();
      if (tokenizer) tokens = question(engine->file(), *tokenizer);
      if (tokens.empty()) tokens = {0, 1, 2, 3};
      for (int32_t& t : tokens) t = std::min(t, engine->config().n_vocab - 1);
    }
    std::vector<int32_t> fed = first ? tokens : std::vector<int32_t>(tokens.begin(), tokens.end() - (kTokens - 1));
    Status status;
    for (int64_t i = 0; i < kTokens; ++i) {
      std::vector<float> logits;
      EvalOptions eval;
      eval.cancel = o.cancel;
      status = engine->eval(*session, fed, eval,
                            [&](int64_t, std::span<const float> l) { logits.assign(l.begin(), l.end()); });
      if (!status) return Error(std::move(status).error());
      for (float v : logits)
        if (!std::isfinite(v))
          return failed(
              "decode",
              std::string("token ") + std::to_string(i + 1) + " on " + device + " has logits that are no numbers",
              "the file is damaged, or please report it");
      const auto best = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
      if (first) {
        truth.push_back(std::move(logits));
        if (i + 1 < kTokens) tokens.push_back(best);
        fed = {best};
      } else {
        const auto& t = truth[static_cast<size_t>(i)];
        const double d = divergence(t, logits);
        worst = std::max(worst, d);
        sum += d;
        agreed += best == std::max_element(t.begin(), t.end()) - t.begin() ? 1 : 0;
        if (i + 1 < kTokens) fed = {tokens[tokens.size() - static_cast<size_t>(kTokens - 1 - i)]};
      }
    }
  }
  char text[160];
  const double mean = sum / static_cast<double>(kTokens);
  std::snprintf(text, sizeof text,
                "%d of %d tokens agree with the scalar reference, divergence %.2g nats a token, at most %.2g", agreed,
                static_cast<int>(kTokens), mean, worst);
  if (!(mean <= kMostDivergence))
    return failed("decode", text, "run with --device ref and please report it with the output of dsr1 doctor");
  return ok("decode", text);
}

}  // namespace

std::string implausible_numbers(const TensorView& t) {
  if (t.data == nullptr) return "its bytes are not there";
  Seen seen;
  const auto n = static_cast<size_t>(t.elements());
  const char* what = "values";
  switch (t.dtype) {
    case DType::kF32:
      scan(
          t.data, n, 4, [](const std::byte* p) { return load_unaligned<float>(p); }, &seen);
      break;
    case DType::kF16: scan(t.data, n, 2, half_at, &seen); break;
    case DType::kBF16:
      scan(
          t.data, n, 2, [](const std::byte* p) { return bf16_to_f32(load_unaligned<uint16_t>(p)); }, &seen);
      break;
    case DType::kF8_E4M3:
      scan(
          t.data, n, 1, [](const std::byte* p) { return f8e4m3_to_f32(static_cast<uint8_t>(*p)); }, &seen);
      if (t.scale_inv != nullptr)
        scan(
            t.scale_inv, static_cast<size_t>((t.rows() + 127) / 128 * ((t.cols() + 127) / 128)), 4,
            [](const std::byte* p) { return load_unaligned<float>(p); }, &seen);
      break;
    default:
      what = "scales";
      for (const Scales& s : kScales) {
        if (s.type != t.dtype) continue;
        const DTypeTraits& traits = dtype_traits(t.dtype);
        for (int k = 0; k < s.n; ++k)
          scan(t.data + s.at[k], n / static_cast<size_t>(traits.block_elements), traits.block_bytes, half_at, &seen);
      }
      // Types without an entry here are covered by their own reader's tests; nothing is claimed about their numbers.
      if (std::none_of(std::begin(kScales), std::end(kScales), [&](const Scales& s) { return s.type == t.dtype; }))
        return {};
  }
  if (seen.not_finite > 0) return std::to_string(seen.not_finite) + " " + what + " are NaN or infinite";
  if (seen.huge > 0) return std::to_string(seen.huge) + " " + what + " are larger than 10,000";
  if (!seen.nonzero && t.n_dims >= 2) return "all " + std::string(what) + " are zero";
  return {};
}

Result<std::vector<VerifyCheck>> verify_model(const std::string& path, const VerifyOptions& o,
                                              const std::function<void(const VerifyCheck&)>& done,
                                              const VerifyProgressFn& progress) {
  std::vector<VerifyCheck> all;
  const auto give = [&](VerifyCheck c) {
    all.push_back(std::move(c));
    if (done) done(all.back());
  };
  auto file = io::ModelFile::open(path);
  if (!file) {
    give(failed("parts", file.error().text(), "download what is missing or cut short again"));
    return all;
  }
  file->fetch_vectors();
  auto model = model::Model::load(*file);
  if (!model) {
    give(failed("parts", model.error().text(), "the file does not hold a whole model of a kind this version knows"));
    return all;
  }
  give(ok("parts", std::to_string(file->files().size()) + " file(s), " + std::to_string(file->tensors().size()) +
                       " tensors, " + human_bytes(static_cast<double>(file->tensor_bytes())) +
                       ", every tensor where and as large as it should be"));
  DSR1_TRY(VerifyCheck sha256, check_sha256(*file, o, progress));
  give(std::move(sha256));
  const int n_threads = o.n_threads > 0 ? o.n_threads : default_threads();
  DSR1_TRY(VerifyCheck numbers, check_numbers(*file, n_threads, o.cancel, progress));
  const bool sane = numbers.verdict == Verdict::kOk;
  give(std::move(numbers));
  const auto tokenizer = load_tokenizer(*file);
  give(check_tokenizer(tokenizer));
  give(check_template(*file, tokenizer));
  if (!o.decode) {
    give(skipped("decode", "left out (--quick)"));
  } else if (!sane) {
    give(skipped("decode", "pointless with these numbers"));
  } else {
    auto decode = check_decode(path, o);
    if (decode) give(std::move(*decode));
    else if (decode.error().code == ErrorCode::kInterrupted) return Error(std::move(decode).error());
    else give(failed("decode", decode.error().text(), "free memory, or use --quick"));
  }
  return all;
}

}  // namespace dsr1::runtime

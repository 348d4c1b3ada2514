// `dsr1 inspect`: what is in a model file. Serves from a header alone.
#include <algorithm>
#include <map>

#include "command.h"
#include "dsr1/base/json.h"
#include "dsr1/io/model_file.h"
#include "dsr1/model/model.h"
#include "dsr1/runtime/engine.h"
#include "dsr1/runtime/vocab_loader.h"
#include "model_options.h"
#include "output.h"
#include "paths.h"
#include "template_report.h"

namespace dsr1::cli {
namespace {

struct TypeSum {
  uint64_t tensors = 0, elements = 0, bytes = 0;
};

std::map<std::string, TypeSum> sum_types(const io::ModelFile& file) {
  std::map<std::string, TypeSum> sums;
  for (const io::TensorInfo& t : file.tensors()) {
    TypeSum& s = sums[dtype_name(t.view.dtype)];
    ++s.tensors;
    s.elements += static_cast<uint64_t>(t.view.elements());
    s.bytes += t.bytes;
  }
  return sums;
}

uint64_t parameters(const io::ModelFile& file) {
  uint64_t n = 0;
  for (const auto& [name, s] : sum_types(file)) n += s.elements;
  return n;
}

std::string human_count(uint64_t n) {
  char text[32];
  const auto v = static_cast<double>(n);
  if (v >= 1e9) std::snprintf(text, sizeof text, "%.2f B", v / 1e9);
  else if (v >= 1e6) std::snprintf(text, sizeof text, "%.1f M", v / 1e6);
  else std::snprintf(text, sizeof text, "%llu", static_cast<unsigned long long>(n));
  return text;
}

Json json_value(const io::Metadata& metadata, const io::Metadata::Entry& e) {
  auto scalar = [&]<class T>(T) { return load_unaligned<T>(e.data); };
  switch (e.type) {
    case io::ValueType::kU8: return static_cast<int>(scalar(uint8_t()));
    case io::ValueType::kI8: return static_cast<int>(scalar(int8_t()));
    case io::ValueType::kU16: return static_cast<int>(scalar(uint16_t()));
    case io::ValueType::kI16: return static_cast<int>(scalar(int16_t()));
    case io::ValueType::kU32: return scalar(uint32_t());
    case io::ValueType::kI32: return scalar(int32_t());
    case io::ValueType::kF32: return static_cast<double>(scalar(float()));
    case io::ValueType::kBool: return scalar(uint8_t()) != 0;
    case io::ValueType::kU64: return scalar(uint64_t());
    case io::ValueType::kI64: return scalar(int64_t());
    case io::ValueType::kF64: return scalar(double());
    case io::ValueType::kString: return std::string_view(static_cast<const char*>(e.data), e.count);
    case io::ValueType::kArray: break;
  }
  Json j = Json::object();
  j.set("type", metadata.type_text(e)).set("count", e.count).set("preview", metadata.value_text(e));
  return j;
}

Json json_config(const model::ModelConfig& c) {
  Json j = Json::object();
  j.set("arch", c.arch).set("n_layer", c.n_layer).set("n_ctx_train", c.n_ctx_train).set("n_embd", c.n_embd);
  j.set("n_vocab", c.n_vocab).set("n_head", c.n_head).set("n_head_kv", c.n_head_kv).set("head_dim", c.head_dim);
  j.set("v_head_dim", c.v_head_dim).set("n_ff", c.n_ff).set("rms_eps", static_cast<double>(c.rms_eps));
  if (c.is_mla()) {
    j.set("q_lora_rank", c.q_lora_rank).set("kv_lora_rank", c.kv_lora_rank);
    j.set("qk_nope_dim", c.qk_nope_dim).set("qk_rope_dim", c.qk_rope_dim);
  }
  if (c.is_moe()) {
    j.set("n_expert", c.router.n_expert).set("n_expert_used", c.router.n_expert_used);
    j.set("n_expert_shared", c.n_expert_shared).set("n_ff_exp", c.n_ff_exp);
    j.set("n_layer_dense_lead", c.n_layer_dense_lead);
  }
  if (c.n_layer_mtp > 0) j.set("n_layer_mtp", c.n_layer_mtp);
  return j;
}

class InspectCommand final : public Command {
 public:
  CommandInfo info() const override {
    return {"inspect",
            "what is in a model file",
            "Shows a model's metadata, sizes, tensor types, tokenizer and chat template. Serves from a header alone, "
            "and says what is "
            "missing then.",
            {{"dsr1 inspect model.gguf", ""},
             {"dsr1 inspect model.gguf --tensors", "every tensor"},
             {"dsr1 inspect model.gguf --json", "for scripts"}}};
  }
  void declare(OptionTable& table) override {
    table.positional("MODEL", &positional_, "a GGUF file or a Hugging Face directory").completes(Complete::kModel);
    table.section("Output");
    table.add("-m,--model", "PATH", &flag_, "the same as MODEL").completes(Complete::kModel);
    table.flag("--tensors", &tensors_, "list every tensor");
    table.flag("--json", &json_, "print one JSON object");
  }
  Status run() override {
    DSR1_TRY(const auto typed, one_model(flag_, positional_));
    DSR1_TRY(const std::string path, resolve_model(typed, false));
    DSR1_TRY(const io::ModelFile file, io::ModelFile::open(path, {.allow_truncated = true}));
    const auto model = model::Model::load(file, {.expert_groups = true, .load_mtp = false, .require_data = false});
    const auto tokenizer = runtime::load_tokenizer(file);
    const TemplateReport chat = report_template(file);
    Output::get().write(json_ ? json(file, model, tokenizer, chat) : text(file, model, tokenizer, chat));
    return {};
  }

 private:
  using ModelResult = Result<std::unique_ptr<model::Model>>;
  std::string json(const io::ModelFile& file, const ModelResult& model, const Result<text::Tokenizer>& tokenizer,
                   const TemplateReport& chat) const;
  std::string text(const io::ModelFile& file, const ModelResult& model, const Result<text::Tokenizer>& tokenizer,
                   const TemplateReport& chat) const;

  std::optional<std::string> positional_, flag_;
  bool tensors_ = false, json_ = false;
};

std::string InspectCommand::json(const io::ModelFile& file, const ModelResult& model,
                                 const Result<text::Tokenizer>& tokenizer, const TemplateReport& chat) const {
  Json j = Json::object();
  j.set("path", file.path().string()).set("format", file.format() == io::FileFormat::kGguf ? "gguf" : "safetensors");
  Json files = Json::array();
  for (const auto& f : file.files()) {
    Json one = Json::object();
    one.set("path", f.path.string()).set("size", f.size).set("header_bytes", f.header_bytes);
    one.set("tensors", static_cast<uint64_t>(f.n_tensors));
    files.push(std::move(one));
  }
  j.set("files", std::move(files)).set("complete", file.gaps().empty());
  Json gaps = Json::array();
  for (const auto& g : file.gaps()) gaps.push(g);
  j.set("gaps", std::move(gaps)).set("parameters", parameters(file)).set("tensor_bytes", file.tensor_bytes());
  if (model) j.set("config", json_config((*model)->config()));
  else j.set("config", nullptr).set("unsupported", model.error().text());
  Json types = Json::object();
  for (const auto& [name, s] : sum_types(file)) {
    Json one = Json::object();
    types.set(name, one.set("tensors", s.tensors).set("parameters", s.elements).set("bytes", s.bytes));
  }
  j.set("types", std::move(types));
  Json words = Json::object();
  if (tokenizer) {
    words.set("size", tokenizer->size()).set("pre", tokenizer->pre()).set("add_bos", tokenizer->add_bos());
    auto id = [&](const char* key, std::optional<text::TokenId> v) { words.set(key, v ? Json(*v) : Json()); };
    id("bos", tokenizer->bos());
    id("eos", tokenizer->eos());
    Json ends = Json::array();
    for (text::TokenId e : tokenizer->end_of_generation()) ends.push(e);
    words.set("end_of_generation", std::move(ends));
  } else {
    words.set("error", tokenizer.error().text());
  }
  j.set("tokenizer", std::move(words)).set("chat_template", chat.json());
  Json metadata = Json::object();
  for (const auto& e : file.metadata().entries()) metadata.set(e.key, json_value(file.metadata(), e));
  j.set("metadata", std::move(metadata));
  if (tensors_) {
    Json list = Json::array();
    for (const auto& t : file.tensors()) {
      Json one = Json::object(), shape = Json::array();
      for (int i = 0; i < t.view.n_dims; ++i) shape.push(t.view.dims[static_cast<size_t>(i)]);
      one.set("name", t.name)
          .set("type", dtype_name(t.view.dtype))
          .set("shape", std::move(shape))
          .set("bytes", t.bytes);
      one.set("file", t.file).set("offset", t.offset).set("present", t.view.data != nullptr);
      list.push(std::move(one));
    }
    j.set("tensors", std::move(list));
  }
  return j.dump(2) + "\n";
}

std::string InspectCommand::text(const io::ModelFile& file, const ModelResult& model,
                                 const Result<text::Tokenizer>& tokenizer, const TemplateReport& chat) const {
  std::string out;
  auto row = [&](const std::string& key, const std::string& value) {
    out += key + std::string(key.size() < 14 ? 14 - key.size() : 1, ' ') + value + "\n";
  };
  row("file", file.path().string());
  uint64_t size = 0;
  for (const auto& f : file.files()) size += f.size;
  row("format", std::string(file.format() == io::FileFormat::kGguf ? "GGUF" : "Hugging Face safetensors") + ", " +
                    std::to_string(file.files().size()) + (file.files().size() == 1 ? " file, " : " files, ") +
                    human_bytes(static_cast<double>(size)));
  for (const auto& g : file.gaps()) row("INCOMPLETE", g);
  if (const auto* name = file.metadata().find("general.name")) row("name", file.metadata().value_text(*name));
  row("parameters", human_count(parameters(file)) + " in " + std::to_string(file.tensors().size()) + " tensors, " +
                        human_bytes(static_cast<double>(file.tensor_bytes())));
  std::string types;
  for (const auto& [name, s] : sum_types(file))
    types += (types.empty() ? "" : ", ") + name + " " + human_bytes(static_cast<double>(s.bytes)) + " (" +
             std::to_string(s.tensors) + ")";
  row("types", types);
  if (model) {
    const model::ModelConfig& c = (*model)->config();
    row("architecture",
        c.arch + ": " + std::to_string(c.n_layer) + " layers, width " + std::to_string(c.n_embd) + ", " +
            std::to_string(c.n_head) + " heads" +
            (c.is_mla() ? ", latent attention (MLA)" : ", " + std::to_string(c.n_head_kv) + " KV heads"));
    if (c.is_moe())
      row("experts", std::to_string(c.router.n_expert) + ", " + std::to_string(c.router.n_expert_used) + " used, " +
                         std::to_string(c.n_expert_shared) + " shared");
    if (!c.expert_groups_note.empty()) row("note", c.expert_groups_note);
    const uint64_t kv = runtime::kv_bytes_per_token(c, c.n_layer, DType::kF16, DType::kF16);
    row("context", std::to_string(c.n_ctx_train) + " tokens; KV cache " + human_bytes(static_cast<double>(kv)) +
                       " a token in f16");
  } else {
    row("UNSUPPORTED", model.error().text());
  }
  if (tokenizer)
    row("tokenizer", std::to_string(tokenizer->size()) + " tokens, pre-tokenizer " + std::string(tokenizer->pre()) +
                         (tokenizer->add_bos() ? ", adds BOS" : ", adds no BOS"));
  else row("tokenizer", "none: " + tokenizer.error().text());
  if (tokenizer)
    for (const std::string& w : tokenizer->warnings()) row("note", w);
  row("template", chat.text());
  out += "\nmetadata (" + std::to_string(file.metadata().entries().size()) + " keys)\n";
  for (const auto& e : file.metadata().entries()) {
    std::string value = file.metadata().value_text(e);
    std::replace(value.begin(), value.end(), '\n', ' ');
    out += "  " + std::string(e.key) + " (" + file.metadata().type_text(e) + ") = " + value + "\n";
  }
  if (tensors_) {
    out += "\ntensors (" + std::to_string(file.tensors().size()) + ")\n";
    for (const auto& t : file.tensors()) {
      out += "  " + t.name + "  " + dtype_name(t.view.dtype) + " " + t.view.shape_text() + "  " +
             human_bytes(static_cast<double>(t.bytes)) + (t.view.data == nullptr ? "  MISSING" : "") + "\n";
    }
  } else {
    out += "\n--tensors lists the tensors, --json prints all of this for scripts\n";
  }
  return out;
}

}  // namespace

std::unique_ptr<Command> make_inspect() { return std::make_unique<InspectCommand>(); }

}  // namespace dsr1::cli

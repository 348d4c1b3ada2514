// `dsr1 tokenize` and `dsr1 detokenize`: text <-> ids, with nothing loaded but the vocabulary.
#include "command.h"
#include "dsr1/base/json.h"
#include "dsr1/io/model_file.h"
#include "dsr1/runtime/vocab_loader.h"
#include "input.h"
#include "output.h"
#include "paths.h"
#include "terminal.h"
#include "vocabulary.h"

namespace dsr1::cli {
namespace {

class TokenizeCommand final : public Command {
 public:
  CommandInfo info() const override {
    return {"tokenize",
            "text to token ids",
            "Prints the tokens of a text, one a line, or with --ids the ids alone on one line. The text (argument, -f "
            "FILE or standard "
            "input) is taken byte for byte. Needs only the vocabulary: a GGUF file without tensors, or cut off after "
            "its header, "
            "serves.",
            {{"dsr1 tokenize model.gguf \"Hello\"", "one token a line"},
             {"dsr1 tokenize model.gguf --ids -f text.txt", "ids on one line"}}};
  }
  void declare(OptionTable& table) override {
    table.positional("MODEL", &model_, "a GGUF file or a Hugging Face directory").completes(Complete::kModel);
    table.positional("TEXT", &text_, "the text; default: standard input");
    table.section("Tokens");
    table.add("-f,--file", "FILE", &file_, "read the text from a file").completes(Complete::kFile);
    table.flag("--ids", &ids_only_, "print the ids alone, separated by spaces, on one line");
    table.flag("--json", &json_, "print one JSON object");
    table.flag("--no-bos", &no_bos_, "leave out the BOS (and EOS) that the model adds");
    table.flag("--parse-special", &parse_special_,
               "take control tokens such as <|im_end|> in the text for what they say");
  }
  Status run() override {
    if (ids_only_ && json_) return Error(ErrorCode::kUsage, "--ids contradicts --json");
    if (text_ && file_) return Error(ErrorCode::kUsage, "both a text and --file were given");
    DSR1_TRY(const text::Tokenizer tokenizer, open_vocabulary(model_));
    std::string text;
    if (text_) {
      text = *text_;
    } else if (file_) {
      DSR1_TRY(text, read_input_file(*file_));
    } else if (stdin_is_piped()) {
      DSR1_TRY(text, read_stdin());
    } else {
      return Error(ErrorCode::kUsage, "no text: give it as an argument, with -f FILE or on standard input");
    }
    const auto match = parse_special_ ? text::Match::kAll : text::Match::kNone;
    const std::vector<int32_t> ids = tokenizer.encode(text, match, !no_bos_);
    Output& out = Output::get();
    if (json_) {
      Json list = Json::array(), pieces = Json::array();
      for (int32_t id : ids) {
        list.push(id);
        pieces.push(tokenizer.piece(id, true));
      }
      Json j = Json::object();
      out.write(j.set("ids", std::move(list)).set("pieces", std::move(pieces)).dump() + "\n");
      return {};
    }
    std::string line;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids_only_) {
        line = (i ? " " : "") + std::to_string(ids[i]);
      } else {
        line = std::to_string(ids[i]);
        line.insert(0, line.size() < 7 ? 7 - line.size() : 0, ' ');
        // As a JSON string: quotes, newlines and half characters stay readable.
        line += "  " + Json(tokenizer.piece(ids[i], true)).dump() + "\n";
      }
      out.write(line);
    }
    if (ids_only_) out.write("\n");
    return {};
  }

 private:
  std::optional<std::string> model_, text_, file_;
  bool ids_only_ = false, json_ = false, no_bos_ = false, parse_special_ = false;
};

class DetokenizeCommand final : public Command {
 public:
  CommandInfo info() const override {
    return {"detokenize",
            "token ids to text",
            "Prints the bytes of token ids, given as arguments, with -f FILE or on standard input, separated by "
            "spaces, commas or "
            "newlines. Nothing is added, not even a newline (but on a terminal).",
            {{"dsr1 detokenize model.gguf 9707 1879", ""},
             {"dsr1 tokenize model.gguf --ids \"x\" | dsr1 detokenize model.gguf", "there and back"}}};
  }
  void declare(OptionTable& table) override {
    table.positional("MODEL", &model_, "a GGUF file or a Hugging Face directory").completes(Complete::kModel);
    table.positional("ID", &ids_, "token ids; default: standard input");
    table.section("Tokens");
    table.add("-f,--file", "FILE", &file_, "read the ids from a file").completes(Complete::kFile);
    table.flag("--parse-special,--special", &special_, "print control tokens too");
  }
  Status run() override {
    if (!ids_.empty() && file_) return Error(ErrorCode::kUsage, "both ids and --file were given");
    DSR1_TRY(const text::Tokenizer tokenizer, open_vocabulary(model_));
    std::string text;
    for (const std::string& id : ids_) text += id + " ";
    if (file_) {
      DSR1_TRY(text, read_input_file(*file_));
    } else if (ids_.empty()) {
      if (!stdin_is_piped())
        return Error(ErrorCode::kUsage, "no ids: give them as arguments, with -f FILE or on standard input");
      DSR1_TRY(text, read_stdin());
    }
    std::vector<int32_t> ids;
    static const char* const separators = " \t\r\n,[]";
    for (size_t begin = 0; (begin = text.find_first_not_of(separators, begin)) != std::string::npos;) {
      const size_t end = std::min(text.find_first_of(separators, begin), text.size());
      const std::string word = text.substr(begin, end - begin);
      const auto id = parse_int(word);
      if (!id) return Error(ErrorCode::kUsage, "not a token id: '" + word.substr(0, 40) + "'");
      if (!tokenizer.valid(*id))
        return Error(ErrorCode::kUsage,
                     "token id " + word + " is outside the vocabulary of " + std::to_string(tokenizer.size()));
      ids.push_back(static_cast<int32_t>(*id));
      begin = end;
    }
    Output::get().write(tokenizer.decode(ids, special_));
    if (is_terminal(1)) Output::get().write("\n");
    return {};
  }

 private:
  std::optional<std::string> model_, file_;
  std::vector<std::string> ids_;
  bool special_ = false;
};

}  // namespace

Result<text::Tokenizer> open_vocabulary(const std::optional<std::string>& model) {
  DSR1_TRY(const std::string path, resolve_model(model, false));
  DSR1_TRY(const io::ModelFile file, io::ModelFile::open(path, {.allow_truncated = true}));
  return runtime::load_tokenizer(file);
}

std::unique_ptr<Command> make_tokenize() { return std::make_unique<TokenizeCommand>(); }
std::unique_ptr<Command> make_detokenize() { return std::make_unique<DetokenizeCommand>(); }

}  // namespace dsr1::cli

// `dsr1 sessions`: the conversations that were kept.
#include <unistd.h>

#include "command.h"
#include "output.h"
#include "saved_chat.h"
#include "session_text.h"
#include "terminal.h"

namespace dsr1::cli {
namespace {

const std::vector<std::string> kActions = {"list", "search", "show", "export", "rename", "delete"};

class SessionsCommand final : public Command {
 public:
  CommandInfo info() const override {
    return {"sessions",
            "list, search, show, export, rename or delete conversations",
            "Chats are kept in a database of your own (mode 0600) unless dsr1 run was given --no-history. A session is "
            "named by its name or its number; dsr1 run --session NAME goes on with it. show prints one as Markdown, "
            "export writes it to a file as Markdown or JSON.",
            {{"dsr1 sessions", "list them, newest first"},
             {"dsr1 sessions search \"taylor series\"", "messages that hold a text"},
             {"dsr1 sessions show 12", "print one"},
             {"dsr1 sessions export work work.json", "or work.md"},
             {"dsr1 sessions rename 12 work", ""},
             {"dsr1 sessions delete work", ""}}};
  }
  void declare(OptionTable& table) override {
    table.positional("ACTION", &action_, "what to do; list where absent").one_of(kActions);
    table.positional("ARGUMENT", &arguments_, "a session, a text, a file, a new name").completes(Complete::kFile);
    table.add("--limit", "N", &limit_, "most lines of list and search (default: 100)");
    table.flag("--json", &json_, "print list, search and show as JSON");
  }
  Status run() override;

 private:
  Status expect(size_t n, const char* usage) const {
    if (arguments_.size() == n) return {};
    return Error(ErrorCode::kUsage, std::string("usage: dsr1 sessions ") + usage);
  }
  std::optional<std::string> action_;
  std::vector<std::string> arguments_;
  int64_t limit_ = 100;
  bool json_ = false;
};

Status SessionsCommand::run() {
  const std::string action = action_.value_or("list");
  if (limit_ < 1) return Error(ErrorCode::kUsage, "--limit must be 1 or more, found " + std::to_string(limit_));
  DSR1_TRY(const auto store, open_session_store());
  Output& out = Output::get();
  const int columns = is_terminal(STDOUT_FILENO) ? terminal_columns(STDOUT_FILENO) : 200;
  if (action == "list") {
    DSR1_TRY_STATUS(expect(0, "list"));
    DSR1_TRY(const auto all, store->list(limit_));
    Json array = Json::array();
    for (const auto& s : all) array.push(session_json(s));
    out.write(json_ ? array.dump(2) + "\n" : session_list(all, columns));
  } else if (action == "search") {
    DSR1_TRY_STATUS(expect(1, "search TEXT"));
    DSR1_TRY(const auto hits, store->search(arguments_[0], limit_));
    Json array = Json::array();
    for (const auto& h : hits) array.push(session_json(h.session).set("role", h.role).set("excerpt", h.excerpt));
    out.write(json_ ? array.dump(2) + "\n" : search_list(hits, columns));
  } else if (action == "show") {
    DSR1_TRY_STATUS(expect(1, "show NAME"));
    DSR1_TRY(const auto session, need_session(*store, arguments_[0]));
    DSR1_TRY(const auto messages, store->messages(session.id));
    out.write(json_ ? session_json(session, messages).dump(2) + "\n" : session_markdown(session, messages));
  } else if (action == "export") {
    DSR1_TRY_STATUS(expect(2, "export NAME FILE.md or FILE.json"));
    const std::string format = export_format(arguments_[1]);
    if (format.empty())
      return Error(ErrorCode::kUsage, "'" + arguments_[1] + "' must end in .md or .json, which says the format");
    DSR1_TRY(const auto session, need_session(*store, arguments_[0]));
    DSR1_TRY(const auto messages, store->messages(session.id));
    return export_session(session, messages, format, arguments_[1]);
  } else if (action == "rename") {
    DSR1_TRY_STATUS(expect(2, "rename NAME NEWNAME"));
    DSR1_TRY(const auto session, need_session(*store, arguments_[0]));
    return store->rename(session.id, arguments_[1]);
  } else {
    if (arguments_.empty()) return Error(ErrorCode::kUsage, "usage: dsr1 sessions delete NAME...");
    for (const auto& name : arguments_) DSR1_TRY_STATUS(delete_session(*store, name));
  }
  return {};
}

}  // namespace

std::unique_ptr<Command> make_sessions() { return std::make_unique<SessionsCommand>(); }

}  // namespace dsr1::cli

// The interactive chat of `dsr1 run` on a terminal. chat.cpp reads and answers, chat_commands.cpp does what begins with
// a slash.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "conversation.h"
#include "history.h"
#include "line_editor.h"
#include "saved_chat.h"

namespace dsr1::cli {

struct ChatOptions {
  GenerationOptions generation;
  runtime::GenerateOptions generate;  // made of them
  bool verbose = false, word_wrap = true;
  bool keep = true;  // conversations in the session store, and what was typed
};

class Chat {
 public:
  Chat(Conversation& conversation, SavedChat& saved, ChatOptions options);
  // Until /bye, the end of input or a signal. Only OnContextFull::kError and broken models end it with another Error.
  Status run();

 private:
  Status loop();
  // An entry, possibly of several lines; nothing where the chat is over.
  std::optional<std::string> read_entry(std::string initial = {});
  Status ask(std::string question);
  // Answers the last message. A context that is too small for the conversation is said, and dealt with as asked.
  Status answer();
  Result<std::vector<int32_t>> make_prompt();

  // Commands. `rest`: what stands behind the word.
  struct CommandEntry;
  static const std::vector<CommandEntry>& commands();
  static std::vector<std::string> completions(std::string_view before, SavedChat* saved);
  Status command(const std::string& line);
  Status clear(const std::string& rest);
  Status regenerate(const std::string& rest);
  Status edit(const std::string& rest);
  Status undo(const std::string& rest);
  Status read(const std::string& rest);
  Status system(const std::string& rest);
  Status think(const std::string& rest);
  Status set(const std::string& rest);
  Status set_option_to(const std::string& name, const std::string& value);
  Status show(const std::string& rest);
  Status history(const std::string& rest);
  Status load(const std::string& rest);
  Status save(const std::string& rest);
  Status sessions(const std::string& rest);
  Status help(const std::string& rest);
  Status bye(const std::string& rest);

  void note(const std::string& text) const;
  // Trouble with the store is said; the conversation itself goes on.
  void kept(const Status& status) const {
    if (!status) note(status.error().text());
  }
  // A failure of a command is said and the chat goes on.
  void say(const Status& status, const std::string& done);

  Conversation& conversation_;
  SavedChat& saved_;
  ChatOptions o_;
  LineEditor editor_;
  InputHistory input_history_;
  std::string asked_with_;  // files that the last question came with
  std::string pending_;     // files read, for the next question
  size_t dropped_ = 0;      // messages of the log that the context has no room for any more
  int64_t used_ = 0;        // tokens of the context, after the last answer
  bool multi_line_ = false, leave_ = false, warned_full_ = false;
};

}  // namespace dsr1::cli

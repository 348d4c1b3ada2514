// SavedChat: what was said in one conversation, kept in the session store as it is said, and its KV cache, kept on disk
// between runs for sessions that have a name.
//
// The files: sessions/sessions.db and a lock file for each open session in the data directory, kv/NUMBER.kv in the
// cache directory. Where nothing is to be kept (--no-history) nothing is opened. One thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conversation.h"
#include "dsr1/runtime/session_store.h"

namespace dsr1::cli {

// Opens the user's store. kRuntime where no home directory is known.
Result<std::unique_ptr<runtime::SessionStore>> open_session_store();
// The KV cache file of a session; empty where no cache directory is known.
std::filesystem::path kv_path(int64_t session);
// Removes a session and its files. kRuntime where it is open in another program, kModel where there is none such.
Status delete_session(runtime::SessionStore& store, const std::string& name);
// The session of that name or number; kModel, naming the nearest, where there is none.
Result<runtime::StoredSession> need_session(runtime::SessionStore& store, const std::string& name);

// What an answer leaves behind. Its thought is for people: later prompts go without, as the templates have it.
runtime::StoredMessage assistant_message(const runtime::Generation& generation);

class SavedChat {
 public:
  SavedChat(Conversation& conversation, bool keep) : conversation_(conversation), keep_(keep) {}
  ~SavedChat();
  SavedChat(const SavedChat&) = delete;
  SavedChat& operator=(const SavedChat&) = delete;

  // Goes on with the session of that name or number, or, where `create`, begins one of that name; what was open is
  // closed first. The settings it was left with are applied to `generation`. `note` gets a line for people: what was
  // found. A cache that cannot be used is a warning. Errors: kModel for an unknown one, kRuntime for one that is open
  // in another program.
  using Note = std::function<void(const std::string&)>;
  Status open(const std::string& name, bool create, GenerationOptions& generation, const Note& note);
  // Gives the conversation a name, keeping it from now on even where nothing was to be kept.
  Status save_as(const std::string& name, const GenerationOptions& generation);
  // Begins anew; what was said stays in the store.
  void begin_anew();
  // Writes the KV cache of a named session and gives the session free. Trouble with the cache is a warning, no error.
  void close();

  const std::vector<runtime::StoredMessage>& log() const { return log_; }
  // Adds to the log and the store. Trouble with the store of an unnamed session is a warning, once.
  Status add(runtime::StoredMessage message, const GenerationOptions& generation);
  Status cut(size_t n_messages);  // keeps the first ones
  // System prompt or settings changed.
  Status settings_changed(const GenerationOptions& generation);

  bool keeps() const { return keep_; }
  void set_keep(bool keep) { keep_ = keep; }
  const runtime::StoredSession& session() const { return session_; }
  bool is_open() const { return session_.id != 0; }
  Result<runtime::SessionStore*> store();

 private:
  Status create(const GenerationOptions& generation);
  Status append_to_store(const runtime::StoredMessage& message, const GenerationOptions& generation);
  Status lock();
  void unlock();
  std::string cache_key() const;

  Conversation& conversation_;
  bool keep_;
  bool explicit_ = false;  // by name or number: its KV cache is kept, and trouble is an error
  std::unique_ptr<runtime::SessionStore> store_;
  runtime::StoredSession session_;
  std::vector<runtime::StoredMessage> log_;
  int lock_ = -1;
};

}  // namespace dsr1::cli

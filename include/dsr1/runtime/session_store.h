// SessionStore: conversations in one SQLite file, and the only door to SQLite (src/runtime/session_store.cpp).
//
// Every change is on disk when the call returns. Several programs may use the file at once; whoever has to wait longer
// than five seconds gets an error. The file is created with mode 0600. One thread uses a store. Refused: files that are
// no database, damaged ones, and those a later version wrote.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dsr1/base/result.h"

namespace dsr1::runtime {

struct StoredMessage {
  std::string role;     // "user" or "assistant"
  std::string content;  // what goes into later prompts
  std::string thought = {};
  std::string finish_reason = {};  // assistant only
  int64_t time = 0;                // seconds since 1970
  int64_t tokens = 0;              // generated
  uint64_t seed = 0;
};

struct StoredSession {
  int64_t id = 0;
  std::string name;  // empty: it has only its number
  std::string model;
  std::optional<std::string> system;
  std::string settings = "{}";  // JSON, the caller's
  int64_t created = 0, updated = 0;
  // Filled by find() and list().
  int64_t n_messages = 0;
  std::string title;  // the beginning of the first question

  std::string label() const { return name.empty() ? std::to_string(id) : name; }
};

struct SearchHit {
  StoredSession session;
  std::string role, excerpt;  // one line around the place
};

// kUsage, saying why, for what cannot name a session: empty, only digits, longer than 80 bytes, with control characters
// or a slash.
Status check_session_name(const std::string& name);

class SessionStore {
 public:
  // Creates file and folder where missing.
  static Result<std::unique_ptr<SessionStore>> open(const std::filesystem::path& path);
  ~SessionStore();

  // Adds a session without messages and gives its number; name, model, system, settings are taken.
  Result<int64_t> create(const StoredSession& session);
  // By name, or by number ("12", "#12").
  Result<std::optional<StoredSession>> find(const std::string& name_or_number);
  Result<std::vector<StoredSession>> list(int64_t most);  // newest first
  // Messages that hold the text, letter case aside, newest first.
  Result<std::vector<SearchHit>> search(const std::string& text, int64_t most);

  Result<std::vector<StoredMessage>> messages(int64_t id);
  Status append(int64_t id, const StoredMessage& message);
  Status truncate(int64_t id, int64_t n_messages);  // keeps the first ones
  Status update(const StoredSession& session);      // model, system and settings
  Status rename(int64_t id, const std::string& name);
  Status remove(int64_t id);

 private:
  SessionStore() = default;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsr1::runtime

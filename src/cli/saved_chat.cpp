#include "saved_chat.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "dsr1/base/log.h"
#include "dsr1/base/sha256.h"
#include "dsr1/runtime/fingerprint.h"
#include "dsr1/runtime/kv_file.h"
#include "paths.h"
#include "settings.h"
#include "version.h"

namespace dsr1::cli {
namespace {

namespace fs = std::filesystem;
using runtime::StoredMessage;
using runtime::StoredSession;

// Larger files are not read for their digest alone; where `dsr1 verify` has left none, what the file system says of
// them identifies them.
constexpr uint64_t kHashAtMost = uint64_t{16} << 30;

std::string model_identity(const io::ModelFile& file) {
  const fs::path dir = cache_dir();
  const auto digest = runtime::model_sha256(file, dir.empty() ? fs::path() : dir / "sha256.json", kHashAtMost);
  if (digest.value) return *digest.value;
  std::string text;
  for (const auto& f : file.files()) {
    struct stat st {};
    ::stat(f.path.c_str(), &st);
    text += std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino) + ":" + std::to_string(st.st_size) + ":" +
            std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec) + ",";
  }
  return sha256_hex(text);
}

fs::path lock_path(int64_t id) { return sessions_dir() / (std::to_string(id) + ".lock"); }

// A descriptor that holds the lock, -1 where another program has it.
Result<int> lock_file(const fs::path& path) {
  while (true) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return Error(ErrorCode::kRuntime, "cannot open " + path.string() + ": " + std::strerror(errno));
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      ::close(fd);
      return -1;
    }
    struct stat st {};
    if (::fstat(fd, &st) == 0 && st.st_nlink > 0) return fd;
    ::close(fd);  // its last holder has just removed it
  }
}

Error open_elsewhere(const StoredSession& s) {
  return {ErrorCode::kRuntime, "the session '" + s.label() + "' is open in another dsr1"};
}

std::string base_name(const fs::path& path) {
  return path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
}

}  // namespace

Result<std::unique_ptr<runtime::SessionStore>> open_session_store() {
  const fs::path dir = sessions_dir();
  if (dir.empty())
    return Error(ErrorCode::kRuntime, "no place for sessions: neither HOME, XDG_DATA_HOME nor DSR1_HOME is set");
  return runtime::SessionStore::open(dir / "sessions.db");
}

fs::path kv_path(int64_t session) {
  const fs::path dir = cache_dir();
  return dir.empty() ? dir : dir / "kv" / (std::to_string(session) + ".kv");
}

Result<StoredSession> need_session(runtime::SessionStore& store, const std::string& name) {
  DSR1_TRY(const auto found, store.find(name));
  if (found) return *found;
  std::vector<std::string> known;
  DSR1_TRY(const auto all, store.list(1000));
  for (const auto& s : all)
    if (!s.name.empty()) known.push_back(s.name);
  const std::string near = nearest_word(name, known);
  return Error(ErrorCode::kModel, "there is no session '" + name + "'" +
                                      (near.empty() ? "; dsr1 sessions lists them" : "; did you mean '" + near + "'?"));
}

Status delete_session(runtime::SessionStore& store, const std::string& name) {
  DSR1_TRY(const StoredSession s, need_session(store, name));
  const fs::path path = lock_path(s.id);
  DSR1_TRY(const int fd, lock_file(path));
  if (fd < 0) return open_elsewhere(s);
  const Status removed = store.remove(s.id);
  if (removed) ::unlink(kv_path(s.id).c_str());
  ::unlink(path.c_str());
  ::close(fd);
  return removed;
}

StoredMessage assistant_message(const runtime::Generation& g) {
  return {.role = "assistant",
          .content = g.answer,
          .thought = g.thought,
          .finish_reason = finish_reason_name(g.finish_reason),
          .tokens = static_cast<int64_t>(g.tokens.size()),
          .seed = g.seed};
}

SavedChat::~SavedChat() { unlock(); }

Result<runtime::SessionStore*> SavedChat::store() {
  if (!store_) {
    DSR1_TRY(store_, open_session_store());
  }
  return store_.get();
}

Status SavedChat::lock() {
  DSR1_TRY(lock_, lock_file(lock_path(session_.id)));
  return lock_ >= 0 ? Status() : Status(open_elsewhere(session_));
}

void SavedChat::unlock() {
  if (lock_ < 0) return;
  ::unlink(lock_path(session_.id).c_str());
  ::close(lock_);
  lock_ = -1;
}

std::string SavedChat::cache_key() const {
  const auto& engine = conversation_.engine();
  return runtime::kv_key(engine, model_identity(engine.file()), commit_id());
}

Status SavedChat::create(const GenerationOptions& generation) {
  DSR1_TRY(runtime::SessionStore* const s, store());
  session_.model = base_name(conversation_.engine().file().path());
  session_.system = conversation_.system;
  session_.settings = settings_json(generation);
  DSR1_TRY(session_.id, s->create(session_));
  Status locked = lock();
  for (const StoredMessage& m : log_)
    if (locked) locked = s->append(session_.id, m);
  return locked;
}

Status SavedChat::open(const std::string& name, bool may_create, GenerationOptions& generation, const Note& note) {
  DSR1_TRY(runtime::SessionStore* const s, store());
  DSR1_TRY(auto found, s->find(name));
  if (!found && !may_create) return Error(need_session(*s, name).error());
  if (found && is_open() && found->id == session_.id) return {};
  if (!found) {
    DSR1_TRY_STATUS(runtime::check_session_name(name));
    begin_anew();
    explicit_ = true;
    session_.name = name;
    return create(generation);
  }
  DSR1_TRY(std::vector<StoredMessage> messages, s->messages(found->id));
  {
    DSR1_TRY(const int fd, lock_file(lock_path(found->id)));
    if (fd < 0) return open_elsewhere(*found);
    close();
    lock_ = fd;
  }
  conversation_.session().rewind(0);
  session_ = *found;
  explicit_ = true;
  log_ = std::move(messages);
  conversation_.system = conversation_.system ? conversation_.system : session_.system;
  apply_settings(session_.settings, generation);

  const std::string model = base_name(conversation_.engine().file().path());
  note("session '" + session_.label() + "', " + std::to_string(log_.size()) + " messages; /history shows them" +
       (session_.model != model ? "; held with " + session_.model : ""));
  session_.model = model;
  DSR1_TRY_STATUS(settings_changed(generation));

  const fs::path path = kv_path(session_.id);
  std::error_code ec;
  if (path.empty() || !fs::exists(path, ec)) return {};
  const Status loaded =
      runtime::load_kv(conversation_.session(), cache_key(), conversation_.engine().config().n_vocab, path);
  if (!loaded) log_warn(loaded.error().text() + "; the conversation is read anew");
  return {};
}

Status SavedChat::save_as(const std::string& name, const GenerationOptions& generation) {
  DSR1_TRY_STATUS(runtime::check_session_name(name));
  DSR1_TRY(runtime::SessionStore* const s, store());
  DSR1_TRY(const auto other, s->find(name));
  if (other && other->id != session_.id)
    return Error(ErrorCode::kUsage, "there is a session '" + name + "' already; /sessions delete " + name +
                                        " removes it, /load " + name + " goes on with it");
  session_.name = name;
  if (is_open()) DSR1_TRY_STATUS(s->rename(session_.id, name));
  else DSR1_TRY_STATUS(create(generation));
  explicit_ = keep_ = true;
  return {};
}

void SavedChat::begin_anew() {
  close();
  log_.clear();
  conversation_.session().rewind(0);
}

void SavedChat::close() {
  const auto& kv = conversation_.session();
  const bool on_host = !conversation_.engine().device_name().starts_with("cuda");  // a cache that can be read here
  const fs::path path = is_open() && explicit_ && on_host ? kv_path(session_.id) : fs::path();
  if (!path.empty() && kv.n_past() > 0) {
    std::error_code ec;
    fs::create_directories(path.parent_path().parent_path(), ec);
    ::mkdir(path.parent_path().c_str(), 0700);
    const Status saved = runtime::save_kv(kv, cache_key(), path);
    if (!saved) log_warn(saved.error().text() + "; the session itself is kept");
  }
  unlock();
  session_ = {};
  explicit_ = false;
}

Status SavedChat::append_to_store(const StoredMessage& message, const GenerationOptions& generation) {
  if (!is_open()) return create(generation);  // the message is in the log already
  DSR1_TRY(runtime::SessionStore* const s, store());
  return s->append(session_.id, message);
}

Status SavedChat::add(StoredMessage message, const GenerationOptions& generation) {
  log_.push_back(std::move(message));
  if (!keep_ && !is_open()) return {};
  Status kept = append_to_store(log_.back(), generation);
  if (kept || explicit_) return kept;
  log_warn("this conversation is not kept: " + kept.error().text());
  keep_ = false;
  unlock();
  session_ = {};
  return {};
}

Status SavedChat::cut(size_t n) {
  if (n >= log_.size()) return {};
  log_.resize(n);
  if (!is_open()) return {};
  DSR1_TRY(runtime::SessionStore* const s, store());
  return s->truncate(session_.id, static_cast<int64_t>(n));
}

Status SavedChat::settings_changed(const GenerationOptions& generation) {
  session_.system = conversation_.system;
  session_.settings = settings_json(generation);
  if (!is_open()) return {};
  DSR1_TRY(runtime::SessionStore* const s, store());
  return s->update(session_);
}

}  // namespace dsr1::cli

#include "dsr1/runtime/session_store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

namespace dsr1::runtime {
namespace {

namespace fs = std::filesystem;

constexpr int kVersion = 1;
constexpr int kWaitMs = 5000;

// Messages are searched by trigrams, which serve languages without spaces too; a query of fewer than three characters
// scans. The index is kept by hand: triggers on virtual tables would need a trusted schema.
constexpr const char* kSchema = R"sql(
CREATE TABLE sessions(
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, model TEXT NOT NULL, system TEXT, settings TEXT NOT NULL,
  created INTEGER NOT NULL, updated INTEGER NOT NULL);
CREATE TABLE messages(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES sessions(id) ON DELETE CASCADE, n INTEGER NOT NULL,
  role TEXT NOT NULL, content TEXT NOT NULL, thought TEXT NOT NULL, finish_reason TEXT NOT NULL, time INTEGER NOT NULL,
  tokens INTEGER NOT NULL, seed INTEGER NOT NULL, UNIQUE(session, n));
CREATE VIRTUAL TABLE words USING fts5(content, tokenize='trigram');
)sql";

constexpr const char* kSessionColumns =
    "s.id, s.name, s.model, s.system, s.settings, s.created, s.updated, "
    "(SELECT count(*) FROM messages m WHERE m.session = s.id), "
    "(SELECT substr(m.content, 1, 200) FROM messages m WHERE m.session = s.id AND m.role = 'user' ORDER BY m.n LIMIT "
    "1)";

std::string one_line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 32 || c == 127) c = ' ';
  return text;
}

bool all_digits(std::string_view s) {
  return !s.empty() && s.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

Status check_session_name(const std::string& name) {
  const auto bad = [&](const char* why) {
    return Error(ErrorCode::kUsage, "'" + one_line(name.substr(0, 80)) + "' cannot name a session: " + why);
  };
  if (name.empty()) return bad("it is empty");
  if (name.size() > 80) return bad("it is longer than 80 bytes");
  if (all_digits(name) || name[0] == '#') return bad("numbers are the sessions' own");
  for (char c : name)
    if (static_cast<unsigned char>(c) < 32 || c == 127 || c == '/') return bad("it has a slash or a control character");
  return {};
}

struct SessionStore::Impl {
  sqlite3* db = nullptr;
  fs::path path;

  ~Impl() { sqlite3_close_v2(db); }

  Error error(const char* doing) const {
    const int code = sqlite3_errcode(db) & 0xff;
    std::string message = std::string("cannot ") + doing + " the sessions in " + path.string() + ": " +
                          (db != nullptr ? sqlite3_errmsg(db) : "out of memory");
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
      return {ErrorCode::kModel, message + "; move the file away to begin anew"};
    if (code == SQLITE_BUSY) message += "; another program keeps it locked";
    return {ErrorCode::kRuntime, message};
  }

  Status run(const char* sql) {
    if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error("use");
    return {};
  }

  // All of what `changes` does, or nothing.
  template <class F>
  Status transaction(const F& changes) {
    DSR1_TRY_STATUS(run("BEGIN IMMEDIATE"));
    if (changes()) return run("COMMIT");
    const Error failed = error("write");
    (void)run("ROLLBACK");
    return failed;
  }
};

namespace {

// One statement: values bound in order, rows read column by column.
class Query {
 public:
  Query(sqlite3* db, const std::string& sql) {
    ok_ = sqlite3_prepare_v2(db, sql.c_str(), static_cast<int>(sql.size()), &s_, nullptr) == SQLITE_OK;
  }
  ~Query() { sqlite3_finalize(s_); }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  Query& bind(int64_t v) {
    if (ok_) ok_ = sqlite3_bind_int64(s_, ++bound_, v) == SQLITE_OK;
    return *this;
  }
  Query& bind(const std::string& v) {
    if (ok_) ok_ = sqlite3_bind_text64(s_, ++bound_, v.data(), v.size(), SQLITE_TRANSIENT, SQLITE_UTF8) == SQLITE_OK;
    return *this;
  }
  Query& null() {
    if (ok_) ok_ = sqlite3_bind_null(s_, ++bound_) == SQLITE_OK;
    return *this;
  }
  // True while there is a row; ok() then says whether the end is a good one.
  bool row() {
    if (!ok_) return false;
    const int rc = sqlite3_step(s_);
    ok_ = rc == SQLITE_ROW || rc == SQLITE_DONE;
    return rc == SQLITE_ROW;
  }
  bool run() {
    while (row()) {
    }
    return ok_;
  }
  bool ok() const { return ok_; }
  int64_t number(int i) const { return sqlite3_column_int64(s_, i); }
  bool is_null(int i) const { return sqlite3_column_type(s_, i) == SQLITE_NULL; }
  std::string text(int i) const {
    const auto* p = static_cast<const char*>(sqlite3_column_blob(s_, i));
    return p == nullptr ? std::string() : std::string(p, static_cast<size_t>(sqlite3_column_bytes(s_, i)));
  }

 private:
  sqlite3_stmt* s_ = nullptr;
  bool ok_ = false;
  int bound_ = 0;
};

StoredSession read_session(const Query& q) {
  StoredSession s;
  s.id = q.number(0);
  s.name = q.text(1);
  s.model = q.text(2);
  if (!q.is_null(3)) s.system = q.text(3);
  s.settings = q.text(4);
  s.created = q.number(5);
  s.updated = q.number(6);
  s.n_messages = q.number(7);
  s.title = one_line(q.text(8));
  return s;
}

}  // namespace

SessionStore::~SessionStore() = default;

Result<std::unique_ptr<SessionStore>> SessionStore::open(const fs::path& path) {
  std::error_code ec;
  const fs::path dir = path.parent_path();
  if (!fs::exists(dir, ec)) {
    fs::create_directories(dir.parent_path(), ec);
    if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST)
      return Error(ErrorCode::kRuntime, "cannot make " + dir.string() + " for the sessions: " + std::strerror(errno));
  }
  // Made here first, so that its mode is right from the start; journals take over the mode of the file.
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  struct stat st {};
  if (fd < 0 || ::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    const std::string why = fd < 0 ? std::strerror(errno) : "no ordinary file";
    if (fd >= 0) ::close(fd);
    return Error(ErrorCode::kRuntime, "cannot open the sessions in " + path.string() + ": " + why);
  }
  if ((st.st_mode & 077) != 0) ::fchmod(fd, 0600);
  ::close(fd);

  auto store = std::unique_ptr<SessionStore>(new SessionStore());
  store->impl_ = std::make_unique<Impl>();
  Impl& i = *store->impl_;
  i.path = path;
  // SQLite takes "no links" for the folders too, which may well be links.
  const fs::path folder = fs::canonical(dir, ec);
  const fs::path real = ec ? path : folder / path.filename();
  if (sqlite3_open_v2(real.c_str(), &i.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, nullptr) != SQLITE_OK)
    return i.error("open");
  sqlite3_busy_timeout(i.db, kWaitMs);
  sqlite3_extended_result_codes(i.db, 0);
  // The file may have been written by anybody: its schema gets no powers.
  sqlite3_db_config(i.db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(i.db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  DSR1_TRY_STATUS(i.run("PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON; PRAGMA temp_store=MEMORY; BEGIN IMMEDIATE"));
  int64_t version = 0;
  {
    Query q(i.db, "PRAGMA user_version");
    if (!q.row()) return i.error("read");
    version = q.number(0);
  }
  if (version > kVersion) {
    return Error(ErrorCode::kModel, "the sessions in " + path.string() + " were written by a later version (format " +
                                        std::to_string(version) + ", this one knows " + std::to_string(kVersion) + ")");
  }
  if (version == 0) {
    DSR1_TRY_STATUS(i.run(kSchema));
    DSR1_TRY_STATUS(i.run(("PRAGMA user_version=" + std::to_string(kVersion)).c_str()));
  }
  DSR1_TRY_STATUS(i.run("COMMIT"));
  return store;
}

Result<int64_t> SessionStore::create(const StoredSession& s) {
  Query q(impl_->db,
          "INSERT INTO sessions(name, model, system, settings, created, updated) VALUES (?1, ?2, ?3, ?4, ?5, ?5)");
  if (s.name.empty()) q.null();
  else q.bind(s.name);
  q.bind(s.model);
  if (s.system) q.bind(*s.system);
  else q.null();
  if (!q.bind(s.settings).bind(std::time(nullptr)).run()) return impl_->error("add to");
  return sqlite3_last_insert_rowid(impl_->db);
}

Result<std::optional<StoredSession>> SessionStore::find(const std::string& wanted) {
  const std::string number = wanted.starts_with('#') ? wanted.substr(1) : wanted;
  const bool by_number = all_digits(number) && number.size() < 19;
  Query q(impl_->db, std::string("SELECT ") + kSessionColumns + " FROM sessions s WHERE " +
                         (by_number ? "s.id = ?1" : "s.name = ?1"));
  if (by_number) q.bind(static_cast<int64_t>(std::stoll(number)));
  else q.bind(wanted);
  std::optional<StoredSession> found;
  if (q.row()) found = read_session(q);
  if (!q.ok()) return impl_->error("read");
  return found;
}

Result<std::vector<StoredSession>> SessionStore::list(int64_t most) {
  Query q(impl_->db,
          std::string("SELECT ") + kSessionColumns + " FROM sessions s ORDER BY s.updated DESC, s.id DESC LIMIT ?1");
  q.bind(most);
  std::vector<StoredSession> found;
  while (q.row()) found.push_back(read_session(q));
  if (!q.ok()) return impl_->error("read");
  return found;
}

Result<std::vector<SearchHit>> SessionStore::search(const std::string& text, int64_t most) {
  std::vector<SearchHit> hits;
  if (text.empty()) return hits;
  size_t characters = 0;
  for (char c : text) characters += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  std::string pattern, quoted = "\"";
  for (char c : text) {
    if (c == '%' || c == '_' || c == '\\') pattern += '\\';
    pattern += c;
    quoted += c == '"' ? "\"\"" : std::string(1, c);
  }
  const bool indexed = characters >= 3;
  Query q(impl_->db,
          std::string("SELECT ") + kSessionColumns +
              ", f.role, f.content FROM messages f JOIN sessions s ON s.id = f.session WHERE " +
              (indexed ? "f.id IN (SELECT rowid FROM words WHERE words MATCH ?1)" : "f.content LIKE ?1 ESCAPE '\\'") +
              " ORDER BY f.time DESC, f.id DESC LIMIT ?2");
  q.bind(indexed ? quoted + "\"" : "%" + pattern + "%").bind(most);
  auto lower = [](std::string s) {
    for (char& c : s) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return s;
  };
  const std::string wanted = lower(text);
  while (q.row()) {
    SearchHit hit;
    hit.session = read_session(q);
    hit.role = q.text(9);
    const std::string content = q.text(10);
    const size_t at = std::min(lower(content).find(wanted), content.size());  // absent where case differs beyond ASCII
    size_t from = at < content.size() && at > 30 ? at - 30 : 0;
    size_t to = std::min(content.size(), from + 30 + text.size() + 60);
    auto inside = [&](size_t i) {
      return i > 0 && i < content.size() && (static_cast<unsigned char>(content[i]) & 0xC0) == 0x80;
    };
    while (inside(from)) --from;
    while (inside(to)) ++to;
    hit.excerpt =
        one_line((from > 0 ? "..." : "") + content.substr(from, to - from) + (to < content.size() ? "..." : ""));
    hits.push_back(std::move(hit));
  }
  if (!q.ok()) return impl_->error("search");
  return hits;
}

Result<std::vector<StoredMessage>> SessionStore::messages(int64_t id) {
  Query q(
      impl_->db,
      "SELECT role, content, thought, finish_reason, time, tokens, seed FROM messages WHERE session = ?1 ORDER BY n");
  q.bind(id);
  std::vector<StoredMessage> found;
  while (q.row())
    found.push_back(
        {q.text(0), q.text(1), q.text(2), q.text(3), q.number(4), q.number(5), static_cast<uint64_t>(q.number(6))});
  if (!q.ok()) return impl_->error("read");
  return found;
}

Status SessionStore::append(int64_t id, const StoredMessage& m) {
  return impl_->transaction([&] {
    return Query(impl_->db,
                 "INSERT INTO messages(session, n, role, content, thought, finish_reason, time, tokens, seed) VALUES "
                 "(?1, (SELECT coalesce(max(n) + 1, 0) FROM messages WHERE session = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
               .bind(id)
               .bind(m.role)
               .bind(m.content)
               .bind(m.thought)
               .bind(m.finish_reason)
               .bind(m.time > 0 ? m.time : std::time(nullptr))
               .bind(m.tokens)
               .bind(static_cast<int64_t>(m.seed))
               .run() &&
           Query(impl_->db, "INSERT INTO words(rowid, content) VALUES (?1, ?2)")
               .bind(sqlite3_last_insert_rowid(impl_->db))
               .bind(m.content)
               .run() &&
           Query(impl_->db, "UPDATE sessions SET updated = ?2 WHERE id = ?1").bind(id).bind(std::time(nullptr)).run();
  });
}

Status SessionStore::truncate(int64_t id, int64_t n_messages) {
  const std::string gone =
      "(SELECT id FROM messages WHERE session = ?1 AND id NOT IN "
      "(SELECT id FROM messages WHERE session = ?1 ORDER BY n LIMIT ?2))";
  return impl_->transaction([&] {
    return Query(impl_->db, "DELETE FROM words WHERE rowid IN " + gone).bind(id).bind(n_messages).run() &&
           Query(impl_->db, "DELETE FROM messages WHERE id IN " + gone).bind(id).bind(n_messages).run();
  });
}

Status SessionStore::update(const StoredSession& s) {
  Query q(impl_->db, "UPDATE sessions SET model = ?2, settings = ?3, system = ?4 WHERE id = ?1");
  q.bind(s.id).bind(s.model).bind(s.settings);
  if (s.system) q.bind(*s.system);
  else q.null();
  if (!q.run()) return impl_->error("write");
  return {};
}

Status SessionStore::rename(int64_t id, const std::string& name) {
  DSR1_TRY_STATUS(check_session_name(name));
  DSR1_TRY(const auto other, find(name));
  if (other && other->id != id) return Error(ErrorCode::kUsage, "there is a session '" + name + "' already");
  if (!Query(impl_->db, "UPDATE sessions SET name = ?2 WHERE id = ?1").bind(id).bind(name).run())
    return impl_->error("write");
  return {};
}

Status SessionStore::remove(int64_t id) {
  return impl_->transaction([&] {
    return Query(impl_->db, "DELETE FROM words WHERE rowid IN (SELECT id FROM messages WHERE session = ?1)")
               .bind(id)
               .run() &&
           Query(impl_->db, "DELETE FROM sessions WHERE id = ?1").bind(id).run();
  });
}

}  // namespace dsr1::runtime

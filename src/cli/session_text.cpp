#include "session_text.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "dsr1/text/width.h"

namespace dsr1::cli {

using runtime::SearchHit;
using runtime::StoredMessage;
using runtime::StoredSession;

std::string local_time(int64_t seconds) {
  const auto t = static_cast<time_t>(seconds);
  tm parts{};
  char text[32];
  if (::localtime_r(&t, &parts) == nullptr || std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts) == 0)
    return "";
  return text;
}

std::string fitted(const std::string& text, int columns) {
  if (text::display_width(text) <= columns) return text;
  std::string out;
  int used = 3;
  for (size_t at = 0; at < text.size();) {
    const size_t to = text::next_cluster(text, at);
    const std::string_view cluster = std::string_view(text).substr(at, to - at);
    used += text::cluster_width(cluster);
    if (used > columns) break;
    out += cluster;
    at = to;
  }
  return out + "...";
}

namespace {

std::string padded(const std::string& text, int columns) {
  return text + std::string(static_cast<size_t>(std::max(0, columns - text::display_width(text))), ' ');
}

}  // namespace

std::string session_list(const std::vector<StoredSession>& sessions, int columns) {
  int widest = 4;
  for (const auto& s : sessions) widest = std::max(widest, std::min(text::display_width(s.label()), 30));
  std::string out;
  for (const auto& s : sessions) {
    const std::string n = std::to_string(s.n_messages);
    const std::string line = padded(fitted(s.label(), widest), widest) + "  " + local_time(s.updated) + "  " +
                             std::string(n.size() < 4 ? 4 - n.size() : 0, ' ') + n + " messages  " + s.title;
    out += fitted(line, std::max(columns - 1, 40)) + "\n";
  }
  return out;
}

std::string search_list(const std::vector<SearchHit>& hits, int columns) {
  std::string out;
  for (const auto& h : hits) out += fitted(h.session.label() + "  " + h.role + ": " + h.excerpt, columns - 1) + "\n";
  return out;
}

std::string session_markdown(const StoredSession& s, const std::vector<StoredMessage>& messages) {
  std::string out = "# " + (s.name.empty() ? "Session " + std::to_string(s.id) : s.name) + "\n\n";
  out += s.model + ", " + local_time(s.created) + "\n";
  if (s.system) out += "\n## System\n\n" + *s.system + "\n";
  for (const auto& m : messages) {
    out += m.role == "user" ? "\n## User\n" : "\n## Assistant\n";
    if (!m.thought.empty()) out += "\n<details><summary>Thought</summary>\n\n" + m.thought + "\n\n</details>\n";
    if (!m.content.empty()) out += "\n" + m.content + "\n";
    if (m.role != "user" && m.finish_reason != "stop") out += "\n*(ended by " + m.finish_reason + ")*\n";
  }
  return out;
}

Json session_json(const StoredSession& s) {
  Json j = Json::object();
  j.set("id", s.id).set("name", s.name.empty() ? Json() : Json(s.name)).set("model", s.model);
  j.set("created", s.created).set("updated", s.updated).set("n_messages", s.n_messages).set("title", s.title);
  return j;
}

Json session_json(const StoredSession& s, const std::vector<StoredMessage>& messages) {
  Json j = session_json(s);
  auto settings = Json::parse(s.settings);
  j.set("settings", settings ? *settings : Json::object());
  Json all = Json::array();
  if (s.system) all.push(Json::object().set("role", "system").set("content", *s.system));
  for (const auto& m : messages) {
    Json o = Json::object();
    o.set("role", m.role).set("content", m.content);
    if (!m.thought.empty()) o.set("reasoning_content", m.thought);
    if (m.role == "assistant") o.set("finish_reason", m.finish_reason).set("tokens", m.tokens).set("seed", m.seed);
    all.push(o.set("time", m.time));
  }
  return j.set("messages", std::move(all));
}

std::string export_format(const std::string& path) {
  if (path.ends_with(".md") || path.ends_with(".markdown")) return "md";
  if (path.ends_with(".json")) return "json";
  return {};
}

Status export_session(const StoredSession& session, const std::vector<StoredMessage>& messages,
                      const std::string& format, const std::string& path) {
  const std::string text =
      format == "json" ? session_json(session, messages).dump(2) + "\n" : session_markdown(session, messages);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    if (errno == EEXIST) return Error(ErrorCode::kUsage, path + " exists already");
    return Error(ErrorCode::kRuntime, "cannot write " + path + ": " + std::strerror(errno));
  }
  std::string_view rest = text;
  bool good = true;
  while (good && !rest.empty()) {
    const ssize_t n = ::write(fd, rest.data(), rest.size());
    good = n > 0 || (n < 0 && errno == EINTR);
    if (n > 0) rest.remove_prefix(static_cast<size_t>(n));
  }
  const std::string why = std::strerror(errno);
  good = ::close(fd) == 0 && good;
  if (good) return {};
  ::unlink(path.c_str());
  return Error(ErrorCode::kRuntime, "cannot write " + path + ": " + why);
}

}  // namespace dsr1::cli

// Sessions as text: lists for people, Markdown and JSON for export.
#pragma once

#include <string>
#include <vector>

#include "dsr1/base/json.h"
#include "dsr1/runtime/session_store.h"

namespace dsr1::cli {

// One line each, newest first: name or number, day, messages, model, first question; cut to `columns`.
std::string session_list(const std::vector<runtime::StoredSession>& sessions, int columns);
std::string search_list(const std::vector<runtime::SearchHit>& hits, int columns);

std::string session_markdown(const runtime::StoredSession& session,
                             const std::vector<runtime::StoredMessage>& messages);
Json session_json(const runtime::StoredSession& session);  // what is known of it, without messages
Json session_json(const runtime::StoredSession& session, const std::vector<runtime::StoredMessage>& messages);

// "md" or "json" for a file name, by its ending; empty for others.
std::string export_format(const std::string& path);
// Writes one of the two to a new file of mode 0600. kUsage where it exists already.
Status export_session(const runtime::StoredSession& session, const std::vector<runtime::StoredMessage>& messages,
                      const std::string& format, const std::string& path);

// "2026-01-31 14:05", local time.
std::string local_time(int64_t seconds);
// The text on one line of at most that many columns, "..." at the end where it was cut.
std::string fitted(const std::string& text, int columns);

}  // namespace dsr1::cli

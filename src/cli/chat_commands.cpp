// What begins with a slash at the chat's prompt.
#include <algorithm>
#include <filesystem>
#include <utility>

#include "chat.h"
#include "input.h"
#include "output.h"
#include "session_text.h"
#include "settings.h"
#include "terminal.h"

namespace dsr1::cli {

struct Chat::CommandEntry {
  std::vector<std::string> names;  // ours first, then what other programs call it
  std::string argument, help;
  Status (Chat::*run)(const std::string& rest);
};

const std::vector<Chat::CommandEntry>& Chat::commands() {
  static const std::vector<CommandEntry> all = {
      {{"/help", "/?"}, "", "this list; /help keys: what the keys do", &Chat::help},
      {{"/think"}, "MODE", "auto, on, off, or hide: think, show one line of it", &Chat::think},
      {{"/regen", "/retry"}, "", "answer the last question again", &Chat::regenerate},
      {{"/edit"}, "", "change the last question and ask it again", &Chat::edit},
      {{"/undo"}, "", "take back the last question and its answer", &Chat::undo},
      {{"/read"}, "FILE", "the file's text goes before your next question", &Chat::read},
      {{"/clear", "/new", "/reset"}, "", "begin anew; what was said is kept as a session", &Chat::clear},
      {{"/system"}, "TEXT", "set the system prompt (none: remove it), begin anew", &Chat::system},
      {{"/set"}, "NAME VALUE", "temp, seed, verbose, wordwrap, ...; alone: lists all", &Chat::set},
      {{"/show", "/info"}, "[WHAT]", "model, settings, system, template; alone: in short", &Chat::show},
      {{"/history"}, "", "the conversation so far, with thoughts", &Chat::history},
      {{"/save"}, "[NAME]", "name this conversation, for --session NAME", &Chat::save},
      {{"/load"}, "NAME", "go on with another conversation", &Chat::load},
      {{"/sessions", "/list"}, "[...]", "list; search, rename, export to .md or .json, delete", &Chat::sessions},
      {{"/bye", "/exit", "/quit"}, "", "leave (also Ctrl-D)", &Chat::bye}};
  return all;
}

namespace {

constexpr const char* kMore =
    "  \"\"\"                     begins and ends a question of several lines\n"
    "  Ctrl-C stops an answer; Ctrl-T ends a thought: answer now.\n";

constexpr const char* kKeys =
    "  Enter                   ask; Alt-Enter: a new line (so does a paste of several)\n"
    "  Ctrl-C                  answering: stop; typing: empty the line; on an empty line: leave\n"
    "  Ctrl-T                  end the thought, answer now\n"
    "  Ctrl-D                  leave, on an empty line\n"
    "  Ctrl-Z                  sleep; fg wakes it\n"
    "  Up, Down, Ctrl-P, N     earlier inputs; Ctrl-R: search them (a line that begins with a space is not kept)\n"
    "  Tab                     complete commands, settings, sessions and files\n"
    "  Ctrl-A, E, Alt-B, F     begin and end of the line, a word back and on\n"
    "  Ctrl-W, U, K, Alt-D     delete the word before, all before, all after, the word after; Ctrl-Y puts it back\n"
    "  Ctrl-L                  clear the screen\n";

constexpr std::string_view kSpace = " \t\n";

std::string trimmed(std::string_view s) {
  const size_t begin = s.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return std::string(s.substr(begin, s.find_last_not_of(kSpace) - begin + 1));
}

// "word rest" -> both.
std::pair<std::string, std::string> split(const std::string& line) {
  const size_t gap = std::min(line.find_first_of(kSpace), line.size());
  return {line.substr(0, gap), trimmed(std::string_view(line).substr(gap))};
}

std::vector<std::string> files(const std::string& before, const std::string& typed_path) {
  namespace fs = std::filesystem;
  const std::string head = before.substr(0, before.size() - typed_path.size());
  std::string expanded = typed_path;
  const char* home = std::getenv("HOME");
  if (expanded.starts_with("~/") && home != nullptr) expanded = home + expanded.substr(1);
  const fs::path typed(expanded);
  const fs::path dir = typed.parent_path();
  std::vector<std::string> found;
  std::error_code ec;
  for (fs::directory_iterator it(dir.empty() ? "." : dir, ec), end; !ec && it != end; it.increment(ec)) {
    const std::string name = it->path().filename().string();
    std::error_code inner;
    const bool hidden = name.starts_with('.') && !typed.filename().string().starts_with('.');
    if (!hidden && name.starts_with(typed.filename().string()))
      found.push_back(head + (dir.empty() ? fs::path(name) : dir / name).string() +
                      (it->is_directory(inner) ? "/" : ""));
  }
  return found;
}

const std::vector<std::string> kShowTopics = {"model", "settings", "system", "template"};
const std::vector<std::string> kSwitches = {"history", "nohistory", "wordwrap", "nowordwrap", "verbose",
                                            "quiet",   "think",     "nothink",  "system",     "parameter"};

}  // namespace

// Commands by their beginning; then what the command takes.
std::vector<std::string> Chat::completions(std::string_view typed, SavedChat* saved) {
  std::vector<std::string> found;
  const std::string before(typed);
  if (!before.starts_with("/")) return found;
  const size_t space = before.find(' ');
  if (space == std::string::npos) {
    for (const auto& c : commands())
      if (c.names.front().starts_with(before)) found.push_back(c.names.front());
    return found;
  }
  const std::string word = before.substr(0, space), rest = before.substr(space + 1);
  auto among = [&](const std::vector<std::string>& words, const std::string& part) {
    for (const auto& w : words)
      if (w.starts_with(part)) found.push_back(before.substr(0, before.size() - part.size()) + w);
  };
  auto session_names = [&](const std::string& part) {
    if (const auto store = saved->store(); store) {
      std::vector<std::string> names;
      if (const auto all = (*store)->list(1000); all)
        for (const auto& s : *all) names.push_back(s.label());
      among(names, part);
    }
  };
  if (word == "/read") {
    found = files(before, rest);
  } else if (word == "/think") {
    among({"auto", "hide", "off", "on"}, rest);
  } else if (word == "/show" || word == "/info") {
    among(kShowTopics, rest);
  } else if (word == "/load" || word == "/save") {
    session_names(rest);
  } else if (word == "/set") {
    const bool parameter = rest.starts_with("parameter ");
    std::vector<std::string> names = setting_names();
    if (!parameter) names.insert(names.end(), kSwitches.begin(), kSwitches.end());
    among(names, parameter ? rest.substr(10) : rest);
  } else if (word == "/sessions" || word == "/list") {
    if (rest.starts_with("delete ")) session_names(rest.substr(7));
    else if (rest.starts_with("export ")) found = files(before, rest.substr(7));
    else among({"delete", "export", "rename", "search"}, rest);
  } else if (word == "/help") {
    among({"keys"}, rest);
  }
  std::sort(found.begin(), found.end());
  return found;
}

Status Chat::command(const std::string& line) {
  const auto [word, rest] = split(line);
  std::vector<std::string> known;
  for (const auto& c : commands())
    for (const auto& name : c.names) {
      if (name == word) return (this->*c.run)(rest);
      known.push_back(name);
    }
  const std::string near = nearest_word(word, known);
  note("unknown command " + word + (near.empty() ? "; /help lists them" : "; did you mean " + near + "?") +
       " (a space before the slash makes it a question)");
  return {};
}

void Chat::say(const Status& status, const std::string& done) { note(status ? done : status.error().text()); }

Status Chat::help(const std::string& rest) {
  if (rest == "keys" || rest == "shortcuts") {
    Output::get().show(kKeys);
    return {};
  }
  std::string out;
  for (const auto& c : commands()) {
    std::string left = "  " + c.names.front() + (c.argument.empty() ? "" : " " + c.argument);
    left.resize(std::max<size_t>(left.size() + 1, 26), ' ');
    out += left + c.help + "\n";
  }
  Output::get().show(out + kMore);
  return {};
}

Status Chat::bye(const std::string&) {
  leave_ = true;
  return {};
}

Status Chat::clear(const std::string&) {
  const std::string kept = saved_.is_open() && !saved_.log().empty()
                               ? "; the conversation so far is session " + saved_.session().label()
                               : std::string();
  saved_.begin_anew();
  dropped_ = 0;
  used_ = 0;
  pending_.clear();
  note("begun anew" + kept);
  return {};
}

Status Chat::regenerate(const std::string&) {
  if (!saved_.log().empty() && saved_.log().back().role == "assistant") kept(saved_.cut(saved_.log().size() - 1));
  if (saved_.log().empty()) {
    note("there is no question to answer again");
    return {};
  }
  if (o_.generation.seed != -1) note("(with the same seed; /set seed -1 draws another each time)");
  return answer();
}

Status Chat::edit(const std::string&) {
  size_t n = saved_.log().size();
  if (n > 0 && saved_.log()[n - 1].role == "assistant") --n;
  if (n == 0) {
    note("there is no question to change");
    return {};
  }
  const std::string question = saved_.log()[n - 1].content;
  const auto changed = read_entry(question);
  if (!changed || changed->find_first_not_of(kSpace) == std::string::npos) {
    note("left as it was");
    return {};
  }
  kept(saved_.cut(n - 1));
  return ask(*changed);
}

Status Chat::undo(const std::string&) {
  size_t n = saved_.log().size();
  if (n > 0 && saved_.log()[n - 1].role == "assistant") --n;
  if (n > 0) --n;
  kept(saved_.cut(n));
  dropped_ = std::min(dropped_, n);
  const size_t left = (n + 1) / 2;
  note(left == 0 ? "no questions left" : std::to_string(left) + (left == 1 ? " question" : " questions") + " left");
  return {};
}

Status Chat::read(const std::string& rest) {
  std::string path = rest;
  const char* home = std::getenv("HOME");
  if (path.starts_with("~/") && home != nullptr) path = home + path.substr(1);
  if (path.empty() || path == "-") {
    note("/read FILE: which file?");
    return {};
  }
  auto text = read_input_file(path);
  if (!text || text->empty()) {
    note(text ? "the file is empty" : text.error().text());
    return {};
  }
  pending_ += (pending_.empty() ? "" : "\n") + *text;
  note(std::to_string(text->size()) + " bytes read; they go before your next question");
  return {};
}

Status Chat::system(const std::string& rest) {
  std::string text = rest;
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  DSR1_TRY_STATUS(clear(""));
  conversation_.system = text.empty() ? std::nullopt : std::optional(text);
  note(text.empty() ? "no system prompt" : "system prompt set");
  kept(saved_.settings_changed(o_.generation));
  return {};
}

Status Chat::think(const std::string& rest) {
  if (rest.empty()) {
    note("think is " + o_.generation.think + "; /think auto, on, off or hide");
    return {};
  }
  return set_option_to("think", rest);
}

Status Chat::set_option_to(const std::string& name, const std::string& value) {
  GenerationOptions changed = o_.generation;
  Status status = set_option(changed, name, value);
  auto made = changed.make(conversation_.tokenizer());
  if (status && !made) status = Error(made.error());
  std::optional<text::ChatTemplate> chat;
  if (status && changed.chat != o_.generation.chat) {
    auto named = changed.chat_template(conversation_.engine().file());
    if (named) chat = *named;
    else status = Error(named.error());
  }
  if (!status) {
    note(status.error().text());
    return {};
  }
  if (chat) conversation_.set_chat(*chat);
  o_.generation = changed;
  o_.generate = *made;
  warned_full_ = false;
  note(name + " = " + (value.empty() ? "on" : value));
  kept(saved_.settings_changed(o_.generation));
  return {};
}

Status Chat::set(const std::string& line) {
  const auto [name, value] = split(line);
  if (name.empty()) return show("settings");
  if (name == "system") return system(value);
  if (name == "parameter") return set(value);  // Ollama's way
  if (name == "nothink") return set_option_to("think", "off");
  if (name == "think" && value.empty()) return set_option_to("think", "on");
  auto toggle = [&](bool* what, bool on, const char* done) {
    *what = on;
    note(done);
    return Status();
  };
  if (name == "wordwrap") return toggle(&o_.word_wrap, true, "lines break between words");
  if (name == "nowordwrap") return toggle(&o_.word_wrap, false, "lines break where the terminal ends");
  if (name == "verbose") return toggle(&o_.verbose, true, "speeds are shown after each answer");
  if (name == "quiet") return toggle(&o_.verbose, false, "speeds are not shown");
  if (name == "history" || name == "nohistory") {
    saved_.set_keep(name == "history");
    return toggle(&o_.keep, name == "history",
                  name == "history" ? "what you type and conversations are kept from now on"
                                    : "what you type is not kept from now on, nor are conversations that begin now");
  }
  if (name == "format" || name == "noformat") {
    note("answers of a given format are not in this version");
    return {};
  }
  if (name == "ctx-size" || name == "num_ctx" || name == "num-ctx") {
    note("the context's size is fixed at the start: dsr1 run -c " + (value.empty() ? "N" : value));
    return {};
  }
  return set_option_to(name, value);
}

Status Chat::show(const std::string& what) {
  const auto& engine = conversation_.engine();
  const auto& s = o_.generation.sampler;
  auto number = [](double v) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", v);
    return std::string(text);
  };
  std::string out;
  auto line = [&](const std::string& name, const std::string& value) {
    out += name + std::string(name.size() < 14 ? 14 - name.size() : 1, ' ') + value + "\n";
  };
  if (what.empty()) {
    line("model", engine.file().path().string());
    line("device", engine.device_name());
    line("format", std::string(conversation_.chat()->name()) + ", think " + o_.generation.think);
    line("system", conversation_.system.value_or("none"));
    line("sampling", "temp " + number(s.temperature) + ", top-p " + number(s.top_p) + ", top-k " +
                         std::to_string(s.top_k) + ", min-p " + number(s.min_p) + ", seed " +
                         (o_.generation.seed == -1 ? "random" : std::to_string(o_.generation.seed)));
    line("context", std::to_string(used_) + " of " + std::to_string(engine.n_ctx()) + " tokens, " +
                        std::to_string(saved_.log().size()) + " messages; when full: " + o_.generation.on_context_full);
    line("session", saved_.is_open() ? saved_.session().label()
                    : saved_.keeps() ? "kept from the first question on"
                                     : "not kept");
  } else if (what == "model" || what == "info") {
    line("file", engine.file().path().string());
    if (auto name = engine.file().metadata().get_string("general.name"); name && *name)
      line("name", std::string(**name));
    line("architecture", engine.config().arch);
    line("context",
         std::to_string(engine.config().n_ctx_train) + " tokens trained, " + std::to_string(engine.n_ctx()) + " here");
    line("weights", human_bytes(static_cast<double>(engine.plan().weights)));
  } else if (what == "settings" || what == "parameters") {
    for (const auto& [name, value] : changed_settings(o_.generation)) line(name, value);
    if (out.empty()) out = "all settings are as built in\n";
    out += "known:";
    for (const auto& name : setting_names()) out += " " + name;
    out += "\n";
  } else if (what == "system") {
    out = conversation_.system.value_or("none") + "\n";
  } else if (what == "template") {
    out = std::string(conversation_.chat()->name()) + "\n";
  } else if (what == "license") {
    auto license = engine.file().metadata().get_string("general.license");
    out = license && *license ? std::string(**license) + "\n" : "the file says nothing of a licence\n";
  } else {
    note("/show model, settings, system or template");
    return {};
  }
  Output::get().show(out);
  return {};
}

Status Chat::history(const std::string&) {
  std::string out;
  const bool dim = has_colour(STDOUT_FILENO);
  for (const auto& m : saved_.log()) {
    if (m.role == "user") {
      out += ">>> " + m.content + "\n";
      continue;
    }
    if (!m.thought.empty())
      out += (dim ? "\x1b[2m" : "<think>\n") + m.thought + (dim ? "\x1b[0m\n\n" : "\n</think>\n\n");
    out += m.content + "\n\n";
  }
  Output::get().show(out.empty() ? "nothing was said yet\n" : out);
  return {};
}

Status Chat::save(const std::string& rest) {
  if (rest.empty()) {
    note(saved_.is_open() ? "this is session " + saved_.session().label() + "; /save NAME gives it a name"
                          : "/save NAME: under which name?");
    return {};
  }
  say(saved_.save_as(rest, o_.generation), "saved; dsr1 run --session " + rest + " goes on with it");
  return {};
}

Status Chat::load(const std::string& rest) {
  if (rest.empty()) {
    note("/load NAME: which session? /sessions lists them");
    return {};
  }
  GenerationOptions changed = o_.generation;
  const auto system_before = std::exchange(conversation_.system, std::nullopt);
  Status status = saved_.open(rest, false, changed, [this](const std::string& text) { note(text); });
  auto made = changed.make(conversation_.tokenizer());
  if (status && !made) status = Error(made.error());
  if (!status) {
    conversation_.system = system_before;
    note(status.error().text());
    return {};
  }
  o_.generation = changed;
  o_.generate = *made;
  dropped_ = 0;
  used_ = conversation_.session().n_past();
  return {};
}

Status Chat::sessions(const std::string& rest) {
  const auto [word, argument] = split(rest);
  const auto opened = saved_.store();
  if (!opened) {
    note(opened.error().text());
    return {};
  }
  runtime::SessionStore& store = **opened;
  const int columns = terminal_columns(STDOUT_FILENO);
  constexpr int64_t kMost = 20;
  if (word.empty() || word == "list") {
    const auto all = store.list(word.empty() ? kMost : 100000);
    if (!all) say(all.error(), "");
    else Output::get().show(all->empty() ? "no sessions yet\n" : session_list(*all, columns));
  } else if (word == "search" && !argument.empty()) {
    const auto hits = store.search(argument, kMost);
    if (!hits) say(hits.error(), "");
    else Output::get().show(hits->empty() ? "nothing found\n" : search_list(*hits, columns));
  } else if (word == "rename" && !argument.empty()) {
    return save(argument);
  } else if (word == "delete" && !argument.empty()) {
    if (saved_.is_open() && (argument == saved_.session().label() || argument == std::to_string(saved_.session().id))) {
      note("that is this conversation; /clear begins another one first");
      return {};
    }
    say(delete_session(store, argument), argument + " is deleted");
  } else if (word == "export" && !argument.empty()) {
    const std::string format = export_format(argument);
    if (format.empty()) {
      note("/sessions export FILE: a name that ends in .md or .json");
      return {};
    }
    runtime::StoredSession session = saved_.session();
    if (!saved_.is_open()) {
      session.model = conversation_.engine().file().path().filename().string();
      session.system = conversation_.system;
      session.name = "Conversation";
      session.settings = settings_json(o_.generation);
    }
    session.n_messages = static_cast<int64_t>(saved_.log().size());
    say(export_session(session, saved_.log(), format, argument), "written to " + argument);
  } else {
    note("/sessions; /sessions search TEXT, rename NAME, export FILE.md or FILE.json, delete NAME");
  }
  return {};
}

}  // namespace dsr1::cli

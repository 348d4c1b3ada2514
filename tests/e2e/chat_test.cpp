// The interactive chat, on a pseudo-terminal.
#include <poll.h>
#include <pty.h>
#include <termios.h>

#include <csignal>

#include "e2e/program.h"
#include "support/scripted_model.h"
#include "support/synthetic_model.h"

namespace dsr1::test {
namespace {

class Terminal {
 public:
  // script: run by bash with job control, $0 being the program and $@ the arguments; empty: the program itself.
  explicit Terminal(const std::vector<std::string>& args, const std::vector<std::string>& more_env = {},
                    const char* script = nullptr) {
    winsize size{24, 60, 0, 0};
    pid_ = ::forkpty(&fd_, nullptr, nullptr, &size);
    if (pid_ != 0) return;
    std::vector<std::string> env = {"PATH=/usr/bin:/bin", "TERM=xterm", "HOME=" + (scratch() / "home").string()};
    env.insert(env.begin(), more_env.begin(), more_env.end());  // the first of a name counts
    const char* const program = script == nullptr ? DSR1_PROGRAM : "/bin/bash";
    std::vector<char*> argv = {const_cast<char*>(DSR1_PROGRAM)}, envp;
    if (script != nullptr)
      argv = {const_cast<char*>("bash"), const_cast<char*>("-mc"), const_cast<char*>(script), argv[0]};
    for (const auto& a : args) argv.push_back(const_cast<char*>(a.c_str()));
    for (const auto& e : env) envp.push_back(const_cast<char*>(e.c_str()));
    argv.push_back(nullptr);
    envp.push_back(nullptr);
    ::execve(program, argv.data(), envp.data());
    ::_exit(126);
  }
  ~Terminal() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(fd_);
  }
  void type(std::string_view text) {
    ASSERT_EQ(::write(fd_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  // Reads until the output since the last call holds `text`; false after 20 seconds without it.
  bool sees(std::string_view text) {
    // By the clock: a fast answer comes in thousands of small pieces.
    for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
         std::chrono::steady_clock::now() < end;) {
      const size_t at = out.find(text, seen_);
      if (at != std::string::npos) {
        seen_ = at + text.size();
        return true;
      }
      if (!read_some(10)) return false;
    }
    return false;
  }
  // The exit code, minus the signal that killed it, or -999 where it did not end within 20 seconds.
  int wait() {
    int status = 0;
    for (int i = 0; i < 2000; ++i) {
      if (!read_some(10)) ::usleep(10000);  // the terminal is closed: only the end itself is awaited
      if (::waitpid(pid_, &status, WNOHANG) != pid_) continue;
      while (read_some(0)) {
      }
      pid_ = -1;
      return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    return -999;
  }
  void signal(int number) { ::kill(pid_, number); }
  // Waits until the terminal echoes, or does not; false after 5 seconds.
  bool becomes(bool echoing) const {
    for (int i = 0; i < 500 && echoes() != echoing; ++i) ::usleep(10000);
    return echoes() == echoing;
  }
  bool echoes() const {
    termios t{};
    ::tcgetattr(fd_, &t);
    return (t.c_lflag & ECHO) != 0 && (t.c_lflag & ICANON) != 0;
  }
  std::string out;

 private:
  bool read_some(int timeout_ms) {
    pollfd p{fd_, POLLIN, 0};
    if (::poll(&p, 1, timeout_ms) <= 0) return timeout_ms > 0;
    char buffer[4096];
    const ssize_t n = ::read(fd_, buffer, sizeof buffer);
    if (n <= 0) return false;
    out.append(buffer, static_cast<size_t>(n));
    return true;
  }
  pid_t pid_ = -1;
  int fd_ = -1;
  size_t seen_ = 0;
};

std::string model(const Script& script, const char* name) {
  const auto path = scratch() / name;
  scripted_model(script).write(path);
  return path.string();
}

TEST(Chat, AnswersTurnAfterTurnWithDimmedThoughts) {
  Terminal t({"run", model({.pieces = {"hm", "</think>", "\n\n", "Hello", ", ", "world"}}, "chat.gguf")});
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("hi\r");
  ASSERT_TRUE(t.sees("\x1b[2mhm\x1b[0m")) << t.out;
  ASSERT_TRUE(t.sees("Hello, world")) << t.out;
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("again\r");
  ASSERT_TRUE(t.sees("Hello, world")) << t.out;
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("/show\r");
  ASSERT_TRUE(t.sees("4 messages")) << t.out;
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("/bye\r");
  EXPECT_EQ(t.wait(), 0) << t.out;
}

TEST(Chat, EditsUtf8AndTakesPastesAsOneEntry) {
  Terminal t({"run", model({.pieces = {"ok"}, .n_ctx = 512}, "edit.gguf"), "--think", "off"});
  ASSERT_TRUE(t.sees(">>> "));
  // Three characters, the middle one deleted from behind, one put in front; then a paste of two lines.
  t.type("你好吗\x1b[D\x7f\x01x\x1b[F");
  t.type("\x1b[200~one\ntwo\x1b[201~\r");
  ASSERT_TRUE(t.sees("ok")) << t.out;
  ASSERT_TRUE(t.sees(">>> "));
  t.type("\x1b[A");  // history
  ASSERT_TRUE(t.sees("x你吗one")) << t.out;
  t.type("\x15\x04");
  EXPECT_EQ(t.wait(), 0);
}

TEST(Chat, CtrlCStopsTheAnswerAndAtThePromptLeavesWith130) {
  Terminal t({"run", model({.pieces = {"tick ", "tock "}, .loops = true, .n_ctx = 2048}, "endless.gguf"), "--think",
              "off", "--no-loop-check", "--on-context-full", "drop-oldest"});
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("go\r");
  ASSERT_TRUE(t.sees("tick tock ")) << t.out;
  t.type("\x03");
  ASSERT_TRUE(t.sees("stopped")) << t.out;
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("half a line\x03");  // empties the line
  ASSERT_TRUE(t.sees("half a line")) << t.out;
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("\x03");
  EXPECT_EQ(t.wait(), 130);
}

TEST(Chat, TheTerminalIsSaneAfterEveryEnd) {
  const std::string path = model({.pieces = {"ok"}}, "sane.gguf");
  Terminal t({"run", path, "--think", "off"});
  ASSERT_TRUE(t.sees(">>> "));
  EXPECT_FALSE(t.echoes());
  t.type("\x03");
  EXPECT_EQ(t.wait(), 130);
  EXPECT_TRUE(t.echoes());
}

TEST(Chat, MistakesAreSaidAndDoNotEndIt) {
  Terminal t({"run", model({.pieces = {"ok"}}, "mistakes.gguf"), "--think", "off"});
  ASSERT_TRUE(t.sees(">>> "));
  t.type("/set temp hot\r");
  ASSERT_TRUE(t.sees("expected a number")) << t.out;
  t.type("/tink on\r");
  ASSERT_TRUE(t.sees("did you mean /think?")) << t.out;
  t.type("/read /nonexistent\r");
  ASSERT_TRUE(t.sees("cannot read")) << t.out;
  t.type(std::string(400, 'x') + "\r");
  ASSERT_TRUE(t.sees("the context only 256")) << t.out;
  t.type("hi\r");
  ASSERT_TRUE(t.sees("ok")) << t.out;
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("\x04");
  EXPECT_EQ(t.wait(), 0);
}

TEST(Chat, WithoutColourThoughtsStandBetweenTagsAndDumbTerminalsWork) {
  const std::string path = model({.pieces = {"hm", "</think>", "yes"}}, "plain.gguf");
  Terminal no_colour({"run", path}, {"NO_COLOR=1"});
  ASSERT_TRUE(no_colour.sees(">>> "));
  no_colour.type("hi\r");
  ASSERT_TRUE(no_colour.sees("<think>\r\nhm\r\n</think>\r\n[thought: 2 tokens, ")) << no_colour.out;
  ASSERT_TRUE(no_colour.sees("]\r\n\r\nyes")) << no_colour.out;
  Terminal dumb({"run", path, "--think", "hide"}, {"TERM=dumb"});
  ASSERT_TRUE(dumb.sees(">>> "));
  dumb.type("hi\r");
  ASSERT_TRUE(dumb.sees("yes")) << dumb.out;
  EXPECT_EQ(dumb.out.find('\x1b'), std::string::npos) << dumb.out;
}

// A home of its own for what a test keeps.
std::string home(const char* name) {
  const auto dir = scratch() / name;
  std::filesystem::remove_all(dir);
  return "DSR1_HOME=" + dir.string();
}

TEST(Chat, WhatWasTypedIsThereInTheNextRunUnlessNothingIsToBeKept) {
  const std::string path = model({.pieces = {"ok"}}, "history.gguf"), mine = home("history");
  auto talk = [&](const std::string& line, std::vector<std::string> more) {
    std::vector<std::string> args = {"run", path, "--think", "off"};
    args.insert(args.end(), more.begin(), more.end());
    Terminal t(args, {mine});
    ASSERT_TRUE(t.sees(">>> "));
    t.type(line + "\r");
    ASSERT_TRUE(t.sees("ok\r\n")) << t.out;
    ASSERT_TRUE(t.sees(">>> "));
    t.type("/bye\r");
    EXPECT_EQ(t.wait(), 0);
  };
  talk("remember me", {});
  talk("secret", {"--no-history"});
  Terminal t({"run", path}, {mine});
  ASSERT_TRUE(t.sees(">>> "));
  t.type("\x1b[A\x1b[A");
  ASSERT_TRUE(t.sees("remember me")) << t.out;
  t.type("\x15\x12rem");  // Ctrl-R
  ASSERT_TRUE(t.sees("(search 'rem') remember me")) << t.out;
  t.type("\x03\x04");
  EXPECT_EQ(t.wait(), 0);
  EXPECT_EQ(t.out.find("secret"), std::string::npos);
  const Ran sessions = run({"sessions"}, {.env = {mine}});
  EXPECT_NE(sessions.out.find("remember me"), std::string::npos);
  EXPECT_EQ(sessions.out.find("secret"), std::string::npos);
}

TEST(Chat, TabCompletesCommandsSettingsAndFiles) {
  const auto file = scratch() / "umlaut-äöü.txt";
  write_file(file, "text");
  Terminal t({"run", model({.pieces = {"ok"}}, "tab.gguf"), "--no-history"});
  ASSERT_TRUE(t.sees(">>> "));
  t.type("/reg\t");
  ASSERT_TRUE(t.sees("/regen")) << t.out;
  t.type("\x15/set think-b\t");
  ASSERT_TRUE(t.sees("/set think-budget")) << t.out;
  t.type("\x15/read " + (scratch() / "umlaut").string() + "\t\r");
  ASSERT_TRUE(t.sees("4 bytes read")) << t.out;
  t.type("/think \t\t");
  ASSERT_TRUE(t.sees("auto  hide  off  on")) << t.out;
  t.type("\x15\x04");
  EXPECT_EQ(t.wait(), 0);
}

TEST(Chat, QuestionsAreTakenBackChangedAndAskedAgain) {
  Terminal t({"run", model({.pieces = {"answer"}}, "undo.gguf"), "--think", "off", "--no-history"});
  ASSERT_TRUE(t.sees(">>> "));
  for (const char* question : {"one\r", "two\r"}) {
    t.type(question);
    ASSERT_TRUE(t.sees("answer\r\n")) << t.out;
    ASSERT_TRUE(t.sees(">>> "));
  }
  t.type("/undo\r");
  ASSERT_TRUE(t.sees("1 question left")) << t.out;
  t.type("/regen\r");
  ASSERT_TRUE(t.sees("answer\r\n")) << t.out;
  t.type("/edit\r");
  ASSERT_TRUE(t.sees(">>> one")) << t.out;
  t.type(" more\r");
  ASSERT_TRUE(t.sees("answer\r\n")) << t.out;
  t.type("/history\r");
  ASSERT_TRUE(t.sees(">>> one more\r\nanswer")) << t.out;
  t.type("/clear\r/history\r");
  ASSERT_TRUE(t.sees("nothing was said yet")) << t.out;
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("\x04");
  EXPECT_EQ(t.wait(), 0);
}

TEST(Chat, ThreeQuotesMakeOneQuestionOfSeveralLines) {
  Terminal t({"run", model({.pieces = {"ok"}}, "quotes.gguf"), "--think", "off", "--no-history"});
  ASSERT_TRUE(t.sees(">>> "));
  t.type("\"\"\"/clear is\r");
  ASSERT_TRUE(t.sees("... ")) << t.out;
  t.type("no command here\"\"\"\r");
  ASSERT_TRUE(t.sees("ok\r\n")) << t.out;
  t.type("/history\r");
  ASSERT_TRUE(t.sees(">>> /clear is\r\nno command here\r\n")) << t.out;
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("\x04");
  EXPECT_EQ(t.wait(), 0);
}

TEST(Chat, CtrlTEndsTheThoughtAndAHiddenOneLeavesOneLine) {
  const std::string path = model({.pieces = {"hm ", "ha "}, .loops = true, .n_ctx = 131072}, "thinker.gguf");
  Terminal t({"run", path, "--no-loop-check", "--no-history", "--think", "hide", "--answer-budget", "4"});
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("go\r");
  ASSERT_TRUE(t.sees("thinking: ")) << t.out;
  ASSERT_TRUE(t.sees("Ctrl-T: answer now")) << t.out;
  t.type("\x14");
  ASSERT_TRUE(t.sees("[thought: ")) << t.out;
  ASSERT_TRUE(t.sees("hm ha hm ha")) << t.out;
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("/think auto\rgo\r");
  ASSERT_TRUE(t.sees("\x1b[2mhm ha ")) << t.out;
  ASSERT_TRUE(t.sees("thinking: ")) << t.out;  // the count below it
  t.type("\x14");
  ASSERT_TRUE(t.sees("[thought: ")) << t.out;
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("/bye\r");
  EXPECT_EQ(t.wait(), 0);
}

TEST(Chat, LinesBreakBetweenWordsUnlessToldNotTo) {
  // 60 columns: the seventh word would cross the edge.
  const std::string path =
      model({.pieces = {"12345678 ", "abcdefgh ", "ABCDEFGH ", "stuvwxyz ", "STUVWXYZ ", "ijklmnop ", "IJKLMN"}},
            "wrap.gguf");
  Terminal t({"run", path, "--think", "off", "--no-history"});
  ASSERT_TRUE(t.sees(">>> "));
  t.type("hi\r");
  ASSERT_TRUE(t.sees("ijklmnop ")) << t.out;
  ASSERT_TRUE(t.sees("\x1b[5D\x1b[K\r\nIJKLM")) << t.out;
  t.type("/set nowordwrap\rhi\r");
  ASSERT_TRUE(t.sees("ijklmnop IJKLMN\r\n")) << t.out;
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("\x04");
  EXPECT_EQ(t.wait(), 0);
}

TEST(Chat, AFullContextIsAnnouncedBeforeItHappens) {
  const std::string path = model({.pieces = {"tick ", "tock "}, .loops = true, .n_ctx = 256}, "small.gguf");
  Terminal t({"run", path, "--think", "off", "--no-loop-check", "--no-history"});
  ASSERT_TRUE(t.sees("when it is full, answers stop")) << t.out;
  ASSERT_TRUE(t.sees(">>> "));
  t.type("go\r");
  ASSERT_TRUE(t.sees("the context is nearly full (240 of 256 tokens); when it is, the answer stops")) << t.out;
  ASSERT_TRUE(t.sees("the context is full")) << t.out;
  ASSERT_TRUE(t.sees("drop-oldest")) << t.out;
  t.type("/set on-context-full drop-oldest\rgo\r");
  ASSERT_TRUE(t.sees("the oldest 2 messages are forgotten")) << t.out;
  ASSERT_TRUE(t.sees("the oldest half is forgotten and read anew")) << t.out;
  t.type("\x03");
  ASSERT_TRUE(t.sees("stopped")) << t.out;
  ASSERT_TRUE(t.sees(">>> "));
  t.type("\x04");
  EXPECT_EQ(t.wait(), 0);
}

TEST(Chat, EverySignalLeavesTheTerminalSaneAndThePartialAnswerKept) {
  const std::string path = model({.pieces = {"tick ", "tock "}, .loops = true, .n_ctx = 2048}, "signals.gguf");
  for (const auto& [number, code] : {std::pair{SIGTERM, 143}, {SIGHUP, 129}, {SIGINT, 130}, {SIGKILL, -SIGKILL}}) {
    for (const bool answering : {false, true}) {
      const std::string mine = home("signals");
      Terminal t(
          {"run", path, "--think", "off", "--no-loop-check", "--on-context-full", "drop-oldest", "--session", "s"},
          {mine});
      ASSERT_TRUE(t.sees(">>> ")) << t.out;
      if (answering) {
        t.type("go\r");
        ASSERT_TRUE(t.sees("tick tock ")) << t.out;
      }
      EXPECT_FALSE(t.echoes());
      t.signal(number);
      if (number == SIGINT && answering) {  // stops the answer alone
        ASSERT_TRUE(t.sees("stopped")) << t.out;
        ASSERT_TRUE(t.sees(">>> ")) << t.out;
        t.signal(number);
      }
      EXPECT_TRUE(t.becomes(true)) << number << " " << answering;
      EXPECT_EQ(t.wait(), code) << t.out;
      if (!answering || number == SIGKILL) continue;
      const Ran shown = run({"sessions", "show", "s"}, {.env = {mine}});
      EXPECT_NE(shown.out.find("tick tock "), std::string::npos) << number << shown.out << shown.err;
    }
  }
}

TEST(Chat, SleepingGivesTheTerminalBackAndWakingTakesItAgain) {
  // Under a shell: the system lets nobody sleep whom nobody could wake.
  const std::string path = model({.pieces = {"tick ", "tock "}, .loops = true, .n_ctx = 2048}, "sleep.gguf");
  Terminal t({"run", path, "--think", "off", "--no-history", "--no-loop-check"}, {},
             "\"$0\" \"$@\"; echo asleep 1; stty -a; fg; echo asleep 2; stty -a; fg; echo left");
  ASSERT_TRUE(t.sees(">>> "));
  t.type("hal\x1a");
  ASSERT_TRUE(t.sees("asleep 1")) << t.out;
  ASSERT_TRUE(t.sees(" echo ")) << t.out;
  ASSERT_TRUE(t.sees(">>> hal")) << t.out;
  EXPECT_TRUE(t.becomes(false));
  t.type("lo\r");
  ASSERT_TRUE(t.sees("tick tock")) << t.out;
  t.type("\x1a");
  ASSERT_TRUE(t.sees("asleep 2")) << t.out;
  ASSERT_TRUE(t.sees(" echo ")) << t.out;
  ASSERT_TRUE(t.sees("tick tock")) << t.out;
  EXPECT_TRUE(t.becomes(false));
  t.type("\x03");
  ASSERT_TRUE(t.sees("stopped")) << t.out;
  ASSERT_TRUE(t.sees(">>> ")) << t.out;
  t.type("\x04");
  ASSERT_TRUE(t.sees("left")) << t.out;
  EXPECT_EQ(t.wait(), 0);
}

TEST(Chat, ConversationsAreNamedListedFoundResumedExportedAndDeleted) {
  const std::string path = model({.pieces = {"the answer"}, .n_ctx = 2048}, "sessions.gguf"), mine = home("sessions");
  const RunOptions env{.env = {mine}};
  {
    Terminal t({"run", path, "--think", "off"}, {mine});
    ASSERT_TRUE(t.sees(">>> "));
    t.type("what is a monad?\r");
    ASSERT_TRUE(t.sees("the answer\r\n")) << t.out;
    t.type("/save my notes\r");
    ASSERT_TRUE(t.sees("dsr1 run --session my notes")) << t.out;
    t.type("/set temp 0.25\r");
    ASSERT_TRUE(t.sees("temp = 0.25")) << t.out;
    t.type("/clear\rsecond talk\r");
    ASSERT_TRUE(t.sees("the answer\r\n")) << t.out;
    t.type("/sessions\r");
    ASSERT_TRUE(t.sees("my notes")) << t.out;
    t.type("/bye\r");
    EXPECT_EQ(t.wait(), 0);
  }
  EXPECT_NE(run({"sessions", "search", "MONAD"}, env).out.find("my notes  user: what is a monad?"), std::string::npos);
  {
    Terminal t({"run", path, "--session", "my notes"}, {mine});
    ASSERT_TRUE(t.sees("session 'my notes', 2 messages")) << t.out;
    ASSERT_TRUE(t.sees(">>> "));
    t.type("/show\r");
    ASSERT_TRUE(t.sees("think off")) << t.out;  // the settings it was left with
    ASSERT_TRUE(t.sees("temp 0.25")) << t.out;
    // Nobody else may go on with it meanwhile.
    expect_refusal(run({"run", path, "--session", "my notes", "-p", "x"}, env), 1, {"open in another dsr1"});
    t.type("\x04");
    EXPECT_EQ(t.wait(), 0);
  }
  const Ran json = run({"sessions", "show", "my notes", "--json"}, env);
  EXPECT_NE(json.out.find("\"content\": \"what is a monad?\""), std::string::npos) << json.out;
  const auto file = (scratch() / "notes.md").string();
  EXPECT_EQ(run({"sessions", "export", "my notes", file}, env).code, 0);
  EXPECT_NE(read_file(file).find("## User\n\nwhat is a monad?\n"), std::string::npos);
  expect_refusal(run({"sessions", "export", "my notes", file}, env), 2, {"exists already"});
  EXPECT_EQ(run({"sessions", "rename", "my notes", "monads"}, env).code, 0);
  expect_refusal(run({"sessions", "show", "monad"}, env), 3, {"did you mean 'monads'?"});
  EXPECT_EQ(run({"sessions", "delete", "monads"}, env).code, 0);
  EXPECT_EQ(run({"sessions"}, env).out.find("monads"), std::string::npos);
}

TEST(Chat, ControlCharactersOfAModelDoNotReachTheTerminal) {
  Terminal t({"run", model({.pieces = {"a\x1b]0;title\x07z"}}, "rude.gguf"), "--think", "off", "-p", "hi"});
  ASSERT_TRUE(t.sees("a^[]0;title^Gz")) << t.out;
  EXPECT_EQ(t.wait(), 0);
}

// One-shot answers in a session: the second run with the cache of the first, without it, and with a damaged one.
TEST(Session, GoesOnBitForBitWithItsCacheAndRefusesADamagedOne) {
  const auto path = (scratch() / "resume.gguf").string();
  SyntheticSpec spec;
  spec.arch = "qwen2";
  SyntheticModel(spec).write(path);
  auto talk = [&](const std::string& mine, const std::string& text) {
    return run({"run", path, "--chat", "chatml", "--session", "s", "-p", text, "-n", "12", "--seed", "5",
                "--ignore-eos", "--json"},
               {.env = {mine}});
  };
  auto answer = [](const Ran& r) {
    EXPECT_EQ(r.code, 0) << r.err;
    return r.out.substr(0, r.out.find("\"usage\""));
  };
  const std::string kept = home("kept"), lost = home("lost"), damaged = home("damaged");
  const auto cache = [](const std::string& mine) { return std::filesystem::path(mine.substr(10)) / "cache/kv/1.kv"; };
  for (const auto& mine : {kept, lost, damaged}) answer(talk(mine, "first question, long enough for a prompt"));
  ASSERT_TRUE(std::filesystem::exists(cache(kept)));
  EXPECT_EQ(std::filesystem::status(cache(kept)).permissions(), std::filesystem::perms(0600));
  std::filesystem::remove(cache(lost));
  std::string bytes = read_file(cache(damaged));
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_file(cache(damaged), bytes);

  const Ran with = talk(kept, "and then?"), without = talk(lost, "and then?"), recomputed = talk(damaged, "and then?");
  EXPECT_EQ(answer(with), answer(without));
  EXPECT_EQ(answer(with), answer(recomputed));
  EXPECT_EQ(with.out.find("\"cached_tokens\": 0"), std::string::npos) << with.out;
  EXPECT_NE(without.out.find("\"cached_tokens\": 0"), std::string::npos);
  EXPECT_NE(recomputed.out.find("\"cached_tokens\": 0"), std::string::npos);
  EXPECT_NE(recomputed.err.find("is damaged"), std::string::npos) << recomputed.err;
  // Another cache type is another key.
  const Ran foreign =
      run({"run", path, "--chat", "chatml", "--session", "s", "-p", "x", "-n", "1", "-ctk", "f32", "-ctv", "f32"},
          {.env = {kept}});
  EXPECT_EQ(foreign.code, 0);
  EXPECT_NE(foreign.err.find("other settings"), std::string::npos) << foreign.err;
}

}  // namespace
}  // namespace dsr1::test

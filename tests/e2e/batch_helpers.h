// What the tests of `dsr1 batch` share: a small model, rows, and the files that a run leaves.
#pragma once

#include <algorithm>

#include "dsr1/base/json.h"
#include "e2e/program.h"
#include "support/synthetic_model.h"

namespace dsr1::test {

// Random weights: its answers depend on every token and every seed.
inline std::string batch_model() {
  static const std::string path = [] {
    const auto p = scratch() / "batch-model.gguf";
    SyntheticSpec s;
    s.arch = "qwen2";
    s.dtype = DType::kQ8_0;
    SyntheticModel(s).write(p);
    return p.string();
  }();
  return path;
}

inline std::string fresh(const std::string& name) {
  static int n = 0;
  return (scratch() / (std::to_string(n++) + "-" + name)).string();
}

inline std::string row(const std::string& id, const std::string& prompt, const std::string& more = "") {
  return R"({"custom_id":")" + id + R"(","method":"POST","url":"/v1/completions","body":{"prompt":)" +
         Json(prompt).dump() + (more.empty() ? "" : ",") + more + "}}\n";
}

inline std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  std::istringstream in(read_file(path));
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

inline std::vector<std::string> sorted_lines(const std::string& path) {
  auto lines = lines_of(path);
  std::sort(lines.begin(), lines.end());
  return lines;
}

inline Json parsed(const std::string& line) {
  auto j = Json::parse(line);
  EXPECT_TRUE(j) << line;
  return j ? *j : Json();
}

// "response.body.choices.0.text"
inline Json at(const Json& json, const std::string& path) {
  const Json* j = &json;
  std::istringstream in(path);
  for (std::string key; std::getline(in, key, '.');) {
    if (j->is_array()) {
      const auto i = static_cast<size_t>(std::stoul(key));
      j = i < j->as_array().size() ? &j->as_array()[i] : nullptr;
    } else {
      j = j->find(key);
    }
    if (j == nullptr) {
      ADD_FAILURE() << path << " is not in " << json.dump();
      return Json();
    }
  }
  return *j;
}

struct Batch {
  std::string in = fresh("in.jsonl"), out = fresh("out.jsonl");
  std::vector<std::string> options = {"--seed", "7", "--temp", "1", "-t", "1", "-c", "256"};

  explicit Batch(const std::string& rows) { write_file(in, rows); }
  Ran run(std::vector<std::string> more = {}, const RunOptions& o = {}) const {
    std::vector<std::string> args = {"batch", "-i", in, "-o", out};
    args.insert(args.end(), options.begin(), options.end());
    args.insert(args.end(), more.begin(), more.end());
    args.push_back(batch_model());
    return test::run(args, o);
  }
  std::string errors() const { return out + ".errors.jsonl"; }
};

// Rows of many lengths with common beginnings, and three that fail.
inline std::string many_rows(int n) {
  std::string rows;
  const std::string shared = "The quick brown fox jumps over the lazy dog, and then ";
  for (int i = 0; i < n; ++i) {
    const std::string id = "row-" + std::to_string(i);
    if (i == n / 3) rows += "{\"custom_id\":\"half\",\"url\":\n";
    if (i == n / 2) rows += row("row-1", "again");
    if (i == n - 2) rows += row("bad", "x", R"("max_tokens":"many")");
    rows += row(
        id, (i % 3 == 0 ? "" : shared) + std::string(static_cast<size_t>(i * 7 % 40), static_cast<char>('a' + i % 26)),
        "\"max_tokens\":" + std::to_string(1 + i * 5 % 17));
  }
  return rows;
}

}  // namespace dsr1::test

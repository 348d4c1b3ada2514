// A session's tokens and KV cache on disk, so that a conversation goes on as if it had never been left: the same bytes,
// so the same answers bit for bit.
//
// A file belongs to one key: model, cache types, device, batch size and build (kv_key). It is written beside its place
// and renamed, mode 0600; every byte is under a checksum. Whatever is wrong with a file, load_kv says so in one line
// and leaves the session empty: the caller evaluates the conversation anew.
#pragma once

#include <filesystem>
#include <string>

#include "dsr1/runtime/engine.h"

namespace dsr1::runtime {

// model: what identifies the weights (model_sha256); build: the program that computes.
std::string kv_key(const Engine& engine, const std::string& model, const std::string& build);

// kRuntime where the file cannot be written; an older one then stays.
Status save_kv(const Session& session, const std::string& key, const std::filesystem::path& path);

// Fills an empty session. Errors: kModel for a file that is damaged, foreign or too long for the session's context,
// kRuntime where it cannot be read.
Status load_kv(Session& session, const std::string& key, int64_t n_vocab, const std::filesystem::path& path);

}  // namespace dsr1::runtime

#include "dsr1/runtime/fingerprint.h"

#include <sys/stat.h>

#include <algorithm>

#include "dsr1/base/sha256.h"
#include "dsr1/runtime/rates.h"

namespace dsr1::runtime {
namespace {

namespace fs = std::filesystem;

std::string identity(const fs::path& path) {
  struct stat st {};
  if (stat(path.c_str(), &st) != 0) return {};
  return std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino) + ":" + std::to_string(st.st_size) + ":" +
         std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec);
}

constexpr size_t kHashBytes = 8 << 20;  // between two calls of on_bytes: about 5 ms with SHA instructions, 20 without

}  // namespace

Reading<std::string> model_sha256(const io::ModelFile& file, const fs::path& cache_path, uint64_t most_bytes,
                                  const HashProgressFn& on_bytes) {
  Json cache = cache_path.empty() ? Json() : read_json_file(cache_path);
  if (!cache.is_object()) cache = Json::object();
  bool changed = false;
  std::string all;
  uint64_t done = 0, total = 0;
  for (size_t i = 0; i < file.files().size(); ++i) total += file.mapping(static_cast<uint32_t>(i)).bytes().size();
  for (size_t i = 0; i < file.files().size(); ++i) {
    const std::string id = identity(file.files()[i].path);
    const Json* kept = id.empty() ? nullptr : cache.find(id);
    std::string digest;
    if (kept != nullptr && kept->is_string()) {
      digest = kept->as_string();
    } else {
      const auto bytes = file.mapping(static_cast<uint32_t>(i)).bytes();
      if (bytes.size() > most_bytes)
        return Reading<std::string>::none("not computed for " + human_bytes(static_cast<double>(bytes.size())) +
                                          "; `dsr1 verify` computes and keeps it");
      Sha256 hash;
      for (size_t at = 0; at < bytes.size(); at += kHashBytes) {
        if (on_bytes && !on_bytes(static_cast<int64_t>(done + at), static_cast<int64_t>(total)))
          return Reading<std::string>::none("interrupted");
        const auto part = bytes.subspan(at, std::min(kHashBytes, bytes.size() - at));
        hash.update({reinterpret_cast<const char*>(part.data()), part.size()});
      }
      digest = hash.hex();
      if (!id.empty()) {
        cache.set(id, digest);
        changed = true;
      }
    }
    done += file.mapping(static_cast<uint32_t>(i)).bytes().size();
    all += (all.empty() ? "" : ",") + digest;
  }
  if (changed && !cache_path.empty()) write_json_file(cache_path, cache);
  return all;
}

}  // namespace dsr1::runtime

#include "dsr1/base/sha256.h"

#include <openssl/evp.h>

#include "dsr1/base/check.h"

namespace dsr1 {
namespace {

std::string to_hex(const uint8_t* digest) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (int i = 0; i < 32; ++i) hex.append({kDigits[digest[i] >> 4], kDigits[digest[i] & 15]});
  return hex;
}

EVP_MD_CTX* as_context(void* p) { return static_cast<EVP_MD_CTX*>(p); }

}  // namespace

std::array<uint8_t, 32> sha256(std::string_view bytes) {
  std::array<uint8_t, 32> digest;
  unsigned size = 0;
  const int ok = EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
  DSR1_CHECK(ok == 1 && size == 32, "libcrypto has no SHA-256");
  return digest;
}

std::string sha256_hex(std::string_view bytes) { return to_hex(sha256(bytes).data()); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  DSR1_CHECK(context_ != nullptr && EVP_DigestInit_ex(as_context(context_.get()), EVP_sha256(), nullptr) == 1,
             "libcrypto has no SHA-256");
}
Sha256::~Sha256() = default;

void Sha256::Free::operator()(void* context) const { EVP_MD_CTX_free(as_context(context)); }

void Sha256::update(std::string_view bytes) {
  DSR1_CHECK(EVP_DigestUpdate(as_context(context_.get()), bytes.data(), bytes.size()) == 1, "SHA-256 failed");
}

std::string Sha256::hex() {
  std::array<uint8_t, 32> digest;
  DSR1_CHECK(EVP_DigestFinal_ex(as_context(context_.get()), digest.data(), nullptr) == 1, "SHA-256 failed");
  return to_hex(digest.data());
}

}  // namespace dsr1

#include "mariana_cluster/net/token.h"

#include <arpa/inet.h>
#include <glog/logging.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <cstring>

#include "common/base/error.h"
#include "common/base/files.h"

namespace mariana {
namespace {

constexpr size_t kLeastToken = 16;
constexpr char kLoopback[] = "127.0.0.1";

}  // namespace

Nonce RandomNonce() {
  Nonce nonce;
  CHECK_EQ(RAND_bytes(nonce.data(), static_cast<int>(nonce.size())), 1);
  return nonce;
}

uint64_t RandomNumber() {
  const Nonce nonce = RandomNonce();
  uint64_t number;
  std::memcpy(&number, nonce.data(), sizeof(number));
  return number | 1;  // 0 stands for none
}

std::string ReadToken(const std::string& path) {
  struct stat s;
  if (stat(path.c_str(), &s) == 0 && (s.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    throw Fail(ExitCode::kUsage, "parallel.token_file: ", path,
               ": others may read it; run: chmod 600 ", path);
  }
  std::string token = ReadFile(path);
  token.erase(token.find_last_not_of(" \t\r\n") + 1);
  if (token.size() < kLeastToken) {
    throw Fail(ExitCode::kUsage, "parallel.token_file: ", path, ": a token has ", kLeastToken,
               " characters or more, not ", token.size(), "; openssl rand -hex 32 makes one");
  }
  return token;
}

Nonce ProofOf(const std::string& token, Prover who, const Nonce& server, const Nonce& client) {
  std::string text(1, static_cast<char>(who));
  text.append(reinterpret_cast<const char*>(server.data()), server.size());
  text.append(reinterpret_cast<const char*>(client.data()), client.size());
  Nonce proof;
  unsigned bytes = 0;
  CHECK(HMAC(EVP_sha256(), token.data(), static_cast<int>(token.size()),
             reinterpret_cast<const uint8_t*>(text.data()), text.size(), proof.data(),
             &bytes) != nullptr);
  CHECK_EQ(bytes, proof.size());
  return proof;
}

bool Equal(const Nonce& a, const Nonce& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string AddressOf(const std::string& interface) {
  if (interface.empty()) return kLoopback;
  in_addr number;
  if (inet_pton(AF_INET, interface.c_str(), &number) == 1) return interface;
  ifaddrs* list = nullptr;
  CHECK_EQ(getifaddrs(&list), 0);
  std::string found, names;
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr || i->ifa_addr->sa_family != AF_INET) continue;
    names += StrCat(names.empty() ? "" : ", ", i->ifa_name);
    if (!found.empty() || interface != i->ifa_name) continue;
    char text[INET_ADDRSTRLEN];
    const auto* address = reinterpret_cast<const sockaddr_in*>(i->ifa_addr);
    CHECK(inet_ntop(AF_INET, &address->sin_addr, text, sizeof(text)) != nullptr);
    found = text;
  }
  freeifaddrs(list);
  if (found.empty()) {
    throw Fail(ExitCode::kUsage, "parallel.interface: ", interface,
               ": no interface with an IPv4 address has this name; there are ", names);
  }
  return found;
}

bool IsLoopback(const std::string& address) { return address.rfind("127.", 0) == 0; }

}  // namespace mariana

// Token: what the nodes of a job show each other before anything else where they talk over a
// network: a secret in a file that only its owner may read, never sent. Each end proves that it has
// it by HMAC-SHA256 over random numbers of both (challenge and response). Frames after that are not
// encrypted: it keeps strangers out, it does not hide what travels.
//
// Addresses: where a server listens. Free functions: thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "mariana_cluster/net/frame.h"

namespace mariana {

using Nonce = std::array<uint8_t, kNonceBytes>;

Nonce RandomNonce();
uint64_t RandomNumber();

// The file's contents without white space at the end. Throws Error(kUsage) for one that others may
// read, or with fewer than 16 bytes.
std::string ReadToken(const std::string& path);

enum class Prover : uint8_t { kClient = 'c', kServer = 's' };
Nonce ProofOf(const std::string& token, Prover who, const Nonce& server, const Nonce& client);
bool Equal(const Nonce& a, const Nonce& b);  // takes as long whatever they are

// The IPv4 address of an interface ("eth0") or the address itself; "" is loopback. Throws
// Error(kUsage) naming the interfaces there are.
std::string AddressOf(const std::string& interface);
bool IsLoopback(const std::string& address);

}  // namespace mariana

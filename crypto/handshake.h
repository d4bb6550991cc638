/* The handshake of a channel: three messages after which both sides hold the same two stream keys, or nothing.
 *
 *   offer   I -> R   opening_I
 *   answer  R -> I   opening_R, sealed(signature_R, hello_R)
 *   proof   I -> R              sealed(signature_I, hello_I)
 *
 * After SIGMA-I (Krawczyk, 2003): fresh X25519 keys are exchanged in the openings, and each side signs, with its pinned Ed25519 key, the
 * whole transcript so far. The transcript starts from what both must agree on without saying it (version, cluster, lane, both
 * node numbers with their roles, both pinned keys), so a message from another cluster, lane or pair of nodes, or one that is
 * reflected, gives other hashes and verifies nowhere. The seal on the signatures, under keys that only the two ephemeral secrets give, is
 * SIGMA's proof that signer and key holder are one. Stream keys depend on the transcript to its last byte.
 *
 * Owns ephemeral secrets and transcript. Pure computation; crypto/channel decides when. Everything of a message is checked before
 * anything is changed; a failed handshake is wiped and started afresh. */
#ifndef EIDOLON_CRYPTO_HANDSHAKE_H
#define EIDOLON_CRYPTO_HANDSHAKE_H

#include <assert.h>
#include <stdint.h>

#include "crypto/channel.h"

#define HANDSHAKE_MAGIC 0x43444945u /* "EIDC" */
#define HANDSHAKE_VERSION 2u

enum handshake_kind { HANDSHAKE_OFFER = 1, HANDSHAKE_ANSWER = 2 };

struct handshake_opening {
    uint32_t magic;
    uint16_t version;
    uint8_t kind;
    uint8_t lane;
    uint8_t from;               /* node number of the sender */
    uint8_t to;
    uint8_t reserved[6];        /* zero */
    uint8_t ephemeral[32];      /* X25519 public key */
    uint8_t nonce[32];
};

/* Sealed with ChaCha20-Poly1305 under a key that is used once. */
struct handshake_sealed {
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
    uint8_t hello[CHANNEL_HELLO_BYTES];
    uint8_t tag[16];
};

struct handshake_answer {
    struct handshake_opening opening;
    struct handshake_sealed sealed;
};

static_assert(sizeof(struct handshake_opening) == 80, "opening layout");
static_assert(sizeof(struct handshake_sealed) == 192, "sealed part layout");
static_assert(sizeof(struct handshake_answer) == 272, "answer layout");
static_assert(sizeof(struct handshake_answer) <= CHANNEL_HANDSHAKE_BYTES_MAX, "the largest message of the handshake");

enum { HANDSHAKE_TRANSCRIPT_BYTES = 64, HANDSHAKE_KEY_BYTES = 32, HANDSHAKE_STREAM_HEADER_BYTES = 24 };

struct handshake {
    uint8_t transcript[HANDSHAKE_TRANSCRIPT_BYTES];
    uint8_t ephemeral_secret[32];
    uint8_t master[HANDSHAKE_KEY_BYTES];
    uint8_t hello[CHANNEL_HELLO_BYTES];      /* ours */
    uint8_t peer_hello[CHANNEL_HELLO_BYTES]; /* once the peer's sealed part was opened */
};

/* Key and starting header of one direction's stream. The header is not secret, but there is no need to send it. */
struct handshake_stream {
    uint8_t key[HANDSHAKE_KEY_BYTES];
    uint8_t header[HANDSHAKE_STREAM_HEADER_BYTES];
};

struct handshake_streams {
    struct handshake_stream from_initiator, from_responder;
};

/* Start afresh; `hello` is copied. */
void handshake_start(struct handshake *handshake, const struct channel_config *config, const uint8_t hello[CHANNEL_HELLO_BYTES]);

/* Initiator: make the offer. */
void handshake_offer(struct handshake *handshake, const struct channel_config *config, struct handshake_opening *offer);

/* Responder: check the offer, make the answer.
 * INVALID, UNKNOWN_VERSION, FOREIGN: the opening's fields.   REFUSED: the peer's ephemeral key is a degenerate one. */
MUST_CHECK enum status handshake_respond(struct handshake *handshake, const struct channel_config *config,
                                         const struct handshake_opening *offer, struct handshake_answer *answer);

/* Initiator: check the answer, make the proof, and the streams. `peer_hello` is then set.
 * As handshake_respond; REFUSED also: the peer did not prove its identity. */
MUST_CHECK enum status handshake_prove(struct handshake *handshake, const struct channel_config *config,
                                       const struct handshake_answer *answer, struct handshake_sealed *proof, struct handshake_streams *streams);

/* Responder: check the proof, make the streams. `peer_hello` is then set.
 * REFUSED: the peer did not prove its identity. */
MUST_CHECK enum status handshake_accept(struct handshake *handshake, const struct channel_config *config,
                                        const struct handshake_sealed *proof, struct handshake_streams *streams);

/* Forget everything. */
void handshake_wipe(struct handshake *handshake);

#endif

#include "crypto/handshake.h"

#include <string.h>

#include <sodium.h>

#include "include/check.h"

static_assert(crypto_scalarmult_BYTES == 32 && crypto_scalarmult_SCALARBYTES == 32, "X25519 keys");
static_assert(crypto_kdf_KEYBYTES == HANDSHAKE_KEY_BYTES, "master key");
static_assert(crypto_aead_chacha20poly1305_ietf_KEYBYTES == HANDSHAKE_KEY_BYTES, "keys of the sealed parts");
static_assert(crypto_aead_chacha20poly1305_ietf_ABYTES == sizeof(((struct handshake_sealed *)0)->tag), "tag of the sealed parts");

/* What both sides must agree on without saying it: where the transcript starts. */
struct prologue {
    char label[24];
    uint8_t cluster_id[16];
    uint8_t version;
    uint8_t lane;
    uint8_t initiator, responder;
    uint8_t reserved[4];
    uint8_t initiator_key[IDENTITY_PUBLIC_BYTES], responder_key[IDENTITY_PUBLIC_BYTES];
};
static_assert(sizeof(struct prologue) == 112, "no padding in what is hashed");

/* What is signed. The label keeps the two signatures, and any other use of the identity key, apart. */
struct signed_part {
    char label[24];
    uint8_t transcript[HANDSHAKE_TRANSCRIPT_BYTES];
    uint8_t hello[CHANNEL_HELLO_BYTES];
};
static_assert(sizeof(struct signed_part) == 200, "no padding in what is signed");

/* Subkeys of the master and of the streams' master. */
enum { SUBKEY_ANSWER = 1, SUBKEY_PROOF = 2, SUBKEY_STREAM_INITIATOR = 3, SUBKEY_STREAM_RESPONDER = 4, SUBKEY_HEADER_INITIATOR = 5, SUBKEY_HEADER_RESPONDER = 6 };
static const char kdf_context[crypto_kdf_CONTEXTBYTES + 1] = "eidochan";

static const char answer_label[] = "eidolon channel answer";
static const char proof_label[] = "eidolon channel proof";
static_assert(sizeof answer_label <= sizeof(((struct signed_part *)0)->label), "labels fit");

static bool is_initiator(const struct channel_config *config)
{
    return config->self < config->peer;
}

static void transcript_add(struct handshake *handshake, const void *data, size_t bytes)
{
    crypto_generichash_state state;
    CHECK(crypto_generichash_init(&state, NULL, 0, HANDSHAKE_TRANSCRIPT_BYTES) == 0);
    CHECK(crypto_generichash_update(&state, handshake->transcript, HANDSHAKE_TRANSCRIPT_BYTES) == 0);
    CHECK(crypto_generichash_update(&state, data, bytes) == 0);
    CHECK(crypto_generichash_final(&state, handshake->transcript, HANDSHAKE_TRANSCRIPT_BYTES) == 0);
}

static void subkey(const uint8_t master[HANDSHAKE_KEY_BYTES], uint64_t number, uint8_t *out, size_t bytes)
{
    CHECK(crypto_kdf_derive_from_key(out, bytes, number, kdf_context, master) == 0);
}

void handshake_start(struct handshake *handshake, const struct channel_config *config, const uint8_t hello[CHANNEL_HELLO_BYTES])
{
    handshake_wipe(handshake);
    memcpy(handshake->hello, hello, CHANNEL_HELLO_BYTES);
    struct prologue prologue = {
        .label = "eidolon channel",
        .version = HANDSHAKE_VERSION,
        .lane = config->lane,
        .initiator = is_initiator(config) ? config->self : config->peer,
        .responder = is_initiator(config) ? config->peer : config->self,
    };
    memcpy(prologue.cluster_id, config->cluster_id, sizeof prologue.cluster_id);
    const uint8_t *own_key = config->identity->public_key;
    memcpy(prologue.initiator_key, is_initiator(config) ? own_key : config->peer_public_key, IDENTITY_PUBLIC_BYTES);
    memcpy(prologue.responder_key, is_initiator(config) ? config->peer_public_key : own_key, IDENTITY_PUBLIC_BYTES);
    transcript_add(handshake, &prologue, sizeof prologue);
}

static void make_opening(struct handshake *handshake, const struct channel_config *config, enum handshake_kind kind,
                         struct handshake_opening *opening)
{
    const struct machine *machine = config->machine;
    *opening = (struct handshake_opening){
        .magic = HANDSHAKE_MAGIC,
        .version = HANDSHAKE_VERSION,
        .kind = (uint8_t)kind,
        .lane = config->lane,
        .from = config->self,
        .to = config->peer,
    };
    machine->entropy(machine->context, handshake->ephemeral_secret, sizeof handshake->ephemeral_secret);
    machine->entropy(machine->context, opening->nonce, sizeof opening->nonce);
    CHECK(crypto_scalarmult_base(opening->ephemeral, handshake->ephemeral_secret) == 0);
}

static enum status check_opening(const struct channel_config *config, enum handshake_kind kind, const struct handshake_opening *opening)
{
    if (opening->magic != HANDSHAKE_MAGIC) {
        return STATUS_INVALID;
    }
    if (opening->version != HANDSHAKE_VERSION) {
        return STATUS_UNKNOWN_VERSION;
    }
    if (opening->kind != (uint8_t)kind || !sodium_is_zero(opening->reserved, sizeof opening->reserved)) {
        return STATUS_INVALID;
    }
    if (opening->from != config->peer || opening->to != config->self || opening->lane != config->lane) {
        return STATUS_FOREIGN;
    }
    return STATUS_OK;
}

/* The master key, from both ephemeral keys and the transcript up to both openings. REFUSED: the peer's key forces a known result. */
static enum status derive_master(struct handshake *handshake, const uint8_t peer_ephemeral[32])
{
    uint8_t shared[crypto_scalarmult_BYTES];
    if (crypto_scalarmult(shared, handshake->ephemeral_secret, peer_ephemeral) != 0) {
        return STATUS_REFUSED;
    }
    CHECK(crypto_generichash(handshake->master, sizeof handshake->master, handshake->transcript, sizeof handshake->transcript, shared,
                             sizeof shared) == 0);
    sodium_memzero(shared, sizeof shared);
    sodium_memzero(handshake->ephemeral_secret, sizeof handshake->ephemeral_secret);
    return STATUS_OK;
}

static struct signed_part signed_part_of(const struct handshake *handshake, const char *label, const uint8_t hello[CHANNEL_HELLO_BYTES])
{
    struct signed_part part = {0};
    memcpy(part.label, label, strlen(label));
    memcpy(part.transcript, handshake->transcript, sizeof part.transcript);
    memcpy(part.hello, hello, sizeof part.hello);
    return part;
}

static const uint8_t once_nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES]; /* zero: each of these keys seals one message */

static void make_sealed(struct handshake *handshake, const struct channel_config *config, const char *label, uint64_t key_number,
                        struct handshake_sealed *sealed)
{
    struct signed_part part = signed_part_of(handshake, label, handshake->hello);
    struct handshake_sealed plain;
    identity_sign(config->identity, &part, sizeof part, plain.signature);
    memcpy(plain.hello, handshake->hello, sizeof plain.hello);
    uint8_t key[HANDSHAKE_KEY_BYTES];
    subkey(handshake->master, key_number, key, sizeof key);
    CHECK(crypto_aead_chacha20poly1305_ietf_encrypt_detached((uint8_t *)sealed, sealed->tag, NULL, (const uint8_t *)&plain,
                                                             offsetof(struct handshake_sealed, tag), handshake->transcript,
                                                             sizeof handshake->transcript, NULL, once_nonce, key) == 0);
    sodium_memzero(key, sizeof key);
    transcript_add(handshake, sealed, sizeof *sealed);
}

static enum status open_sealed(struct handshake *handshake, const struct channel_config *config, const char *label, uint64_t key_number,
                               const struct handshake_sealed *sealed)
{
    uint8_t key[HANDSHAKE_KEY_BYTES];
    struct handshake_sealed plain;
    subkey(handshake->master, key_number, key, sizeof key);
    int opened = crypto_aead_chacha20poly1305_ietf_decrypt_detached((uint8_t *)&plain, NULL, (const uint8_t *)sealed,
                                                                    offsetof(struct handshake_sealed, tag), sealed->tag,
                                                                    handshake->transcript, sizeof handshake->transcript, once_nonce, key);
    sodium_memzero(key, sizeof key);
    if (opened != 0) {
        return STATUS_REFUSED;
    }
    struct signed_part part = signed_part_of(handshake, label, plain.hello);
    if (identity_verify(config->peer_public_key, &part, sizeof part, plain.signature) != STATUS_OK) {
        return STATUS_REFUSED;
    }
    memcpy(handshake->peer_hello, plain.hello, sizeof handshake->peer_hello);
    transcript_add(handshake, sealed, sizeof *sealed);
    return STATUS_OK;
}

static void make_streams(const struct handshake *handshake, struct handshake_streams *streams)
{
    uint8_t master[HANDSHAKE_KEY_BYTES];
    CHECK(crypto_generichash(master, sizeof master, handshake->transcript, sizeof handshake->transcript, handshake->master,
                             sizeof handshake->master) == 0);
    subkey(master, SUBKEY_STREAM_INITIATOR, streams->from_initiator.key, sizeof streams->from_initiator.key);
    subkey(master, SUBKEY_STREAM_RESPONDER, streams->from_responder.key, sizeof streams->from_responder.key);
    subkey(master, SUBKEY_HEADER_INITIATOR, streams->from_initiator.header, sizeof streams->from_initiator.header);
    subkey(master, SUBKEY_HEADER_RESPONDER, streams->from_responder.header, sizeof streams->from_responder.header);
    sodium_memzero(master, sizeof master);
}

void handshake_offer(struct handshake *handshake, const struct channel_config *config, struct handshake_opening *offer)
{
    CHECK(is_initiator(config));
    make_opening(handshake, config, HANDSHAKE_OFFER, offer);
    transcript_add(handshake, offer, sizeof *offer);
}

enum status handshake_respond(struct handshake *handshake, const struct channel_config *config, const struct handshake_opening *offer,
                              struct handshake_answer *answer)
{
    CHECK(!is_initiator(config));
    enum status status = check_opening(config, HANDSHAKE_OFFER, offer);
    if (status != STATUS_OK) {
        return status;
    }
    transcript_add(handshake, offer, sizeof *offer);
    make_opening(handshake, config, HANDSHAKE_ANSWER, &answer->opening);
    transcript_add(handshake, &answer->opening, sizeof answer->opening);
    status = derive_master(handshake, offer->ephemeral);
    if (status != STATUS_OK) {
        return status;
    }
    make_sealed(handshake, config, answer_label, SUBKEY_ANSWER, &answer->sealed);
    return STATUS_OK;
}

enum status handshake_prove(struct handshake *handshake, const struct channel_config *config, const struct handshake_answer *answer,
                            struct handshake_sealed *proof, struct handshake_streams *streams)
{
    enum status status = check_opening(config, HANDSHAKE_ANSWER, &answer->opening);
    if (status != STATUS_OK) {
        return status;
    }
    transcript_add(handshake, &answer->opening, sizeof answer->opening);
    status = derive_master(handshake, answer->opening.ephemeral);
    if (status != STATUS_OK) {
        return status;
    }
    status = open_sealed(handshake, config, answer_label, SUBKEY_ANSWER, &answer->sealed);
    if (status != STATUS_OK) {
        return status;
    }
    make_sealed(handshake, config, proof_label, SUBKEY_PROOF, proof);
    make_streams(handshake, streams);
    return STATUS_OK;
}

enum status handshake_accept(struct handshake *handshake, const struct channel_config *config, const struct handshake_sealed *proof,
                             struct handshake_streams *streams)
{
    enum status status = open_sealed(handshake, config, proof_label, SUBKEY_PROOF, proof);
    if (status != STATUS_OK) {
        return status;
    }
    make_streams(handshake, streams);
    return STATUS_OK;
}

void handshake_wipe(struct handshake *handshake)
{
    sodium_memzero(handshake, sizeof *handshake);
}

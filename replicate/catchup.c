#include "replicate/catchup.h"

#include <stdarg.h>
#include <string.h>

#include "include/machine_log.h"
#include "replicate/catchup_private.h"

uint64_t catchup_now_ns(const struct catchup *catchup)
{
    return catchup->config.machine->now_ns(catchup->config.machine->context);
}

void catchup_log(const struct catchup *catchup, enum log_level level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    machine_log_arguments(catchup->config.machine, level, format, arguments);
    va_end(arguments);
}

bool catchup_send(struct catchup *catchup, unsigned peer, enum catchup_type type, const void *header, size_t bytes, const void *body,
                  size_t body_bytes)
{
    struct peers_span span = {.data = body, .bytes = body_bytes};
    return peers_send(catchup->config.peers, peer, PEERS_LANE_BULK, (uint8_t)type, header, bytes, &span, body_bytes > 0 ? 1 : 0) == STATUS_OK;
}

bool catchup_send_note(struct catchup *catchup, unsigned peer, enum catchup_type type, uint64_t id, enum catchup_outcome outcome)
{
    struct catchup_note note = {.id = id, .outcome = outcome};
    return catchup_send(catchup, peer, type, &note, sizeof note, NULL, 0);
}

enum status catchup_create(struct catchup **out, const struct catchup_config *config)
{
    const struct machine *machine = config->machine;
    struct catchup *catchup = machine->reserve(machine->context, sizeof *catchup, 64);
    if (catchup == NULL) {
        return STATUS_NO_MEMORY;
    }
    catchup->config = *config;
    catchup->answer_body = machine->reserve(machine->context, (size_t)CATCHUP_PAGES_MAX * STORE_BLOCK_BYTES, 64);
    catchup->page = machine->reserve(machine->context, sizeof *catchup->page, 64);
    catchup->hashes_message = machine->reserve(machine->context, sizeof *catchup->hashes_message, 64);
    catchup->hashes = machine->reserve(machine->context, config->world_pages_max * sizeof *catchup->hashes, 64);
    if (catchup->answer_body == NULL || catchup->page == NULL || catchup->hashes_message == NULL || catchup->hashes == NULL) {
        return STATUS_NO_MEMORY;
    }
    *out = catchup;
    return STATUS_OK;
}

enum status catchup_message(struct catchup *catchup, unsigned peer, const struct peers_message *message)
{
    switch (message->type) {
    case CATCHUP_MANIFEST:
        return client_manifest(catchup, peer, message);
    case CATCHUP_HASHES:
        return client_hashes(catchup, peer, message);
    case CATCHUP_END:
        return client_end(catchup, peer, message);
    case CATCHUP_WANT:
        return server_want(catchup, peer, message);
    case CATCHUP_PAGES:
        return client_pages(catchup, peer, message);
    case CATCHUP_ENDED:
        return server_ended(catchup, peer, message);
    case CATCHUP_GONE:
        return client_gone(catchup, peer, message);
    default:
        return STATUS_INVALID;
    }
}

void catchup_down(struct catchup *catchup, unsigned peer)
{
    server_down(catchup, peer);
    client_down(catchup, peer);
}

void catchup_tick(struct catchup *catchup)
{
    server_tick(catchup);
    client_tick(catchup);
}

uint64_t catchup_deadline_ns(const struct catchup *catchup)
{
    uint64_t server = server_deadline_ns(catchup), client = client_deadline_ns(catchup);
    return server < client ? server : client;
}

bool catchup_receiving(const struct catchup *catchup)
{
    return catchup->incoming.active || catchup->pull.phase != PULL_NONE;
}

void catchup_facts(const struct catchup *catchup, struct catchup_facts *out)
{
    *out = catchup->facts;
    out->receiving = catchup_receiving(catchup);
    out->from = catchup->pull.phase != PULL_NONE ? catchup->pull.from : catchup->incoming.active ? catchup->incoming.from : 0;
    out->epoch = catchup->pull.phase != PULL_NONE ? catchup->pull.epoch : 0;
    out->serving = 0;
    for (unsigned peer = 1; peer <= MACHINE_PEERS_MAX; peer++) {
        out->serving += catchup->transfers[peer].phase != TRANSFER_NONE;
    }
}

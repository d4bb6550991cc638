/* The management port: any bytes on the serial line, through kernel/management.c into the commands of a node.
 * The node is alone, its disk joins; the input is what the host sends, in one piece and in pieces. */
#include <string.h>

#include "crypto/identity.h"
#include "crypto/random.h"
#include "include/abi.h"
#include "kernel/management.c" /* metal code is in no host library */
#include "tests/fuzz/support/fuzz.h"

enum { PAGES = 16 * 256, DISK_BYTES = 64 << 20 };

static struct fuzz_machine machine;
static struct boot_config boot;
static struct node *node;
static struct fuzz_input line;
static size_t piece;               /* bytes that arrive at once */
static size_t room, lines_in, answers;
static char last_byte;

size_t serial_management_receive(void *buffer, size_t bytes_max)
{
    size_t count = bytes_max < piece ? bytes_max : piece;
    count = count < line.left ? count : line.left;
    fuzz_copy(&line, buffer, count);
    piece -= count;
    lines_in += count == 1 && *(const char *)buffer == '\n';
    return count;
}

size_t serial_management_room(void)
{
    return room;
}

/* Each send is one whole answer: its last line says how it went, every other byte can be printed. */
enum status serial_management_send(const void *data, size_t bytes)
{
    const char *text = data;
    CHECK(bytes > 0);
    CHECK(bytes <= room);
    size_t start = 0, last = 0;
    for (size_t i = 0; i < bytes; i++) {
        CHECK(text[i] == '\n' || (text[i] >= ' ' && text[i] <= '~'));
        if (text[i] == '\n') {
            last = start;
            start = i + 1;
        }
    }
    CHECK(start == bytes);
    CHECK((bytes - last == 3 && memcmp(text + last, "ok\n", 3) == 0) || (bytes - last > 6 && memcmp(text + last, "error ", 6) == 0));
    last_byte = text[bytes - 1];
    answers++;
    return STATUS_OK;
}

static void restart(void *context, const char *why)
{
    (void)context, (void)why;
}

static void prepare(void)
{
    fuzz_machine_init(&machine, PAGES, DISK_BYTES);
    machine.fake.machine.restart = restart;
    CHECK(crypto_init(&machine.fake.machine) == STATUS_OK);
    boot = (struct boot_config){.node_number = 1, .node_count = 3, .world_memory_bytes = PAGES * 4096ull, .heartbeat_ms = 50, .election_timeout_ms = 500};
    for (unsigned i = 0; i < 3; i++) {
        struct identity identity;
        uint8_t seed[32] = {(uint8_t)i};
        identity_from_seed(&identity, seed);
        memcpy(boot.identities[i], identity.public_key, sizeof boot.identities[i]);
    }
    char reason[REASON_BYTES_MAX];
    CHECK(node_create(&node, &machine.fake.machine, &boot, reason) == STATUS_OK);
    node_set_last_words(node, "the words of a node that died");
    node_start(node);
    for (unsigned i = 0; i < 20; i++) {
        machine.fake.now_ns += 1000000;
        fake_disk_drain(&machine.fake);
        node_tick(node);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (node == NULL) {
        prepare();
    }
    line = (struct fuzz_input){data, bytes};
    size_t step = 1 + fuzz_byte(&line) % 64u;
    room = MANAGEMENT_ANSWER_BYTES_MAX;
    lines_in = answers = 0;
    while (line.left > 0) {
        piece = step;
        while (management_poll(node)) {
        }
    }
    CHECK(answers == lines_in);
    /* A newline puts the port back between two lines. */
    static const uint8_t end = '\n';
    line = (struct fuzz_input){&end, 1};
    piece = 1;
    while (management_poll(node)) {
    }
    CHECK(answers == lines_in);
    CHECK(last_byte == '\n');
    return 0;
}

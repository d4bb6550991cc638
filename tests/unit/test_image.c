#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replicate/delta.h"
#include "replicate/image.h"
#include "tests/unit/support/fake_machine.h"

enum { PAGE = REPLICATE_PAGE_BYTES, PAGES = 3000, EPOCHS = 6 };

/* One image on one fake machine, with buffers for several epochs in flight. */
struct bench {
    struct fake_machine fake;
    struct image *image;
    uint8_t *delta_buffers[EPOCHS];
    uint8_t *undo_buffers[EPOCHS];
    struct delta_writer deltas[EPOCHS];
    struct undo_record undos[EPOCHS];
    uint32_t changes;                   /* before_change calls */
    uint32_t last_changed;
    bool last_captured_absent;
    uint8_t last_captured[PAGE];
};

static void note_change(void *context, uint32_t page, const uint8_t *captured)
{
    struct bench *bench = context;
    bench->changes++;
    bench->last_changed = page;
    bench->last_captured_absent = captured == NULL;
    if (captured != NULL) {
        memcpy(bench->last_captured, captured, PAGE);
    }
}

/* Pages 0..99 are read-only for the world, 100..199 executable, the rest writable. */
static enum page_rights rights_of(void *context, uint32_t page)
{
    (void)context;
    return page < 100 ? PAGE_READ : page < 200 ? PAGE_EXECUTE : PAGE_WRITE;
}

static struct bench *bench_create(void)
{
    struct bench *bench = calloc(1, sizeof *bench);
    fake_machine_init(&bench->fake, 1, PAGES, 0);
    struct image_config config = {
        .machine = &bench->fake.machine, .before_change = note_change, .segment_rights = rights_of, .context = bench};
    assert_int_equal(image_create(&bench->image, &config), STATUS_OK);
    for (unsigned i = 0; i < EPOCHS; i++) {
        bench->delta_buffers[i] = malloc(DELTA_BYTES_MAX);
        bench->undo_buffers[i] = malloc(UNDO_BYTES_MAX);
    }
    return bench;
}

static void bench_destroy(struct bench *bench)
{
    fake_machine_destroy(&bench->fake);
    for (unsigned i = 0; i < EPOCHS; i++) {
        free(bench->delta_buffers[i]);
        free(bench->undo_buffers[i]);
    }
    free(bench);
}

static struct bench *host, *standby;

static int set_up(void **state)
{
    (void)state;
    host = bench_create();
    standby = bench_create();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bench_destroy(host);
    bench_destroy(standby);
    return 0;
}

/* What the world does: fault if the page is not writable, then store. */
static void world_write(struct bench *bench, uint32_t page, uint32_t offset, uint8_t value)
{
    if (bench->fake.frames[page] == NULL || bench->fake.rights[page] != PAGE_WRITE) {
        assert_int_equal(image_touch_write(bench->image, page), STATUS_OK);
    }
    assert_int_equal(bench->fake.rights[page], PAGE_WRITE);
    bench->fake.frames[page][offset] = value;
}

static void freeze(struct bench *bench, unsigned slot)
{
    delta_writer_init(&bench->deltas[slot], bench->delta_buffers[slot], DELTA_BYTES_MAX);
    undo_record_init(&bench->undos[slot], bench->undo_buffers[slot], UNDO_BYTES_MAX);
    assert_int_equal(image_freeze(bench->image, &bench->deltas[slot], &bench->undos[slot]), STATUS_OK);
}

static void close_epoch(struct bench *bench, unsigned slot)
{
    freeze(bench, slot);
    while (!image_capture_step(bench->image, 7)) {
    }
}

static enum status apply(struct bench *to, const struct bench *from, unsigned slot)
{
    return image_apply(to->image, from->deltas[slot].items.buffer, from->deltas[slot].items.bytes);
}

static size_t delta_bytes(const struct bench *bench, unsigned slot)
{
    return delta_item_bytes(&bench->deltas[slot]);
}

/* -- states -- */

static void test_image_fresh_is_empty_with_digest_zero(void **state)
{
    (void)state;
    assert_int_equal(image_digest(host->image), 0);
    assert_null(image_captured(host->image, 5));
    assert_int_equal(image_present_pages(host->image), 0);
    image_check(host->image);
}

static void test_image_create_without_memory_is_refused(void **state)
{
    (void)state;
    struct fake_machine poor;
    fake_machine_init(&poor, 1, PAGES, 0);
    poor.reserve_left = 1 << 20;
    struct image *image = NULL;
    struct image_config config = {
        .machine = &poor.machine, .before_change = note_change, .segment_rights = rights_of, .context = NULL};
    assert_int_equal(image_create(&image, &config), STATUS_NO_MEMORY);
    assert_null(image);
    fake_machine_destroy(&poor);
}

static void test_touch_write_makes_page_writable_and_freeze_takes_it_away(void **state)
{
    (void)state;
    world_write(host, 300, 0, 1);
    assert_int_equal(image_dirty_pages(host->image), 1);
    image_check(host->image);
    uint64_t flushes = host->fake.page_flushes;
    freeze(host, 0);
    assert_int_equal(host->fake.page_flushes, flushes + 1);
    assert_int_equal(host->fake.rights[300], PAGE_READ);
    assert_int_equal(image_dirty_pages(host->image), 0);
    assert_false(image_capture_step(host->image, 0));
    image_check(host->image);
    assert_true(image_capture_step(host->image, 1));
    assert_int_equal(host->fake.rights[300], PAGE_READ);
    image_check(host->image);
}

static void test_touch_write_of_read_only_segment_keeps_its_rights(void **state)
{
    (void)state;
    uint8_t byte = 1;
    assert_int_equal(image_write(host->image, 5 * PAGE, &byte, 1), STATUS_OK);
    assert_int_equal(image_write(host->image, 150 * PAGE, &byte, 1), STATUS_OK);
    assert_int_equal(host->fake.rights[5], PAGE_READ);
    assert_int_equal(host->fake.rights[150], PAGE_EXECUTE);
    close_epoch(host, 0);
    assert_int_equal(host->fake.rights[5], PAGE_READ);
    assert_int_equal(host->fake.rights[150], PAGE_EXECUTE);
    assert_int_equal(apply(standby, host, 0), STATUS_OK);
    assert_int_equal(standby->fake.rights[150], PAGE_EXECUTE);
    assert_int_equal(image_digest(standby->image), image_digest(host->image));
}

static void test_touch_read_makes_page_zero_and_invisible(void **state)
{
    (void)state;
    assert_int_equal(image_touch_read(host->image, 300), STATUS_OK);
    assert_int_equal(host->fake.rights[300], PAGE_READ);
    assert_int_equal(image_digest(host->image), 0);
    close_epoch(host, 0);
    assert_int_equal(delta_bytes(host, 0), 0);
    image_check(host->image);
}

static void test_freeze_while_capturing_is_busy(void **state)
{
    (void)state;
    world_write(host, 300, 0, 1);
    freeze(host, 0);
    assert_int_equal(image_freeze(host->image, &host->deltas[1], &host->undos[1]), STATUS_BUSY);
    assert_true(image_capture_step(host->image, 10));
    freeze(host, 1);
}

static void test_silent_stores_give_empty_delta(void **state)
{
    (void)state;
    world_write(host, 300, 17, 9);
    close_epoch(host, 0);
    uint64_t digest = image_digest(host->image);
    host->changes = 0;
    world_write(host, 300, 17, 8);
    world_write(host, 300, 17, 9);
    world_write(host, 301, 0, 0);
    close_epoch(host, 1);
    assert_int_equal(delta_bytes(host, 1), 0);
    assert_int_equal(image_digest(host->image), digest);
    assert_int_equal(host->changes, 0);
}

static void test_page_that_becomes_zero_leaves_digest_as_if_never_touched(void **state)
{
    (void)state;
    world_write(host, 300, 17, 9);
    close_epoch(host, 0);
    assert_int_not_equal(image_digest(host->image), 0);
    world_write(host, 300, 17, 0);
    close_epoch(host, 1);
    assert_int_equal(image_digest(host->image), 0);
    assert_null(image_captured(host->image, 300));
    assert_int_equal(apply(standby, host, 0), STATUS_OK);
    assert_int_equal(image_present_pages(standby->image), 1);
    assert_int_equal(apply(standby, host, 1), STATUS_OK);
    assert_int_equal(image_present_pages(standby->image), 0);
    image_check(standby->image);
    image_check(host->image);
}

static void test_write_to_frozen_page_captures_it_first(void **state)
{
    (void)state;
    world_write(host, 300, 0, 1);
    freeze(host, 0);
    world_write(host, 300, 0, 2);
    assert_true(image_capture_step(host->image, 0)); /* it was the only one */
    assert_int_equal(image_captured(host->image, 300)[0], 1);
    image_check(host->image);
    assert_int_equal(apply(standby, host, 0), STATUS_OK);
    assert_int_equal(image_captured(standby->image, 300)[0], 1);
    close_epoch(host, 1);
    assert_int_equal(apply(standby, host, 1), STATUS_OK);
    assert_int_equal(image_captured(standby->image, 300)[0], 2);
}

static void test_captured_content_is_that_of_the_last_epoch_while_dirty(void **state)
{
    (void)state;
    world_write(host, 300, 0, 1);
    assert_null(image_captured(host->image, 300));
    close_epoch(host, 0);
    world_write(host, 300, 0, 2);
    assert_int_equal(image_captured(host->image, 300)[0], 1);
    uint8_t byte = 0;
    assert_int_equal(image_read(host->image, 300 * PAGE, &byte, 1), STATUS_OK);
    assert_int_equal(byte, 2);
}

static void test_before_change_is_given_the_old_content(void **state)
{
    (void)state;
    world_write(host, 300, 0, 1);
    close_epoch(host, 0);
    assert_int_equal(host->changes, 1);
    assert_true(host->last_captured_absent);
    world_write(host, 300, 0, 2);
    close_epoch(host, 1);
    assert_int_equal(host->changes, 2);
    assert_int_equal(host->last_changed, 300);
    assert_false(host->last_captured_absent);
    assert_int_equal(host->last_captured[0], 1);
    image_undo_epoch(host->image, &host->undos[1]);
    assert_int_equal(host->changes, 3);
    assert_int_equal(host->last_captured[0], 2);
}

/* -- bounds -- */

static void test_touch_write_past_dirty_pages_max_is_full(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < DIRTY_PAGES_MAX; i++) {
        world_write(host, 200 + i, 0, 1);
    }
    assert_int_equal(image_touch_write(host->image, 200 + DIRTY_PAGES_MAX), STATUS_FULL);
    assert_int_equal(image_touch_write(host->image, 200), STATUS_OK);
    uint8_t two[2] = {1, 1};
    assert_int_equal(image_write(host->image, (200 + DIRTY_PAGES_MAX) * PAGE, two, 2), STATUS_FULL);
    freeze(host, 0);
    for (uint32_t i = 0; i < DIRTY_PAGES_MAX; i++) {
        world_write(host, 200 + DIRTY_PAGES_MAX + i, 0, 1);
    }
    image_check(host->image);
    assert_true(image_capture_step(host->image, DIRTY_PAGES_MAX));
    image_check(host->image);
}

static void test_shadows_are_given_up_and_content_stays_right(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t first = 200; first + 900 <= PAGES; first += 900) {
            for (uint32_t i = 0; i < 900; i++) {
                world_write(host, first + i, 9, (uint8_t)(round + 1));
            }
            close_epoch(host, 0);
            assert_int_equal(apply(standby, host, 0), STATUS_OK);
        }
        image_check(host->image);
    }
    assert_int_equal(image_digest(host->image), image_digest(standby->image));
}

static void test_no_frame_left_is_no_memory_and_nothing_changes(void **state)
{
    (void)state;
    world_write(host, 300, 0, 1);
    world_write(host, 301, 0, 1);
    world_write(host, 302, 0, 1);
    close_epoch(host, 0);
    host->fake.frames_left = 0;
    assert_int_equal(image_touch_write(host->image, 400), STATUS_NO_MEMORY);
    assert_int_equal(image_touch_read(host->image, 400), STATUS_NO_MEMORY);
    uint8_t byte = 5;
    assert_int_equal(image_write(host->image, 400 * PAGE, &byte, 1), STATUS_NO_MEMORY);
    image_check(host->image);
    standby->fake.frames_left = 2;
    assert_int_equal(apply(standby, host, 0), STATUS_NO_MEMORY);
    assert_int_equal(image_present_pages(standby->image), 0);
    assert_int_equal(standby->fake.frames_left, 2);
    image_check(standby->image);
    standby->fake.frames_left = 3;
    assert_int_equal(apply(standby, host, 0), STATUS_OK);
}

static void test_write_and_read_out_of_range_are_invalid(void **state)
{
    (void)state;
    uint8_t bytes[2] = {0};
    uint64_t end = (uint64_t)PAGES * PAGE;
    assert_int_equal(image_write(host->image, end - 1, bytes, 2), STATUS_INVALID);
    assert_int_equal(image_read(host->image, end - 1, bytes, 2), STATUS_INVALID);
    assert_int_equal(image_write(host->image, UINT64_MAX, bytes, 2), STATUS_INVALID);
    assert_int_equal(image_read(host->image, UINT64_MAX, bytes, 2), STATUS_INVALID);
    assert_int_equal(image_write(host->image, end, bytes, 0), STATUS_OK);
    assert_int_equal(image_read(host->image, end - 2, bytes, 2), STATUS_OK);
}

static void test_write_across_pages_arrives_whole(void **state)
{
    (void)state;
    uint8_t in[3 * PAGE], out[3 * PAGE];
    for (size_t i = 0; i < sizeof in; i++) {
        in[i] = (uint8_t)(i * 7 + i / 256);
    }
    assert_int_equal(image_write(host->image, 300 * PAGE + 100, in, sizeof in), STATUS_OK);
    assert_int_equal(image_dirty_pages(host->image), 4);
    assert_int_equal(image_read(host->image, 300 * PAGE + 100, out, sizeof out), STATUS_OK);
    assert_memory_equal(in, out, sizeof in);
}

/* -- apply -- */

static void test_apply_malformed_changes_nothing(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 50; i++) {
        world_write(host, 300 + i, 5, (uint8_t)(i + 1));
    }
    close_epoch(host, 0);
    struct page_items *items = &host->deltas[0].items;
    assert_int_equal(image_apply(standby->image, items->buffer, items->bytes - 1), STATUS_TRUNCATED);
    items->buffer[0] ^= 0x80;
    items->buffer[3] ^= 0x80;
    assert_int_equal(apply(standby, host, 0), STATUS_INVALID);
    assert_int_equal(image_present_pages(standby->image), 0);
    assert_int_equal(image_digest(standby->image), 0);
    image_check(standby->image);
}

static void test_apply_same_page_twice_in_a_delta_is_invalid(void **state)
{
    (void)state;
    world_write(host, 300, 5, 1);
    close_epoch(host, 0);
    struct page_items *items = &host->deltas[0].items;
    memcpy(items->buffer + items->bytes, items->buffer, items->bytes);
    items->bytes *= 2;
    assert_int_equal(apply(standby, host, 0), STATUS_INVALID);
    assert_int_equal(image_digest(standby->image), 0);
}

static void test_put_page_and_clear(void **state)
{
    (void)state;
    uint8_t content[PAGE] = {0};
    assert_int_equal(image_put_page(standby->image, 300, content), STATUS_OK);
    assert_int_equal(image_page_hash(standby->image, 300), 0);
    content[9] = 9;
    assert_int_equal(image_put_page(standby->image, 300, content), STATUS_OK);
    assert_int_equal(image_page_hash(standby->image, 300), image_hash_content(300, content));
    assert_int_equal(image_digest(standby->image), image_hash_content(300, content));
    assert_int_equal(image_put_page(standby->image, 301, content), STATUS_OK);
    assert_int_equal(image_put_page(standby->image, 300, NULL), STATUS_OK);
    assert_int_equal(image_present_pages(standby->image), 1);
    image_check(standby->image);
    world_write(standby, 302, 0, 1);
    image_clear(standby->image);
    assert_int_equal(image_present_pages(standby->image), 0);
    assert_int_equal(image_digest(standby->image), 0);
    image_check(standby->image);
    standby->fake.frames_left = 0;
    assert_int_equal(image_put_page(standby->image, 300, content), STATUS_NO_MEMORY);
}

static void test_scrub_finds_a_flipped_bit(void **state)
{
    (void)state;
    world_write(host, 300, 5, 1);
    close_epoch(host, 0);
    assert_int_equal(image_scrub_page(host->image, 300), STATUS_OK);
    assert_int_equal(image_scrub_page(host->image, 301), STATUS_OK);
    host->fake.frames[300][4000] ^= 4;
    assert_int_equal(image_scrub_page(host->image, 300), STATUS_CORRUPT);
    host->fake.frames[300][4000] ^= 4;
    world_write(host, 300, 5, 2);
    assert_int_equal(image_scrub_page(host->image, 300), STATUS_OK);
}

static enum page_rights nothing_allowed(void *context, uint32_t page)
{
    (void)context, (void)page;
    return PAGE_NONE;
}

static void test_refresh_rights_follows_the_segments(void **state)
{
    (void)state;
    struct fake_machine fake;
    fake_machine_init(&fake, 1, PAGES, 0);
    struct image *image;
    struct image_config config = {
        .machine = &fake.machine, .before_change = note_change, .segment_rights = nothing_allowed, .context = host};
    assert_int_equal(image_create(&image, &config), STATUS_OK);
    uint8_t content[PAGE] = {1};
    assert_int_equal(image_put_page(image, 150, content), STATUS_OK);
    assert_int_equal(fake.rights[150], PAGE_NONE);
    fake_machine_destroy(&fake);

    assert_int_equal(image_put_page(host->image, 150, content), STATUS_OK);
    host->fake.rights[150] = PAGE_NONE;
    image_refresh_rights(host->image);
    assert_int_equal(host->fake.rights[150], PAGE_EXECUTE);
}

/* -- undo -- */

static void test_undo_open_restores_bytes_and_drops_fresh_pages(void **state)
{
    (void)state;
    world_write(host, 300, 5, 1);
    close_epoch(host, 0);
    uint64_t digest = image_digest(host->image);
    world_write(host, 300, 5, 2);
    world_write(host, 301, 0, 7);
    image_undo_open(host->image);
    assert_int_equal(host->fake.frames[300][5], 1);
    assert_int_equal(host->fake.rights[300], PAGE_READ);
    assert_null(host->fake.frames[301]);
    assert_int_equal(image_digest(host->image), digest);
    assert_int_equal(image_dirty_pages(host->image), 0);
    image_check(host->image);
}

static void test_undo_interrupts_a_capture_exactly(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 20; i++) {
        world_write(host, 300 + i, i, (uint8_t)(i + 1));
    }
    close_epoch(host, 0);
    uint64_t digest = image_digest(host->image);
    for (uint32_t i = 0; i < 30; i++) {
        world_write(host, 300 + i, i, (uint8_t)(i + 100));
    }
    freeze(host, 1);
    assert_false(image_capture_step(host->image, 11));
    world_write(host, 325, 0, 77); /* captures it, then dirties it */
    world_write(host, 302, 0, 78); /* captured before */
    world_write(host, 500, 0, 79);
    image_undo_open(host->image);
    assert_true(image_capture_step(host->image, 0));
    image_check(host->image);
    image_undo_epoch(host->image, &host->undos[1]);
    assert_int_equal(image_digest(host->image), digest);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(host->fake.frames[300 + i][i], i + 1);
    }
    assert_null(host->fake.frames[325]);
    image_check(host->image);
}

/* A page that an epoch emptied and the open one touched again: its frame is gone when the epoch is undone. */
static void test_undo_of_emptied_page_that_was_touched_again(void **state)
{
    (void)state;
    world_write(host, 300, 5, 1);
    close_epoch(host, 0);
    uint64_t digest = image_digest(host->image);
    world_write(host, 300, 5, 0);
    close_epoch(host, 1);
    world_write(host, 300, 6, 3);
    image_undo_open(host->image);
    image_undo_epoch(host->image, &host->undos[1]);
    assert_int_equal(image_digest(host->image), digest);
    assert_int_equal(host->fake.frames[300][5], 1);
    image_check(host->image);
}

/* -- a random world against plain arrays -- */

struct model {
    uint8_t open[PAGES][16];               /* the first bytes of each page; the rest stays zero but for marks */
    uint8_t closed[EPOCHS + 1][PAGES][16]; /* closed[n]: after n epochs of the window */
    uint64_t digests[EPOCHS + 1];
};

static void assert_content(const struct bench *bench, uint8_t expected[PAGES][16])
{
    for (uint32_t page = 0; page < PAGES; page++) {
        uint8_t bytes[16];
        assert_int_equal(image_read(bench->image, (uint64_t)page * PAGE, bytes, sizeof bytes), STATUS_OK);
        assert_memory_equal(bytes, expected[page], sizeof bytes);
    }
}

static void random_writes(struct model *model, uint64_t *random)
{
    uint32_t writes = test_random_below(random, 60);
    for (uint32_t i = 0; i < writes; i++) {
        uint32_t page = 200 + test_random_below(random, test_random(random) % 2 ? 20 : PAGES - 200);
        uint32_t offset = test_random_below(random, 16);
        uint8_t value = (uint8_t)(test_random(random) % 3);
        if (image_dirty_pages(host->image) < DIRTY_PAGES_MAX) {
            world_write(host, page, offset, value);
            model->open[page][offset] = value;
        }
        if (test_random(random) % 4 == 0) {
            image_capture_step(host->image, test_random_below(random, 3));
        }
    }
}

/* Run up to EPOCHS epochs, apply a random number of them at the standby, undo the rest, compare, go on from there. */
static void random_window(struct model *model, uint64_t *random)
{
    uint32_t epochs = 1 + test_random_below(random, EPOCHS), committed = test_random_below(random, epochs + 1);
    memcpy(model->closed[0], model->open, sizeof model->open);
    model->digests[0] = image_digest(host->image);
    random_writes(model, random);
    uint32_t captured = 0;
    for (uint32_t epoch = 0; epoch < epochs; epoch++) {
        memcpy(model->closed[epoch + 1], model->open, sizeof model->open);
        freeze(host, epoch);
        random_writes(model, random);
        if (epoch + 1 < epochs || epoch < committed || test_random(random) % 2) {
            image_capture_step(host->image, UINT32_MAX);
            model->digests[epoch + 1] = image_digest(host->image);
            captured = epoch + 1;
        }
    }
    image_check(host->image);
    for (uint32_t epoch = 0; epoch < committed; epoch++) {
        assert_int_equal(apply(standby, host, epoch), STATUS_OK);
        if (test_random(random) % 2) {
            assert_int_equal(apply(standby, host, epoch), STATUS_OK);
        }
        assert_int_equal(image_digest(standby->image), model->digests[epoch + 1]);
    }
    assert_content(standby, model->closed[committed]);
    if (captured == epochs && committed == epochs && test_random(random) % 2) {
        return; /* no step-down this time */
    }
    image_undo_open(host->image);
    for (uint32_t epoch = epochs; epoch-- > committed;) {
        image_undo_epoch(host->image, &host->undos[epoch]);
    }
    image_check(host->image);
    assert_int_equal(image_digest(host->image), image_digest(standby->image));
    assert_content(host, model->closed[committed]);
    memcpy(model->open, model->closed[committed], sizeof model->open);
}

static void test_image_random_epochs_apply_and_undo_exactly(void **state)
{
    (void)state;
    uint64_t random = test_seed(__func__, 20261121);
    struct model *model = calloc(1, sizeof *model);
    for (unsigned window = 0; window < 60; window++) {
        random_window(model, &random);
    }
    image_check(standby->image);
    free(model);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_image_fresh_is_empty_with_digest_zero),
        TEST(test_image_create_without_memory_is_refused),
        TEST(test_touch_write_makes_page_writable_and_freeze_takes_it_away),
        TEST(test_touch_write_of_read_only_segment_keeps_its_rights),
        TEST(test_touch_read_makes_page_zero_and_invisible),
        TEST(test_freeze_while_capturing_is_busy),
        TEST(test_silent_stores_give_empty_delta),
        TEST(test_page_that_becomes_zero_leaves_digest_as_if_never_touched),
        TEST(test_write_to_frozen_page_captures_it_first),
        TEST(test_captured_content_is_that_of_the_last_epoch_while_dirty),
        TEST(test_before_change_is_given_the_old_content),
        TEST(test_touch_write_past_dirty_pages_max_is_full),
        TEST(test_shadows_are_given_up_and_content_stays_right),
        TEST(test_no_frame_left_is_no_memory_and_nothing_changes),
        TEST(test_write_and_read_out_of_range_are_invalid),
        TEST(test_write_across_pages_arrives_whole),
        TEST(test_apply_malformed_changes_nothing),
        TEST(test_apply_same_page_twice_in_a_delta_is_invalid),
        TEST(test_put_page_and_clear),
        TEST(test_scrub_finds_a_flipped_bit),
        TEST(test_refresh_rights_follows_the_segments),
        TEST(test_undo_open_restores_bytes_and_drops_fresh_pages),
        TEST(test_undo_interrupts_a_capture_exactly),
        TEST(test_undo_of_emptied_page_that_was_touched_again),
        TEST(test_image_random_epochs_apply_and_undo_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What becomes of the node's disk: opened, filled from, given up, or left as it is until others repair it. */
#include <stdarg.h>
#include <stdio.h>

#include "replicate/node_internal.h"

static uint64_t fresh_incarnation(const struct node *node)
{
    uint64_t incarnation = 0;
    while (incarnation == 0) {
        node->machine->entropy(node->machine->context, &incarnation, 7);
    }
    return incarnation;
}

void node_become_stranger(struct node *node, const char *why)
{
    if (node->restarting) {
        return;
    }
    if (node->boot->node_count == 1) {
        /* There is nobody to join: what is left of the disk stays as it is. */
        node_stand_aside(node, STORE_DISK_CORRUPT, "%s: a cluster of one node has lost its world with its disk", why);
        return;
    }
    if (store_adopt(node->store, fresh_incarnation(node)) != STATUS_OK) {
        node_stand_aside(node, STORE_DISK_FAILED, "%s; and the disk cannot be written: the new incarnation may not be on it", why);
        return;
    }
    node_restart(node, why);
}

void node_stand_aside(struct node *node, enum store_disk disk, const char *format, ...)
{
    if (node->restarting || node->disk != STORE_DISK_OK) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(node->disk_reason, sizeof node->disk_reason, format, arguments);
    va_end(arguments);
    node->disk = disk;
    node->leading = false;
    world_step_down(node->world);
    node_log(node, LOG_ERROR, "this node takes no part: %s", node->disk_reason);
    for (unsigned peer = 1; peer <= node->boot->node_count; peer++) {
        if (peer != node->boot->node_number) {
            peers_reset(node->peers, peer);
        }
    }
}

void node_await_repair(struct node *node, const char *damage)
{
    if (node->boot->node_count == 1) {
        node_stand_aside(node, STORE_DISK_CORRUPT, "%s: the disk is corrupt: a cluster of one node has lost its world with its disk", damage);
        return;
    }
    node->damaged_id = raft_id_make(node->boot->node_number, fresh_incarnation(node));
    node_stand_aside(node, STORE_DISK_CORRUPT, "%s: the disk is corrupt and stays as it is until a majority of the other nodes runs and repairs it", damage);
}

void node_repair(struct node *node)
{
    if (store_adopt(node->store, fresh_incarnation(node)) != STATUS_OK) {
        node->disk = STORE_DISK_FAILED;
        snprintf(node->disk_reason, sizeof node->disk_reason, "the corrupt disk cannot be written: the new incarnation may not be on it");
        node_log(node, LOG_ERROR, "%s", node->disk_reason);
        return;
    }
    node_restart(node, "its disk is corrupt and a majority does without it: it joins as a stranger under a new incarnation");
}

bool node_awaits_repair(const struct node *node)
{
    return !node->restarting && node->disk == STORE_DISK_CORRUPT && node->damaged_id != 0;
}

/* -- the start -- */

static void adopt_blank_disk(struct node *node)
{
    if (node->boot->node_count == 1) {
        node_stand_aside(node, STORE_DISK_BLANK, "the disk is blank: a cluster of one node has lost its world with its disk");
        return;
    }
    node_log(node, LOG_WARNING, "the disk is blank: this node joins as a stranger under a new incarnation");
    if (store_adopt(node->store, fresh_incarnation(node)) != STATUS_OK) {
        node_stand_aside(node, STORE_DISK_FAILED, "the disk cannot be written");
    }
}

void node_open_disk(struct node *node)
{
    enum store_disk disk = STORE_DISK_OK;
    char why[REASON_BYTES_MAX] = "";
    enum status status = store_open(node->store, &disk, why);
    if (status != STATUS_OK) {
        node_stand_aside(node, STORE_DISK_FAILED, "the disk cannot be read: %s", status_sentence(status));
    } else if (disk == STORE_DISK_BLANK) {
        adopt_blank_disk(node);
    } else if (disk == STORE_DISK_CORRUPT) {
        node_await_repair(node, why);
    } else if (disk != STORE_DISK_OK) {
        node_stand_aside(node, disk, "%s", why);
    }
}

/* -- filling the image -- */

void node_begin_filling(struct node *node)
{
    node->filling = true;
    store_fill_restart(node->store);
    group_image_missing(node->group, true);
}

void node_fill_step(struct node *node)
{
    struct group_facts group;
    group_facts(node->group, &group);
    if (group.disk_failed) {
        return; /* this life comes to nothing, and a checkpoint that was pulled meanwhile may have taken the place of the one that is read */
    }
    bool done = false;
    uint32_t page = 0;
    enum status status = store_fill_step(node->store, world_image(node->world), STORE_FILL_PAGES, &done, &page);
    if (status == STATUS_IO_ERROR) {
        node_stand_aside(node, STORE_DISK_FAILED, "the checkpoint cannot be read: %s", status_sentence(status));
        return;
    }
    if (status == STATUS_CORRUPT) {
        char why[120];
        snprintf(why, sizeof why, "page store: page %u in slot %u does not verify", (unsigned)page,
                 (unsigned)store_page_slot(node->store, page));
        node_await_repair(node, why);
        return;
    }
    if (status != STATUS_OK) {
        node_restart(node, status_sentence(status));
        return;
    }
    if (!done) {
        return;
    }
    const struct checkpoint *checkpoint = store_checkpoint(node->store);
    if (world_load(node->world, &checkpoint->record, checkpoint->epoch, checkpoint->digest) != STATUS_OK) {
        node_await_repair(node, "page store: the checkpoint's pages do not have the digest that it names");
        return;
    }
    node->filling = false;
    group_image_missing(node->group, false);
}

#include "consensus/raft_heap.h"

#include <raft.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Stands before each block; keeps it aligned. */
struct block {
    _Alignas(max_align_t) size_t bytes;
};

static size_t bytes_used;
static size_t bytes_max;

static void *take(void *context, size_t bytes)
{
    (void)context;
    if (bytes > bytes_max || bytes_used + bytes > bytes_max) {
        return NULL;
    }
    struct block *block = malloc(sizeof *block + bytes);
    if (block == NULL) {
        return NULL;
    }
    block->bytes = bytes;
    bytes_used += bytes;
    return block + 1;
}

static void give_back(void *context, void *pointer)
{
    (void)context;
    if (pointer != NULL) {
        struct block *block = (struct block *)pointer - 1;
        bytes_used -= block->bytes;
        free(block);
    }
}

static void *take_zeroed(void *context, size_t count, size_t bytes)
{
    if (bytes != 0 && count > SIZE_MAX / bytes) {
        return NULL;
    }
    void *pointer = take(context, count * bytes);
    if (pointer != NULL) {
        memset(pointer, 0, count * bytes);
    }
    return pointer;
}

static void *resize(void *context, void *pointer, size_t bytes)
{
    void *moved = take(context, bytes);
    if (moved != NULL && pointer != NULL) {
        size_t before = ((struct block *)pointer - 1)->bytes;
        memcpy(moved, pointer, before < bytes ? before : bytes);
        give_back(context, pointer);
    }
    return moved;
}

static void *take_aligned(void *context, size_t alignment, size_t bytes)
{
    return alignment <= _Alignof(max_align_t) ? take(context, bytes) : NULL;
}

static void give_back_aligned(void *context, size_t alignment, void *pointer)
{
    (void)alignment;
    give_back(context, pointer);
}

void raft_heap_bound(size_t bound)
{
    static struct raft_heap heap = {
        .malloc = take,
        .free = give_back,
        .calloc = take_zeroed,
        .realloc = resize,
        .aligned_alloc = take_aligned,
        .aligned_free = give_back_aligned,
    };
    bytes_max = bound;
    raft_heap_set(&heap);
}

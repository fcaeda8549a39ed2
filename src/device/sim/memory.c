/* memory: blocks, their views, and the registry that finds a block by an address.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A block is one memory file, mapped up to three times: for the host, for the device, and for the simulator itself, which must never
 * fault. The file's descriptor is closed once it is mapped, so that blocks cost no descriptors. Behind each view lies a page that nobody
 * may touch. A child process after fork has none of the views. */
#define _GNU_SOURCE 1

#include "device/sim/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What memory of the simulated allocators holds before it is written: a value that no test expects. Managed memory starts as zeros, as
 * on real devices. Only so many bytes, because large blocks should cost nothing until they are used. */
#define FRESH_BYTE 0xDB
#define FRESH_BYTES ((size_t)1 << 20)

/* ------------------------------------------------------------------------------------------------- the registry ----- */

typedef struct view_entry {
    uintptr_t begin, end;
    eum_sim_block *block;
    int side;
} view_entry;

/* Sorted by address; the views are disjoint. Guarded by the page lock. */
static view_entry *registry;
static size_t registry_count, registry_capacity;

static size_t registry_upper(uintptr_t address)
{
    size_t low = 0, high = registry_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (registry[middle].begin <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Makes room for `more` entries. The page lock is not held: it is taken here only to swap the array, so that the allocator is never
 * called under it. */
static bool registry_reserve(size_t more)
{
    for (;;) {
        eum_sim_lock_pages();
        size_t need = registry_count + more, capacity = registry_capacity;
        eum_sim_unlock_pages();
        if (need + 8 <= capacity) /* a margin for other threads that reserve at the same time */
            return true;
        size_t larger = need * 2 + 64;
        view_entry *fresh = malloc(larger * sizeof *fresh), *old = NULL;
        if (fresh == NULL)
            return false;
        eum_sim_lock_pages();
        if (registry_capacity < larger && registry_count <= larger) {
            if (registry_count > 0)
                memcpy(fresh, registry, registry_count * sizeof *fresh);
            old = registry;
            registry = fresh;
            registry_capacity = larger;
            fresh = NULL;
        }
        eum_sim_unlock_pages();
        free(old);
        free(fresh);
    }
}

/* Page lock held. False if other threads took the room. */
static bool registry_insert(eum_sim_block *block)
{
    if (registry_count + 2 > registry_capacity)
        return false;
    for (int side = 0; side < 2; side++) {
        if (block->view[side] == NULL)
            continue;
        uintptr_t begin = (uintptr_t)block->view[side];
        size_t at = registry_upper(begin);
        memmove(&registry[at + 1], &registry[at], (registry_count - at) * sizeof *registry);
        registry[at] = (view_entry){begin, begin + block->span, block, side};
        registry_count++;
    }
    return true;
}

/* MADV_DONTFORK has kept the views away already, except under emulators that do not know it. What is not there cannot be closed. */
void eum_sim_forget_views(void)
{
    for (size_t i = 0; i < registry_count; i++)
        (void)mprotect((void *)registry[i].begin, registry[i].end - registry[i].begin, PROT_NONE);
    registry_count = 0;
}

static void registry_remove(const eum_sim_block *block)
{
    for (int side = 0; side < 2; side++) {
        if (block->external || block->view[side] == NULL)
            continue;
        size_t at = registry_upper((uintptr_t)block->view[side]);
        if (at == 0 || registry[at - 1].block != block)
            continue;
        memmove(&registry[at - 1], &registry[at], (registry_count - at) * sizeof *registry);
        registry_count--;
    }
    if (registry_count == 0) { /* nothing is left behind when the last block goes */
        free(registry);
        registry = NULL;
        registry_capacity = 0;
    }
}

eum_sim_block *eum_sim_find_view(const void *address, int *out_side, size_t *out_offset)
{
    size_t at = registry_upper((uintptr_t)address);
    if (at == 0 || (uintptr_t)address >= registry[at - 1].end)
        return NULL;
    *out_side = registry[at - 1].side;
    *out_offset = (uintptr_t)address - registry[at - 1].begin;
    return registry[at - 1].block;
}

eum_sim_block *eum_sim_find(const eum_sim *sim, const void *address, int *out_side, size_t *out_offset)
{
    eum_sim_block *found = eum_sim_find_view(address, out_side, out_offset);
    if (found != NULL)
        return found->dead ? NULL : found;
    for (eum_sim_block *block = sim->blocks; block != NULL; block = block->next) {
        if (!block->external || block->dead || (uintptr_t)address < (uintptr_t)block->view[EUM_SIM_HOST] ||
            (uintptr_t)address - (uintptr_t)block->view[EUM_SIM_HOST] >= block->bytes)
            continue;
        *out_side = EUM_SIM_HOST;
        *out_offset = (uintptr_t)address - (uintptr_t)block->view[EUM_SIM_HOST];
        return block;
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------ mapping ----- */

/* Maps the file at an address of the wanted alignment, with an untouchable page behind it. Returns NULL on failure. */
static unsigned char *map_view(eum_sim_block *block, int slot, int file, size_t align)
{
    unsigned char *base = mmap(NULL, block->reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    block->reserved[slot] = base;
    unsigned char *at = (unsigned char *)(((uintptr_t)base + align - 1) & ~(uintptr_t)(align - 1));
    if (mmap(at, block->span, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
        return NULL;
    if (madvise(at, block->span, MADV_DONTFORK) != 0)
        return NULL;
    return at;
}

static void block_destroy(eum_sim_block *block)
{
    for (int i = 0; i < 3; i++)
        if (block->reserved[i] != NULL)
            munmap(block->reserved[i], block->reserved_bytes);
    free(block->page);
    free(block->chunk_stamp);
    free(block->chunk_resident);
    free(block->use);
    free(block);
}

static bool block_map(eum_sim_block *block)
{
    size_t align = block->bytes >= EUM_SIM_CHUNK ? EUM_SIM_CHUNK : EUM_SIM_PAGE;
    block->reserved_bytes = block->span + align + EUM_SIM_PAGE;
    int file = memfd_create("engram_um", MFD_CLOEXEC);
    if (file < 0)
        return false;
    bool fine = ftruncate(file, (off_t)block->span) == 0;
    if (fine && block->kind != EUM_MEMORY_DEVICE)
        fine = (block->view[EUM_SIM_HOST] = map_view(block, 0, file, align)) != NULL;
    if (fine)
        fine = (block->view[EUM_SIM_DEVICE] = map_view(block, 1, file, align)) != NULL;
    if (fine && block->kind == EUM_MEMORY_MANAGED)
        fine = (block->raw = map_view(block, 2, file, align)) != NULL;
    if (fine && block->kind != EUM_MEMORY_MANAGED)
        block->raw = block->view[EUM_SIM_DEVICE];
    close(file);
    return fine;
}

static bool block_add_pages(eum_sim_block *block)
{
    block->pages = block->span / EUM_SIM_PAGE;
    block->chunks = (block->pages + EUM_SIM_CHUNK_PAGES - 1) / EUM_SIM_CHUNK_PAGES;
    block->page = calloc(block->pages, sizeof *block->page);
    block->chunk_stamp = calloc(block->chunks, sizeof *block->chunk_stamp);
    block->chunk_resident = calloc(block->chunks, sizeof *block->chunk_resident);
    return block->page != NULL && block->chunk_stamp != NULL && block->chunk_resident != NULL;
}

/* --------------------------------------------------------------------------------------------------- operations ----- */

/* Device memory that a block holds by being there. Without concurrent access managed memory lives on the device for good. */
static uint64_t held_bytes(const eum_sim *sim, const eum_sim_block *block)
{
    bool holds =
        !block->external && (block->kind == EUM_MEMORY_DEVICE || (block->kind == EUM_MEMORY_MANAGED && !sim->preset->concurrent));
    return holds ? block->span : 0;
}

static void fill_out(eum_sim_block *block, size_t offset, size_t bytes, bool adopted, eum_block *out)
{
    out->host = block->view[EUM_SIM_HOST] == NULL ? NULL : block->view[EUM_SIM_HOST] + offset;
    out->device = block->view[EUM_SIM_DEVICE] == NULL ? NULL : block->view[EUM_SIM_DEVICE] + offset;
    out->bytes = bytes;
    out->kind = block->kind;
    out->adopted = adopted;
    out->token = (uintptr_t)block;
}

static void link_block(eum_sim *sim, eum_sim_block *block)
{
    block->owner = sim;
    block->next = sim->blocks;
    sim->blocks = block;
    sim->device_bytes += held_bytes(sim, block);
}

static void unlink_block(eum_sim_block *block)
{
    eum_sim *sim = block->owner;
    if (sim == NULL)
        return;
    for (eum_sim_block **at = &sim->blocks; *at != NULL; at = &(*at)->next)
        if (*at == block) {
            *at = block->next;
            break;
        }
    sim->device_bytes -= held_bytes(sim, block);
    block->owner = NULL;
    block->next = NULL;
}

static eum_status out_of_memory(size_t bytes)
{
    return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "the simulated GPU could not map %zu bytes (%s); free some memory", bytes,
                    strerror(errno));
}

eum_status eum_sim_alloc(eum_device *device, eum_memory kind, size_t bytes, eum_block *out)
{
    eum_sim *sim = (eum_sim *)device;
    if (eum_sim_alive(sim) != EUM_OK)
        return EUM_ERROR_DEVICE_LOST;
    if (eum_sim_inject(sim, EUM_SIM_ALLOC))
        return eum_fail(kind == EUM_MEMORY_PINNED ? EUM_ERROR_OUT_OF_MEMORY : EUM_ERROR_OUT_OF_DEVICE_MEMORY,
                        "the simulated GPU was told to fail this allocation of %zu bytes", bytes);
    if (kind != EUM_MEMORY_PINNED && kind != EUM_MEMORY_MANAGED && kind != EUM_MEMORY_DEVICE)
        return eum_fail(EUM_ERROR_NOT_SUPPORTED, "the simulated GPU does not allocate memory of kind %d", (int)kind);
    if (bytes > SIZE_MAX / 4)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "%zu bytes are more than there can be; ask for less", bytes);

    eum_status status = EUM_OK;
    eum_sim_block *block = calloc(1, sizeof *block);
    if (block == NULL)
        return out_of_memory(bytes);
    block->kind = kind;
    block->bytes = bytes;
    block->span = (bytes + EUM_SIM_PAGE - 1) & ~(EUM_SIM_PAGE - 1);

    /* Refuse what cannot fit before anything is mapped. */
    eum_sim_lock_pages();
    uint64_t held = held_bytes(sim, block);
    bool fits = held == 0 || (held <= sim->memory && sim->device_bytes <= sim->memory - held);
    uint64_t taken = sim->device_bytes;
    eum_sim_unlock_pages();
    if (!fits) {
        status = eum_fail(
            EUM_ERROR_OUT_OF_DEVICE_MEMORY,
            "%zu bytes do not fit: the simulated device has %llu bytes, of which %llu are taken; free some, or give it more "
            "(memory=)",
            bytes, (unsigned long long)sim->memory, (unsigned long long)taken);
        goto fail;
    }
    if (!block_map(block) || (kind == EUM_MEMORY_MANAGED && !block_add_pages(block)) || !registry_reserve(2)) {
        status = out_of_memory(bytes);
        goto fail;
    }
    if (kind != EUM_MEMORY_MANAGED)
        memset(block->raw, FRESH_BYTE, block->bytes < FRESH_BYTES ? block->bytes : FRESH_BYTES);

    eum_sim_lock_pages();
    while (!registry_insert(block)) { /* other threads took the room */
        eum_sim_unlock_pages();
        if (!registry_reserve(2)) {
            status = out_of_memory(bytes);
            goto fail;
        }
        eum_sim_lock_pages();
    }
    if (held > 0 && !eum_sim_pages_make_room(sim, held)) {
        status = EUM_ERROR_OUT_OF_DEVICE_MEMORY;
        registry_remove(block);
    } else {
        block->id = ++sim->next_block_id;
        link_block(sim, block);
        if (kind == EUM_MEMORY_MANAGED)
            for (int side = 0; side < 2; side++)
                eum_sim_pages_protect(block, side, 0, block->pages);
    }
    eum_sim_unlock_pages();
    if (status != EUM_OK) {
        eum_fail(status, "%zu bytes do not fit into what others left of the simulated device's memory", bytes);
        goto fail;
    }
    fill_out(block, 0, bytes, false, out);
    return EUM_OK;
fail:
    block_destroy(block);
    return status;
}

/* Takes the block out of everything that finds it. Page lock held. */
static void forget(eum_sim_block *block)
{
    eum_sim_pages_forget(block);
    registry_remove(block);
    unlink_block(block);
}

/* Ends the block now, or when the last operation that uses it has run. sim->lock and page lock held; returns whether to destroy it. */
static bool end_block(eum_sim_block *block)
{
    block->dead = true;
    if (block->pending > 0)
        return false;
    forget(block);
    return true;
}

void eum_sim_unpin(eum_sim *sim, eum_sim_block *block)
{
    (void)sim;
    eum_sim_lock_pages();
    bool last = --block->pending == 0 && block->dead;
    if (last)
        forget(block);
    eum_sim_unlock_pages();
    if (last)
        block_destroy(block);
}

void eum_sim_release(eum_device *device, eum_block *block)
{
    eum_sim *sim = (eum_sim *)device;
    eum_sim_block *inner = (eum_sim_block *)block->token;
    pthread_mutex_lock(&sim->lock);
    if (!eum_sim_check_release(sim, inner))
        eum_log_write(sim->log, EUM_LOG_ERROR, "simulated GPU: memory was released while something submitted may still use it");
    eum_sim_lock_pages();
    bool destroy = end_block(inner);
    eum_sim_unlock_pages();
    pthread_mutex_unlock(&sim->lock);
    if (destroy)
        block_destroy(inner);
    *block = (eum_block){0};
}

/* What the receiver of a given-up block calls: needs no device, and finds none where it was closed. */
static void release_given_up(void *user, void *address, size_t bytes)
{
    (void)address;
    (void)bytes;
    eum_sim_block *block = user;
    eum_sim_lock_pages();
    forget(block);
    eum_sim_unlock_pages();
    block_destroy(block);
    eum_sim_handler_release();
}

void eum_sim_give_up(eum_device *device, eum_block *block, eum_release_fn *out_release, void **out_user)
{
    (void)device;
    eum_sim_block *inner = (eum_sim_block *)block->token;
    /* The device holds the handler, so this only counts: it cannot fail. */
    (void)eum_sim_handler_acquire();
    eum_sim_lock_pages();
    inner->given_up = true;
    eum_sim_unlock_pages();
    *out_release = release_given_up;
    *out_user = inner;
}

void eum_sim_orphan_blocks(eum_sim *sim)
{
    for (;;) {
        eum_sim_lock_pages();
        eum_sim_block *block = sim->blocks;
        /* The analyzer does not see that unlink_block took the block before out of the list. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        bool leaked = block != NULL && !block->given_up, external = block != NULL && block->external;
        if (block != NULL) {
            if (block->kind == EUM_MEMORY_MANAGED && !external)
                eum_sim_pages_abandon(block);
            unlink_block(block);
            if (leaked) /* nobody is left who could release it */
                registry_remove(block);
        }
        eum_sim_unlock_pages();
        if (block == NULL)
            return;
        if (!leaked)
            continue;
        eum_log_write(sim->log, EUM_LOG_WARN, "simulated GPU: a block of %zu bytes was alive when the device closed", block->bytes);
        block_destroy(block);
    }
}

/* Adopts a part of a block of ours: of this device's, or one that was given up (it then moves here). Page lock held. */
static eum_status adopt_ours(eum_sim *sim, eum_sim_block *block, eum_memory kind, size_t offset, size_t bytes)
{
    if (block->kind != kind || offset + bytes > block->span)
        return EUM_ERROR_INVALID_ARGUMENT;
    if (block->owner != sim) {
        if (!block->given_up || block->adoptions > 0)
            return EUM_ERROR_NOT_SUPPORTED;
        uint64_t held = held_bytes(sim, block);
        if (held > 0 && !eum_sim_pages_make_room(sim, held))
            return EUM_ERROR_OUT_OF_DEVICE_MEMORY;
        eum_sim_pages_abandon(block);
        unlink_block(block);
        link_block(sim, block);
        block->unguarded = false;
        block->use_count = 0; /* its former device's clocks */
        block->id = ++sim->next_block_id;
        for (int side = 0; block->kind == EUM_MEMORY_MANAGED && side < 2; side++)
            eum_sim_pages_protect(block, side, 0, block->pages);
    }
    block->adoptions++;
    return EUM_OK;
}

static eum_status adopt_external(eum_sim *sim, eum_memory kind, void *address, size_t bytes, bool reg, eum_block *out)
{
    eum_sim_block *block = calloc(1, sizeof *block);
    if (block == NULL)
        return out_of_memory(bytes);
    block->external = true;
    block->kind = kind;
    block->bytes = block->span = bytes;
    block->view[EUM_SIM_HOST] = address;
    block->view[EUM_SIM_DEVICE] = reg || kind == EUM_MEMORY_PINNED ? address : NULL;
    block->raw = address;
    block->adoptions = 1;
    eum_sim_lock_pages();
    block->id = ++sim->next_block_id;
    link_block(sim, block);
    eum_sim_unlock_pages();
    fill_out(block, 0, bytes, true, out);
    return EUM_OK;
}

eum_status eum_sim_adopt(eum_device *device, eum_memory kind, void *address, size_t bytes, bool reg, eum_block *out)
{
    eum_sim *sim = (eum_sim *)device;
    if (eum_sim_alive(sim) != EUM_OK)
        return EUM_ERROR_DEVICE_LOST;
    if (eum_sim_inject(sim, EUM_SIM_ADOPT))
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "the simulated GPU was told to fail this adoption of %zu bytes", bytes);
    int side = 0;
    size_t offset = 0;
    eum_sim_lock_pages();
    eum_sim_block *ours = eum_sim_find_view(address, &side, &offset);
    eum_status status = ours == NULL ? EUM_ERROR_INVALID_ARGUMENT : EUM_OK;
    bool plain = kind == EUM_MEMORY_HOST || (kind == EUM_MEMORY_PINNED && ours == NULL);
    if (ours != NULL && !plain)
        status = adopt_ours(sim, ours, kind, offset, bytes);
    eum_sim_unlock_pages();
    if (plain)
        return adopt_external(sim, kind, address, bytes, reg, out);
    switch (status) {
    case EUM_OK:
        fill_out(ours, offset, bytes, true, out);
        return EUM_OK;
    case EUM_ERROR_NOT_SUPPORTED:
        return eum_fail(status, "the memory at %p is in use by another simulated device", address);
    case EUM_ERROR_OUT_OF_DEVICE_MEMORY:
        return eum_fail(status, "the %zu bytes at %p do not fit into the simulated device's memory", bytes, address);
    default:
        return eum_fail(status, "the %zu bytes at %p are not memory of that kind (%d) from a simulated device", bytes, address,
                        (int)kind);
    }
}

/* Pinned memory of the device's own, or of somebody's who wrapped it as such or had it registered. */
bool eum_sim_is_pinned(eum_device *device, const void *address, size_t bytes)
{
    eum_sim *sim = (eum_sim *)device;
    int side = 0;
    size_t offset = 0;
    eum_sim_lock_pages();
    const eum_sim_block *block = eum_sim_find(sim, address, &side, &offset);
    bool reachable = block != NULL && block->view[EUM_SIM_DEVICE] != NULL && block->kind != EUM_MEMORY_MANAGED;
    bool pinned = reachable && side == EUM_SIM_HOST && bytes <= block->bytes - offset;
    eum_sim_unlock_pages();
    return pinned;
}

void eum_sim_unadopt(eum_device *device, eum_block *block)
{
    eum_sim *sim = (eum_sim *)device;
    eum_sim_block *inner = (eum_sim_block *)block->token;
    bool destroy = false;
    pthread_mutex_lock(&sim->lock);
    if (!eum_sim_check_release(sim, inner))
        eum_log_write(sim->log, EUM_LOG_ERROR,
                      "simulated GPU: adopted memory was let go while something submitted may still use it");
    eum_sim_lock_pages();
    inner->adoptions--;
    if (inner->external)
        destroy = end_block(inner);
    eum_sim_unlock_pages();
    pthread_mutex_unlock(&sim->lock);
    if (destroy)
        block_destroy(inner);
    *block = (eum_block){0};
}

eum_status eum_sim_memory(eum_device *device, uint64_t *out_free, uint64_t *out_total)
{
    eum_sim *sim = (eum_sim *)device;
    eum_sim_lock_pages();
    uint64_t used = sim->device_bytes + sim->resident_bytes;
    eum_sim_unlock_pages();
    *out_free = used < sim->memory ? sim->memory - used : 0;
    *out_total = sim->memory;
    return EUM_OK;
}

/* pages: where managed pages are, who may touch them, and what a fault, a prefetch, advice or a discard does about it.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The rules follow the CUDA programming guide and the open driver; docs/testing-without-a-gpu.md lists them. The bytes of a page
 * exist once: what moves is the right to touch them, which the protection of the two views mirrors. A 64 KiB page is the unit of all of it.
 * Everything here runs with the page lock held, partly inside the fault handler: no allocation, no other lock. */
#define _GNU_SOURCE 1

#include "device/sim/internal.h"

#include <string.h>
#include <sys/mman.h>

#define BIT(side) ((uint8_t)(1u << (side)))

/* --------------------------------------------------------------------------------------------------- protection ----- */

/* The machine's limit on mappings was met: the block stays open, uncounted, and says so. */
static void unguard(eum_sim_block *block)
{
    for (int side = 0; side < 2; side++)
        mprotect(block->view[side], block->span, PROT_READ | PROT_WRITE);
    if (!block->unguarded) {
        block->unguarded = true;
        block->counters.unguarded_blocks++;
        if (block->owner != NULL)
            block->owner->counters.unguarded_blocks++;
    }
}

void eum_sim_pages_protect(eum_sim_block *block, int side, size_t first, size_t count)
{
    static const int protection[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
    bool closed = side == EUM_SIM_HOST && block->owner != NULL && block->owner->host_closed;
    size_t end = first + count;
    if (block->unguarded || (closed && block->opened))
        return;
    while (first < end) {
        uint8_t map = closed ? EUM_SIM_CLOSED : block->page[first].map[side];
        size_t run = first + 1;
        while (run < end && (closed || block->page[run].map[side] == map))
            run++;
        if (mprotect(block->view[side] + first * EUM_SIM_PAGE, (run - first) * EUM_SIM_PAGE, protection[map]) != 0) {
            unguard(block);
            return;
        }
        first = run;
    }
}

static void protect_both(eum_sim_block *block, size_t first, size_t count)
{
    eum_sim_pages_protect(block, EUM_SIM_HOST, first, count);
    eum_sim_pages_protect(block, EUM_SIM_DEVICE, first, count);
}

/* What the page's state lets each side do, after it moved or was advised. */
static void settle(eum_sim_page *page)
{
    page->map[EUM_SIM_HOST] = page->map[EUM_SIM_DEVICE] = EUM_SIM_CLOSED;
    if ((page->flags & EUM_SIM_DISCARDED) != 0 || (page->flags & EUM_SIM_POPULATED) == 0)
        return;
    bool read_mostly = (page->flags & EUM_SIM_READ_MOSTLY) != 0;
    for (int side = 0; side < 2; side++)
        if ((page->resident & BIT(side)) != 0)
            page->map[side] = read_mostly || (page->flags & EUM_SIM_STUCK) != 0 ? EUM_SIM_READS : EUM_SIM_WRITES;
    /* Read-mostly overrides accessed-by. The host cannot map device memory over PCIe, so its accessed-by does nothing. */
    if (!read_mostly && page->resident == EUM_SIM_AT_HOST && (page->accessed_by & EUM_SIM_AT_DEVICE) != 0)
        page->map[EUM_SIM_DEVICE] = EUM_SIM_WRITES;
}

/* ------------------------------------------------------------------------------------ residency and accounting ------ */

/* Counts on the block and on its device. */
#define COUNT(block, field, amount)                                                                                                \
    do {                                                                                                                           \
        (block)->counters.field += (amount);                                                                                       \
        if ((block)->owner != NULL)                                                                                                \
            (block)->owner->counters.field += (amount);                                                                            \
    } while (0)

/* `pages` pages of one chunk went to `side`. Returns their cost. */
static uint64_t count_moves(eum_sim_block *block, int side, eum_sim_cause cause, size_t pages)
{
    const eum_sim_preset *preset = block->owner->preset;
    if (pages == 0)
        return 0;
    bool whole = preset->whole_chunks && pages == EUM_SIM_CHUNK_PAGES;
    uint64_t transfers = whole ? 1 : pages, bytes = pages * EUM_SIM_PAGE;
    if (side == EUM_SIM_DEVICE) {
        COUNT(block, migrations_to_device[cause], transfers);
        COUNT(block, bytes_to_device[cause], bytes);
    } else {
        COUNT(block, migrations_to_host[cause], transfers);
        COUNT(block, bytes_to_host[cause], bytes);
    }
    uint64_t fixed = cause == EUM_SIM_CAUSE_FAULT ? 0 : whole ? preset->chunk_move : preset->page_move * pages;
    return fixed + eum_sim_cost_bytes(bytes, preset->link_mbps);
}

static void leave_device(eum_sim_block *block, size_t page)
{
    if ((block->page[page].resident & EUM_SIM_AT_DEVICE) == 0)
        return;
    block->page[page].resident &= (uint8_t)~EUM_SIM_AT_DEVICE;
    block->chunk_resident[page / EUM_SIM_CHUNK_PAGES]--;
    if (block->owner->preset->concurrent)
        block->owner->resident_bytes -= EUM_SIM_PAGE;
}

/* Evicts the chunk whose pages came to the device longest ago: reads there do not count, as in the driver. */
static bool evict_one(eum_sim *sim)
{
    eum_sim_block *victim = NULL;
    size_t chunk = 0;
    for (eum_sim_block *block = sim->blocks; block != NULL; block = block->next)
        for (size_t i = 0; block->page != NULL && i < block->chunks; i++)
            if (block->chunk_resident[i] > 0 && (victim == NULL || block->chunk_stamp[i] < victim->chunk_stamp[chunk])) {
                victim = block;
                chunk = i;
            }
    if (victim == NULL)
        return false;
    size_t first = chunk * EUM_SIM_CHUNK_PAGES, end = first + EUM_SIM_CHUNK_PAGES, moved = 0;
    if (end > victim->pages)
        end = victim->pages;
    for (size_t i = first; i < end; i++) {
        eum_sim_page *page = &victim->page[i];
        if ((page->resident & EUM_SIM_AT_DEVICE) == 0)
            continue;
        bool needed = (page->flags & EUM_SIM_DISCARDED) == 0 && (page->resident & EUM_SIM_AT_HOST) == 0;
        leave_device(victim, i);
        page->resident |= EUM_SIM_AT_HOST;
        page->flags &= (uint8_t)~EUM_SIM_STUCK;
        moved += needed;
        settle(page);
    }
    count_moves(victim, EUM_SIM_HOST, EUM_SIM_CAUSE_EVICTION, moved);
    protect_both(victim, first, end - first);
    return true;
}

bool eum_sim_pages_make_room(eum_sim *sim, uint64_t bytes)
{
    if (bytes > sim->memory || sim->device_bytes > sim->memory - bytes)
        return false;
    while (sim->device_bytes + sim->resident_bytes > sim->memory - bytes)
        if (!evict_one(sim))
            return false;
    return true;
}

/* Puts the page on the device too. Returns false if there is no room. */
static bool enter_device(eum_sim_block *block, size_t page)
{
    eum_sim *sim = block->owner;
    if ((block->page[page].resident & EUM_SIM_AT_DEVICE) != 0)
        return true;
    if (sim->preset->concurrent) {
        if (!eum_sim_pages_make_room(sim, EUM_SIM_PAGE))
            return false;
        sim->resident_bytes += EUM_SIM_PAGE;
    }
    block->page[page].resident |= EUM_SIM_AT_DEVICE;
    block->chunk_resident[page / EUM_SIM_CHUNK_PAGES]++;
    block->chunk_stamp[page / EUM_SIM_CHUNK_PAGES] = ++sim->stamp;
    return true;
}

static bool enter(eum_sim_block *block, size_t page, int side)
{
    if (side == EUM_SIM_DEVICE)
        return enter_device(block, page);
    block->page[page].resident |= EUM_SIM_AT_HOST;
    return true;
}

static void leave(eum_sim_block *block, size_t page, int side)
{
    if (side == EUM_SIM_DEVICE)
        leave_device(block, page);
    else
        block->page[page].resident &= (uint8_t)~EUM_SIM_AT_HOST;
}

/* A page without bytes worth anything gets zeros at `side`. Returns false if there is no room. */
static bool populate(eum_sim_block *block, size_t index, int side)
{
    eum_sim_page *page = &block->page[index];
    if (!enter(block, index, side))
        return false;
    leave(block, index, 1 - side);
    page->flags = (uint8_t)((page->flags | EUM_SIM_POPULATED) & ~(EUM_SIM_DISCARDED | EUM_SIM_STUCK));
    COUNT(block, pages_populated, 1);
    settle(page);
    return true;
}

static bool is_worthless(const eum_sim_page *page)
{
    return (page->flags & EUM_SIM_POPULATED) == 0 || (page->flags & EUM_SIM_DISCARDED) != 0;
}

/* Brings a page that has bytes to `side`: moves it, or adds a copy where it is duplicated. Returns the number of transfers. */
static size_t bring(eum_sim_block *block, size_t index, int side, bool duplicate)
{
    eum_sim_page *page = &block->page[index];
    bool there = (page->resident & BIT(side)) != 0;
    if (!enter(block, index, side))
        return 0;
    if (!there)
        page->flags &= (uint8_t)~EUM_SIM_STUCK;
    if (!duplicate)
        leave(block, index, 1 - side);
    else if (!there)
        COUNT(block, pages_duplicated, 1);
    settle(page);
    return there ? 0 : 1;
}

/* --------------------------------------------------------------------------------------------------- operations ----- */

uint64_t eum_sim_pages_prefetch(eum_sim_block *block, size_t first, size_t count, int side)
{
    uint64_t cost = block->owner->preset->prefetch;
    for (size_t at = first; at < first + count;) {
        size_t end = (at / EUM_SIM_CHUNK_PAGES + 1) * EUM_SIM_CHUNK_PAGES, moved = 0;
        if (end > first + count)
            end = first + count;
        for (size_t i = at; i < end; i++) {
            eum_sim_page *page = &block->page[i];
            if (is_worthless(page))
                populate(block, i, side);
            else if (page->resident != BIT(side) || (page->flags & EUM_SIM_READ_MOSTLY) != 0)
                moved += bring(block, i, side, (page->flags & EUM_SIM_READ_MOSTLY) != 0);
        }
        if (side == EUM_SIM_DEVICE) /* a prefetch renews, even where nothing had to move */
            block->chunk_stamp[at / EUM_SIM_CHUNK_PAGES] = ++block->owner->stamp;
        cost += count_moves(block, side, EUM_SIM_CAUSE_PREFETCH, moved);
        at = end;
    }
    protect_both(block, first, count);
    return cost;
}

void eum_sim_pages_discard(eum_sim_block *block, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++) {
        eum_sim_page *page = &block->page[i];
        if ((page->flags & EUM_SIM_POPULATED) == 0)
            continue;
        page->flags |= EUM_SIM_DISCARDED;
        settle(page);
    }
    protect_both(block, first, count);
    /* Really gone: whoever still counts on the bytes reads zeros. */
    memset(block->raw + first * EUM_SIM_PAGE, 0, count * EUM_SIM_PAGE);
    COUNT(block, bytes_discarded, count * EUM_SIM_PAGE);
}

/* The driver takes the other copies and leaves the one that stays as it was mapped: for reading, unless it has been written since. A prefetch to
 * where it is does not change that (seen with driver 580), a migration and the fault of the first write do. */
static void unset_read_mostly(eum_sim_block *block, size_t index)
{
    eum_sim_page *page = &block->page[index];
    page->flags &= (uint8_t)~EUM_SIM_READ_MOSTLY;
    if (page->resident == (EUM_SIM_AT_HOST | EUM_SIM_AT_DEVICE)) {
        leave(block, index, page->preferred == EUM_SIM_AT_DEVICE ? EUM_SIM_HOST : EUM_SIM_DEVICE);
        COUNT(block, pages_collapsed, 1);
    }
    int side = page->resident == EUM_SIM_AT_DEVICE ? EUM_SIM_DEVICE : EUM_SIM_HOST;
    if (page->map[side] == EUM_SIM_READS)
        page->flags |= EUM_SIM_STUCK;
}

void eum_sim_pages_advise(eum_sim_block *block, size_t first, size_t count, eum_advice advice, int side)
{
    for (size_t i = first; i < first + count; i++) {
        eum_sim_page *page = &block->page[i];
        switch (advice) {
        case EUM_ADVICE_READ_MOSTLY: /* again: the driver does nothing, and a copy that may be written stays so */
            if ((page->flags & EUM_SIM_READ_MOSTLY) != 0)
                continue;
            page->flags |= EUM_SIM_READ_MOSTLY;
            break;
        case EUM_ADVICE_UNSET_READ_MOSTLY:
            if ((page->flags & EUM_SIM_READ_MOSTLY) == 0)
                continue;
            unset_read_mostly(block, i);
            break;
        case EUM_ADVICE_PREFERRED_LOCATION: /* moves nothing and closes nothing by itself */
            page->preferred = BIT(side);
            continue;
        case EUM_ADVICE_UNSET_PREFERRED_LOCATION:
            page->preferred = 0;
            continue;
        case EUM_ADVICE_ACCESSED_BY:
            page->accessed_by |= BIT(side);
            break;
        default:
            page->accessed_by &= (uint8_t)~BIT(side);
            break;
        }
        settle(page);
    }
    protect_both(block, first, count);
}

void eum_sim_pages_copied_to(eum_sim_block *block, size_t offset, size_t bytes, int side)
{
    size_t first = offset / EUM_SIM_PAGE, end = (offset + bytes - 1) / EUM_SIM_PAGE + 1;
    for (size_t i = first; i < end; i++) {
        eum_sim_page *page = &block->page[i];
        if (is_worthless(page)) {
            if (!populate(block, i, side))
                populate(block, i, EUM_SIM_HOST);
        } else if (page->resident == (EUM_SIM_AT_HOST | EUM_SIM_AT_DEVICE)) {
            leave(block, i, 1 - side);
            COUNT(block, pages_collapsed, 1);
            settle(page);
        }
    }
    protect_both(block, first, end - first);
}

size_t eum_sim_pages_remote(const eum_sim_block *block, size_t offset, size_t bytes)
{
    size_t remote = 0;
    if (bytes == 0)
        return 0;
    for (size_t i = offset / EUM_SIM_PAGE; i <= (offset + bytes - 1) / EUM_SIM_PAGE; i++)
        if ((block->page[i].resident & EUM_SIM_AT_DEVICE) == 0)
            remote += EUM_SIM_PAGE;
    return remote < bytes ? remote : bytes;
}

/* -------------------------------------------------------------------------- without concurrent managed access ------- */

uint64_t eum_sim_pages_launch(eum_sim *sim)
{
    uint64_t cost = 0;
    for (eum_sim_block *block = sim->blocks; block != NULL; block = block->next) {
        size_t moved = 0;
        for (size_t i = 0; block->page != NULL && i < block->pages; i++) {
            eum_sim_page *page = &block->page[i];
            if (is_worthless(page))
                populate(block, i, EUM_SIM_DEVICE);
            else if (page->resident == EUM_SIM_AT_HOST)
                moved += bring(block, i, EUM_SIM_DEVICE, false);
        }
        if (block->page == NULL)
            continue;
        cost += count_moves(block, EUM_SIM_DEVICE, EUM_SIM_CAUSE_LAUNCH, moved);
        protect_both(block, 0, block->pages);
    }
    return cost;
}

static void protect_hosts(eum_sim *sim)
{
    for (eum_sim_block *block = sim->blocks; block != NULL; block = block->next) {
        block->opened = false;
        if (block->page != NULL)
            eum_sim_pages_protect(block, EUM_SIM_HOST, 0, block->pages);
    }
}

void eum_sim_pages_close_host(eum_sim *sim)
{
    sim->host_closed = true;
    protect_hosts(sim);
}

void eum_sim_pages_reopen_host(eum_sim *sim)
{
    sim->host_closed = false;
    protect_hosts(sim);
}

/* ------------------------------------------------------------------------------------------------------- faults ----- */

/* How far a fault on page `index` grows: over the largest aligned part of its chunk, by powers of two, of which more than 51 % would be
 * resident at `side` with that page: the driver's density prefetcher with its default threshold. */
static void grow(const eum_sim_block *block, size_t index, int side, size_t *out_first, size_t *out_end)
{
    *out_first = index;
    *out_end = index + 1;
    for (size_t part = EUM_SIM_CHUNK_PAGES; part > 1; part /= 2) {
        size_t first = index & ~(part - 1), end = first + part, there = 0;
        if (end > block->pages)
            end = block->pages;
        for (size_t i = first; i < end; i++)
            there += i == index || (!is_worthless(&block->page[i]) && (block->page[i].resident & BIT(side)) != 0);
        if (there * 100 > (end - first) * 51) {
            *out_first = first;
            *out_end = end;
            return;
        }
    }
}

/* A touch of a page that has no bytes. The preferred processor populates all of the chunk that is still without, another one the page. */
static void first_touch(eum_sim_block *block, size_t index, int side)
{
    eum_sim_page *page = &block->page[index];
    size_t first = index, end = index + 1;
    bool on_host = side == EUM_SIM_HOST || page->preferred == EUM_SIM_AT_HOST;
    if (page->preferred == BIT(side) && (page->flags & EUM_SIM_DISCARDED) == 0) {
        first = index - index % EUM_SIM_CHUNK_PAGES;
        end = first + EUM_SIM_CHUNK_PAGES < block->pages ? first + EUM_SIM_CHUNK_PAGES : block->pages;
    }
    for (size_t i = first; i < end; i++) {
        if (i != index && ((block->page[i].flags & EUM_SIM_POPULATED) != 0 || block->page[i].preferred != BIT(side)))
            continue;
        if (on_host || !populate(block, i, EUM_SIM_DEVICE))
            populate(block, i, EUM_SIM_HOST);
    }
    if (side == EUM_SIM_DEVICE && page->map[EUM_SIM_DEVICE] == EUM_SIM_CLOSED) /* it stayed on the host: mapped over the link */
        page->map[EUM_SIM_DEVICE] = EUM_SIM_WRITES;
    protect_both(block, first, end - first);
}

/* A write to a read-mostly page: the writer's copy stays, and may be written until the next duplication. */
static void collapse(eum_sim_block *block, size_t index, int side, uint64_t *cost)
{
    eum_sim_page *page = &block->page[index];
    bool duplicated = page->resident == (EUM_SIM_AT_HOST | EUM_SIM_AT_DEVICE);
    size_t moved = (page->resident & BIT(side)) == 0;
    if (duplicated)
        COUNT(block, pages_collapsed, 1);
    if (enter(block, index, side)) {
        leave(block, index, 1 - side);
        *cost += count_moves(block, side, EUM_SIM_CAUSE_FAULT, moved);
    } else if (duplicated) {
        leave(block, index, side);
    }
    *cost += duplicated ? block->owner->preset->collapse : 0;
    page->flags &= (uint8_t)~EUM_SIM_STUCK;
    settle(page);
    page->map[side] = EUM_SIM_WRITES;
    protect_both(block, index, 1);
}

/* A touch of a page whose bytes are on the other side. */
static void migrate(eum_sim_block *block, size_t index, int side, bool duplicate, uint64_t *cost)
{
    eum_sim_page *page = &block->page[index];
    size_t first = index, end = index + 1, moved = 0;
    if (page->preferred == 0 && block->owner->preset->concurrent)
        grow(block, index, side, &first, &end);
    for (size_t i = first; i < end; i++) {
        eum_sim_page *neighbour = &block->page[i];
        bool follows = !is_worthless(neighbour) && (neighbour->resident & BIT(side)) == 0 && neighbour->preferred == 0 &&
                       ((neighbour->flags & EUM_SIM_READ_MOSTLY) != 0) == duplicate;
        if (i != index && follows)
            moved += bring(block, i, side, duplicate);
    }
    moved += bring(block, index, side, duplicate);
    if (page->map[side] == EUM_SIM_CLOSED) /* the device is full: mapped over the link */
        page->map[side] = duplicate ? EUM_SIM_READS : EUM_SIM_WRITES;
    *cost += count_moves(block, side, EUM_SIM_CAUSE_FAULT, moved);
    protect_both(block, first, end - first);
}

static uint64_t service(eum_sim_block *block, size_t index, int side, bool write)
{
    const eum_sim_preset *preset = block->owner->preset;
    eum_sim_page *page = &block->page[index];
    uint64_t cost = side == EUM_SIM_DEVICE ? preset->gpu_fault : preset->cpu_fault;
    bool read_mostly = (page->flags & EUM_SIM_READ_MOSTLY) != 0;
    if (is_worthless(page)) {
        cost = side == EUM_SIM_DEVICE ? preset->gpu_fault : preset->cpu_first_touch;
        first_touch(block, index, side);
        if (write && page->map[side] == EUM_SIM_READS) { /* read-mostly, and only the writer has it */
            page->map[side] = EUM_SIM_WRITES;
            eum_sim_pages_protect(block, side, index, 1);
        }
    } else if (write && read_mostly) {
        collapse(block, index, side, &cost);
    } else if (page->map[side] == EUM_SIM_READS && (page->resident & BIT(side)) != 0) { /* stuck: see unset_read_mostly */
        page->flags &= (uint8_t)~EUM_SIM_STUCK;
        settle(page);
        eum_sim_pages_protect(block, side, index, 1);
    } else if (side == EUM_SIM_DEVICE && page->resident == EUM_SIM_AT_HOST && page->preferred == EUM_SIM_AT_HOST && !read_mostly) {
        page->map[EUM_SIM_DEVICE] = EUM_SIM_WRITES; /* the preferred location keeps it: mapped over the link */
        eum_sim_pages_protect(block, EUM_SIM_DEVICE, index, 1);
    } else {
        migrate(block, index, side, read_mostly, &cost);
    }
    return cost;
}

bool eum_sim_pages_fault(eum_sim_block *block, int side, size_t offset, bool write)
{
    if (block->page == NULL)
        return false;
    size_t index = offset / EUM_SIM_PAGE;
    eum_sim *sim = block->owner;
    if (sim == NULL || block->unguarded) { /* its device is gone, or its faults are not seen: plain memory */
        unguard(block);
        return true;
    }
    if (side == EUM_SIM_HOST && sim->host_closed) {
        if (block->opened)
            return true; /* another thread was here first */
        eum_sim_violation(
            sim,
            "the host touched managed memory (block %llu, byte %zu, %s) between a launch and the synchronisation after "
            "it: on this device that is a segmentation fault",
            (unsigned long long)block->id, offset, write ? "a write" : "a read");
        block->opened = true;
        mprotect(block->view[side], block->span, PROT_READ | PROT_WRITE);
        return true;
    }
    if (block->page[index].map[side] >= (write ? EUM_SIM_WRITES : EUM_SIM_READS))
        return true; /* another thread was here first */
    if (side == EUM_SIM_DEVICE) {
        COUNT(block, gpu_faults, 1);
        if (eum_sim_in_kernel > 0 || sim->kernels_running > 0)
            COUNT(block, gpu_faults_in_kernels, 1);
        eum_sim_fault_ns += service(block, index, side, write);
    } else {
        COUNT(block, cpu_faults, 1);
        sim->time += service(block, index, side, write);
    }
    return true;
}

/* --------------------------------------------------------------------------------------------------------- ends ----- */

void eum_sim_pages_forget(eum_sim_block *block)
{
    for (size_t i = 0; block->page != NULL && block->owner != NULL && i < block->pages; i++)
        leave_device(block, i);
}

void eum_sim_pages_abandon(eum_sim_block *block)
{
    if (block->page == NULL)
        return;
    eum_sim_pages_forget(block);
    for (size_t i = 0; i < block->pages; i++) {
        eum_sim_page *page = &block->page[i];
        bool had = (page->flags & EUM_SIM_POPULATED) != 0;
        *page = (eum_sim_page){.resident = had ? EUM_SIM_AT_HOST : 0, .flags = had ? EUM_SIM_POPULATED : 0};
        settle(page);
    }
    memset(block->chunk_resident, 0, block->chunks * sizeof *block->chunk_resident);
    for (int side = 0; side < 2; side++)
        mprotect(block->view[side], block->span, PROT_READ | PROT_WRITE);
}

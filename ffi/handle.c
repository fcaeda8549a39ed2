/* handle: the table that turns the opaque numbers of the ABI into objects, and wild numbers into errors.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A handle, and the word of its slot, bit by bit:
 *
 *      63 62  61-60  59-58  57-56            55   54-21           20-1    0
 *      1  0   mark   type   generation high  1    generation low  index   1     handle
 *      1  0   mark   type   generation high  1    generation low  dying 1, waited 1, pins 19     word
 *
 * A live slot's word is its handle with the index replaced by counts, so that one comparison checks everything: the shape, the copy of
 * the library, the type and the generation. The word of a free slot has type 0, which no handle has.
 *
 * Why no handle is an address: on x86-64 bits 63-62 = 10 are canonical neither with 4 nor with 5 levels of page tables, and address masking
 * (LAM) applies to user addresses with bit 63 = 0 only; on aarch64, which ignores the top byte of user addresses, bit 55 = 1 selects the
 * kernel's half. Bit 0 makes it odd, which no pointer to a struct of ours would be.
 *
 * What collides: the mark has 2 bits, so one in four other copies of the library has ours. That is why the generations of each slot start
 * from a number of its own (34 bits, of copy, time and index): another copy's handle, garbage in the shape of a handle, and arithmetic with
 * handles are taken for one of ours with a probability of about 2^-34. What the mark decides is which sentence the caller reads. */
#include "handle.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

_Static_assert(sizeof(void *) == 8, "handles are 64-bit numbers in pointers");

#define INDEX_SHIFT 1
#define INDEX_MASK UINT64_C(0xfffff)
#define GENERATION_SHIFT 21
#define GENERATION_LOW_BITS 34
#define GENERATION_LOW ((UINT64_C(1) << GENERATION_LOW_BITS) - 1)
#define GENERATION_HIGH_SHIFT 56
#define GENERATION_MAX ((UINT64_C(1) << 36) - 1)
#define TYPE_SHIFT 58
#define TYPE_MASK (UINT64_C(3) << TYPE_SHIFT)
#define MARK_SHIFT 60
#define MARK_MASK (UINT64_C(3) << MARK_SHIFT)
#define FIXED_MASK (UINT64_C(3) << 62 | UINT64_C(1) << 55)
#define FIXED (UINT64_C(1) << 63 | UINT64_C(1) << 55)

#define IDENTITY (~((UINT64_C(1) << GENERATION_SHIFT) - 1)) /* what a handle and the word of its slot have in common */
#define DYING (UINT64_C(1) << 20)                           /* retired: no new pins */
#define WAITED (UINT64_C(1) << 19) /* the thread that retired it holds one pin and waits for the others to go */
#define PINS (WAITED - 1)
#define PINS_MAX (PINS - 1) /* one is kept for the waiting thread */

#define SEGMENT_SLOTS 1024u
#define SEGMENTS 1024u
#define NO_SLOT UINT32_MAX

/* One cache line each, so that threads that pin different handles do not disturb each other. */
typedef struct slot {
    _Alignas(64) _Atomic uint64_t word;
    void *object;
    void (*finalize)(void *object);
    _Atomic uint32_t epoch; /* the table's when it was reserved */
    uint32_t next;          /* in the queue of free slots */
} slot;

static struct {
    _Atomic(slot *) segments[SEGMENTS]; /* set once each, in order */
    _Atomic uint32_t epoch;             /* raised in the child of a fork: handles made before are the parent's */
    _Atomic size_t live[4];             /* by type */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t unpinned;
    bool ready;
    uint32_t capacity; /* slots there may be; less than the maximum only in tests */
    uint32_t slots;    /* slots there are; the first `used` have been used */
    uint32_t used;
    uint32_t free_head, free_tail; /* first in, first out */
    uint64_t mark;                 /* of this copy of the library, in place */
    uint64_t seed;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER,
           .unpinned = PTHREAD_COND_INITIALIZER,
           .capacity = SEGMENT_SLOTS * SEGMENTS,
           .free_head = NO_SLOT,
           .free_tail = NO_SLOT};

static const char *const type_names[] = {"free", "context", "buffer", "stream"};
static const char *const type_makers[] = {"", "eum_context_create", "eum_buffer_create or eum_buffer_wrap",
                                          "eum_stream_create, eum_stream_wrap or eum_context_default_stream"};

/* ----------------------------------------------------------------------------------------------- numbers ----------- */

static uint64_t identity_of(uint64_t generation, uint64_t type)
{
    return FIXED | table.mark | type << TYPE_SHIFT | (generation >> GENERATION_LOW_BITS) << GENERATION_HIGH_SHIFT |
           (generation & GENERATION_LOW) << GENERATION_SHIFT;
}

static uint64_t generation_of(uint64_t bits)
{
    return (bits >> GENERATION_HIGH_SHIFT & 3) << GENERATION_LOW_BITS | (bits >> GENERATION_SHIFT & GENERATION_LOW);
}

static uint32_t index_of(uint64_t bits)
{
    return (uint32_t)(bits >> INDEX_SHIFT & INDEX_MASK);
}

/* NULL where there never was such a slot. */
static slot *slot_at(uint32_t index)
{
    slot *segment = atomic_load_explicit(&table.segments[index / SEGMENT_SLOTS], memory_order_acquire);
    return segment == NULL ? NULL : &segment[index % SEGMENT_SLOTS];
}

static slot *slot_of(uint64_t bits)
{
    return slot_at(index_of(bits));
}

/* splitmix64's finaliser: every bit of the input reaches every bit of the result. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* 34 bits: the other three quarters of the generations are there to be used. */
static uint64_t first_generation(uint64_t seed, uint32_t index)
{
    return 1 + (mix(seed ^ index) >> 30);
}

/* -------------------------------------------------------------------------------------------------- fork ----------- */

static void before_fork(void)
{
    pthread_mutex_lock(&table.lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&table.lock);
}

static void after_fork_in_child(void)
{
    /* Whoever waited or pinned is not here; the lock is this thread's own, taken before the fork. */
    table.unpinned = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    atomic_fetch_add(&table.epoch, 1);
    for (size_t type = 0; type < sizeof table.live / sizeof table.live[0]; type++)
        atomic_store(&table.live[type], 0);
    pthread_mutex_unlock(&table.lock);
}

/* ------------------------------------------------------------------------------------------------- slots ----------- */

/* Under the lock. */
static bool make_ready(void)
{
    if (table.ready)
        return true;
    if (pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0)
        return false;
    /* The address tells copies in one process apart; the time, a copy from one that was unloaded from the same address before. */
    struct timespec now = {0};
    timespec_get(&now, TIME_UTC);
    table.seed = mix((uint64_t)(uintptr_t)&table ^ mix((uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec));
    table.mark = table.seed << MARK_SHIFT & MARK_MASK;
    table.ready = true;
    return true;
}

/* When the library is loaded: a fork that is under way while the handlers are registered does not run them, and would copy a lock that
 * another thread had taken since. What fails here, and constructors that come before this one, find it undone and do it themselves. */
__attribute__((constructor)) static void make_ready_early(void)
{
    pthread_mutex_lock(&table.lock);
    make_ready();
    pthread_mutex_unlock(&table.lock);
}

/* Under the lock. */
static eum_status add_segment(void)
{
    if (table.slots >= table.capacity)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY,
                        "all %u handles are in use; destroy contexts, buffers or streams that are no longer needed",
                        (unsigned)table.capacity);
    slot *segment = aligned_alloc(_Alignof(slot), SEGMENT_SLOTS * sizeof *segment);
    if (segment == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for more handles (%zu bytes); free some and try again",
                        SEGMENT_SLOTS * sizeof *segment);
    memset(segment, 0, SEGMENT_SLOTS * sizeof *segment);
    for (uint32_t i = 0; i < SEGMENT_SLOTS; i++)
        atomic_init(&segment[i].word, identity_of(first_generation(table.seed, table.slots + i), 0));
    atomic_store_explicit(&table.segments[table.slots / SEGMENT_SLOTS], segment, memory_order_release);
    table.slots += SEGMENT_SLOTS;
    return EUM_OK;
}

/* Under the lock. */
static void put_free(slot *freed, uint32_t index)
{
    freed->next = NO_SLOT;
    if (table.free_tail == NO_SLOT)
        table.free_head = index;
    else
        slot_at(table.free_tail)->next = index;
    table.free_tail = index;
}

/* Under the lock. */
static eum_status take_free(uint32_t *out_index)
{
    if (table.free_head != NO_SLOT) {
        *out_index = table.free_head;
        table.free_head = slot_at(table.free_head)->next;
        if (table.free_head == NO_SLOT)
            table.free_tail = NO_SLOT;
        return EUM_OK;
    }
    if (table.used == table.slots || table.used >= table.capacity) {
        eum_status status = add_segment();
        if (status != EUM_OK)
            return status;
    }
    *out_index = table.used++;
    return EUM_OK;
}

/* Ends the object of a dying slot that nobody uses any more, and frees the slot. */
static void finish(slot *dying, uint32_t index)
{
    /* The object belongs to the parent of a fork, and so do the threads that it would need: leave it alone. */
    if (atomic_load_explicit(&dying->epoch, memory_order_relaxed) != atomic_load_explicit(&table.epoch, memory_order_relaxed))
        return;
    if (dying->finalize != NULL)
        dying->finalize(dying->object);
    uint64_t generation = generation_of(atomic_load_explicit(&dying->word, memory_order_relaxed));
    pthread_mutex_lock(&table.lock);
    dying->object = NULL;
    if (generation < GENERATION_MAX) {
        atomic_store_explicit(&dying->word, identity_of(generation + 1, 0), memory_order_release);
        put_free(dying, index);
    } /* else it stays as it is, dying for ever: a generation that wrapped could make an old handle live again */
    pthread_mutex_unlock(&table.lock);
}

/* ------------------------------------------------------------------------------------------------ errors ----------- */

/* Why `bits` is not a live handle of that type. */
static eum_status wrong(uint64_t bits, eum_handle_type type)
{
    const char *wanted = type_names[type], *makers = type_makers[type];
    if (bits == 0)
        return eum_fail(EUM_ERROR_INVALID_HANDLE, "the %s handle is NULL; pass one that %s gave", wanted, makers);
    uint64_t found_type = (bits & TYPE_MASK) >> TYPE_SHIFT;
    if ((bits & FIXED_MASK) != FIXED || (bits & 1) == 0 || found_type == 0)
        return eum_fail(EUM_ERROR_INVALID_HANDLE, "0x%016llx is not a handle; pass a %s that %s gave", (unsigned long long)bits,
                        wanted, makers);

    pthread_mutex_lock(&table.lock);
    uint64_t mark = table.mark, first = first_generation(table.seed, index_of(bits));
    pthread_mutex_unlock(&table.lock);
    slot *found = slot_of(bits);
    uint64_t word = found == NULL ? 0 : atomic_load_explicit(&found->word, memory_order_acquire);
    uint64_t generation = generation_of(bits), current = generation_of(word);
    const char *found_name = type_names[found_type];
    bool taken = (word & TYPE_MASK) != 0;
    if ((bits & MARK_MASK) != mark || found == NULL || generation < first || generation > current ||
        (generation == current && !taken))
        return eum_fail(
            EUM_ERROR_INVALID_HANDLE,
            "0x%016llx is a %s handle of another copy of this library, or was made up; use handles with the copy that made them",
            (unsigned long long)bits, found_name);
    if (generation < current || (word & DYING) != 0)
        return eum_fail(EUM_ERROR_INVALID_HANDLE, "this %s handle (0x%016llx) was destroyed; do not use it afterwards", found_name,
                        (unsigned long long)bits);
    if ((word & IDENTITY) != (bits & IDENTITY))
        return eum_fail(EUM_ERROR_INVALID_HANDLE, "0x%016llx is not a handle; pass a %s that %s gave", (unsigned long long)bits,
                        wanted, makers);
    if (atomic_load_explicit(&found->epoch, memory_order_relaxed) != atomic_load_explicit(&table.epoch, memory_order_relaxed))
        return eum_fail(EUM_ERROR_FORKED, "this %s handle (0x%016llx) was made before fork(); make a new context in the child",
                        found_name, (unsigned long long)bits);
    if (found_type != (uint64_t)type)
        return eum_fail(EUM_ERROR_INVALID_HANDLE, "this is a %s handle (0x%016llx), a %s is expected", found_name,
                        (unsigned long long)bits, wanted);
    /* It was live and right after all, so only the number of pins is left. */
    return eum_fail(EUM_ERROR_INVALID_HANDLE, "this %s handle (0x%016llx) is in use by more than %llu calls at once", found_name,
                    (unsigned long long)bits, (unsigned long long)PINS_MAX);
}

/* The slot whose word is `*word` if that is live, of the type, of this process, and can take one more pin; else NULL. */
static inline slot *find(uint64_t bits, eum_handle_type type, uint64_t *word)
{
    if ((bits & (TYPE_MASK | 1)) != ((uint64_t)type << TYPE_SHIFT | 1))
        return NULL;
    slot *found = slot_of(bits);
    if (found == NULL)
        return NULL;
    *word = atomic_load_explicit(&found->word, memory_order_acquire);
    if ((*word & (IDENTITY | DYING)) != (bits & IDENTITY) || (*word & PINS) >= PINS_MAX)
        return NULL;
    /* Not of another use of the slot: the word would have changed, and then the caller's exchange fails. */
    if (atomic_load_explicit(&found->epoch, memory_order_relaxed) != atomic_load_explicit(&table.epoch, memory_order_relaxed))
        return NULL;
    return found;
}

/* ---------------------------------------------------------------------------------------- what others call --------- */

eum_status eum_handle_reserve(eum_handle_type type, void **out_handle)
{
    uint32_t index = 0;
    pthread_mutex_lock(&table.lock);
    eum_status status = make_ready()
                            ? take_free(&index)
                            : eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory to register fork handlers; free some and try again");
    if (status == EUM_OK) {
        slot *taken = slot_at(index);
        atomic_store_explicit(&taken->epoch, atomic_load_explicit(&table.epoch, memory_order_relaxed), memory_order_relaxed);
        uint64_t generation = generation_of(atomic_load_explicit(&taken->word, memory_order_relaxed));
        uint64_t bits = identity_of(generation, (uint64_t)type) | (uint64_t)index << INDEX_SHIFT | 1;
        *out_handle = (void *)(uintptr_t)bits;
    }
    pthread_mutex_unlock(&table.lock);
    return status;
}

void eum_handle_publish(void *handle, void *object, void (*finalize)(void *object))
{
    uint64_t bits = (uintptr_t)handle;
    slot *taken = slot_of(bits);
    taken->object = object;
    taken->finalize = finalize;
    atomic_fetch_add_explicit(&table.live[(bits & TYPE_MASK) >> TYPE_SHIFT], 1, memory_order_relaxed);
    atomic_store_explicit(&taken->word, bits & IDENTITY, memory_order_release);
}

void eum_handle_cancel(void *handle)
{
    uint64_t bits = (uintptr_t)handle;
    pthread_mutex_lock(&table.lock);
    put_free(slot_of(bits), index_of(bits));
    pthread_mutex_unlock(&table.lock);
}

eum_status eum_handle_create(eum_handle_type type, void *object, void (*finalize)(void *object), void **out_handle)
{
    void *handle = NULL;
    eum_status status = eum_handle_reserve(type, &handle);
    if (status != EUM_OK)
        return status;
    eum_handle_publish(handle, object, finalize);
    *out_handle = handle;
    return EUM_OK;
}

eum_status eum_handle_pin(const void *handle, eum_handle_type type, void **out_object)
{
    uint64_t bits = (uintptr_t)handle, word = 0;
    slot *found = NULL;
    do {
        found = find(bits, type, &word);
        if (found == NULL)
            return wrong(bits, type);
    } while (!atomic_compare_exchange_weak_explicit(&found->word, &word, word + 1, memory_order_acquire, memory_order_relaxed));
    *out_object = found->object;
    return EUM_OK;
}

void eum_handle_unpin(const void *handle)
{
    uint64_t bits = (uintptr_t)handle;
    slot *pinned = slot_of(bits);
    uint64_t before = atomic_fetch_sub_explicit(&pinned->word, 1, memory_order_acq_rel);
    if ((before & DYING) == 0)
        return;
    if ((before & WAITED) == 0) {
        if ((before & PINS) == 1)
            finish(pinned, index_of(bits));
    } else if ((before & PINS) == 2) {
        pthread_mutex_lock(&table.lock);
        pthread_cond_broadcast(&table.unpinned);
        pthread_mutex_unlock(&table.lock);
    }
}

eum_status eum_handle_retire(const void *handle, eum_handle_type type, bool wait_for_pins)
{
    uint64_t bits = (uintptr_t)handle, word = 0, change = wait_for_pins ? (DYING | WAITED) + 1 : DYING;
    slot *found = NULL;
    do {
        found = find(bits, type, &word);
        if (found == NULL)
            return wrong(bits, type);
    } while (
        !atomic_compare_exchange_weak_explicit(&found->word, &word, word + change, memory_order_acq_rel, memory_order_relaxed));
    atomic_fetch_sub_explicit(&table.live[type], 1, memory_order_relaxed);

    if (wait_for_pins) {
        pthread_mutex_lock(&table.lock);
        while ((atomic_load_explicit(&found->word, memory_order_acquire) & PINS) != 1)
            pthread_cond_wait(&table.unpinned, &table.lock);
        pthread_mutex_unlock(&table.lock);
        finish(found, index_of(bits));
    } else if ((word & PINS) == 0) {
        finish(found, index_of(bits));
    }
    return EUM_OK;
}

size_t eum_handle_live(eum_handle_type type)
{
    return atomic_load_explicit(&table.live[type], memory_order_relaxed);
}

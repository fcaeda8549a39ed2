/* internal: what the files of the simulated GPU share.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Two locks, taken in this order, neither held while simulated memory is touched through a view or a callback runs.
 *   sim->lock     streams, queues, clocks, the checker's records
 *   the page lock one for the process (eum_sim_lock_pages): the registry of views, page states, counters, violations, virtual time. The
 *                 fault handler takes it, and nothing else. */
#ifndef EUM_SIM_INTERNAL_H
#define EUM_SIM_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "device/sim/sim.h"

typedef struct eum_sim eum_sim;
typedef struct eum_sim_stream eum_sim_stream;
typedef struct eum_sim_block eum_sim_block;

/* ---------------------------------------------------------------------------------------------- presets.c ----------- */

#define EUM_SIM_PAGE ((size_t)64 << 10) /* fault and prefetch granule; also the largest page of the kernels we run on */
#define EUM_SIM_CHUNK ((size_t)2 << 20) /* the driver's VA block */
#define EUM_SIM_CHUNK_PAGES (EUM_SIM_CHUNK / EUM_SIM_PAGE)

typedef struct eum_sim_preset {
    const char *arch;
    int32_t compute_major, compute_minor;
    int32_t toolkit;   /* newest CUDA runtime that compiles for it */
    bool concurrent;   /* concurrentManagedAccess */
    bool whole_chunks; /* a whole 2 MiB block moves as one transfer */
    bool discard;
    bool prefetch_many;
    uint64_t memory;      /* bytes */
    uint64_t link_mbps;   /* host link, MB/s of payload, each way */
    uint64_t memory_mbps; /* device memory, MB/s */
    /* Fixed costs in ns. */
    uint32_t launch, copy, prefetch;
    uint32_t page_move, chunk_move; /* a transfer of a prefetch, beside its bytes */
    uint32_t gpu_fault;             /* a fault group, beside the bytes it moves */
    uint32_t cpu_first_touch;       /* of a page */
    uint32_t cpu_fault;             /* that pulls a page back */
    uint32_t collapse;              /* a write to a duplicated page */
} eum_sim_preset;

/* NULL if there is none of that name (or name is NULL). */
const eum_sim_preset *eum_sim_preset_find(const char *arch);
extern const char eum_sim_preset_names[];

/* ---------------------------------------------------------------------------------------------- memory.c ------------ */

enum { EUM_SIM_HOST = 0, EUM_SIM_DEVICE = 1 };                                         /* sides */
enum { EUM_SIM_AT_HOST = 1 << EUM_SIM_HOST, EUM_SIM_AT_DEVICE = 1 << EUM_SIM_DEVICE }; /* sets of them */
enum { EUM_SIM_CLOSED = 0, EUM_SIM_READS = 1, EUM_SIM_WRITES = 2 };                    /* what a side may do without a fault */
enum {
    EUM_SIM_POPULATED = 1,
    EUM_SIM_DISCARDED = 2,
    EUM_SIM_READ_MOSTLY = 4,
    EUM_SIM_STUCK = 8, /* was read-mostly: mapped for reading only until it moves or is written */
};

typedef struct eum_sim_page {
    uint8_t resident;    /* set of sides */
    uint8_t accessed_by; /* set of sides */
    uint8_t preferred;   /* set of at most one side */
    uint8_t flags;
    uint8_t map[2]; /* by side */
} eum_sim_page;

/* One operation's use of a range, for the checker. */
typedef struct eum_sim_use {
    size_t begin, end;
    uint64_t tick; /* of the stream's component of the clock */
    uint32_t slot;
    uint8_t kind;  /* eum_sim_use_kind */
    uint8_t where; /* set of sides that the use happens on; for a movement, where it takes the pages */
    const char *what;
} eum_sim_use;

struct eum_sim_block {
    eum_sim *owner; /* NULL once its device is closed */
    eum_sim_block *next;
    uint64_t id;
    eum_memory kind;
    size_t bytes, span;     /* as asked, and rounded up to pages */
    unsigned char *view[2]; /* by side; NULL where that side has none */
    unsigned char *raw;     /* a third view, always open, for the simulator itself */
    void *reserved[3];
    size_t reserved_bytes;
    size_t pages, chunks;
    eum_sim_page *page;       /* MANAGED only */
    uint64_t *chunk_stamp;    /* when pages of the chunk last came to the device */
    uint32_t *chunk_resident; /* pages of it on the device */
    eum_sim_counters counters;
    eum_sim_counters window[2]; /* at the begin and the end of the newest counting window */
    bool external;              /* somebody else's memory: no views of ours */
    bool given_up;              /* left through give_up */
    bool unguarded;             /* wholly open for good */
    bool opened;                /* host view opened in spite of a running kernel, until the next launch */
    bool dead;                  /* released; unmapped when pending is 0 */
    size_t pending;             /* operations that have not run; sim->lock */
    size_t adoptions;
    eum_sim_use *use; /* sim->lock */
    size_t use_count, use_capacity;
};

/* lock.c */
void eum_sim_lock_pages(void);
void eum_sim_unlock_pages(void);

/* With the page lock held: the block whose view or own memory holds [address, address + 1), its side and the offset; or NULL. */
eum_sim_block *eum_sim_find(const eum_sim *sim, const void *address, int *out_side, size_t *out_offset);
/* The same over the views of all devices, without externals: for the fault handler. */
eum_sim_block *eum_sim_find_view(const void *address, int *out_side, size_t *out_offset);

/* In a child process, where none of the views exist. Page lock held. */
void eum_sim_forget_views(void);

eum_status eum_sim_alloc(eum_device *device, eum_memory kind, size_t bytes, eum_block *out);
void eum_sim_release(eum_device *device, eum_block *block);
bool eum_sim_is_pinned(eum_device *device, const void *address, size_t bytes);
eum_status eum_sim_adopt(eum_device *device, eum_memory kind, void *address, size_t bytes, bool reg, eum_block *out);
void eum_sim_unadopt(eum_device *device, eum_block *block);
void eum_sim_give_up(eum_device *device, eum_block *block, eum_release_fn *out_release, void **out_user);
eum_status eum_sim_memory(eum_device *device, uint64_t *out_free, uint64_t *out_total);
/* An operation that used the block has run. sim->lock held. */
void eum_sim_unpin(eum_sim *sim, eum_sim_block *block);
/* The device closes: what still lives becomes nobody's. */
void eum_sim_orphan_blocks(eum_sim *sim);

/* ---------------------------------------------------------------------------------------------- pages.c ------------- */

/* All with the page lock held. Pages [first, first + count) of a managed block. Return: what it costs, in ns. */
uint64_t eum_sim_pages_prefetch(eum_sim_block *block, size_t first, size_t count, int side);
void eum_sim_pages_discard(eum_sim_block *block, size_t first, size_t count);
void eum_sim_pages_advise(eum_sim_block *block, size_t first, size_t count, eum_advice advice, int side);
/* Bytes were written by a copy that came from or went to `side`. */
void eum_sim_pages_copied_to(eum_sim_block *block, size_t offset, size_t bytes, int side);
/* A kernel starts on a device without concurrent access. */
uint64_t eum_sim_pages_launch(eum_sim *sim);
/* Closes and reopens the host views of all managed blocks. */
void eum_sim_pages_close_host(eum_sim *sim);
void eum_sim_pages_reopen_host(eum_sim *sim);
/* Bytes of the range that kernels would read over the link. */
size_t eum_sim_pages_remote(const eum_sim_block *block, size_t offset, size_t bytes);
/* A touch. Returns false if it is a genuine violation of protection. */
bool eum_sim_pages_fault(eum_sim_block *block, int side, size_t offset, bool write);
/* Room for a block of device memory: evicts managed pages. Returns false if there is none. */
bool eum_sim_pages_make_room(eum_sim *sim, uint64_t bytes);
/* Everything resident on the device counts no more; the host view is wholly open. */
void eum_sim_pages_abandon(eum_sim_block *block);
/* Protections of all pages to the views, after mapping. */
void eum_sim_pages_protect(eum_sim_block *block, int side, size_t first, size_t count);
/* Releases the device memory that the block's pages hold. */
void eum_sim_pages_forget(eum_sim_block *block);

/* ---------------------------------------------------------------------------------------------- fault.c ------------- */

/* Counted: the handler is installed by the first and taken away by the last. */
eum_status eum_sim_handler_acquire(void);
void eum_sim_handler_release(void);
/* What faults of the kernel on this thread have cost so far. */
extern _Thread_local uint64_t eum_sim_fault_ns;
/* The touches of this thread are a kernel's. */
extern _Thread_local int eum_sim_in_kernel;

/* ---------------------------------------------------------------------------------------------- checker.c ----------- */

typedef enum eum_sim_use_kind {
    EUM_SIM_USE_READ,
    EUM_SIM_USE_WRITE,
    EUM_SIM_USE_DUPLICATE, /* a movement that leaves the other copies */
    EUM_SIM_USE_MOVE,      /* a movement that takes the pages away */
    EUM_SIM_USE_DISCARD
} eum_sim_use_kind;

/* Component 0 is the host's; each stream has one while it lives. Components only rise, so they can be reused. */
typedef struct eum_sim_clock {
    uint64_t *tick;
    size_t count;
} eum_sim_clock;

bool eum_sim_clock_reserve(eum_sim_clock *clock, size_t count);
void eum_sim_clock_join(eum_sim_clock *into, const eum_sim_clock *from);
void eum_sim_clock_free(eum_sim_clock *clock);

/* All with sim->lock held. */
/* A stream operation begins: raises the stream's clock over the host's and gives it a tick. */
void eum_sim_check_begin(eum_sim_stream *stream);
/* It uses this range. */
void eum_sim_check_use(eum_sim_stream *stream, eum_sim_block *block, size_t offset, size_t bytes, eum_sim_use_kind kind, int where,
                       const char *what);
/* The host releases the block. Returns false (and records a violation) if something may still use it. */
bool eum_sim_check_release(eum_sim *sim, eum_sim_block *block);
/* Adds a violation. Page lock held instead. */
void eum_sim_violation(eum_sim *sim, const char *format, ...) EUM_PRINTF(2, 3);
/* Tells the log of violations that it has not heard of: the fault handler, which finds some of them, cannot. Page lock not held. */
void eum_sim_log_violations(eum_sim *sim);

/* ---------------------------------------------------------------------------------------------- clock.c ------------- */

/* Time that bytes take at so many MB/s. */
uint64_t eum_sim_cost_bytes(uint64_t bytes, uint64_t mbps);
uint64_t eum_sim_cost_copy(const eum_sim *sim, size_t bytes, eum_direction direction);

/* ---------------------------------------------------------------------------------------------- inject.c ------------ */

/* Counts a call; true: it must fail. */
bool eum_sim_inject(eum_sim *sim, eum_sim_operation operation);
/* For a launch: is it the one that takes the device? */
bool eum_sim_inject_loss(eum_sim *sim);
/* EUM_ERROR_DEVICE_LOST after that. */
eum_status eum_sim_alive(const eum_sim *sim);
/* Parses "KIND:N" or "KIND:all" up to `end`. */
bool eum_sim_inject_parse(eum_sim *sim, const char *text, const char *end);

/* --------------------------------------------------------------------------- stream.c, submit.c, run.c, schedule.c --- */

typedef enum eum_sim_op_kind {
    EUM_SIM_OP_COPY,
    EUM_SIM_OP_PREFETCH,
    EUM_SIM_OP_PREFETCH_MANY,
    EUM_SIM_OP_DISCARD,
    EUM_SIM_OP_KERNEL,
    EUM_SIM_OP_CALL,
    EUM_SIM_OP_MARK,
    EUM_SIM_OP_ORDER
} eum_sim_op_kind;

/* Pages of a managed block that are to be on a side. */
typedef struct eum_sim_range {
    size_t first, count;
    int side;
} eum_sim_range;

typedef struct eum_sim_op {
    struct eum_sim_op *next;
    eum_sim_op_kind kind;
    uint64_t submitted;      /* host time */
    eum_sim_block *block[2]; /* pinned; copies: destination, source */
    size_t offset[2], bytes;
    int side; /* prefetch: to */
    void *dst;
    const void *src;
    eum_direction direction;
    eum_task *task;
    bool fatal;                /* the device is lost when it runs */
    eum_sim_block **arguments; /* pinned; of the task */
    size_t *argument_offsets;
    size_t argument_count;
    eum_sim_range *ranges; /* of many prefetches, one for each argument, whose offsets are not used */
    void (*fn)(void *user);
    void *user;
    eum_sim_clock clock;   /* host calls: what has happened when it runs */
    uint64_t sequence;     /* mark, order */
    eum_sim_stream *other; /* order; referenced */
    uint64_t other_time;
} eum_sim_op;

/* A point on a stream that the host does not know to have passed. */
typedef struct eum_sim_mark {
    uint64_t sequence;
    uint64_t time; /* virtual, once it has passed */
    eum_sim_clock clock;
} eum_sim_mark;

struct eum_sim_stream {
    eum_dstream base;
    eum_sim_stream *next; /* in sim->streams */
    uint32_t slot, id;
    unsigned references; /* the owner's, the thread's, those of order operations; sim->lock */
    bool has_thread, stop, retired;
    pthread_t thread;
    pthread_cond_t work;
    eum_sim_op *head, *tail; /* the head stays there while it runs */
    bool running;
    uint64_t sequence, passed; /* last marked, last passed */
    uint64_t time;             /* virtual */
    uint64_t kernel_tick;      /* of the last kernel */
    eum_sim_clock clock;
    eum_sim_mark *mark; /* sequences rising */
    size_t mark_first, mark_count, mark_capacity;
};

struct eum_sim {
    eum_device base;
    const eum_sim_preset *preset;
    const eum_log *log;
    uint64_t memory;
    bool step, check;
    eum_status counting; /* what a counting window ends in: EUM_OK, or what the option says */
    uint64_t random;

    pthread_mutex_t lock;
    pthread_cond_t progress; /* an operation has run */
    unsigned references;     /* open, and one for each stream */
    eum_sim_stream *streams; /* neither destroyed nor gone */
    uint32_t next_stream_id;
    eum_sim_clock host;
    uint64_t *slot_tick; /* last tick of free components */
    bool *slot_used;
    size_t slots;
    bool stepping;
    pthread_t stepper;

    /* Page lock. */
    eum_sim_block *blocks;
    uint64_t next_block_id;
    uint64_t device_bytes;   /* held by blocks */
    uint64_t resident_bytes; /* held by managed pages */
    uint64_t stamp;
    uint64_t time; /* the host's, virtual */
    unsigned kernels_running;
    bool host_closed;
    eum_sim_counters counters;
    eum_sim_counters window[2];
    uint64_t violations, violations_logged;
    char violation[512]; /* the first */

    atomic_bool lost;
    atomic_uint_fast64_t calls[EUM_SIM_OPERATIONS];
    atomic_uint_fast64_t fail_at[EUM_SIM_OPERATIONS]; /* 0: never; the call of that number; EUM_SIM_FAIL_ALL */
};

extern const struct eum_device_ops eum_sim_ops;

static inline eum_sim *eum_sim_of(const eum_sim_stream *stream)
{
    return (eum_sim *)stream->base.device;
}

/* NULL if the device is not simulated. */
eum_sim *eum_sim_from(eum_device *device);

eum_status eum_sim_stream_create(eum_device *device, eum_dstream **out);
eum_status eum_sim_stream_wrap(eum_device *device, void *native, eum_dstream **out);
void eum_sim_stream_destroy(eum_dstream *stream);
eum_status eum_sim_mark_stream(eum_dstream *stream, uint64_t *out_sequence);
eum_status eum_sim_order(eum_dstream *stream, eum_dstream *other, uint64_t sequence);
eum_status eum_sim_copy(eum_dstream *stream, void *dst, const void *src, size_t bytes, eum_direction direction);
eum_status eum_sim_prefetch(eum_dstream *stream, const eum_block *block, size_t offset, size_t bytes, eum_location where);
eum_status eum_sim_prefetch_many(eum_dstream *stream, const eum_piece *pieces, size_t count);
eum_status eum_sim_discard(eum_dstream *stream, const eum_block *block, size_t offset, size_t bytes);
eum_status eum_sim_advise(eum_device *device, const eum_block *block, size_t offset, size_t bytes, eum_advice advice,
                          eum_location where);
eum_status eum_sim_submit(eum_dstream *stream, eum_task *task);
eum_status eum_sim_host_call(eum_dstream *stream, void (*fn)(void *user), void *user);

/* count.c */
bool eum_sim_counting_parse(eum_sim *sim, const char *value, size_t length);
eum_status eum_sim_count_begin(eum_device *device);
eum_status eum_sim_count_end(eum_device *device);
void eum_sim_count_read(eum_device *device, const eum_block *block, eum_faults *out);
void eum_sim_note_host_access(eum_device *device, const eum_block *block, size_t offset, size_t bytes, bool write);

/* schedule.c */
bool eum_sim_passed(eum_dstream *stream, uint64_t sequence);
eum_status eum_sim_wait(eum_dstream *stream, uint64_t sequence, int64_t timeout_ns);
eum_status eum_sim_synchronize(eum_device *device);
/* sim->lock held. Puts the operation at the end of the stream's queue and sees to it that somebody runs it. Errors: EUM_ERROR_SYSTEM. */
eum_status eum_sim_enqueue(eum_sim_stream *stream, eum_sim_op *op);
/* run.c: runs an operation, with no lock held. Returns its cost in ns. */
uint64_t eum_sim_op_run(eum_sim *sim, eum_sim_op *op);
/* submit.c, sim->lock held: what ends with it. The operation is freed. */
void eum_sim_op_end(eum_sim_stream *stream, eum_sim_op *op);
/* stream.c, sim->lock held. */
eum_sim_mark *eum_sim_mark_find(eum_sim_stream *stream, uint64_t sequence);
/* stream.c, sim->lock held. Room for one more mark, at the array's end. */
bool eum_sim_mark_reserve(eum_sim_stream *stream);
/* stream.c, sim->lock held. The host learned something: forgets marks that tell nothing new, and opens the host views again if no kernel can be
 * running. */
void eum_sim_host_learned(eum_sim *sim);
/* stream.c, sim->lock held: the host knows that the stream has passed `sequence`. */
void eum_sim_host_joins(eum_sim_stream *stream, uint64_t sequence);
void eum_sim_host_joins_all(eum_sim *sim);
/* stream.c, sim->lock held; may free the stream. */
void eum_sim_stream_unref(eum_sim_stream *stream);
/* sim.c: drops a reference; the last one frees the device. sim->lock held, released on return. */
void eum_sim_unref_and_unlock(eum_sim *sim);

#endif

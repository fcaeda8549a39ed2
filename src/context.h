/* context: what everything hangs off, and the lock that guards it.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Locking. One lock a context guards its buffers, streams, plans and statistics; nothing waits for a device while holding it. Work that
 * waits takes references, unlocks, waits, locks again and looks again. Executors of the device layer take the lock in the finish callbacks of
 * tasks, so the device layer never calls back with a lock of its own held. */
#ifndef EUM_SRC_CONTEXT_H
#define EUM_SRC_CONTEXT_H

#include <pthread.h>

#include "batch.h"
#include "budget.h"
#include "device/device.h"
#include "engine.h"
#include "faults.h"
#include "hazard.h"
#include "kernels/kernels.h"
#include "learned.h"
#include "operations.h"
#include "placement.h"
#include "pool.h"

/* How many failed jobs are remembered until somebody asks. */
#define EUM_FAILURES_KEPT 1024u

typedef struct eum_failure {
    eum_point point;
    eum_status status;
    int32_t code;
    bool reported;
} eum_failure;

struct eum_ctx {
    pthread_mutex_t lock;
    bool unmarked;       /* the device refused a point once: streams may have work behind their newest one */
    bool submitting;     /* a GPU callback of the user's runs under the lock, on this thread */
    uint32_t references; /* the handle, living buffers, living streams of the user's */
    eum_log log;
    eum_workers *workers;
    eum_device *device;
    eum_reason reason;
    char device_sentence[256];
    eum_backing forced_backing;
    eum_backing_reason backing_reason;
    eum_backing backing;
    uint64_t pinned,
        pinned_most; /* bytes that the library has pinned for buffers, the pool's too, and how many it does by its own choice */
    eum_budget *budget;
    eum_pool pool;
    uint32_t flags;
    eum_cpu_isa isa;

    eum_strm **streams; /* all that may still have work, the ended ones too */
    size_t stream_count, stream_capacity;
    uint64_t next_serial;
    eum_strm *default_stream, *transfer;

    eum_buf *mirrored;     /* buffers that have a device copy, newest use first */
    eum_buf *graveyard;    /* ended buffers whose jobs have not passed */
    eum_failure *failures; /* a ring */
    size_t failure_count, failure_next;
    eum_stats stats;
    eum_windows windows;
    eum_costs costs;     /* what is decided by; under the lock, except while the context is made */
    eum_learned learned; /* how they came to be so; under the lock */
    eum_costs_source costs_source;
    uint64_t calibration_ns;
    eum_batch_setting batch;
    bool graphs; /* the device may make graphs of what is launched again and again */
    eum_operations operations;
    struct eum_again *again;   /* launches that may be made again; see again.h */
    const void *pinned_source; /* pinned memory of the caller's that bytes were copied from, the last time; NULL: none is known */
    size_t pinned_source_bytes;
};

/* Locks, to do something to the context. Errors: EUM_ERROR_IN_CALLBACK when called from a GPU callback, which runs in the middle of a launch. */
eum_status eum_ctx_lock(eum_ctx *ctx, const char *function);
/* The same, by who only uses bytes of buffers: what is known of the last launches has to be looked at once more. */
eum_status eum_ctx_lock_to_use(eum_ctx *ctx, const char *function);
/* The same, by who will only wait, or look: what is known of the last launches (see again.h) stays true. */
eum_status eum_ctx_lock_to_look(eum_ctx *ctx, const char *function);
/* The same, by who then lets eum_again_record be called, or waits for what it would record. */
eum_status eum_ctx_lock_to_wait(eum_ctx *ctx, const char *function);
/* Locks once more, by who has been let in before; or, where nothing can fail, for the first time. */
void eum_ctx_relock(eum_ctx *ctx);
void eum_ctx_relock_to_use(eum_ctx *ctx);
void eum_ctx_unlock(eum_ctx *ctx);
/* For operations that call the device: EUM_ERROR_IN_CALLBACK inside a callback on CUDA, which may not be called there. */
eum_status eum_ctx_check_device(const eum_ctx *ctx, const char *function);

/* References; the last one ends the context: waits for its work, frees everything. drop: the lock is not held. */
void eum_ctx_hold(eum_ctx *ctx); /* lock held */
void eum_ctx_drop(eum_ctx *ctx);

/* The backing of an owned buffer of so many bytes. Lock held, except while the context is made. */
eum_backing_question eum_ctx_backing_question(const eum_ctx *ctx, eum_backing asked, uint64_t bytes);
/* "managed", as EUM_BACKING takes it. Not of EUM_BACKING_DEVICE, which nobody can ask for. */
const char *eum_backing_name(eum_backing backing);
eum_backing_answer eum_ctx_choose_backing(const eum_ctx *ctx, eum_backing asked, uint64_t bytes);

/* The costs of a new context: the device's defaults, or those of the file that EUM_COSTS names. While the context is
 * made. */
eum_status eum_ctx_load_costs(eum_ctx *ctx);

/* As eum_costs_info. Lock held. */
void eum_ctx_tell_costs(const eum_ctx *ctx, eum_costs_info *out);

/* Bytes of the budget that are free, or that the pool would give back. Lock held. */
uint64_t eum_ctx_room(const eum_ctx *ctx);
/* The clock by which the device's work is timed, in ns: a simulated device has its own. */
uint64_t eum_ctx_clock(const eum_ctx *ctx);

/* Gives pooled memory back to the device until at most `keep` bytes are left. Lock held, not inside a callback on CUDA. true: some was. */
bool eum_ctx_trim_pool(eum_ctx *ctx, uint64_t keep);

/* Frees the ended buffers and streams whose work has passed. Lock held; cheap when there are none. */
void eum_ctx_reap(eum_ctx *ctx);

#endif

/* device: the only door to a device. One table of operations; the CUDA runtime, the host and the simulated GPU stand behind it.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Preconditions are stated once, above each operation; callers keep them, implementations rely on them. Every operation may be
 * called from any thread unless its comment says otherwise; two calls on one stream are ordered as they were made (the caller
 * serialises calls on the same stream). Operations return EUM_OK or a status and then have set this thread's error detail
 * (eum_fail, eum_fail_cuda). None waits unless its comment says so. An operation that fails has changed nothing. None leaves
 * CUDA's last error or the caller's current CUDA device changed. */
#ifndef EUM_DEVICE_H
#define EUM_DEVICE_H

#include <stdbool.h>

#include "device/costs.h"
#include "log.h"
#include "status.h"
#include "workers.h"

typedef struct eum_device eum_device;   /* an opened device; implementations embed it as their first member */
typedef struct eum_dstream eum_dstream; /* a stream on it; likewise */

/* A range of memory from this device's allocators, or adopted. host: where the CPU reaches it; device: where kernels do. Equal on
 * real managed memory and on the host device, different on the simulated one. NULL where that side cannot reach it. */
typedef struct eum_block {
    void *host;
    void *device;
    size_t bytes;
    eum_memory kind;
    bool adopted;    /* somebody else's memory: unadopt it, do not free it */
    uintptr_t token; /* the implementation's own */
} eum_block;

/* What a device can do; constant while it is open. */
typedef struct eum_device_caps {
    eum_device_kind kind;
    int32_t index; /* CUDA's device number; 0 for the others */
    char name[128];
    int32_t compute_major, compute_minor;
    int32_t driver_version, runtime_version;
    bool managed;            /* EUM_MEMORY_MANAGED can be allocated */
    bool concurrent_managed; /* CPU and kernels may touch managed memory at once; prefetch and advise work */
    bool pageable;           /* kernels reach plain host memory at its host address */
    bool discard;            /* the discard operation exists, and keeps its place among what a stream was given */
    bool prefetch_many;      /* that operation exists, and is one call */
    bool
        overwrite_moves; /* there is none to rely on, and bytes that a kernel overwrites are best moved to it, worthless as they are */
    size_t page;         /* granule of managed migration by prefetch, a power of two */
    eum_costs costs;     /* defaults for the architecture; zeros on the host */
    size_t block;        /* the driver's largest unit of migration (2 MiB), a power of two, >= page */
} eum_device_caps;

/* A range of a managed block, and where its pages are to be. */
typedef struct eum_piece {
    const eum_block *block;
    size_t offset, bytes;
    eum_location where;
} eum_piece;

typedef enum eum_direction { EUM_HOST_TO_DEVICE, EUM_DEVICE_TO_HOST, EUM_DEVICE_TO_DEVICE, EUM_HOST_TO_HOST } eum_direction;

#define EUM_NODE_PARAMETER_BYTES 64
/* The one kernel that a task launches on CUDA, and nothing else, as cudaLaunchKernel takes it. */
typedef struct eum_node {
    const void *kernel;
    unsigned blocks, threads;
    size_t shared_bytes;
    _Alignas(16) unsigned char parameter[EUM_NODE_PARAMETER_BYTES]; /* its only one */
} eum_node;
/* Says what the task's GPU callback would launch, with the device current. false: not that, or it is not known. */
typedef bool (*eum_node_fn)(const eum_kernel_call *call, eum_node *out);

/* One kernel to run. Filled by the caller, who keeps it alive until finish is called. */
typedef struct eum_task eum_task;
struct eum_task {
    eum_kernel_fn gpu;          /* for CUDA; may be NULL on the others */
    eum_kernel_fn cpu;          /* for host and simulated devices; may be NULL on CUDA */
    eum_kernel_call call;       /* addresses on this device's side; the device fills in stream and device */
    const eum_access *accesses; /* one for each argument (for the simulated device's checker) */
    bool unmarked;              /* who submits it will not ask for its own mark: one later serves it too */
    bool own;                   /* CUDA: the callback is the library's own, and needs nothing around it */
    /* CUDA, with `own`: what the call was given, byte for byte, and what kind of call it was. Tasks that have the same of both, the same callback
     * and the same addresses enqueue the same kernels, whatever else they have, and may then be submitted as something that was made ready
     * before, by what `node` says. NULL: nothing is known. */
    const void *given;
    size_t given_bytes;
    int32_t given_kind;
    eum_node_fn node; /* with `given` */
    bool as_graph;    /* told to finish, and by submit: that is how it was submitted */
    void *repeat;     /* the device's own: where it has found it the last time, NULL at first; the task is for that stream then */
    uint64_t repeat_id;
    bool anywhere; /* the host may run it on a thread that waits for it; finish is then called there, without its locks */
    /* Called exactly once for each submit that returned EUM_OK, when the device needs the task no more: on CUDA before submit returns,
     * on the others after the kernel ran, on a thread of the device, before `passed` turns true for the task. code: what the CPU
     * callback returned. No lock of the device is held. */
    void (*finish)(eum_task *task, eum_status status, int32_t code);
};

struct eum_device_ops {
    const char *name; /* "host", "cuda", "sim" */

    /* Closes the device. All blocks freed, all streams destroyed and passed. May wait for its threads. */
    void (*close)(eum_device *device);

    /* Free and total bytes of the device's memory (of the machine's, on the host). */
    eum_status (*memory)(eum_device *device, uint64_t *out_free, uint64_t *out_total);

    /* bytes > 0. kind: HOST on the host device; PINNED, MANAGED (caps.managed) or DEVICE on the others. Aligned to 256 bytes at
     * least, to 2 MiB from 2 MiB up. Contents are unspecified. Errors: EUM_ERROR_OUT_OF_MEMORY, EUM_ERROR_OUT_OF_DEVICE_MEMORY,
     * EUM_ERROR_NOT_SUPPORTED. */
    eum_status (*alloc)(eum_device *device, eum_memory kind, size_t bytes, eum_block *out);
    /* A block of alloc, not used by anything submitted any more. Never fails: what cannot be freed is logged. */
    void (*release)(eum_device *device, eum_block *block);

    /* Makes a block of somebody else's memory. bytes > 0, address not NULL. reg: pin the pages (host memory only).
     * block.device is NULL where kernels cannot reach it. Errors: EUM_ERROR_NOT_SUPPORTED, EUM_ERROR_OUT_OF_MEMORY. */
    eum_status (*adopt)(eum_device *device, eum_memory kind, void *address, size_t bytes, bool reg, eum_block *out);
    void (*unadopt)(eum_device *device, eum_block *block);

    /* Is all of this memory of the caller's pinned, and by one registration or allocation, so that one copy from or to it neither waits
     * nor goes through other memory? NULL: no memory is, as far as the device knows. */
    bool (*is_pinned)(eum_device *device, const void *address, size_t bytes);

    /* How to free a block of alloc after it left us (eum_buffer_into_raw): works on any thread, also after close (the implementation keeps
     * what it needs alive). The block is the caller's afterwards. */
    void (*give_up)(eum_device *device, eum_block *block, eum_release_fn *out_release, void **out_user);

    eum_status (*stream_create)(eum_device *device, eum_dstream **out);
    /* native: a cudaStream_t. Errors: EUM_ERROR_NOT_SUPPORTED, EUM_ERROR_CAPTURING. */
    eum_status (*stream_wrap)(eum_device *device, void *native, eum_dstream **out);
    /* Everything submitted has passed. */
    void (*stream_destroy)(eum_dstream *stream);

    /* Points. mark gives the sequence number that has passed when everything submitted to the stream so far is done; numbers rise
     * from mark to mark, from 1; by one where there is `drain`. Errors: a fatal device error. */
    eum_status (*mark)(eum_dstream *stream, uint64_t *out_sequence);
    /* Has it passed? Never waits, and runs nothing: who asks may hold a lock that the end of a kernel needs. A device that is lost has passed
     * everything. */
    bool (*passed)(eum_dstream *stream, uint64_t sequence);
    /* WAITS until it has passed. timeout_ns < 0: for ever. Errors: EUM_ERROR_TIMEOUT, EUM_ERROR_DEVICE_LOST, EUM_ERROR_CUDA. */
    eum_status (*wait)(eum_dstream *stream, uint64_t sequence, int64_t timeout_ns);
    /* CUDA only, where no job fails by itself; NULL on the others, where a mark costs nothing. WAITS until everything submitted to the stream has passed, or the next
     * mark, `sequence`, if it is made meanwhile: others may go on submitting. timeout_ns and errors as above. And, once nothing is in
     * flight on it, the mark that the stream would have been given in front of that wait. */
    eum_status (*drain)(eum_dstream *stream, uint64_t sequence, int64_t timeout_ns);
    void (*mark_passed)(eum_dstream *stream, uint64_t *out_sequence);
    /* What is submitted to `stream` from now on runs after `other` (of the same device, not `stream`) has passed `sequence`. */
    eum_status (*order)(eum_dstream *stream, eum_dstream *other, uint64_t sequence);

    /* Copies in stream order. bytes > 0; src and dst are addresses on the sides that `direction` says, inside live blocks (host sides may
     * also be any host memory the caller keeps valid and unchanged until the copy has passed: it may then WAIT). */
    eum_status (*copy)(eum_dstream *stream, void *dst, const void *src, size_t bytes, eum_direction direction);
    /* A managed block, [offset, offset + bytes) inside it, bytes > 0; rounded outwards to pages by the device. Makes the pages resident at
     * `where` (read-mostly pages: also there), populated if they never were. Only with caps.concurrent_managed. */
    eum_status (*prefetch)(eum_dstream *stream, const eum_block *block, size_t offset, size_t bytes, eum_location where);
    /* The same for many ranges (count > 0), no two of which have a page in common: what one prefetch of each does, as one operation of the
     * stream. Only with caps.prefetch_many. May WAIT until the pages have moved: costs.batch_waits says whether it does. Errors:
     * EUM_ERROR_NOT_SUPPORTED where this stream cannot, EUM_ERROR_OUT_OF_MEMORY, device errors. */
    eum_status (*prefetch_many)(eum_dstream *stream, const eum_piece *pieces, size_t count);
    /* As for one prefetch, offset and bytes multiples of caps.page, caps.discard. Nothing is in flight on these pages. The bytes become
     * worthless: a later prefetch populates the pages at its destination without moving them. */
    eum_status (*discard)(eum_dstream *stream, const eum_block *block, size_t offset, size_t bytes);
    /* Advice on whole pages of a managed block; takes effect at once, not in stream order. Errors: EUM_ERROR_NOT_SUPPORTED and any CUDA
     * error: the caller treats them as "not applied". */
    eum_status (*advise)(eum_device *device, const eum_block *block, size_t offset, size_t bytes, eum_advice advice,
                         eum_location where);

    /* Runs a kernel in stream order. On CUDA calls task->gpu on this thread; its failure is EUM_ERROR_LAUNCH_FAILED and finish is not
     * called. On the others runs task->cpu later. */
    eum_status (*submit)(eum_dstream *stream, eum_task *task);
    /* Calls fn(user) in stream order on a thread of the device. fn must not wait. */
    eum_status (*host_call)(eum_dstream *stream, void (*fn)(void *user), void *user);

    /* WAITS until everything submitted to every stream of the device has passed. */
    eum_status (*synchronize)(eum_device *device);

    /* CUDA only, NULL on the others. The cudaStream_t of a stream. */
    void *(*native)(eum_dstream *stream);
    /* A cudaEvent_t that is done when the stream has passed `sequence` (0: already), the caller's to destroy. */
    eum_status (*export_event)(eum_dstream *stream, uint64_t sequence, void **out);

    /* Counting of faults and of the movement of managed pages; NULL where nothing can fault. Everything submitted has passed before begin and
     * before end. Errors: EUM_ERROR_COUNTING_UNAVAILABLE, _REFUSED, _DROPPED. Not called twice without the other in between. */
    eum_status (*count_begin)(eum_device *device);
    eum_status (*count_end)(eum_device *device);
    /* Of the window that ended last: of everything (block NULL), or of the bytes of one block. Only fields of the pages and the source are
     * written. */
    void (*count_read)(eum_device *device, const eum_block *block, eum_faults *out);

    /* Tells a device that checks orderings that the host reads or writes bytes of a block from now on, as it may after waiting. NULL where
     * nobody checks. */
    void (*host_access)(eum_device *device, const eum_block *block, size_t offset, size_t bytes, bool write);

    /* The clock that goes on while the host waits for the device, in ns. NULL: the machine's. */
    uint64_t (*clock_ns)(eum_device *device);
};

struct eum_device {
    const struct eum_device_ops *ops;
    eum_device_caps caps;
};
struct eum_dstream {
    eum_device *device;
};

/* How a device is opened. Pointers are borrowed and outlive the device. */
typedef struct eum_device_config {
    const char *options; /* what follows the first comma of the device string ("memory=64M,seed=7"); NULL: none */
    int32_t index;       /* CUDA device number, -1: the first that works */
    const char *arch;    /* sim: "pascal" … */
    const eum_log *log;
    eum_workers *workers; /* for CPU kernels of the host device; may be NULL for the others */
} eum_device_config;

eum_status eum_host_open(const eum_device_config *config, eum_device **out);
eum_status eum_sim_open(const eum_device_config *config, eum_device **out);
/* On failure *out_reason says which of EUM_REASON_BUILT_WITHOUT, NO_DRIVER, DRIVER_TOO_OLD, NO_DEVICE, DEVICES_HIDDEN, DRIVER_FAILED it
 * was (status EUM_ERROR_DRIVER or EUM_ERROR_DEVICE_UNAVAILABLE). In builds without CUDA it always fails, with BUILT_WITHOUT. */
eum_status eum_cudart_open(const eum_device_config *config, eum_device **out, eum_reason *out_reason);

/* Opens what `request` names ("auto", "host", "cuda", "cuda:N", "sim:ARCH[,options]"; NULL: EUM_DEVICE, or "auto"). "auto": CUDA if it
 * opens, the host otherwise. Writes the reason and the sentence of eum_info. Errors: EUM_ERROR_INVALID_ARGUMENT (no such name),
 * EUM_ERROR_DEVICE_UNAVAILABLE, EUM_ERROR_DRIVER. */
eum_status eum_device_open(const char *request, const eum_log *log, eum_workers *workers, eum_device **out, eum_reason *out_reason,
                           char *sentence, size_t sentence_bytes);

#endif

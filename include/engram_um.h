/* engram_um: CUDA Unified Memory without page faults, behind a C ABI.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Read from top to bottom: conventions, status and errors, contexts, buffers, maps and bulk transfers, streams and jobs,
 * launches, similarity, observability. No knowledge of CUDA is needed; where a CUDA term helps, it is named.
 *
 * Conventions, true for every function unless its comment says otherwise
 *   Returns    EUM_OK (0), or another eum_status. On failure nothing is written to any output, nothing is changed, and
 *              eum_last_error() on the same thread has a sentence that says what to do.
 *   Handles    eum_context, eum_buffer and eum_stream pointers are opaque numbers, never dereferenced. NULL, stale,
 *              double-destroyed, wrong-type and garbage handles give EUM_ERROR_INVALID_HANDLE, never a crash.
 *   Structs    start with `struct_size`, which the caller sets to sizeof(the struct) (or uses the _INIT macro or the
 *              eum_*_init function; both give the same bytes). NULL in place of a configuration means all defaults.
 *   Threads    All functions may be called from any thread at any time.
 *   Ownership  "owned": the caller must end it with the named function. "borrowed": the caller must not.
 *   Units      sizes and offsets in bytes, rows and dim in elements, times in nanoseconds.
 *   Silence    No function prints, aborts or exits. Environment variables that are set but empty count as unset.
 */
#ifndef ENGRAM_UM_H
#define ENGRAM_UM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define EUM_API __attribute__((visibility("default")))
#else
#define EUM_API
#endif

/* ------------------------------------------------------------------------------------------------ version ---------- */

#define EUM_VERSION_MAJOR 0
#define EUM_VERSION_MINOR 1
#define EUM_VERSION_PATCH 0
#define EUM_VERSION_NUMBER (EUM_VERSION_MAJOR * 10000 + EUM_VERSION_MINOR * 100 + EUM_VERSION_PATCH)
#define EUM_VERSION_STRING "0.1.0"

/* Version of the library that is running: EUM_VERSION_NUMBER of its own header (major*10000 + minor*100 + patch). */
EUM_API int32_t eum_version_number(void);
/* The same as text, "0.1.0". Returns: a static string, borrowed. */
EUM_API const char *eum_version_string(void);

/* ------------------------------------------------------------------------------------------ status and errors ------ */

/* Numbers are permanent: a retired code keeps its number and is never reused. 1xx: the call is wrong and would fail again.
 * 2xx: the machine, the memory or the moment is. */
typedef int32_t eum_status;
#define EUM_OK 0

#define EUM_ERROR_INVALID_HANDLE 100   /* NULL, stale, destroyed, wrong type, another library's, garbage */
#define EUM_ERROR_INVALID_ARGUMENT 101 /* an argument is NULL or outside its documented range */
#define EUM_ERROR_INVALID_ENUM 102     /* an enumeration value this version does not know */
#define EUM_ERROR_STRUCT_TOO_SMALL 103 /* struct_size is smaller than the first version of the struct, or 0 */
#define EUM_ERROR_STRUCT_TOO_NEW 104   /* struct_size is larger than this library knows: it is older than the header */
#define EUM_ERROR_SIZE_OVERFLOW 105    /* offset + bytes, or rows x dim x size, does not fit in size_t */
#define EUM_ERROR_OUT_OF_BOUNDS 106    /* the view ends after its buffer does */
#define EUM_ERROR_MISALIGNED 107       /* an address, offset or stride is not a multiple of the element size */
#define EUM_ERROR_BUFFER_TOO_SHORT 108 /* the view is shorter than the declared rows x dim need */
#define EUM_ERROR_READ_ONLY 109        /* a write to a buffer that was wrapped read-only */
#define EUM_ERROR_MAPPED 110           /* mapped, acquired, or in another thread's call, which conflicts: unmap, release, or let it return */
#define EUM_ERROR_NOT_MAPPED 111       /* unmap of an address that no live map of this buffer returned */
#define EUM_ERROR_OVERLAP 112          /* two views of one launch overlap and one of them is written */
#define EUM_ERROR_WRONG_CONTEXT 113    /* handles of two contexts in one call */
#define EUM_ERROR_NOT_OWNED 114        /* into_raw of a borrowed buffer: there is nothing to give up */
#define EUM_ERROR_NO_HOST_ACCESS 115   /* the CPU cannot reach this memory (wrapped device memory); use eum_buffer_read */
#define EUM_ERROR_NO_KERNEL 116        /* the launch has no callback for the device that it would run on */
#define EUM_ERROR_IN_CALLBACK 117      /* a call that would wait (on CUDA: or use the device), from inside a callback */
#define EUM_ERROR_UNDEFINED_DATA 118   /* a job that wrote this range failed; write it again before reading it */
#define EUM_ERROR_FORKED 119           /* the handle was made before fork(); make a new context in the child */
#define EUM_ERROR_CAPTURING 120        /* the CUDA stream is capturing a graph; end the capture first */
#define EUM_ERROR_INVALID_STATE 121    /* calls that go in pairs came out of order; the sentence says which */

#define EUM_ERROR_DEVICE_UNAVAILABLE 200   /* the device that was asked for is not there; the sentence says why */
#define EUM_ERROR_NOT_SUPPORTED 201        /* the device or backing cannot do this */
#define EUM_ERROR_OUT_OF_MEMORY 202        /* host memory (pinned or plain) is exhausted */
#define EUM_ERROR_OUT_OF_DEVICE_MEMORY 203 /* device memory is exhausted */
#define EUM_ERROR_OVER_BUDGET 204          /* more managed or device memory than the budget; the sentence has the numbers */
#define EUM_ERROR_TIMEOUT 205              /* not finished within the time given; nothing was cancelled */
#define EUM_ERROR_LAUNCH_FAILED 206        /* a kernel callback reported failure, or the kernel could not be started */
#define EUM_ERROR_JOB_FAILED 207           /* the job ran and failed; what it wrote is undefined */
#define EUM_ERROR_DEVICE_LOST 208          /* the device had a fatal error; destroy the context and make a new one */
#define EUM_ERROR_DRIVER 209               /* the driver is missing, too old, or refused to start */
#define EUM_ERROR_CUDA 210                 /* any other CUDA error; eum_error has its code and name */
#define EUM_ERROR_SYSTEM 211               /* an operating-system call failed (thread, file or mapping); sentence has errno */
#define EUM_ERROR_COUNTING_UNAVAILABLE 212 /* faults cannot be counted: CUPTI is not installed or does not support this device */
#define EUM_ERROR_COUNTING_REFUSED 213     /* faults may not be counted: privileges, another profiler, MPS, or virtualisation */
#define EUM_ERROR_COUNTING_DROPPED 214     /* records were lost while counting, so the count is unknown */

/* Returns: the constant's name ("EUM_ERROR_MAPPED"), or "EUM_ERROR_UNKNOWN" for a number that is none. Static, borrowed. */
EUM_API const char *eum_status_name(eum_status status);
/* Returns: one general sentence for the status. Static, borrowed. */
EUM_API const char *eum_status_text(eum_status status);
/* Turns a CUDA runtime error code (cudaError_t) into the status this library reports for it; 0 gives EUM_OK. */
EUM_API eum_status eum_status_from_cuda(int32_t cuda_code);

typedef struct eum_error {
    size_t struct_size;
    eum_status status;
    int32_t cuda_code;  /* cudaError_t, 0 where CUDA was not involved */
    char cuda_name[64]; /* "cudaErrorMemoryAllocation", empty where CUDA was not involved */
    char sentence[512]; /* what happened, with the values involved, and what to do */
} eum_error;
#define EUM_ERROR_INIT {sizeof(eum_error), 0, 0, {0}, {0}}
EUM_API void eum_error_init(eum_error *error);

/* The last failure on this thread; later successes leave it as it is. `status` is EUM_OK if nothing has failed yet.
 * This call never changes what it reports.
 * Errors: EUM_ERROR_INVALID_ARGUMENT (error is NULL), EUM_ERROR_STRUCT_TOO_SMALL, EUM_ERROR_STRUCT_TOO_NEW. */
EUM_API eum_status eum_last_error(eum_error *error);

/* ------------------------------------------------------------------------------------------------ words ------------ */

typedef struct eum_context eum_context; /* the devices found, the pool, the budget; everything hangs off one */
typedef struct eum_buffer eum_buffer;   /* a range of bytes with one stable host address */
typedef struct eum_stream eum_stream;   /* an in-order queue on one device */

/* How a buffer's bytes are held. 6 is reserved for coherent systems. */
typedef int32_t eum_backing;
#define EUM_BACKING_AUTO 0     /* the best for this device */
#define EUM_BACKING_MANAGED 1  /* CUDA managed memory: one pointer on both sides */
#define EUM_BACKING_MIRRORED 2 /* pinned host memory and a device copy, moved by explicit copies of what changed */
#define EUM_BACKING_MAPPED 3   /* pinned or registered host memory that kernels read in place over the link */
#define EUM_BACKING_HOST 4     /* host memory, kernels on the CPU */
#define EUM_BACKING_DEVICE 5   /* wrapped device memory: no host side */

/* What the buffer is used for. AUTO is always right; the others save the library from finding out. Under the built-in kernels
 * AUTO uses bytes over the link, where the host has them, until that has cost as much as moving them; then it moves them. Your
 * own kernels may read bytes more than once, or use atomics, which do not go over every link: under them AUTO moves at once, unless
 * the argument says otherwise (EUM_ARGUMENT_ONCE). */
typedef int32_t eum_role;
#define EUM_ROLE_AUTO 0
#define EUM_ROLE_QUERY 1   /* written rarely, read on every side */
#define EUM_ROLE_TARGETS 2 /* reused on the device, launch after launch; while that is not so, the next best (docs/residency.md) */
#define EUM_ROLE_RESULTS 3 /* written by the device, read by the CPU */
#define EUM_ROLE_STREAM 4  /* rewritten by the CPU for every launch */

/* How a map or a launch uses a view. */
typedef int32_t eum_access;
#define EUM_ACCESS_READ 1
#define EUM_ACCESS_READ_WRITE 2 /* bytes that are not written keep their value */
#define EUM_ACCESS_OVERWRITE 3  /* every byte of the view is written; the old bytes are worthless */

/* Where bytes are: the host, or device 0 to 62. */
typedef int32_t eum_location;
#define EUM_LOCATION_HOST (-1)

typedef int32_t eum_ownership;
#define EUM_OWNED 1    /* the library ends it, through the release function that was given */
#define EUM_BORROWED 2 /* the library never ends it */

/* What a raw pointer points to. */
typedef int32_t eum_memory;
#define EUM_MEMORY_HOST 1    /* pageable: malloc, mmap, a vector of any language */
#define EUM_MEMORY_PINNED 2  /* cudaMallocHost, cudaHostRegister */
#define EUM_MEMORY_MANAGED 3 /* cudaMallocManaged */
#define EUM_MEMORY_DEVICE 4  /* cudaMalloc */

/* ---------------------------------------------------------------------------------------------- contexts ----------- */

typedef int32_t eum_log_level;
#define EUM_LOG_OFF 0
#define EUM_LOG_ERROR 1
#define EUM_LOG_WARN 2
#define EUM_LOG_INFO 3
#define EUM_LOG_DEBUG 4
/* `message` is borrowed and ends with the call. The callback may run on any thread, several at once, and must not call
 * into the library. */
typedef void (*eum_log_fn)(void *user, eum_log_level level, const char *message);

typedef struct eum_context_config {
    size_t struct_size;
    /* "auto", "host", "cuda", "cuda:N", or "sim:maxwell|pascal|turing|ampere|hopper" with options after commas
     * ("sim:pascal,memory=64M,seed=7"; docs/testing-without-a-gpu.md). NULL: EUM_DEVICE, or "auto" where that is unset.
     * The string is read during the call only. */
    const char *device;
    eum_backing backing;     /* forces a backing for all owned buffers; AUTO: EUM_BACKING, or the best for the device */
    uint32_t worker_threads; /* threads of the CPU kernels and copies; 0: one a core that this process may use. They look for work for up to
                              * EUM_SPIN microseconds (500) before they sleep: docs/architecture.md */
    uint64_t budget_bytes;   /* managed + device memory of this process on the device; 0: 80 % of what is free at first use */
    uint32_t flags;          /* EUM_CONTEXT_* */
    eum_log_level log_level; /* most detailed level that log_fn hears */
    eum_log_fn log_fn;       /* NULL: nothing is logged, unless EUM_LOG=error|warn|info|debug|off asks for stderr */
    void *log_user;
    uint64_t pool_bytes; /* most memory that ended buffers leave for new ones; 0: 256 MiB; EUM_POOL_OFF: none */
} eum_context_config;
#define EUM_POOL_OFF UINT64_MAX
#define EUM_CONTEXT_OVERSUBSCRIBE 1u /* managed allocations may exceed the budget: the driver evicts pages, and faults come */
#define EUM_CONTEXT_CONFIG_INIT {sizeof(eum_context_config), NULL, 0, 0, 0, 0, 0, NULL, NULL, 0}
EUM_API void eum_context_config_init(eum_context_config *config);

/* Creates a context on the best device there is; without a GPU or a driver that is the host, and eum_context_info says why.
 * Parameters: config  borrowed for the call, NULL for defaults.
 * Memory: *out is owned; eum_context_destroy ends it.
 * Errors: EUM_ERROR_DEVICE_UNAVAILABLE, EUM_ERROR_DRIVER (a device was asked for by name and is not there),
 *   EUM_ERROR_INVALID_ENUM, EUM_ERROR_INVALID_ARGUMENT (also for EUM_DEVICE, EUM_BACKING, EUM_SPIN, EUM_PREFETCH_BATCH, EUM_GRAPHS and
 *   EUM_LOG), EUM_ERROR_OUT_OF_MEMORY, EUM_ERROR_SYSTEM (also for the file that EUM_COSTS names, as EUM_ERROR_INVALID_ARGUMENT is:
 *   eum_context_costs). */
EUM_API eum_status eum_context_create(const eum_context_config *config, eum_context **out);

/* Ends the handle. Buffers and streams that are still alive stay usable and keep the context's insides alive; the last of
 * them ends it. NULL is fine and does nothing.
 * Errors: EUM_ERROR_INVALID_HANDLE, EUM_ERROR_IN_CALLBACK. */
EUM_API eum_status eum_context_destroy(eum_context *context);

/* ----------------------------------------------------------------------------------------------- buffers ----------- */

typedef struct eum_view {
    eum_buffer *buffer;
    size_t offset; /* bytes from the buffer's start */
    size_t bytes;  /* may be 0; EUM_WHOLE_SIZE: to the buffer's end */
} eum_view;
#define EUM_WHOLE_SIZE SIZE_MAX

typedef struct eum_buffer_config {
    size_t struct_size;
    eum_role role;
    eum_backing backing; /* AUTO: the context's choice. Not DEVICE: that is for wrapped memory */
    uint32_t flags;      /* EUM_BUFFER_* */
    uint32_t reserved;   /* 0 */
} eum_buffer_config;
#define EUM_BUFFER_ZEROED 1u /* every byte is 0; without it the contents are unspecified until written */
#define EUM_BUFFER_CONFIG_INIT {sizeof(eum_buffer_config), 0, 0, 0, 0}
EUM_API void eum_buffer_config_init(eum_buffer_config *config);

/* Allocates `bytes`, aligned to 64 bytes at least (2 MiB where large). 0 bytes is legal and touches no device.
 * Memory: *out is owned; eum_buffer_destroy (or eum_buffer_into_raw) ends it. It keeps the context's insides alive.
 * Errors: EUM_ERROR_OUT_OF_MEMORY, EUM_ERROR_OUT_OF_DEVICE_MEMORY, EUM_ERROR_OVER_BUDGET, EUM_ERROR_NOT_SUPPORTED (the
 *   backing does not exist on this device), EUM_ERROR_INVALID_ENUM, EUM_ERROR_SIZE_OVERFLOW, EUM_ERROR_IN_CALLBACK (with
 *   EUM_BUFFER_ZEROED on a device, which waits). */
EUM_API eum_status eum_buffer_create(eum_context *context, size_t bytes, const eum_buffer_config *config, eum_buffer **out);

/* Ends memory that was adopted or given up: called once with what it was registered with. */
typedef void (*eum_release_fn)(void *user, void *address, size_t bytes);

typedef struct eum_wrap_config {
    size_t struct_size;
    void *address; /* may be NULL only if bytes is 0 */
    size_t bytes;
    eum_memory memory;
    eum_ownership ownership; /* EUM_OWNED: `release` is called once, when the buffer ends; EUM_BORROWED: never */
    uint32_t flags;          /* EUM_WRAP_* */
    eum_role role;
    eum_release_fn release;
    void *release_user;
} eum_wrap_config;
#define EUM_WRAP_READ_ONLY 1u /* writes through this buffer are EUM_ERROR_READ_ONLY; nothing is ever stored into it */
#define EUM_WRAP_REGISTER 2u  /* pin the pages (milliseconds) so that kernels read them in place; host memory only */
#define EUM_WRAP_CONFIG_INIT {sizeof(eum_wrap_config), NULL, 0, 1, 2, 0, 0, NULL, NULL}
EUM_API void eum_wrap_config_init(eum_wrap_config *config);

/* Makes a buffer of memory that already exists. The memory must stay valid and unwritten by others (outside map/unmap) until
 * the buffer ends. On failure an adopted memory's release function is not called: it is still the caller's.
 * Memory: *out is owned; destroying it releases the memory only if ownership is EUM_OWNED.
 * Errors: EUM_ERROR_INVALID_ARGUMENT (NULL address, EUM_OWNED without release, EUM_BORROWED with one),
 *   EUM_ERROR_INVALID_ENUM, EUM_ERROR_NOT_SUPPORTED (this device cannot reach that kind of memory),
 *   EUM_ERROR_SIZE_OVERFLOW (address + bytes wraps). */
EUM_API eum_status eum_buffer_wrap(eum_context *context, const eum_wrap_config *config, eum_buffer **out);

typedef struct eum_raw {
    size_t struct_size;
    void *address;        /* on the host; NULL for wrapped device memory */
    void *device_address; /* what kernels get; equal to address on managed memory; NULL where there is none */
    size_t bytes;
    eum_memory memory;
    int32_t reserved;
    eum_release_fn release; /* never NULL: call release(release_user, address or device_address, bytes) once to free it */
    void *release_user;
} eum_raw;
#define EUM_RAW_INIT {sizeof(eum_raw), NULL, NULL, 0, 1, 0, NULL, NULL}
EUM_API void eum_raw_init(eum_raw *raw);

/* Gives up ownership: waits for the jobs that use the buffer, brings all bytes to the host side (except for wrapped device
 * memory), and ends the handle. The memory lives on, until the caller calls out->release; that works on any thread and after
 * the context is gone.
 * Errors: EUM_ERROR_NOT_OWNED, EUM_ERROR_MAPPED (a map is alive), EUM_ERROR_UNDEFINED_DATA, EUM_ERROR_IN_CALLBACK. */
EUM_API eum_status eum_buffer_into_raw(eum_buffer *buffer, eum_raw *out);

/* Ends the buffer. An owned one: the handle is invalid at once and the memory is reclaimed when the jobs that use it are done.
 * A wrapped one: waits for those jobs, copies back what they wrote to a device copy, then (if adopted) calls the release function. Live maps end with it. NULL does nothing.
 * Errors: EUM_ERROR_INVALID_HANDLE, EUM_ERROR_IN_CALLBACK (wrapped buffers only). */
EUM_API eum_status eum_buffer_destroy(eum_buffer *buffer);

/* Changes the role; takes effect with the next use. Errors: EUM_ERROR_INVALID_ENUM. */
EUM_API eum_status eum_buffer_set_role(eum_buffer *buffer, eum_role role);

/* --------------------------------------------------------------------------------- maps and bulk transfers --------- */

/* The CPU's turn on a view: waits for the jobs that conflict with it and for no others, brings the bytes, and gives their
 * address: the buffer's stable host address + view.offset, the same at every map. While the map lives, launches that
 * conflict with it are refused with EUM_ERROR_MAPPED; both sides may read at once. Maps of one buffer may overlap when all
 * read. A view of 0 bytes gives a non-NULL address that must not be dereferenced.
 * Memory: *out is borrowed; eum_buffer_unmap ends the right to it.
 * Errors: EUM_ERROR_READ_ONLY, EUM_ERROR_MAPPED, EUM_ERROR_NO_HOST_ACCESS, EUM_ERROR_UNDEFINED_DATA,
 *   EUM_ERROR_OUT_OF_BOUNDS, EUM_ERROR_SIZE_OVERFLOW, EUM_ERROR_INVALID_ENUM, EUM_ERROR_IN_CALLBACK. */
EUM_API eum_status eum_buffer_map(eum_view view, eum_access access, void **out);
/* Ends one map: the newest of those that returned `mapped`. Errors: EUM_ERROR_NOT_MAPPED. */
EUM_API eum_status eum_buffer_unmap(eum_buffer *buffer, void *mapped);

/* Copies view.bytes from src into the view, by the fastest way there is; src may be reused on return.
 * Errors: as eum_buffer_map with EUM_ACCESS_OVERWRITE; device memory is allowed. EUM_ERROR_INVALID_ARGUMENT (src NULL
 *   and bytes > 0). If the device fails in the middle, part of the bytes is written, and all of them are undefined until they are written
 *   again (EUM_ERROR_UNDEFINED_DATA). */
EUM_API eum_status eum_buffer_write(eum_view view, const void *src);
/* Copies the view to dst; waits for the jobs that write it. Device memory is allowed.
 * Errors: as eum_buffer_map with EUM_ACCESS_READ. EUM_ERROR_INVALID_ARGUMENT (dst NULL). */
EUM_API eum_status eum_buffer_read(eum_view view, void *dst);

/* Starts moving the view to `where`, on `stream` (NULL: the context's default stream), without waiting. A hint in effect:
 * where the backing has nothing to move, it does nothing. Written in parts, each prefetched, a buffer moves while the CPU is at the next part
 * (docs/residency.md, "Targets that are made in parts"). Errors: EUM_ERROR_MAPPED, EUM_ERROR_INVALID_ARGUMENT (location). */
EUM_API eum_status eum_buffer_prefetch(eum_view view, eum_location where, eum_stream *stream);

typedef int32_t eum_advice;
#define EUM_ADVICE_READ_MOSTLY 1
#define EUM_ADVICE_UNSET_READ_MOSTLY 2
#define EUM_ADVICE_PREFERRED_LOCATION 3
#define EUM_ADVICE_UNSET_PREFERRED_LOCATION 4
#define EUM_ADVICE_ACCESSED_BY 5
#define EUM_ADVICE_UNSET_ACCESSED_BY 6

typedef struct eum_hint {
    size_t struct_size;
    int32_t applied;    /* 1: the driver has it. 0: not applied, the call is EUM_OK all the same */
    eum_status reason;  /* why not */
    char sentence[256]; /* the same for people */
} eum_hint;
#define EUM_HINT_INIT {sizeof(eum_hint), 0, 0, {0}}
EUM_API void eum_hint_init(eum_hint *hint);

/* Passes advice on to the driver, beyond what the role does. A hint never fails for want of support: *out (may be NULL) says
 * whether it was applied. Errors: EUM_ERROR_INVALID_ENUM, EUM_ERROR_INVALID_ARGUMENT (location), view errors. */
EUM_API eum_status eum_buffer_advise(eum_view view, eum_advice advice, eum_location where, eum_hint *out);

/* -------------------------------------------------------------------------------------------- streams and jobs ----- */

/* A job is a plain value: nothing to destroy. All zero is a job that is done.
 * Calls that launch the same again, one right after the other on one stream (at most 64), may get the same job: it is done when all of them are.
 * So a kernel must not wait for something that the CPU does only after it has waited for the launch before. Streams that were wrapped, or whose
 * CUDA stream was asked for (eum_stream_native), give each launch a job of its own. */
typedef struct eum_job {
    eum_context *context;
    uint64_t stream;   /* which stream, for the library's use */
    uint64_t sequence; /* done when that stream has passed it */
} eum_job;

typedef struct eum_stream_config {
    size_t struct_size;
    int32_t device; /* 0: the context's device */
    uint32_t flags; /* 0 */
} eum_stream_config;
#define EUM_STREAM_CONFIG_INIT {sizeof(eum_stream_config), 0, 0}
EUM_API void eum_stream_config_init(eum_stream_config *config);

/* Memory: *out is borrowed: it lives as long as the context; destroying it is EUM_ERROR_INVALID_ARGUMENT. */
EUM_API eum_status eum_context_default_stream(eum_context *context, eum_stream **out);
/* Memory: *out is owned; eum_stream_destroy ends it. Errors: EUM_ERROR_OUT_OF_MEMORY, EUM_ERROR_SYSTEM, EUM_ERROR_CUDA. */
EUM_API eum_status eum_stream_create(eum_context *context, const eum_stream_config *config, eum_stream **out);
/* Makes a stream of the caller's own cudaStream_t, which stays the caller's and must outlive the last launch on it.
 * Memory: *out is owned; destroying it leaves the CUDA stream alone.
 * Errors: EUM_ERROR_NOT_SUPPORTED (the context's device is not CUDA), EUM_ERROR_CAPTURING. */
EUM_API eum_status eum_stream_wrap(eum_context *context, void *cuda_stream, eum_stream **out);
/* Ends the handle; the work that was submitted still runs to its end. NULL does nothing. */
EUM_API eum_status eum_stream_destroy(eum_stream *stream);
/* Waits for everything submitted to the stream so far. Returns the first failure among it that was not reported by
 * eum_job_wait yet. Errors: EUM_ERROR_JOB_FAILED, EUM_ERROR_IN_CALLBACK, EUM_ERROR_DEVICE_LOST. */
EUM_API eum_status eum_stream_synchronize(eum_stream *stream);

/* Waits for a job. timeout_ns: 0 polls, a negative value waits without end.
 * Returns EUM_OK, EUM_ERROR_TIMEOUT, EUM_ERROR_JOB_FAILED (with the callback's code in the sentence),
 *   EUM_ERROR_DEVICE_LOST, EUM_ERROR_IN_CALLBACK (unless polling), EUM_ERROR_INVALID_HANDLE (not a job of that context). */
EUM_API eum_status eum_job_wait(eum_job job, int64_t timeout_ns);

/* -------------------------------------------------------------------------------------------------- launches ------- */

typedef struct eum_argument {
    eum_view view;
    eum_access access;
    uint32_t flags; /* EUM_ARGUMENT_* */
} eum_argument;
/* The kernel reads or writes each byte of the view about once, and without atomics: the library may then let it use bytes over the link that the
 * host has, where that costs less than moving them (EUM_ROLE_AUTO). Without it a kernel is taken to come back to its bytes. */
#define EUM_ARGUMENT_ONCE 1u

/* What a kernel callback is told. Everything is borrowed for the call. */
typedef struct eum_kernel_call {
    size_t struct_size;
    size_t count;           /* arguments */
    void *const *addresses; /* for each argument, its address on the side where the kernel runs; never NULL */
    const size_t *bytes;    /* for each argument, its size */
    const void *params;     /* the launch's own copy of its params, 16-byte aligned; NULL if there were none */
    size_t params_bytes;
    void *user;     /* as given */
    void *stream;   /* GPU callback: the cudaStream_t to enqueue on. CPU callback: NULL */
    int32_t device; /* device number, EUM_LOCATION_HOST on the host */
    int32_t reserved;
    /* With host_source, else NULL, 0, 0: */
    const void *source; /* the rows of this call, where the kernel runs, one after the other; NULL if there are none */
    uint64_t first_row; /* the number of the first of them, */
    uint64_t rows;      /* and how many they are */
} eum_kernel_call;
/* GPU callback: enqueues work on call->stream and returns at once, during eum_launch, on the caller's thread.
 *   Returns 0, or the cudaError_t that stopped it.
 * CPU callback: does the work and returns 0, or a code of its own, which makes the job fail. It runs later, on a thread of the
 *   library, after the jobs that it depends on. Neither may call functions that wait (EUM_ERROR_IN_CALLBACK). */
typedef int32_t (*eum_kernel_fn)(const eum_kernel_call *call);

typedef struct eum_launch_config {
    size_t struct_size;
    eum_kernel_fn gpu;             /* for CUDA devices; may be NULL if the launch never meets one */
    eum_kernel_fn cpu;             /* for the host and for simulated devices; may be NULL likewise */
    const eum_argument *arguments; /* borrowed for the call */
    size_t argument_count;
    const void *params; /* small values for the kernel, copied during the call */
    size_t params_bytes;
    void *user; /* handed to the callbacks; must outlive the job */
    /* Input that is still in an array of the caller's own: source_rows x source_row_bytes bytes, in plain memory. All three 0: there is none. */
    const void *host_source; /* borrowed until the job ends: it must not be written or freed before. May be NULL only if source_rows is 0 */
    uint64_t source_rows;    /* it may be cut between any two rows. 0 is legal */
    size_t source_row_bytes; /* 1 or more */
} eum_launch_config;
#define EUM_LAUNCH_CONFIG_INIT {sizeof(eum_launch_config), NULL, NULL, NULL, 0, NULL, 0, NULL, NULL, 0, 0}
EUM_API void eum_launch_config_init(eum_launch_config *config);

/* A launch with host_source streams it through the device: the kernel works on one chunk of rows while the next one moves. No buffer, no copy in user
 * code, and more rows than the device has memory for.
 *   Calls     On a device the callback is called once a chunk, in the order of rows, with what eum_kernel_call says of them: it works on
 *             rows first_row to first_row + rows - 1, and no others. Arguments and params are the same each time, except that an argument may have
 *             moved, so take its address from the call. On the host there is one call, with all rows, and no copy: `source` is host_source itself.
 *             Of 0 rows there is one call too, so that results are written. All calls are one launch in eum_stats, and one job.
 *   Chunks    A quarter of the rows, in 4 to 16 MiB, or less where the device has little room; of equal size, but for the last. A row that is larger is
 *             a chunk by itself. They pass through up to three staging buffers of the library of a chunk each. `source` is aligned as the row is
 *             in the array, modulo 256 bytes.
 *   Results   An argument with EUM_ACCESS_OVERWRITE is overwritten by all calls together: each finds there what those before it have written, and the
 *             first one nothing. EUM_ARGUMENT_ONCE is about one call. Until eum_launch returns nobody else may use what the launch writes, nor
 *             write what it reads: other threads' maps and launches are refused (EUM_ERROR_MAPPED).
 *   Waiting   On a device eum_launch WAITS until the source has been read through, and returns with the last calls' kernels in flight. Inside a callback
 *             it is EUM_ERROR_IN_CALLBACK, on every device.
 *   Failures  Of a GPU callback: EUM_ERROR_LAUNCH_FAILED, and it is not called again. Of a CPU callback: it is not called again, and the job fails with
 *             its code. What fails before the first call has changed nothing; after it, what the launch was to write is undefined. */

/* Starts a kernel of the caller's own: moves what is not where the kernel runs, then the kernel, all in order on the stream and
 * without waiting. Launches that touch the same bytes are ordered across streams by the library. What does wait, because the
 * driver acts at once or in line: writing pages that are duplicated and still in use, making room by spilling, and copies of
 * wrapped pageable memory on CUDA; and launches with host_source, as above.
 * Parameters: out  may be NULL.
 * Errors: EUM_ERROR_NO_KERNEL, EUM_ERROR_OVERLAP, EUM_ERROR_MAPPED, EUM_ERROR_READ_ONLY, EUM_ERROR_WRONG_CONTEXT,
 *   EUM_ERROR_UNDEFINED_DATA, EUM_ERROR_LAUNCH_FAILED (the GPU callback said so), EUM_ERROR_OUT_OF_DEVICE_MEMORY,
 *   EUM_ERROR_OVER_BUDGET, EUM_ERROR_CAPTURING, EUM_ERROR_IN_CALLBACK, view errors; of the source EUM_ERROR_INVALID_ARGUMENT (rows of 0
 *   bytes; rows, and host_source is NULL; 64 arguments, of which there are 63 at most beside it), EUM_ERROR_SIZE_OVERFLOW, EUM_ERROR_OUT_OF_MEMORY
 *   (for staging). After a failure every buffer is as it was, with its data, except after EUM_ERROR_LAUNCH_FAILED (and with host_source after any
 *   error behind the first call): the callback may have started something, so what it was to write is
 *   undefined (EUM_ERROR_UNDEFINED_DATA until it is written again). */
EUM_API eum_status eum_launch(eum_stream *stream, const eum_launch_config *config, eum_job *out);

/* For code of CUDA's own. Errors of both: EUM_ERROR_NOT_SUPPORTED (the context's device is not CUDA). */
/* The stream's cudaStream_t. Memory: borrowed; it lives as long as the stream. */
EUM_API eum_status eum_stream_native(eum_stream *stream, void **out_cuda_stream);
/* A cudaEvent_t that is done when the job is, to wait for in streams of the caller's own.
 * Memory: owned; cudaEventDestroy ends it. Errors: EUM_ERROR_INVALID_HANDLE (not a job of its context). */
EUM_API eum_status eum_job_cuda_event(eum_job job, void **out_cuda_event);

/* Hands views to code that starts work outside eum_launch: on the stream's own CUDA stream, with another library's kernels.
 *   eum_stream_acquire  moves the bytes to the device as a launch would, in stream order, and gives each view's address there. Work that is
 *                       enqueued on the stream afterwards may use them. Until the release, conflicting maps and launches are refused
 *                       (EUM_ERROR_MAPPED); readers may share.
 *   eum_stream_release  ends that: later uses wait for everything enqueued on the stream so far. Takes the same arguments.
 * For many launches on the same bytes it is the cheapest way: what is enqueued in between costs what it costs without the library.
 * Parameters: out_addresses  room for `count` addresses, which are borrowed until the release. out  may be NULL.
 * Errors: as eum_launch; EUM_ERROR_NOT_MAPPED (release of what was not acquired: nothing is released). */
EUM_API eum_status eum_stream_acquire(eum_stream *stream, const eum_argument *arguments, size_t count, void **out_addresses);
EUM_API eum_status eum_stream_release(eum_stream *stream, const eum_argument *arguments, size_t count, eum_job *out);

/* Calls fn(user, status) once, on a thread of the library, after everything submitted to the stream so far is done. The
 * callback must not wait (EUM_ERROR_IN_CALLBACK). status: EUM_OK, or what eum_stream_synchronize would return. */
typedef void (*eum_done_fn)(void *user, eum_status status);
EUM_API eum_status eum_stream_on_done(eum_stream *stream, eum_done_fn fn, void *user);

/* ------------------------------------------------------------------------------------------------ similarity ------- */

/* Where a similarity operation runs. The scores of the two agree within the documented accuracy.
 *   EUM_EXECUTOR_AUTO    What is predicted to be done sooner: from rows x dim x queries, where the bytes are, the costs of the device, and the
 *                        worker threads that are free. The CPU is chosen only if that needs no wait: the inputs are valid on the host and
 *                        no job in flight conflicts. Never from inside a callback, and never for a stream that wraps one of CUDA's: it may
 *                        be capturing, or have work of the caller's own. Targets that the CPU scores again and again move to the device
 *                        once that has cost as much as moving them.
 *                        If the device cannot do it (no memory, the kernel does not start, another CUDA error; not a lost device), the CPU
 *                        does, after waiting for what it must; that is logged as a warning and counted. After three such failures in a row the
 *                        device rests: the next 64 operations that AUTO would have given it run on the CPU; then it is tried again.
 *   EUM_EXECUTOR_CPU     On the calling thread and the worker threads, before the call returns: waits for the jobs that conflict and brings
 *                        the bytes, as a map does. The job is done. Errors: as eum_buffer_map of the operands (EUM_ERROR_NO_HOST_ACCESS
 *                        for device memory, EUM_ERROR_IN_CALLBACK).
 *   EUM_EXECUTOR_DEVICE  As a launch on the context's device; on a failure there the call fails.
 * A context on the host has no other device: all three are a launch there, which runs on the CPU without waiting. */
typedef int32_t eum_executor;
#define EUM_EXECUTOR_AUTO 0
#define EUM_EXECUTOR_CPU 1
#define EUM_EXECUTOR_DEVICE 2
#define EUM_EXECUTORS 3 /* to index by */

/* What all four operations have in common, beside the executor.
 *   Ordering   As launches: on the device in stream order, and on both after the jobs of any stream that conflict. What the CPU does is not
 *              ordered after work on the stream that shares no bytes with it.
 *   Chunks     Operands that fit neither on the device nor in place (wrapped pageable memory without room for a device copy) pass through the
 *              device in pieces, through staging buffers of the library of at most 16 MiB each. The results are the same bits. The call waits
 *              then, and the job is done (from inside a callback it fails as a launch would). If the device fails midway, the results are
 *              undefined until they are written again (EUM_ERROR_UNDEFINED_DATA).
 *   Host       Targets may be an array of the caller's own instead of a view: host_targets is its address, and `targets` stays as it is by default.
 *   targets    No buffer, no copy in user code. The array is read during the call only, which WAITS until the results are there: the job is
 *              done, and inside a callback the call is EUM_ERROR_IN_CALLBACK. It must not be written meanwhile. What is predicted to be done
 *              sooner is done: the CPU scores the array where it is; or it streams through the device in chunks, of which the CPU copies one
 *              into pinned memory while the kernel works on the one before; or, where it is pinned or registered and each row is read once,
 *              kernels read it in place. The scores are the bits that a buffer with the same rows at its start gives. Nothing stays on the
 *              device: rows that are scored again belong into a buffer. (For kernels of your own: host_source of eum_launch.)
 *   Norms      Rows of a buffer that the CPU scores by cosine against two or more queries, again, with nothing written to the buffer in between, have
 *              their norms kept with it: 4 bytes a row of host memory, from the second time on. A write to the buffer, another shape of the rows,
 *              or its end ends them. Not in wrapped memory, for rows of fewer than 16 elements, or for listed rows. The scores are the same
 *              bits.
 *   Appending  Targets may be a view of a larger buffer that is filled as rows come: reserve capacity, write new rows behind the old ones,
 *              and pass a view and `rows` that cover them. What is on the device stays there; only the new rows (managed memory: their
 *              pages) move. docs/residency.md has an example. */

typedef struct eum_cosine_config {
    size_t struct_size;
    eum_view query;    /* dim float32 */
    eum_view targets;  /* rows x dim float32, row-major */
    eum_view scores;   /* rows float32, written */
    uint64_t rows;     /* 0 is legal */
    uint64_t dim;      /* 1 or more */
    size_t row_stride; /* bytes from one row to the next, a multiple of 4, at least dim * 4; 0: dim * 4 */
    eum_executor executor;
    int32_t reserved; /* 0 */
    const void *host_targets; /* not NULL: the targets, in the caller's memory, instead of a view; see above */
} eum_cosine_config;
#define EUM_COSINE_CONFIG_INIT {sizeof(eum_cosine_config), {NULL, 0, 0}, {NULL, 0, 0}, {NULL, 0, 0}, 0, 0, 0, 0, 0, NULL}
EUM_API void eum_cosine_config_init(eum_cosine_config *config);

/* scores[r] = cosine(query, targets[r]), in [-1, 1]. A zero vector scores 0; a non-finite row scores NaN, that row alone; a
 * non-finite query makes every score NaN. |error| <= 1e-6 + 1e-5 * |exact|.
 * Errors: as eum_launch, and EUM_ERROR_BUFFER_TOO_SHORT, EUM_ERROR_MISALIGNED, EUM_ERROR_INVALID_ARGUMENT (dim 0, stride
 *   shorter than a row, targets and host_targets both given), EUM_ERROR_SIZE_OVERFLOW, EUM_ERROR_INVALID_ENUM (executor), EUM_ERROR_IN_CALLBACK
 *   (with host_targets), errors of the executor. */
EUM_API eum_status eum_cosine(eum_stream *stream, const eum_cosine_config *config, eum_job *out);

/* How two vectors are compared. */
typedef int32_t eum_metric;
#define EUM_METRIC_COSINE 1     /* larger is nearer */
#define EUM_METRIC_DOT 2        /* inner product; larger is nearer */
#define EUM_METRIC_L2_SQUARED 3 /* sum of the squared differences; smaller is nearer */

/* What the targets are made of. Queries and scores are float32; sums are float32 or better, whatever the elements. */
typedef int32_t eum_element;
#define EUM_ELEMENT_FLOAT32 1
#define EUM_ELEMENT_FLOAT16 2  /* IEEE 754 binary16 */
#define EUM_ELEMENT_BFLOAT16 3 /* the upper half of a float32 */

/* Scores of the three functions below, for query q and row x.
 *   Zero vectors     score 0 by cosine, as any vector does by the others (dot: 0; L2: the other's squared norm).
 *   NaN, infinities  a row with one scores NaN, that row alone; a query with one makes every score of that query NaN. By every metric.
 *   Huge numbers     never make a wrong score: where the exact score of finite numbers is outside float32's range it is +-infinity.
 *   Accuracy         against the exact score of the elements as they are stored, for every element type and dim:
 *                    cosine  |error| <= 1e-6 + 1e-5 * |exact|, and the score is in [-1, 1]
 *                    dot     |error| <= 1e-6 * max(1, |q| * |x|) + 1e-5 * |exact|     (|q|, |x|: norms; products may cancel)
 *                    L2      |error| <= 1e-6 + 1e-5 * exact                            (differences are taken before squares: no cancelling)
 *   Order of sums    is fixed by the shape (dim, strides, up to 8 queries or more) and the machine's kernels, so that the same call gives the
 *                    same bits again, on any number of threads. Kernels of different devices may differ within the accuracy. */

typedef struct eum_similarity_config {
    size_t struct_size;
    eum_metric metric;
    eum_element element;
    eum_view queries;     /* query_count x dim float32 */
    eum_view targets;     /* rows x dim elements, row-major */
    eum_view scores;      /* query_count x rows float32, written: all scores of query 0, then those of query 1, ... */
    uint64_t query_count; /* 0 is legal */
    uint64_t rows;        /* 0 is legal */
    uint64_t dim;         /* 1 or more */
    size_t query_stride;  /* bytes from one query to the next, a multiple of 4, at least dim * 4; 0: dim * 4 */
    size_t row_stride;    /* bytes from one row to the next, a multiple of the element's size, at least dim elements; 0: dim elements */
    eum_executor executor;
    int32_t reserved; /* 0 */
    const void *host_targets; /* not NULL: the targets, in the caller's memory, instead of a view; see above */
} eum_similarity_config;
#define EUM_SIMILARITY_CONFIG_INIT {sizeof(eum_similarity_config), 1, 1, {NULL, 0, 0}, {NULL, 0, 0}, {NULL, 0, 0}, 1, 0, 0, 0, 0, 0, 0, NULL}
EUM_API void eum_similarity_config_init(eum_similarity_config *config);

/* scores[q * rows + r] = the metric of query q and row r.
 * Errors: as eum_cosine; EUM_ERROR_INVALID_ENUM (metric, element). Where the CPU kernels have no memory for their copies of the queries, some
 *   MB at most unless a query is longer than that, the job fails (EUM_ERROR_JOB_FAILED, code 12; EUM_EXECUTOR_CPU: the call does). */
EUM_API eum_status eum_similarity(eum_stream *stream, const eum_similarity_config *config, eum_job *out);

#define EUM_TOPK_MOST 1024
typedef struct eum_topk_config {
    size_t struct_size;
    eum_metric metric;
    eum_element element;
    eum_view queries;     /* these as in eum_similarity_config */
    eum_view targets;
    eum_view indices;     /* query_count x k int64, written: rows, the nearest first */
    eum_view scores;      /* query_count x k float32, written: their scores */
    uint64_t query_count; /* 0 is legal */
    uint64_t rows;        /* 0 is legal; fewer than k as well */
    uint64_t dim;
    uint64_t k;           /* 1 to EUM_TOPK_MOST */
    size_t query_stride;
    size_t row_stride;
    eum_executor executor;
    int32_t reserved; /* 0 */
    const void *host_targets; /* not NULL: the targets, in the caller's memory, instead of a view; see above */
} eum_topk_config;
#define EUM_TOPK_CONFIG_INIT {sizeof(eum_topk_config), 1, 1, {NULL, 0, 0}, {NULL, 0, 0}, {NULL, 0, 0}, {NULL, 0, 0}, 1, 0, 0, 1, 0, 0, 0, 0, NULL}
EUM_API void eum_topk_config_init(eum_topk_config *config);

/* The k nearest rows of each query, the nearest first: the largest cosines or dot products, the smallest distances. Of equal scores the lower
 * row is nearer; NaN comes after every number. Where there are fewer than k rows, the places that are left get index -1 and score NaN. The
 * scores are the bits that eum_similarity gives for the same shape. The score matrix is never written: beside the results the kernels
 * use memory that does not grow with rows or queries (the CPU's: some 16 MB a thread; on CUDA a scratch buffer of the library, which
 * counts against the budget until the job is done).
 * Errors: as eum_similarity, and EUM_ERROR_INVALID_ARGUMENT (k is 0 or more than EUM_TOPK_MOST). indices must start at a multiple of 8. */
EUM_API eum_status eum_topk(eum_stream *stream, const eum_topk_config *config, eum_job *out);

typedef struct eum_similarity_rows_config {
    size_t struct_size;
    eum_metric metric;
    eum_element element;
    eum_view queries;       /* these as in eum_similarity_config */
    eum_view targets;
    eum_view scores;        /* query_count x number_count float32, written */
    uint64_t query_count;   /* 0 is legal */
    uint64_t rows;          /* of the targets */
    uint64_t dim;
    const int64_t *numbers; /* number_count row numbers from 0 to rows - 1, in any order, repeated or not; read during the call */
    uint64_t number_count;  /* 0 is legal */
    size_t query_stride;
    size_t row_stride;
    eum_executor executor;
    int32_t reserved; /* 0 */
    const void *host_targets; /* not NULL: the targets, in the caller's memory, instead of a view; see above */
} eum_similarity_rows_config;
#define EUM_SIMILARITY_ROWS_CONFIG_INIT {sizeof(eum_similarity_rows_config), 1, 1, {NULL, 0, 0}, {NULL, 0, 0}, {NULL, 0, 0}, 1, 0, 0, NULL, 0, 0, 0, 0, 0, NULL}
EUM_API void eum_similarity_rows_config_init(eum_similarity_rows_config *config);

/* scores[q * number_count + i] = the metric of query q and row numbers[i]. The numbers are plain host memory, checked and copied before
 * the call returns. So a number out of range is an error of this call, which names the first one, and nothing has been started or
 * written: a failed job would leave the scores undefined, and could not say which number it was.
 * Errors: as eum_similarity, and EUM_ERROR_OUT_OF_BOUNDS (a row number that is not in [0, rows)). */
EUM_API eum_status eum_similarity_rows(eum_stream *stream, const eum_similarity_rows_config *config, eum_job *out);

/* --------------------------------------------------------------------------------------------- observability ------- */

typedef int32_t eum_device_kind;
#define EUM_DEVICE_HOST 1
#define EUM_DEVICE_CUDA 2
#define EUM_DEVICE_SIM 3

/* Why the context is on the device it is on. */
typedef int32_t eum_reason;
#define EUM_REASON_ASKED 1          /* by configuration or EUM_DEVICE */
#define EUM_REASON_BEST 2           /* the best there is */
#define EUM_REASON_BUILT_WITHOUT 3  /* host: this library was built without CUDA */
#define EUM_REASON_NO_DRIVER 4      /* host: no CUDA driver on this machine */
#define EUM_REASON_DRIVER_TOO_OLD 5 /* host: the driver is older than this library's CUDA runtime */
#define EUM_REASON_NO_DEVICE 6      /* host: a driver, but no device */
#define EUM_REASON_DEVICES_HIDDEN 7 /* host: CUDA_VISIBLE_DEVICES hides them all */
#define EUM_REASON_DRIVER_FAILED 8  /* host: the driver would not start; the sentence has the CUDA code */

typedef struct eum_info {
    size_t struct_size;
    eum_device_kind device_kind;
    int32_t device_index;
    eum_reason device_reason;
    eum_backing backing; /* what owned buffers of an ordinary size get; eum_buffer_explain says it of each */
    uint32_t worker_threads;
    int32_t compute_major, compute_minor;    /* 0 on the host */
    int32_t driver_version, runtime_version; /* CUDA's numbers (13000), 0 where there is none */
    int32_t managed;                         /* 1: managed memory exists */
    int32_t concurrent_managed;              /* 1: CPU and kernels may use managed memory at once */
    int32_t pageable;                        /* 1: kernels reach plain host memory */
    int32_t discard;                         /* 1: worthless bytes can be dropped instead of moved */
    uint64_t page_bytes;                     /* granule of managed migration */
    uint64_t memory_total, memory_free;      /* device memory; on the host, the machine's */
    uint64_t budget_bytes, budget_used;      /* 0 on the host: no budget there */
    char device_name[128];
    char device_sentence[256];  /* why this device, and what would change it */
    char backing_sentence[256]; /* why this backing */
    char cpu_kernels[32];       /* "avx512", "avx2", "neon", "scalar" */
} eum_info;
EUM_API void eum_info_init(eum_info *info);
EUM_API eum_status eum_context_info(const eum_context *context, eum_info *out);

/* Index by memory kind (EUM_MEMORY_*), 0 unused. */
#define EUM_MEMORY_KINDS 5
typedef struct eum_stats {
    size_t struct_size;
    uint64_t buffers_live, buffers_peak; /* owned and wrapped handles that are not destroyed */
    uint64_t bytes_live, bytes_peak;     /* of owned buffers */
    uint64_t maps_live;
    uint64_t launches, jobs_failed;
    uint64_t bytes_to_device, bytes_to_host; /* moved by the library: copies and prefetches */
    uint64_t moves_to_device, moves_to_host; /* how many movements those were */
    uint64_t bytes_discarded;                /* worthless bytes that were not moved */
    uint64_t hints_applied, hints_not_applied;
    uint64_t raw_allocations[EUM_MEMORY_KINDS]; /* calls to the device's allocator */
    uint64_t raw_frees[EUM_MEMORY_KINDS];       /* with what was given up: equal to the line above once everything has
                                                   ended and eum_context_trim has emptied the pool */
    uint64_t raw_given_up[EUM_MEMORY_KINDS];    /* left through eum_buffer_into_raw, freed by the caller */
    uint64_t pool_bytes;                        /* held for new buffers now */
    uint64_t pool_hits, pool_misses;            /* allocations that were served from there, and those that were not */
    uint64_t prefetch_batches;                  /* calls that prefetched several ranges at once; each range is one of the movements above */
    uint64_t graph_launches;                    /* of the launches, those whose kernels were launched as a CUDA graph */
} eum_stats;
EUM_API void eum_stats_init(eum_stats *stats);
EUM_API eum_status eum_context_stats(const eum_context *context, eum_stats *out);

typedef int32_t eum_operation;
#define EUM_OPERATION_COSINE 1
#define EUM_OPERATION_SIMILARITY 2
#define EUM_OPERATION_TOPK 3
#define EUM_OPERATION_ROWS 4 /* eum_similarity_rows */

/* Where the similarity operations of a context ran, and how long they took. Arrays are indexed by executor, 0 unused; on a context whose device
 * is the host everything is EUM_EXECUTOR_CPU. Calls with nothing to score are not counted. */
typedef struct eum_operation_stats {
    size_t struct_size;
    uint64_t runs[EUM_EXECUTORS];         /* that were started */
    uint64_t timed[EUM_EXECUTORS];        /* of them: those whose end was seen. Runs that return when they are done always; of jobs those that
                                             somebody waited for (eum_job_wait, a map of the results) before they were done */
    uint64_t predicted_ns[EUM_EXECUTORS]; /* sum over the timed ones */
    uint64_t actual_ns[EUM_EXECUTORS];    /* the same, from the call to the end of the job */
    uint64_t chunked;                     /* of the runs on the device: those in chunks */
    uint64_t fallbacks;                   /* of the runs on the CPU: those after a failure of the device, or while it rested */
    eum_executor last_executor;           /* of the newest run; 0: none yet */
    uint32_t rest;                        /* operations (of all kinds) that the device rests for yet; 0: it does not rest */
    uint64_t last_predicted_ns[EUM_EXECUTORS]; /* what was predicted of each for the newest run; 0: the device was not weighed (host) */
    uint64_t last_actual_ns;                   /* of the newest timed run */
} eum_operation_stats;
EUM_API void eum_operation_stats_init(eum_operation_stats *stats);
/* Errors: EUM_ERROR_INVALID_ENUM (operation). */
EUM_API eum_status eum_context_operation_stats(const eum_context *context, eum_operation operation, eum_operation_stats *out);

/* Gives the memory that ended buffers have left for new ones back to the device and the system, the oldest first, until at most
 * `keep` bytes are left. The library does so by itself before it says that memory or the budget does not suffice.
 * Errors: EUM_ERROR_IN_CALLBACK (on CUDA, inside a callback). */
EUM_API eum_status eum_context_trim(eum_context *context, uint64_t keep);

/* Where the costs of a context come from. */
typedef int32_t eum_costs_source;
#define EUM_COSTS_DEFAULT 1  /* a table by compute capability */
#define EUM_COSTS_FILE 2     /* the file that EUM_COSTS names */
#define EUM_COSTS_MEASURED 3 /* eum_context_calibrate on this context */

/* What movement, kernels and copies cost on this machine: what the library decides by. Rates are in MB/s, which are bytes a microsecond, and
 * never 0 unless their comment says so. On a context whose device is the host nothing moves: everything but the host copies is 0. */
typedef struct eum_costs_info {
    size_t struct_size;
    eum_costs_source source;
    int32_t reserved;            /* 0 */
    uint64_t to_device_mbps;     /* copies from pinned memory to the device, and prefetches there */
    uint64_t to_host_mbps;       /* copies to pinned memory */
    uint64_t in_place_mbps;      /* a kernel that reads pinned host memory over the link */
    uint64_t memory_mbps;        /* a kernel that reads device memory */
    uint64_t copy_ns;            /* a copy and the wait for it, beside its bytes */
    uint64_t prefetch_ns;        /* a prefetch of managed memory, beside its units and bytes; measured where prefetches work */
    uint64_t prefetch_unit_ns;   /* for each transfer of a prefetch, beside its bytes; likewise */
    uint64_t prefetch_unit_bytes; /* what one transfer moves at most; by architecture, not measured */
    uint64_t launch_ns;          /* a kernel without work, and the wait for it */
    uint64_t macs_mhz;           /* multiply-adds of the similarity kernels, millions a second; by architecture, not measured */
    uint64_t host_copy_mbps;     /* the CPU's copies between host memory, by one thread; 0: not measured */
    uint64_t host_copy_all_mbps; /* by all worker threads; 0: not measured. These two are told and decide nothing */
    uint64_t calibration_ns;     /* what the calibration took; 0: not measured on this context */
    /* Prefetches of many ranges by one call, measured where CUDA has that (13): */
    uint64_t prefetch_batch_range_ns; /* each range after the first, beside its units and bytes; by a call of its own it takes prefetch_ns. May be 0 */
    uint64_t prefetch_batch_waits;    /* 1: the call returns when the pages have moved, and launches do not make it; 0: before */
} eum_costs_info;
#define EUM_COSTS_INFO_INIT {sizeof(eum_costs_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
EUM_API void eum_costs_info_init(eum_costs_info *info);

/* The costs that the context decides by now: the rates of copies are refined by what bulk writes and reads of pinned memory took (from 4 MiB on), and with
 * defaults those that were not seen follow in proportion. A new context has those of the file that EUM_COSTS names, if that is set and of this device; else
 * defaults. A file of another device (name or compute capability) is a warning in the log, and the defaults hold: one EUM_COSTS may serve a program
 * that runs on several devices. A file that cannot be read is EUM_ERROR_SYSTEM from eum_context_create, a damaged one or one of another
 * version EUM_ERROR_INVALID_ARGUMENT. */
EUM_API eum_status eum_context_costs(const eum_context *context, eum_costs_info *out);

/* Measures the costs of this machine with small probes, and has the context decide by them from now on. Nothing calls this by itself.
 * WAITS, for less than 200 ms on a GPU: medians of a few copies, launches and prefetches, and of copies of the CPU. On a simulated device the virtual
 * clock is measured. Figures that cannot be true are cut to bounds. Other work on the device or the machine meanwhile shows in the figures. The
 * probes hold 16 MiB of pinned memory, 64 MiB of device memory, 16 MiB of managed memory where prefetches work, and 32 MiB of the host's, which
 * are freed before the call returns. What buffers have learned of their uses stays.
 * Parameters: out  the new costs; may be NULL.
 * Errors: EUM_ERROR_IN_CALLBACK, EUM_ERROR_OUT_OF_MEMORY, EUM_ERROR_OUT_OF_DEVICE_MEMORY, EUM_ERROR_OVER_BUDGET, EUM_ERROR_INVALID_STATE (a window
 *   counts faults), device errors. On failure the costs are as they were. */
EUM_API eum_status eum_context_calibrate(eum_context *context, eum_costs_info *out);

/* Writes the context's costs to a file for EUM_COSTS: text, with the device's name. The file is complete or as it was.
 * Parameters: path  borrowed for the call.
 * Errors: EUM_ERROR_INVALID_ARGUMENT (path is NULL or empty), EUM_ERROR_SYSTEM (it cannot be written), EUM_ERROR_OUT_OF_MEMORY. */
EUM_API eum_status eum_context_save_costs(const eum_context *context, const char *path);

/* From where on the device pays for a similarity operation (all scores), by the context's costs. */
typedef struct eum_break_even_config {
    size_t struct_size;
    eum_element element;  /* of the targets */
    int32_t reserved;     /* 0 */
    uint64_t dim;         /* 1 or more */
    uint64_t query_count; /* 1 or more */
    uint64_t rows;        /* for `uses` and the times below; 0: these stay 0 */
} eum_break_even_config;
#define EUM_BREAK_EVEN_CONFIG_INIT {sizeof(eum_break_even_config), 1, 0, 0, 1, 0}
EUM_API void eum_break_even_config_init(eum_break_even_config *config);

#define EUM_NEVER UINT64_MAX
typedef struct eum_break_even {
    size_t struct_size;
    uint64_t rows_cold;          /* targets that only the host has, used once: with so many rows EUM_EXECUTOR_AUTO takes the device, with one less
                                    the CPU */
    uint64_t rows_resident;      /* the same for targets that the device has */
    uint64_t uses;               /* of `rows` rows: on the use of that number AUTO takes the device, on those before the CPU; so many uses are
                                    also what makes up for moving them. 1: at once */
    uint64_t cpu_ns;             /* predicted for `rows` rows: on the CPU, */
    uint64_t device_cold_ns;     /* on the device that lacks them, */
    uint64_t device_resident_ns; /* and on the device that has them */
} eum_break_even;
#define EUM_BREAK_EVEN_INIT {sizeof(eum_break_even), 0, 0, 0, 0, 0, 0}
EUM_API void eum_break_even_init(eum_break_even *out);

/* Asks the function that decides at each call, for buffers as eum_buffer_create makes them without a configuration, written once by the CPU, and with
 * all worker threads free. EUM_NEVER: not for as many rows as find room on the device (of 2^40 bytes at most), or not at all: always so on a context
 * whose device is the host. Predictions go
 * in steps (threads, caches, pages), so that there may be smaller numbers at which the device is taken and the CPU again above: what is told
 * is the last change, to within 2 % of the rows.
 * Errors: EUM_ERROR_INVALID_ARGUMENT (config is NULL; dim or query_count 0; reserved not 0), EUM_ERROR_INVALID_ENUM (element),
 *   EUM_ERROR_SIZE_OVERFLOW. */
EUM_API eum_status eum_context_break_even(const eum_context *context, const eum_break_even_config *config, eum_break_even *out);

/* What the last use of a buffer did with it. */
typedef int32_t eum_movement;
#define EUM_MOVEMENT_NONE 0      /* the bytes were where they were needed */
#define EUM_MOVEMENT_PREFETCH 1  /* managed pages were prefetched */
#define EUM_MOVEMENT_DUPLICATE 2 /* read-mostly pages were copied, and stay valid on both sides */
#define EUM_MOVEMENT_IN_PLACE 3  /* read or written over the link */
#define EUM_MOVEMENT_COPY 4      /* an explicit copy between the host side and the device copy */
#define EUM_MOVEMENT_DISCARD 5   /* the old bytes were worthless and were dropped */

/* Why a buffer has its backing. */
typedef int32_t eum_backing_reason;
#define EUM_BACKING_REASON_FORCED 1        /* the buffer's or the context's configuration, or EUM_BACKING */
#define EUM_BACKING_REASON_CONCURRENT 2    /* managed: the device has concurrent managed access, and mirroring does not pay */
#define EUM_BACKING_REASON_NO_CONCURRENT 3 /* mirrored: managed memory, but without concurrent access */
#define EUM_BACKING_REASON_NO_MANAGED 4    /* mirrored: no managed memory */
#define EUM_BACKING_REASON_NO_DEVICE 5     /* host: there is no device */
#define EUM_BACKING_REASON_WRAPPED 6       /* follows from the kind of memory that was wrapped */
#define EUM_BACKING_REASON_COPIES_PAY 7    /* mirrored: explicit copies cost less than migration, and pinned memory suffices */

/* A role that says something else than is done with the buffer: in three cycles in a row, and until it has not been so for three. (A cycle: what
 * kernels do between two rewrites by the CPU of more than half of the buffer; of results, between two kernels that write them.) Buffers under
 * 256 KiB are not judged. */
typedef int32_t eum_contradiction;
#define EUM_CONTRADICTION_NONE 0
#define EUM_CONTRADICTION_QUERY_REWRITTEN 1   /* EUM_ROLE_QUERY, rewritten by the CPU for every use: is not duplicated any more */
#define EUM_CONTRADICTION_TARGETS_REWRITTEN 2 /* EUM_ROLE_TARGETS, rewritten by the CPU for every use */
#define EUM_CONTRADICTION_STREAM_REUSED 3     /* EUM_ROLE_STREAM, used so often between rewrites that moving would cost less than half */
#define EUM_CONTRADICTION_RESULTS_REREAD 4    /* EUM_ROLE_RESULTS, read by kernels again, or not by the CPU */

typedef struct eum_decision {
    size_t struct_size;
    eum_role role;
    eum_backing backing;
    eum_backing_reason backing_reason;
    eum_movement last_movement;  /* of the last launch, map or transfer */
    uint64_t last_bytes;         /* that it moved */
    uint64_t bytes_to_device, bytes_to_host; /* moved for this buffer in all */
    uint64_t bytes_on_host, bytes_on_device; /* valid there now; both where duplicated */
    uint64_t launches, maps;
    uint32_t extents;  /* ranges that are tracked apart */
    uint32_t reserved; /* 0 */
    /* EUM_ROLE_AUTO (and what is used like it) under the built-in kernels: what was predicted when it was last weighed whether to
     * move the bytes that the device lacked or to use them in place (beyond using them on the device). Both 0: nothing was weighed. */
    uint64_t in_place_ns, move_ns;
    eum_contradiction contradiction; /* between the role and the use. The log says it once, as a warning */
    uint32_t reserved2;              /* 0 */
} eum_decision;
EUM_API void eum_decision_init(eum_decision *decision);
EUM_API eum_status eum_buffer_explain(const eum_buffer *buffer, eum_decision *out);
/* Writes the decision as sentences, always terminated by a 0 byte if capacity > 0. *needed (may be NULL) gets the full length
 * with the 0 byte. Errors: EUM_ERROR_INVALID_ARGUMENT (text NULL with capacity > 0). */
EUM_API eum_status eum_decision_text(const eum_decision *decision, char *text, size_t capacity, size_t *needed);

/* Why managed pages moved. */
#define EUM_CAUSE_FAULT 0    /* somebody touched them from the other side */
#define EUM_CAUSE_PREFETCH 1 /* a prefetch: the library's, or the user's own */
#define EUM_CAUSE_EVICTION 2 /* device memory was full */
#define EUM_CAUSE_OTHER 3    /* coherence, access counters, a launch on a device without concurrent access */
#define EUM_CAUSES 4

/* Where the numbers come from. */
typedef int32_t eum_fault_source;
#define EUM_FAULT_SOURCE_NONE 1  /* no device, or no managed memory in use: nothing can fault */
#define EUM_FAULT_SOURCE_SIM 2   /* the simulated device, exact */
#define EUM_FAULT_SOURCE_CUPTI 3 /* the driver's records */

typedef struct eum_faults {
    size_t struct_size;
    eum_fault_source source;
    int32_t reserved;
    uint64_t cpu_faults; /* page faults of the CPU on managed memory that the driver had to serve */
    uint64_t gpu_faults; /* the same of kernels */
    uint64_t bytes_to_device[EUM_CAUSES], bytes_to_host[EUM_CAUSES]; /* of managed pages that moved, by cause */
    uint64_t bytes_copied_to_device, bytes_copied_to_host;           /* by explicit copies of the library */
} eum_faults;
#define EUM_FAULTS_INIT {sizeof(eum_faults), 1, 0, 0, 0, {0}, {0}, 0, 0}
EUM_API void eum_faults_init(eum_faults *faults);

/* Counts page faults and movements of managed memory between begin and end: exactly on simulated devices, through CUPTI (loaded at run time)
 * on CUDA, 0 on the host, which has nothing to fault. One window at a time for a context; both calls wait for everything submitted.
 * Errors: EUM_ERROR_INVALID_STATE (begin in an open window, end without one), EUM_ERROR_COUNTING_UNAVAILABLE,
 *   EUM_ERROR_COUNTING_REFUSED, EUM_ERROR_COUNTING_DROPPED (end: the window is over, and its counts are unknown, not zero),
 *   EUM_ERROR_IN_CALLBACK. */
EUM_API eum_status eum_faults_begin(eum_context *context);
EUM_API eum_status eum_faults_end(eum_context *context, eum_faults *out);
/* The part of one buffer in the last window that ended. Errors: EUM_ERROR_INVALID_STATE (none has), EUM_ERROR_COUNTING_DROPPED. */
EUM_API eum_status eum_buffer_faults(eum_buffer *buffer, eum_faults *out);

typedef struct eum_buffer_info {
    size_t struct_size;
    size_t bytes;
    eum_role role;
    eum_backing backing;
    eum_ownership ownership;
    int32_t read_only;
    uint32_t maps;     /* live maps */
    uint32_t reserved; /* 0 */
} eum_buffer_info;
EUM_API void eum_buffer_info_init(eum_buffer_info *info);
EUM_API eum_status eum_buffer_get_info(const eum_buffer *buffer, eum_buffer_info *out);

#ifdef __cplusplus
}
#endif
#endif

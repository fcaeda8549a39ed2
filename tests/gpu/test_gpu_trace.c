/* One trace of device operations, run on a real device and on the simulated Hopper: the same data, and in each window the same answer to
 * "were there faults?". Managed memory in use: 2 MiB.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device.h"
#include "kernels/kernels.h"

#define ROWS 400u
#define DIM 768u
#define WINDOWS 120
#define TARGET_BYTES ((size_t)ROWS * DIM * sizeof(float))
#define SCORE_BYTES ((size_t)ROWS * sizeof(float))

/* A window is one of these. */
typedef enum operation {
    HOST_WRITES_TARGETS,
    HOST_READS_SCORES,
    HOST_READS_TARGETS,
    KERNEL,
    TARGETS_TO_DEVICE,
    TARGETS_TO_HOST,
    SCORES_TO_DEVICE,
    SCORES_TO_HOST,
    TARGETS_READ_MOSTLY,
    TARGETS_NOT_READ_MOSTLY,
    OPERATIONS
} operation;
static const char *const names[OPERATIONS] = {
    "host writes targets", "host reads scores",      "host reads targets", "kernel",
    "targets to device",   "targets to host",        "scores to device",   "scores to host",
    "targets read-mostly", "targets not read-mostly"};

typedef struct window {
    operation what;
    bool cpu_faults, gpu_faults;
    double sum; /* of what the host read */
} window;

typedef struct trace {
    eum_device *device;
    eum_dstream *stream;
    eum_block targets, scores, query;
    window windows[WINDOWS];
} trace;

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void fill(float *values, size_t count, uint32_t seed)
{
    for (size_t i = 0; i < count; i++)
        values[i] = (float)next_random(&seed) / 4294967296.0f - 0.5f;
}

static void ok(eum_status status)
{
    eum_error error;
    eum_error_save(&error);
    ck_assert_msg(status == EUM_OK, "%s: %s", eum_status_name(status), error.sentence);
}

static eum_cosine_args args_of(const eum_kernel_call *call)
{
    return (eum_cosine_args){.query = call->addresses[0],
                             .targets = call->addresses[1],
                             .scores = call->addresses[2],
                             .rows = ROWS,
                             .dim = DIM,
                             .row_stride = DIM * sizeof(float)};
}

static int32_t on_gpu(const eum_kernel_call *call)
{
    eum_cosine_args args = args_of(call);
    return eum_cosine_cuda(&args, call->stream);
}

static int32_t on_cpu(const eum_kernel_call *call)
{
    eum_cosine_args args = args_of(call);
    eum_cosine_query query = eum_cosine_cpu_prepare(&args);
    eum_cosine_cpu(&args, &query, 0, ROWS, eum_cpu_isa_best());
    return 0;
}

static void finish(eum_task *task, eum_status status, int32_t code)
{
    (void)task;
    (void)status;
    (void)code;
}

static void wait_for(trace *t)
{
    uint64_t sequence;
    ok(t->device->ops->mark(t->stream, &sequence));
    ok(t->device->ops->wait(t->stream, sequence, -1));
}

static void run_kernel(trace *t)
{
    void *addresses[3] = {t->query.device, t->targets.device, t->scores.device};
    size_t bytes[3] = {DIM * sizeof(float), TARGET_BYTES, SCORE_BYTES};
    eum_access accesses[3] = {EUM_ACCESS_READ, EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE};
    eum_task task = {.gpu = on_gpu, .cpu = on_cpu, .accesses = accesses, .finish = finish};
    task.call = (eum_kernel_call){.struct_size = sizeof(eum_kernel_call), .count = 3, .addresses = addresses, .bytes = bytes};
    ok(t->device->ops->submit(t->stream, &task));
    wait_for(t);
}

static double sum_of(const float *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)values[i] * (double)(i % 97 + 1);
    return sum;
}

static void run_operation(trace *t, window *w, uint32_t seed)
{
    const struct eum_device_ops *ops = t->device->ops;
    eum_location device = t->device->caps.index;
    switch (w->what) {
    case HOST_WRITES_TARGETS:
        fill(t->targets.host, (size_t)ROWS * DIM, seed);
        break;
    case HOST_READS_SCORES:
        w->sum = sum_of(t->scores.host, ROWS);
        break;
    case HOST_READS_TARGETS:
        w->sum = sum_of(t->targets.host, (size_t)ROWS * DIM);
        break;
    case KERNEL:
        run_kernel(t);
        break;
    case TARGETS_TO_DEVICE:
    case TARGETS_TO_HOST:
        ok(ops->prefetch(t->stream, &t->targets, 0, TARGET_BYTES, w->what == TARGETS_TO_HOST ? EUM_LOCATION_HOST : device));
        wait_for(t);
        break;
    case SCORES_TO_DEVICE:
    case SCORES_TO_HOST:
        ok(ops->prefetch(t->stream, &t->scores, 0, SCORE_BYTES, w->what == SCORES_TO_HOST ? EUM_LOCATION_HOST : device));
        wait_for(t);
        break;
    case TARGETS_READ_MOSTLY:
        ok(ops->advise(t->device, &t->targets, 0, TARGET_BYTES, EUM_ADVICE_READ_MOSTLY, device));
        break;
    default:
        ok(ops->advise(t->device, &t->targets, 0, TARGET_BYTES, EUM_ADVICE_UNSET_READ_MOSTLY, device));
        break;
    }
}

/* Whether advice collapsed copies to the host or to the device is the driver's affair: a prefetch makes it known. */
static void choose_operations(trace *t, uint32_t seed)
{
    for (int i = 0; i < WINDOWS; i++)
        t->windows[i].what = i == 0                                              ? HOST_WRITES_TARGETS
                             : t->windows[i - 1].what == TARGETS_NOT_READ_MOSTLY ? TARGETS_TO_HOST
                                                                                 : (operation)(next_random(&seed) % OPERATIONS);
}

static void run_trace(eum_device *device, trace *t, uint32_t seed)
{
    const struct eum_device_ops *ops = device->ops;
    memset(t, 0, sizeof *t);
    t->device = device;
    choose_operations(t, seed);
    ok(ops->stream_create(device, &t->stream));
    ok(ops->alloc(device, EUM_MEMORY_MANAGED, TARGET_BYTES, &t->targets));
    ok(ops->alloc(device, EUM_MEMORY_MANAGED, SCORE_BYTES, &t->scores));
    ok(ops->alloc(device, EUM_MEMORY_PINNED, DIM * sizeof(float), &t->query));
    fill(t->query.host, DIM, 7);
    fill(t->scores.host, ROWS, 8); /* nothing is touched for the first time inside a window */
    fill(t->targets.host, (size_t)ROWS * DIM, 9);
    for (int i = 0; i < WINDOWS; i++) {
        window *w = &t->windows[i];
        eum_faults faults = EUM_FAULTS_INIT;
        ok(ops->count_begin(device));
        run_operation(t, w, seed + (uint32_t)i);
        ok(ops->count_end(device));
        ops->count_read(device, NULL, &faults);
        w->cpu_faults = faults.cpu_faults > 0;
        w->gpu_faults = faults.gpu_faults > 0;
    }
    ops->release(device, &t->targets);
    ops->release(device, &t->scores);
    ops->release(device, &t->query);
    ops->stream_destroy(t->stream);
}

START_TEST(one_trace_gives_the_same_data_and_the_same_faults_or_none_on_the_device_and_on_the_simulator)
{
    static trace real, simulated;
    eum_log log = eum_log_from(NULL, NULL, EUM_LOG_OFF);
    eum_device_config config = {.index = -1, .arch = "hopper", .log = &log};
    eum_device *device;
    eum_reason reason;
    uint32_t seed = 20240901u + (uint32_t)_i * 7919u;
    ok(eum_cudart_open(&config, &device, &reason));
    run_trace(device, &real, seed);
    device->ops->close(device);
    ok(eum_sim_open(&config, &device));
    run_trace(device, &simulated, seed);
    device->ops->close(device);
    int different = 0, faulting = 0;
    for (int i = 0; i < WINDOWS; i++) {
        const window *a = &real.windows[i], *b = &simulated.windows[i];
        ck_assert_int_eq(a->what, b->what);
        ck_assert_msg(fabs(a->sum - b->sum) <= 1e-3, "window %d, %s: %.9g on the device, %.9g simulated", i, names[a->what], a->sum,
                      b->sum);
        faulting += a->gpu_faults || a->cpu_faults;
        if (a->gpu_faults == b->gpu_faults && a->cpu_faults == b->cpu_faults)
            continue;
        different++;
        fprintf(stderr, "seed %u, window %d, %s after %s: device gpu %d cpu %d, simulated gpu %d cpu %d\n", seed, i, names[a->what],
                i > 0 ? names[real.windows[i - 1].what] : "nothing", a->gpu_faults, a->cpu_faults, b->gpu_faults, b->cpu_faults);
    }
    ck_assert_int_gt(faulting, 0); /* else the counters do not count */
    ck_assert_int_eq(different, 0);
}
END_TEST

Suite *gpu_trace_suite(void)
{
    Suite *suite = suite_create("gpu_trace");
    TCase *tests = tcase_create("gpu_trace");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, one_trace_gives_the_same_data_and_the_same_faults_or_none_on_the_device_and_on_the_simulator, 0, 12);
    suite_add_tcase(suite, tests);
    return suite;
}

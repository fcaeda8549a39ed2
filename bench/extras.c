/* extras: the list of them, and those that are about calls: launches, buffers, contexts, faults.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "extras.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_kernels.h"
#include "handle.h"
#include "work.h"

#define BATCHES 101
#define BATCH 200

const bench_extra bench_extras[] = {
    {"context", "memory of a context and of a buffer's bookkeeping", false, bench_extra_context},
    {"launch", "the CPU's time of a launch of 4 arguments with nothing to move, beside a bare launch; handles", false,
     bench_extra_launch},
    {"create", "making and ending a buffer, beside the raw calls", false, bench_extra_create},
    {"resident", "a kernel on targets that stay, beside the same on the device's own memory", false, bench_extra_resident},
    {"copies", "host to device: what the library copies from pinned memory, and what prefetch reaches", false, bench_extra_copies},
    {"caller", "the caller's time of a launch with 64 MiB to move, beside prefetch by hand", false, bench_extra_caller},
    {"workers", "sharing a loop between two threads of the CPU, by how long there was none before", false, bench_extra_workers},
    {"faults", "page faults in a counting pass over the library's cycles", true, bench_extra_faults},
};
const size_t bench_extra_count = sizeof bench_extras / sizeof bench_extras[0];

static eum_buffer *make(const bench_machine *machine, size_t bytes)
{
    eum_buffer *made = NULL;
    OK(eum_buffer_create(machine->context, bytes, NULL, &made));
    return made;
}

/* ------------------------------------------------------------------------------------------------------ launch ------ */

static double by_library(const bench_machine *machine, const eum_launch_config *config)
{
    double begin = bench_wall_ns();
    for (int i = 0; i < BATCH; i++)
        OK(eum_launch(machine->stream, config, NULL));
    double spent = bench_wall_ns() - begin;
    OK(eum_stream_synchronize(machine->stream));
    return spent / BATCH;
}

static double by_hand(const bench_machine *machine, const bench_launch *launch)
{
    double begin = bench_wall_ns();
    for (int i = 0; i < BATCH; i++)
        machine->raw->run(0, launch);
    double spent = bench_wall_ns() - begin;
    machine->raw->wait(0);
    return spent / BATCH;
}

static void launch_rows(const double *ours, const double *bare, size_t count)
{
    double difference[BATCHES];
    for (size_t b = 0; b < count; b++)
        difference[b] = ours[b] - bare[b];
    bench_row row = {.group = "launch", .value = bench_median(ours, count) / 1e3, .unit = "us"};
    snprintf(row.name, sizeof row.name, "launch of 4 arguments with nothing to move: the caller's time");
    row.ratio = bench_estimate_ratio(ours, bare, count);
    bench_output_row(&row);
    bench_output_value("launch", "  the bare kernel launch", bench_median(bare, count) / 1e3, "us");
    bench_output_value("launch", "  the library's part: median of the differences of pairs", bench_median(difference, count) / 1e3,
                       "us");
}

/* Launches are real work of this CPU, whatever the device's clock is. */
static void nothing_to_move(const bench_machine *machine, size_t batches)
{
    eum_buffer *buffers[4];
    eum_argument arguments[4];
    eum_block block;
    double ours[BATCHES], bare[BATCHES];
    uint64_t random = 5;
    bench_keep_alloc(machine->raw, machine->raw->device ? EUM_MEMORY_DEVICE : EUM_MEMORY_HOST, (size_t)4 * 4096, &block);
    bench_launch launch = {.gpu = bench_touch_gpu, .cpu = bench_touch_cpu, .count = 4};
    for (int i = 0; i < 4; i++) {
        static const uint32_t one = 1;
        buffers[i] = make(machine, 4096);
        arguments[i] = (eum_argument){{buffers[i], 0, EUM_WHOLE_SIZE}, i == 0 ? EUM_ACCESS_READ_WRITE : EUM_ACCESS_READ, 0};
        OK(eum_buffer_write((eum_view){buffers[i], 0, sizeof one}, &one));
        launch.addresses[i] = (char *)block.device + (size_t)i * 4096;
        launch.bytes[i] = 4096;
        launch.accesses[i] = arguments[i].access;
        machine->raw->copy(0, launch.addresses[i], &one, sizeof one, EUM_HOST_TO_DEVICE);
    }
    machine->raw->wait(0);
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.gpu = bench_touch_gpu;
    config.cpu = bench_touch_cpu;
    config.arguments = arguments;
    config.argument_count = 4;
    (void)by_library(machine, &config);
    (void)by_hand(machine, &launch);
    for (size_t b = 0; b < batches; b++) {
        bool first = bench_random(&random) % 2 == 0;
        if (first)
            ours[b] = by_library(machine, &config);
        bare[b] = by_hand(machine, &launch);
        if (!first)
            ours[b] = by_library(machine, &config);
    }
    uint32_t word = 0, wanted = 1 + 3 * (uint32_t)BATCH * (uint32_t)(batches + 1);
    OK(eum_buffer_read((eum_view){buffers[0], 0, sizeof word}, &word));
    if (word != wanted)
        bench_stop("launch: %u launches were not counted: %u instead of %u", (unsigned)batches, word, wanted);
    launch_rows(ours, bare, batches);
    for (int i = 0; i < 4; i++)
        OK(eum_buffer_destroy(buffers[i]));
    bench_keep_release(machine->raw, &block);
}

/* The price that every call of the C ABI pays. */
static void handles(size_t batches)
{
    double times[BATCHES];
    int thing = 0;
    void *handle = NULL, *object = NULL;
    OK(eum_handle_create(EUM_HANDLE_BUFFER, &thing, NULL, &handle));
    for (size_t b = 0; b < batches; b++) {
        double begin = bench_wall_ns();
        for (int i = 0; i < 20000; i++) {
            OK(eum_handle_pin(handle, EUM_HANDLE_BUFFER, &object));
            eum_handle_unpin(handle);
        }
        times[b] = (bench_wall_ns() - begin) / 20000;
    }
    OK(eum_handle_retire(handle, EUM_HANDLE_BUFFER, true));
    bench_output_value("launch", "pin + unpin of a handle", bench_median(times, batches), "ns");
}

void bench_extra_launch(const bench_machine *machine, bool quick, double deadline)
{
    (void)deadline; /* a second at most */
    if (!machine->raw->virtual_time)
        nothing_to_move(machine, quick ? 2 : BATCHES);
    handles(quick ? 2 : BATCHES);
}

/* ------------------------------------------------------------------------------------------------------ create ------ */

static double create_by_library(const bench_machine *machine, size_t bytes, size_t times)
{
    double begin = bench_wall_ns();
    for (size_t i = 0; i < times; i++)
        OK(eum_buffer_destroy(make(machine, bytes)));
    return (bench_wall_ns() - begin) / (double)times;
}

static double create_by_hand(const bench_machine *machine, eum_memory kind, size_t bytes, size_t times)
{
    double begin = bench_wall_ns();
    for (size_t i = 0; i < times; i++) {
        eum_block block;
        machine->raw->alloc(kind, bytes, &block);
        if (block.host != NULL && kind == EUM_MEMORY_HOST)
            *(volatile char *)block.host = 1; /* so that the calls are made */
        machine->raw->release(&block);
    }
    return (bench_wall_ns() - begin) / (double)times;
}

static void create_rows(const bench_machine *machine, eum_memory kind, const char *what, size_t bytes, size_t runs, double seconds)
{
    double ours[BATCHES], raw[BATCHES], begin = bench_wall_ns();
    size_t count = 0;
    char text[32];
    bench_bytes_text(bytes, text, sizeof text);
    (void)create_by_library(machine, bytes, 1);
    for (; count < runs && (count < 2 || bench_wall_ns() - begin < seconds * 1e9); count++) {
        ours[count] = create_by_library(machine, bytes, 32);
        raw[count] = create_by_hand(machine, kind, bytes, 1);
    }
    bench_row row = {
        .group = "create", .value = bench_median(ours, count) / 1e3, .unit = "us", .ratio = bench_estimate_ratio(ours, raw, count)};
    snprintf(row.name, sizeof row.name, "create + destroy of %s from the pool, beside %s", text, what);
    snprintf(row.note, sizeof row.note, "%s: %.2f us", what, bench_median(raw, count) / 1e3);
    bench_output_row(&row);
}

void bench_extra_create(const bench_machine *machine, bool quick, double deadline)
{
    static const size_t sizes[] = {4096, 3072000, (size_t)64 << 20};
    if (machine->raw->virtual_time)
        return; /* the simulator's allocations are no device's */
    for (size_t i = 0; i < (quick ? 1 : sizeof sizes / sizeof *sizes) && bench_wall_ns() < deadline; i++) {
        size_t runs = quick ? 2 : BATCHES;
        if (!machine->raw->device) {
            create_rows(machine, EUM_MEMORY_HOST, "memory of the system", sizes[i], runs, 1);
            continue;
        }
        create_rows(machine, EUM_MEMORY_MANAGED, "cudaMallocManaged + cudaFree", sizes[i], runs, 0.3);
        create_rows(machine, EUM_MEMORY_DEVICE, "cudaMalloc + cudaFree", sizes[i], runs, 0.3);
        create_rows(machine, EUM_MEMORY_PINNED, "cudaHostAlloc + cudaFreeHost", sizes[i], runs, 0.3);
    }
}

/* ------------------------------------------------------------------------------------------------------ context ----- */

static struct {
    double resident[2], device[2];
    bool on_device;
} noted;

static double resident_bytes(void)
{
    unsigned long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void note(int when)
{
    noted.resident[when] = resident_bytes();
    if (noted.on_device)
        noted.device[when] = (double)bench_cuda_free();
}

void bench_note_before_context(const char *device)
{
    noted.on_device = bench_cuda_start(device); /* CUDA's own memory is there from now on */
    note(0);
}

void bench_note_after_context(void)
{
    note(1);
}

#if defined(__GLIBC__) && (__GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 33))
#define HEAP_IN_USE() ((double)mallinfo2().uordblks + (double)mallinfo2().hblkhd)
#else
#define HEAP_IN_USE() 0.0
#endif

/* Buffers that wrap one piece of memory, written once each, so that each has one extent and nothing else is allocated with it. */
static void bookkeeping(const bench_machine *machine)
{
    enum { BUFFERS = 512 };
    static char memory[BUFFERS * 64];
    eum_buffer *buffers[BUFFERS];
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    static const char bytes[64] = {1};
    double before = 0;
    for (int i = 0; i < BUFFERS; i++) {
        if (i == 1)
            before = HEAP_IN_USE(); /* the first one made what is made once */
        config.address = memory + (size_t)i * 64;
        config.bytes = 64;
        OK(eum_buffer_wrap(machine->context, &config, &buffers[i]));
        OK(eum_buffer_write((eum_view){buffers[i], 0, 64}, bytes));
    }
    double each = (HEAP_IN_USE() - before) / (BUFFERS - 1);
    for (int i = 0; i < BUFFERS; i++)
        OK(eum_buffer_destroy(buffers[i]));
    if (before > 0) {
        bench_row row = {.group = "context", .value = each, .unit = "B", .note = "heap of the library, without the memory itself"};
        snprintf(row.name, sizeof row.name, "bookkeeping of a buffer with one extent");
        bench_output_row(&row);
    }
}

void bench_extra_context(const bench_machine *machine, bool quick, double deadline)
{
    (void)quick, (void)deadline;
    bench_output_value("context", "host memory of the first context (resident set)", (noted.resident[1] - noted.resident[0]) / 1e6,
                       "MB");
    if (noted.on_device)
        bench_output_value("context", "device memory of the first context, beyond CUDA's own",
                           (noted.device[0] - noted.device[1]) / 1e6, "MB");
    if (!machine->raw->virtual_time)
        bookkeeping(machine);
}

/* ------------------------------------------------------------------------------------------------------ faults ------ */

static uint64_t faults_of(const bench_machine *machine, const bench_pattern *pattern, bench_shape shape, eum_faults *sum,
                          bool *out_known)
{
    eum_faults faults = EUM_FAULTS_INIT;
    eum_status status = eum_faults_begin(machine->context);
    *out_known = status == EUM_OK;
    if (status != EUM_OK)
        return 0;
    bench_run_library(machine, pattern, shape, 5);
    status = eum_faults_end(machine->context, &faults);
    *out_known = status == EUM_OK;
    sum->cpu_faults += faults.cpu_faults;
    sum->gpu_faults += faults.gpu_faults;
    for (int cause = 0; cause < EUM_CAUSES; cause++) {
        sum->bytes_to_device[cause] += faults.bytes_to_device[cause];
        sum->bytes_to_host[cause] += faults.bytes_to_host[cause];
    }
    return faults.gpu_faults;
}

/* A kernel on managed memory that nobody has moved must be counted: otherwise a 0 would say nothing. Real devices only: the simulated ones by
 * hand have a device of their own. */
static void control(const bench_machine *machine)
{
    const size_t bytes = (size_t)4 << 20;
    eum_faults faults = EUM_FAULTS_INIT;
    eum_block block;
    bench_params params = {1, bytes / sizeof(float), 1, 0};
    if (machine->info.device_kind != EUM_DEVICE_CUDA || !machine->raw->managed)
        return;
    OK(eum_context_trim(machine->context, 0));
    OK(eum_faults_begin(machine->context));
    machine->raw->alloc(EUM_MEMORY_MANAGED, bytes, &block);
    memset(block.host, 0, bytes);
    bench_launch launch = {.gpu = bench_edit_gpu,
                           .cpu = bench_edit_cpu,
                           .count = 1,
                           .addresses = {block.device},
                           .bytes = {bytes},
                           .accesses = {EUM_ACCESS_READ_WRITE},
                           .params = &params,
                           .params_bytes = sizeof params};
    machine->raw->run(0, &launch);
    machine->raw->wait(0);
    OK(eum_faults_end(machine->context, &faults));
    machine->raw->release(&block);
    bench_output_value("faults", "control: GPU faults of a kernel on 4 MiB that nobody moved (must not be 0)",
                       (double)faults.gpu_faults, "");
}

void bench_extra_faults(const bench_machine *machine, bool quick, double deadline)
{
    static const char *const sizes[] = {"4K", "64K", "1000x768", "16M"};
    eum_faults sum = EUM_FAULTS_INIT;
    bench_row row = {.group = "faults", .unit = ""};
    bool known = true;
    size_t passes = 0;
    for (size_t s = 0; s < (quick ? 2 : sizeof sizes / sizeof *sizes) && known; s++)
        for (size_t p = 0; p < bench_pattern_count && known && bench_wall_ns() < deadline; p++) {
            bench_shape shape;
            (void)bench_shape_parse(sizes[s], strlen(sizes[s]), &shape);
            uint64_t here = faults_of(machine, &bench_patterns[p], shape, &sum, &known);
            passes += known;
            if (here > 0) {
                snprintf(row.name, sizeof row.name, "GPU faults: %s %s (must be 0)", bench_patterns[p].name, sizes[s]);
                row.value = (double)here;
                bench_output_row(&row);
            }
        }
    if (!known) {
        eum_error error = EUM_ERROR_INIT;
        (void)eum_last_error(&error);
        fprintf(stderr, "eum-bench: faults are not counted: %s\n", error.sentence);
    }
    snprintf(row.note, sizeof row.note, "%zu patterns and sizes, 5 cycles with each of the library's ways", passes);
    snprintf(row.name, sizeof row.name, "%s", "GPU faults in all launches of the library (must be 0)");
    row.value = (double)sum.gpu_faults;
    if (passes == 0)
        return;
    bench_output_row(&row);
    bench_output_value("faults", "CPU faults that the driver served", (double)sum.cpu_faults, "");
    bench_output_value("faults", "managed bytes that faults moved to the device", (double)sum.bytes_to_device[EUM_CAUSE_FAULT],
                       "B");
    bench_output_value("faults", "managed bytes that prefetches moved to the device",
                       (double)sum.bytes_to_device[EUM_CAUSE_PREFETCH], "B");
    control(machine);
}

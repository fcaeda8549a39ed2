/* What a launch through the library costs its caller, beside the same done by hand.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 *   bench_launch [--json] [DEVICE]
 *
 * DEVICE as in a context's configuration; without it the environment's. Data are random, results are checked; times are medians. By hand is
 * measured on CUDA devices only. Managed memory in use: 140 MiB. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engram_um.h"
#include "handle.h"

#define BYTES ((size_t)64 << 20)
#define WORDS (BYTES / 4)
#define CYCLES 21
#define BATCHES 101
#define BATCH 200
#define SUMS ((size_t)264) /* one a block of the kernel's */
#define ROWS ((size_t)1000)
#define DIM ((size_t)768)

#if EUM_HAVE_CUDA
#include <cuda_runtime_api.h>
int32_t bench_sum(const eum_kernel_call *call);
int32_t bench_touch(const eum_kernel_call *call);
#define GPU(kernel) kernel
#else
#define GPU(kernel) NULL
#endif

static bool json;
static int printed;
static eum_context *context;
static eum_stream *stream;
static eum_info info;

static void stop_at(const char *what)
{
    eum_error error = EUM_ERROR_INIT;
    (void)eum_last_error(&error);
    fprintf(stderr, "bench_launch: %s: %s\n", what, error.sentence);
    exit(EXIT_FAILURE);
}
#define OK(call)                                                                                                                   \
    do {                                                                                                                           \
        if ((call) != EUM_OK)                                                                                                      \
            stop_at(#call);                                                                                                        \
    } while (0)

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
    return values[count / 2];
}

static void row(const char *name, double value, const char *unit)
{
    if (json)
        printf("%s\n  {\"name\": \"%s\", \"value\": %.3f, \"unit\": \"%s\"}", printed++ > 0 ? "," : "", name, value, unit);
    else
        printf("  %-76s %10.2f %s\n", name, value, unit);
}

static uint32_t scramble(uint64_t x)
{
    x = (x + 1) * 0x9E3779B97F4A7C15ull;
    x ^= x >> 31;
    return (uint32_t)(x * 0xBF58476D1CE4E5B9ull >> 32);
}

static eum_buffer *make(size_t bytes, eum_role role)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    eum_buffer *made = NULL;
    config.role = role;
    OK(eum_buffer_create(context, bytes, &config, &made));
    return made;
}

static eum_view whole(eum_buffer *buffer)
{
    return (eum_view){buffer, 0, EUM_WHOLE_SIZE};
}

static int32_t sum_cpu(const eum_kernel_call *call)
{
    const uint32_t *words = call->addresses[0];
    uint64_t sum = 0;
    for (size_t i = 0; i < call->bytes[0] / 4; i++)
        sum += words[i];
    memset(call->addresses[1], 0, SUMS * sizeof sum);
    *(uint64_t *)call->addresses[1] = sum;
    return 0;
}

static int32_t touch_cpu(const eum_kernel_call *call)
{
    *(uint32_t *)call->addresses[0] += *(const uint32_t *)call->addresses[1];
    return 0;
}

static uint64_t fill(uint32_t *words, uint32_t seed)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < WORDS; i++)
        sum += words[i] = scramble(i ^ (uint64_t)seed << 32);
    return sum;
}

static uint64_t add_up(const uint64_t *sums)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < SUMS; i++)
        sum += sums[i];
    return sum;
}

/* CPU work of about that many microseconds, which touches no memory. */
static double busy(double us)
{
    double begin = now_us();
    while (now_us() - begin < us)
        continue;
    return now_us() - begin;
}

/* ---------------------------------------------------------------------------------------------- 64 MiB to move ------ */

#if EUM_HAVE_CUDA
static void cuda_ok(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return;
    fprintf(stderr, "bench_launch: %s: %s\n", what, cudaGetErrorString(error));
    exit(EXIT_FAILURE);
}
#define CUDA(call) cuda_ok(call, #call)

static cudaError_t prefetch(void *address, size_t bytes, bool to_host, cudaStream_t on)
{
#if CUDART_VERSION >= 13000
    struct cudaMemLocation where = {.type = to_host ? cudaMemLocationTypeHost : cudaMemLocationTypeDevice,
                                    .id = to_host ? 0 : info.device_index};
    return cudaMemPrefetchAsync(address, bytes, where, 0, on);
#else
    return cudaMemPrefetchAsync(address, bytes, to_host ? cudaCpuDeviceId : info.device_index, on);
#endif
}

static cudaError_t advise(void *address, size_t bytes, enum cudaMemoryAdvise advice)
{
#if CUDART_VERSION >= 13000
    struct cudaMemLocation where = {.type = cudaMemLocationTypeDevice, .id = info.device_index};
    return cudaMemAdvise(address, bytes, advice, where);
#else
    return cudaMemAdvise(address, bytes, advice, info.device_index);
#endif
}

/* The caller's time of the driver's own calls for the same: advice, prefetch, kernel. */
static double by_hand(bool with_advice, double *out_total)
{
    uint32_t *words = NULL;
    uint64_t *sums = NULL, got[SUMS];
    cudaStream_t own;
    double times[CYCLES], total[CYCLES];
    CUDA(cudaStreamCreateWithFlags(&own, cudaStreamNonBlocking));
    CUDA(cudaMallocManaged((void **)&words, BYTES, cudaMemAttachGlobal));
    CUDA(cudaMalloc((void **)&sums, sizeof got));
    for (int i = 0; i < CYCLES; i++) {
        if (with_advice)
            CUDA(advise(words, BYTES, cudaMemAdviseUnsetReadMostly));
        CUDA(prefetch(words, BYTES, true, own));
        CUDA(cudaStreamSynchronize(own));
        uint64_t want = fill(words, (uint32_t)i);
        void *addresses[2] = {words, sums};
        size_t bytes[2] = {BYTES, sizeof got};
        eum_kernel_call call = {.struct_size = sizeof call, .count = 2, .addresses = addresses, .bytes = bytes, .stream = own};
        double begin = now_us();
        if (with_advice)
            CUDA(advise(words, BYTES, cudaMemAdviseSetReadMostly));
        CUDA(prefetch(words, BYTES, false, own));
        CUDA((cudaError_t)bench_sum(&call));
        times[i] = now_us() - begin;
        CUDA(cudaStreamSynchronize(own));
        total[i] = now_us() - begin;
        CUDA(cudaMemcpy(got, sums, sizeof got, cudaMemcpyDeviceToHost));
        if (add_up(got) != want)
            stop_at("a sum made by hand is wrong");
    }
    CUDA(cudaFree(words));
    CUDA(cudaFree(sums));
    CUDA(cudaStreamDestroy(own));
    *out_total = median(total, CYCLES);
    return median(times, CYCLES);
}
#endif

static double cycle(eum_buffer *words, eum_buffer *sum, uint32_t seed, double work_us, double *out_total)
{
    void *mapped = NULL;
    OK(eum_buffer_map(whole(words), EUM_ACCESS_OVERWRITE, &mapped));
    uint64_t want = fill(mapped, seed);
    OK(eum_buffer_unmap(words, mapped));
    eum_argument arguments[2] = {{whole(words), EUM_ACCESS_READ, 0}, {whole(sum), EUM_ACCESS_OVERWRITE, 0}};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.gpu = GPU(bench_sum);
    config.cpu = sum_cpu;
    config.arguments = arguments;
    config.argument_count = 2;
    eum_job job;
    double begin = now_us();
    OK(eum_launch(stream, &config, &job));
    double called = now_us() - begin;
    if (work_us > 0)
        (void)busy(work_us);
    OK(eum_job_wait(job, -1));
    *out_total = now_us() - begin;
    OK(eum_buffer_map(whole(sum), EUM_ACCESS_READ, &mapped));
    bool right = add_up(mapped) == want;
    OK(eum_buffer_unmap(sum, mapped));
    if (!right)
        stop_at("a sum is wrong");
    return called;
}

static void bench_move(eum_role role, const char *word)
{
    eum_buffer *words = make(BYTES, role), *sum = make(SUMS * 8, EUM_ROLE_RESULTS);
    double called[CYCLES], total[CYCLES], overlapped[CYCLES];
    char name[128];
    for (int i = 0; i < CYCLES; i++)
        called[i] = cycle(words, sum, (uint32_t)i, 0, &total[i]);
    double alone = median(total, CYCLES);
    for (int i = 0; i < CYCLES; i++)
        (void)cycle(words, sum, (uint32_t)i + 100, alone, &overlapped[i]);
    snprintf(name, sizeof name, "launch with 64 MiB to move, role %s: the caller's time", word);
    row(name, median(called, CYCLES), "us");
    snprintf(name, sizeof name, "  until it is done");
    row(name, alone, "us");
    snprintf(name, sizeof name, "  until it is done, with %.0f us of CPU work meanwhile", alone);
    row(name, median(overlapped, CYCLES), "us");
    OK(eum_buffer_destroy(words));
    OK(eum_buffer_destroy(sum));
}

/* -------------------------------------------------------------------------------------------- nothing to move ------- */

static void bench_nothing(void)
{
    eum_buffer *buffers[4];
    eum_argument arguments[4];
    double times[BATCHES];
    for (int i = 0; i < 4; i++) {
        static const uint32_t one = 1;
        buffers[i] = make(4096, EUM_ROLE_AUTO);
        arguments[i] = (eum_argument){whole(buffers[i]), i == 0 ? EUM_ACCESS_READ_WRITE : EUM_ACCESS_READ, 0};
        OK(eum_buffer_write((eum_view){buffers[i], 0, 4}, &one));
    }
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.gpu = GPU(bench_touch);
    config.cpu = touch_cpu;
    config.arguments = arguments;
    config.argument_count = 4;
    for (int b = 0; b < BATCHES; b++) {
        double begin = now_us();
        for (int i = 0; i < BATCH; i++)
            OK(eum_launch(stream, &config, NULL));
        times[b] = (now_us() - begin) / BATCH;
        OK(eum_stream_synchronize(stream));
    }
    double ours = median(times, BATCHES);
    row("launch of 4 arguments with nothing to move", ours, "us");
#if EUM_HAVE_CUDA
    if (info.device_kind == EUM_DEVICE_CUDA) {
        uint32_t *device = NULL;
        cudaStream_t own;
        CUDA(cudaStreamCreateWithFlags(&own, cudaStreamNonBlocking));
        CUDA(cudaMalloc((void **)&device, 4 * 4096));
        CUDA(cudaMemset(device, 1, 4 * 4096));
        void *addresses[4] = {device, device + 1024, device + 2048, device + 3072};
        eum_kernel_call call = {.struct_size = sizeof call, .count = 4, .addresses = addresses, .stream = own};
        for (int b = 0; b < BATCHES; b++) {
            double begin = now_us();
            for (int i = 0; i < BATCH; i++)
                CUDA((cudaError_t)bench_touch(&call));
            times[b] = (now_us() - begin) / BATCH;
            CUDA(cudaStreamSynchronize(own));
        }
        double bare = median(times, BATCHES);
        row("  the bare kernel launch", bare, "us");
        row("  the library's part", ours - bare, "us");
        CUDA(cudaFree(device));
        CUDA(cudaStreamDestroy(own));
    }
#endif
    for (int i = 0; i < 4; i++)
        OK(eum_buffer_destroy(buffers[i]));
}

/* ---------------------------------------------------------------------------------------------------- cosine -------- */

static void bench_cosine(void)
{
    eum_buffer *query = make(DIM * 4, EUM_ROLE_QUERY), *targets = make(ROWS * DIM * 4, EUM_ROLE_TARGETS),
               *scores = make(ROWS * 4, EUM_ROLE_RESULTS);
    eum_buffer *rewritten = make(ROWS * DIM * 4, EUM_ROLE_STREAM);
    float *values = malloc(ROWS * DIM * 4), *back = malloc(ROWS * 4);
    double times[BATCHES], cycles[BATCHES];
    for (size_t i = 0; values != NULL && i < ROWS * DIM; i++)
        values[i] = (float)scramble(i) / 4294967296.0f - 0.5f;
    if (values == NULL || back == NULL)
        stop_at("no memory");
    OK(eum_buffer_write(whole(query), values));
    OK(eum_buffer_write(whole(targets), values));
    eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
    config.query = whole(query);
    config.targets = whole(targets);
    config.scores = whole(scores);
    config.rows = ROWS;
    config.dim = DIM;
    for (int b = 0; b < BATCHES; b++) {
        double begin = now_us();
        OK(eum_cosine(stream, &config, NULL));
        OK(eum_stream_synchronize(stream));
        times[b] = now_us() - begin;
    }
    row("cosine 1000 x 768, resident, wall time with the wait", median(times, BATCHES), "us");
    config.targets = whole(rewritten);
    for (int b = 0; b < BATCHES; b++) {
        void *mapped;
        values[b] += 1;
        double begin = now_us();
        OK(eum_buffer_map(whole(rewritten), EUM_ACCESS_OVERWRITE, &mapped));
        memcpy(mapped, values, ROWS * DIM * 4);
        OK(eum_buffer_unmap(rewritten, mapped));
        OK(eum_cosine(stream, &config, NULL));
        OK(eum_buffer_map(whole(scores), EUM_ACCESS_READ, &mapped));
        memcpy(back, mapped, ROWS * 4);
        OK(eum_buffer_unmap(scores, mapped));
        cycles[b] = now_us() - begin;
    }
    row("  1000 x 768 rewritten, scored once, scores read (role stream)", median(cycles, BATCHES), "us");
    if (!(back[0] > 0.5f && back[0] <= 1.0f))
        stop_at("a score is wrong");
    OK(eum_buffer_destroy(query));
    OK(eum_buffer_destroy(targets));
    OK(eum_buffer_destroy(rewritten));
    OK(eum_buffer_destroy(scores));
    free(values);
    free(back);
}

/* ---------------------------------------------------------------------------------------------------- handles ------- */

static void bench_pin(void)
{
    double times[BATCHES];
    int thing = 0;
    void *handle = NULL, *object = NULL;
    if (eum_handle_create(EUM_HANDLE_BUFFER, &thing, NULL, &handle) != EUM_OK)
        stop_at("a handle");
    for (int b = 0; b < BATCHES; b++) {
        double begin = now_us();
        for (int i = 0; i < 20000; i++) {
            if (eum_handle_pin(handle, EUM_HANDLE_BUFFER, &object) != EUM_OK)
                stop_at("a pin");
            eum_handle_unpin(handle);
        }
        times[b] = (now_us() - begin) / 20000 * 1e3;
    }
    row("pin + unpin of a handle", median(times, BATCHES), "ns");
    eum_handle_retire(handle, EUM_HANDLE_BUFFER, true);
}

int main(int argc, char **argv)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else
            config.device = argv[i];
    }
    OK(eum_context_create(&config, &context));
    OK(eum_context_default_stream(context, &stream));
    eum_info_init(&info);
    OK(eum_context_info(context, &info));
    printf(json ? "{\"device\": \"%s\", \"rows\": [" : "%s, medians\n", info.device_name);
    bench_move(EUM_ROLE_AUTO, "auto");
    bench_move(EUM_ROLE_TARGETS, "targets");
#if EUM_HAVE_CUDA
    if (info.device_kind == EUM_DEVICE_CUDA && info.concurrent_managed) {
        double total;
        row("by hand, prefetch + launch: the caller's time", by_hand(false, &total), "us");
        row("  until it is done", total, "us");
        row("by hand, read-mostly advice + prefetch + launch: the caller's time", by_hand(true, &total), "us");
        row("  until it is done", total, "us");
    }
#endif
    bench_nothing();
    bench_cosine();
    bench_pin();
    if (json)
        printf("\n]}\n");
    OK(eum_context_destroy(context));
    return EXIT_SUCCESS;
}

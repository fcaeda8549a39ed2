/* No page faults in kernels, counted by the driver. Every test that expects none stands beside one that must count some.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Managed memory in use: 128 MiB at most. EUM_GPU_SEED=N gives the random launches another seed. */
#include <dlfcn.h>
#include <time.h>

#include "context.h"
#include "gpu_fixture.h"
#include "objects.h"

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static eum_faults end_window(void)
{
    eum_faults faults = EUM_FAULTS_INIT;
    OK(eum_faults_end(context, &faults));
    ck_assert_int_eq(faults.source, EUM_FAULT_SOURCE_CUPTI);
    return faults;
}

/* Starting and stopping CUPTI takes some 50 ms; while any window is open, the others need not. Returns what ends it. */
static eum_context *keep_counting(void)
{
    eum_context *own = context, *other;
    eum_stream *own_stream = stream;
    open_context(EUM_BACKING_MANAGED, 0);
    OK(eum_faults_begin(context));
    other = context;
    context = own;
    stream = own_stream;
    return other;
}

static void stop_counting(eum_context *other)
{
    eum_faults faults = EUM_FAULTS_INIT;
    OK(eum_faults_end(other, &faults));
    OK(eum_context_destroy(other));
}

static void print_faults(const char *what, const eum_faults *f)
{
    printf("%s: GPU faults %llu, CPU faults %llu; to device fault %llu prefetch %llu eviction %llu other %llu; "
           "to host fault %llu prefetch %llu eviction %llu other %llu; copied %llu / %llu\n",
           what, (unsigned long long)f->gpu_faults, (unsigned long long)f->cpu_faults, (unsigned long long)f->bytes_to_device[0],
           (unsigned long long)f->bytes_to_device[1], (unsigned long long)f->bytes_to_device[2],
           (unsigned long long)f->bytes_to_device[3], (unsigned long long)f->bytes_to_host[0],
           (unsigned long long)f->bytes_to_host[1], (unsigned long long)f->bytes_to_host[2],
           (unsigned long long)f->bytes_to_host[3], (unsigned long long)f->bytes_copied_to_device,
           (unsigned long long)f->bytes_copied_to_host);
}

/* --------------------------------------------------------------------------------------- movement switched off ------ */

/* The device table of the context, with all that moves managed pages replaced by nothing. */
static struct eum_device_ops still;

static eum_status no_prefetch(eum_dstream *on, const eum_block *block, size_t offset, size_t bytes, eum_location where)
{
    (void)on, (void)block, (void)offset, (void)bytes, (void)where;
    return EUM_OK;
}

static eum_status no_discard(eum_dstream *on, const eum_block *block, size_t offset, size_t bytes)
{
    (void)on, (void)block, (void)offset, (void)bytes;
    return EUM_OK;
}

static eum_status no_advice(eum_device *device, const eum_block *block, size_t offset, size_t bytes, eum_advice advice,
                            eum_location where)
{
    (void)device, (void)block, (void)offset, (void)bytes, (void)advice, (void)where;
    return EUM_OK;
}

static void switch_movement_off(void)
{
    eum_context_object *object = NULL;
    OK(eum_pin_context(context, &object));
    still = *object->ctx->device->ops;
    still.prefetch = no_prefetch;
    still.discard = no_discard;
    still.advise = no_advice;
    object->ctx->device->ops = &still;
    eum_handle_unpin(context);
}

/* ------------------------------------------------------------------------------------------------ the counter ------- */

START_TEST(the_counter_counts)
{
    open_context(EUM_BACKING_MANAGED, 0);
    uint32_t *raw;
    size_t bytes = 8 * MIB;
    gpu_work work = {.seed = 1, .views = 1, .accesses = {EUM_ACCESS_READ_WRITE}};
    cudaStream_t own;
    CUDA(cudaStreamCreateWithFlags(&own, cudaStreamNonBlocking));
    CUDA(cudaMallocManaged((void **)&raw, bytes, cudaMemAttachGlobal));
    memset(raw, 1, bytes);
    OK(eum_faults_begin(context));
    ck_assert_int_eq(gpu_work_enqueue(&work, (void *const *)&raw, &bytes, own), 0);
    eum_faults faults = end_window();
    print_faults("raw managed memory, no prefetch", &faults);
    ck_assert_uint_gt(faults.gpu_faults, 0);
    ck_assert_uint_gt(faults.bytes_to_device[EUM_CAUSE_FAULT], 0);
    OK(eum_faults_begin(context));
    ck_assert_int_eq(gpu_work_enqueue(&work, (void *const *)&raw, &bytes, own), 0);
    faults = end_window();
    print_faults("the same again, resident", &faults);
    ck_assert_uint_eq(faults.gpu_faults, 0);
    OK(eum_faults_begin(context));
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes / 4; i += 16)
        sum += ((volatile uint32_t *)raw)[i];
    faults = end_window();
    print_faults("read by the CPU", &faults);
    ck_assert_uint_gt(faults.cpu_faults, 0);
    ck_assert_uint_eq(faults.bytes_to_host[EUM_CAUSE_FAULT], bytes);
    OK(eum_faults_begin(context));
    struct cudaMemLocation device = {.type = cudaMemLocationTypeDevice, .id = 0};
    CUDA(cudaMemPrefetchAsync(raw, bytes, device, 0, own));
    ck_assert_int_eq(gpu_work_enqueue(&work, (void *const *)&raw, &bytes, own), 0);
    faults = end_window();
    print_faults("after a prefetch by hand", &faults);
    ck_assert_uint_eq(faults.gpu_faults, 0);
    ck_assert_uint_eq(faults.bytes_to_device[EUM_CAUSE_PREFETCH], bytes);
    CUDA(cudaFree(raw));
    CUDA(cudaStreamDestroy(own));
    (void)sum;
    double begin = now_ms();
    for (int i = 0; i < 20; i++) {
        OK(eum_faults_begin(context));
        faults = end_window();
        ck_assert_uint_eq(faults.gpu_faults + faults.cpu_faults, 0);
    }
    printf("an empty window takes %.2f ms\n", (now_ms() - begin) / 20);
    close_context();
}
END_TEST

START_TEST(faults_belong_to_buffers)
{
    open_context(EUM_BACKING_MANAGED, 0);
    switch_movement_off();
    eum_buffer *used = make_buffer(3 * MIB, EUM_ROLE_AUTO), *idle = make_buffer(3 * MIB, EUM_ROLE_AUTO);
    eum_buffer *buffers[2] = {used, idle};
    void *mapped;
    for (int i = 0; i < 2; i++) {
        OK(eum_buffer_map(whole(buffers[i]), EUM_ACCESS_OVERWRITE, &mapped));
        memset(mapped, 3, 3 * MIB);
        OK(eum_buffer_unmap(buffers[i], mapped));
    }
    eum_argument reads = argument(used, 0, 3 * MIB, EUM_ACCESS_READ);
    OK(eum_faults_begin(context));
    OK(work_on(stream, &reads, 1, 1, NULL, 0, NULL));
    eum_faults all = end_window(), one = EUM_FAULTS_INIT, other = EUM_FAULTS_INIT;
    OK(eum_buffer_faults(used, &one));
    OK(eum_buffer_faults(idle, &other));
    print_faults("used", &one);
    print_faults("idle", &other);
    ck_assert_uint_gt(one.gpu_faults, 0);
    ck_assert_uint_eq(one.gpu_faults, all.gpu_faults);
    ck_assert_uint_eq(other.gpu_faults, 0);
    ck_assert_uint_eq(other.bytes_to_device[EUM_CAUSE_FAULT], 0);
    OK(eum_buffer_destroy(used));
    OK(eum_buffer_destroy(idle));
    close_context();
}
END_TEST

START_TEST(windows_of_two_contexts_and_windows_out_of_order)
{
    open_context(EUM_BACKING_MANAGED, 0);
    eum_context *first = context;
    eum_faults faults = EUM_FAULTS_INIT;
    FAILS(eum_faults_end(first, &faults), EUM_ERROR_INVALID_STATE);
    OK(eum_faults_begin(first));
    FAILS(eum_faults_begin(first), EUM_ERROR_INVALID_STATE);
    open_context(EUM_BACKING_MANAGED, 0);
    OK(eum_faults_begin(context));
    context = (eum_context *)first;
    (void)end_window();
    OK(eum_faults_begin(context));
    (void)end_window();
    OK(eum_context_destroy(first));
    /* the other one ends with its window open */
}
END_TEST

START_TEST(no_cupti_is_an_error_that_says_so)
{
    open_context(EUM_BACKING_MANAGED, 0);
    char kept[1024] = "";
    const char *was = getenv("EUM_CUPTI");
    if (was != NULL)
        snprintf(kept, sizeof kept, "%s", was);
    setenv("EUM_CUPTI", "/nowhere/libcupti.so", 1);
    FAILS(eum_faults_begin(context), EUM_ERROR_COUNTING_UNAVAILABLE);
    printf("%s\n", sentence());
    ck_assert_ptr_nonnull(strstr(sentence(), "/nowhere/libcupti.so"));
    setenv("EUM_CUPTI", kept, 1);
    OK(eum_faults_begin(context));
    (void)end_window();
    close_context();
}
END_TEST

START_TEST(another_profiler_is_an_error_that_says_so)
{
    open_context(EUM_BACKING_MANAGED, 0);
    const char *path = getenv("EUM_CUPTI");
    void *library = dlopen(path != NULL && *path != 0 ? path : "libcupti.so.13", RTLD_NOW), *subscriber = NULL;
    if (library == NULL) {
        printf("left out: %s\n", dlerror());
        close_context();
        return;
    }
    int (*subscribe)(void **, void *, void *) = NULL, (*unsubscribe)(void *) = NULL;
    *(void **)&subscribe = dlsym(library, "cuptiSubscribe");
    *(void **)&unsubscribe = dlsym(library, "cuptiUnsubscribe");
    ck_assert_int_eq(subscribe(&subscriber, (void *)(uintptr_t)now_ms, NULL), 0);
    FAILS(eum_faults_begin(context), EUM_ERROR_COUNTING_REFUSED);
    printf("%s\n", sentence());
    ck_assert_int_eq(unsubscribe(subscriber), 0);
    OK(eum_faults_begin(context));
    (void)end_window();
    close_context();
}
END_TEST

/* ------------------------------------------------------------------------------------ every transition, by itself --- */

#define MATRIX_BYTES (4 * MIB)

/* A step of a history: h the host overwrites, r reads, m changes the bytes from 100 to 5000; R, W, O the device reads, reads and writes,
 * overwrites; p, q prefetches to the device, to the host; t reads 4 bytes on the device. */
static void do_step(eum_buffer *buffer, char step, uint32_t *words)
{
    void *mapped;
    eum_argument all = argument(buffer, 0, MATRIX_BYTES, EUM_ACCESS_READ);
    switch (step) {
    case 'h':
        OK(eum_buffer_map(whole(buffer), EUM_ACCESS_OVERWRITE, &mapped));
        for (size_t i = 0; i < MATRIX_BYTES / 4; i++)
            words[i] = ((uint32_t *)mapped)[i] = gpu_hash(11, i);
        OK(eum_buffer_unmap(buffer, mapped));
        break;
    case 'r':
        OK(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, &mapped));
        expect_words(mapped, words, MATRIX_BYTES / 4, "matrix");
        OK(eum_buffer_unmap(buffer, mapped));
        break;
    case 'm':
        OK(eum_buffer_map((eum_view){buffer, 100, 4900}, EUM_ACCESS_READ_WRITE, &mapped));
        for (size_t i = 0; i < 4900 / 4; i++)
            words[25 + i] = ((uint32_t *)mapped)[i] += 17;
        OK(eum_buffer_unmap(buffer, mapped));
        break;
    case 'p':
        OK(eum_buffer_prefetch(whole(buffer), 0, NULL));
        break;
    case 'q':
        OK(eum_buffer_prefetch(whole(buffer), EUM_LOCATION_HOST, NULL));
        break;
    case 't':
        all = argument(buffer, 3 * 4096 + 8, 4, EUM_ACCESS_READ);
        OK(work_on(stream, &all, 1, 5, NULL, 0, NULL));
        break;
    default:
        all.access = step == 'R' ? EUM_ACCESS_READ : step == 'W' ? EUM_ACCESS_READ_WRITE : EUM_ACCESS_OVERWRITE;
        OK(work_on(stream, &all, 1, (uint32_t)step, NULL, 0, NULL));
        (void)model_work(&all, 1, (uint32_t)step, &words);
        break;
    }
}

START_TEST(no_transition_faults)
{
    static const char *const histories[] = {"",    "h",  "hR", "hRr", "hW",   "hWr", "hRW",  "O",  "Or",  "hRm", "hWm",
                                            "hRh", "Oh", "hp", "hWq", "hRrW", "hWR", "hWRr", "Ot", "htW", "hRO", "hWhR"};
    static const eum_role roles[] = {EUM_ROLE_AUTO, EUM_ROLE_QUERY, EUM_ROLE_TARGETS, EUM_ROLE_RESULTS, EUM_ROLE_STREAM};
    static const char *const role_words[] = {"auto", "query", "targets", "results", "stream"};
    static const struct {
        size_t offset, bytes;
        bool held; /* a map for writing lives on the page where the view begins */
    } views[] = {{0, MATRIX_BYTES, false}, {5000, 3 * MIB + 100, false}, {3 * 4096 + 8, 4, false}, {5000, 3 * MIB + 100, true}};
    const eum_role role = roles[_i];
    open_context(EUM_BACKING_MANAGED, 0);
    eum_context *counting = keep_counting();
    uint32_t *words = malloc(MATRIX_BYTES);
    int windows = 0, faulting = 0;
    uint64_t cpu_faults = 0;
    for (size_t h = 0; h < sizeof histories / sizeof *histories; h++)
        for (int access = EUM_ACCESS_READ; access <= EUM_ACCESS_OVERWRITE; access++)
            for (size_t v = 0; v < sizeof views / sizeof *views; v++) {
                eum_buffer *buffer = make_buffer(MATRIX_BYTES, role);
                void *held = NULL, *mapped;
                bool defined = histories[h][0] != 0;
                for (const char *step = histories[h]; *step != 0; step++)
                    do_step(buffer, *step, words);
                if (views[v].held)
                    OK(eum_buffer_map((eum_view){buffer, 4096, 400}, EUM_ACCESS_READ_WRITE, &held));
                eum_argument use = argument(buffer, views[v].offset, views[v].bytes, access);
                uint32_t *at = words + views[v].offset / 4;
                OK(eum_faults_begin(context));
                OK(work_on(stream, &use, 1, 99, NULL, 0, NULL));
                eum_faults faults = end_window();
                (void)model_work(&use, 1, 99, &at);
                windows++;
                cpu_faults += faults.cpu_faults;
                if (faults.gpu_faults > 0) {
                    faulting++;
                    printf("FAULTS: role %s, history \"%s\", access %d, bytes %zu at %zu%s: %llu\n", role_words[_i], histories[h],
                           access, views[v].bytes, views[v].offset, views[v].held ? ", page held" : "",
                           (unsigned long long)faults.gpu_faults);
                }
                if (held != NULL)
                    OK(eum_buffer_unmap(buffer, held));
                if (defined || (access == EUM_ACCESS_OVERWRITE && v == 0)) {
                    OK(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, &mapped));
                    expect_words(mapped, words, MATRIX_BYTES / 4, histories[h]);
                    OK(eum_buffer_unmap(buffer, mapped));
                }
                OK(eum_buffer_destroy(buffer));
            }
    printf("role %s: %d transitions, %d with GPU faults, %llu CPU faults\n", role_words[_i], windows, faulting,
           (unsigned long long)cpu_faults);
    ck_assert_int_eq(faulting, 0);
    free(words);
    stop_counting(counting);
    close_context();
}
END_TEST

START_TEST(a_cycle_of_the_cosine_in_every_role_has_no_faults)
{
    open_context(EUM_BACKING_MANAGED, 0);
    const size_t rows = 1000, dim = 768;
    static const eum_role roles[] = {EUM_ROLE_TARGETS, EUM_ROLE_STREAM, EUM_ROLE_AUTO};
    for (int r = 0; r < 3; r++) {
        eum_buffer *query = make_buffer(dim * 4, r == 2 ? EUM_ROLE_AUTO : EUM_ROLE_QUERY);
        eum_buffer *targets = make_buffer(rows * dim * 4, roles[r]);
        eum_buffer *scores = make_buffer(rows * 4, r == 2 ? EUM_ROLE_AUTO : EUM_ROLE_RESULTS);
        OK(eum_faults_begin(context));
        for (uint32_t round = 0; round < 5; round++) {
            float *q, *t, *s;
            OK(eum_buffer_map(whole(query), EUM_ACCESS_OVERWRITE, (void **)&q));
            for (size_t i = 0; i < dim; i++)
                q[i] = (float)gpu_hash(round, i) / 4294967296.0f - 0.5f;
            OK(eum_buffer_unmap(query, q));
            if (round == 0 || roles[r] == EUM_ROLE_STREAM) {
                OK(eum_buffer_map(whole(targets), EUM_ACCESS_OVERWRITE, (void **)&t));
                for (size_t i = 0; i < rows * dim; i++)
                    t[i] = (float)gpu_hash(round + 100, i) / 4294967296.0f - 0.5f;
                OK(eum_buffer_unmap(targets, t));
            }
            eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
            config.executor = EUM_EXECUTOR_DEVICE;
            config.query = whole(query);
            config.targets = whole(targets);
            config.scores = whole(scores);
            config.rows = rows;
            config.dim = dim;
            OK(eum_cosine(stream, &config, NULL));
            OK(eum_buffer_map(whole(scores), EUM_ACCESS_READ, (void **)&s));
            for (size_t i = 0; i < rows; i++)
                if (!(s[i] >= -1 && s[i] <= 1 && s[i] != 0))
                    ck_abort_msg("score %zu is %g", i, (double)s[i]);
            OK(eum_buffer_unmap(scores, s));
        }
        eum_faults faults = end_window();
        print_faults(r == 0   ? "cosine, query + targets + results, 5 rounds"
                     : r == 1 ? "cosine, query + stream + results, 5 rounds"
                              : "cosine, auto, 5 rounds",
                     &faults);
        ck_assert_uint_eq(faults.gpu_faults, 0);
        OK(eum_buffer_destroy(query));
        OK(eum_buffer_destroy(targets));
        OK(eum_buffer_destroy(scores));
    }
    close_context();
}
END_TEST

/* ---------------------------------------------------------------------------------------------- random launches ----- */

#define LAUNCHES 1000
#define BUFFERS 20
#define STREAMS 4
#define MOST_BYTES (64 * MIB)

typedef struct item {
    eum_buffer *buffer;
    uint32_t *words;
    size_t count;
    eum_role role;
    void *held;
    size_t held_first, held_count;
    eum_access held_access;
} item;

typedef struct program {
    uint64_t state;
    item items[BUFFERS];
    eum_stream *streams[STREAMS];
    uint64_t *sums, wanted[LAUNCHES];
    bool each; /* a window for each launch, to see which one faults */
    uint64_t faults;
    unsigned refused, maps, transfers;
    size_t bytes;
} program;

static uint32_t draw(program *p, uint32_t below)
{
    p->state = p->state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((p->state >> 33) % below);
}

static void make_item(program *p, item *it)
{
    static const size_t sizes[] = {1, 900, 1024, 1500, 20000, 300000, 524288, 1200000, 2000000};
    it->count = sizes[draw(p, 9)] + draw(p, 700);
    if (p->bytes + it->count * 4 > MOST_BYTES)
        it->count = 1000;
    p->bytes += it->count * 4;
    it->role = (eum_role)draw(p, 5);
    it->buffer = make_buffer(it->count * 4, it->role);
    it->words = random_words(it->count, draw(p, 1u << 30));
    it->held = NULL;
    OK(eum_buffer_write(whole(it->buffer), it->words));
}

static void drop_item(program *p, item *it)
{
    p->bytes -= it->count * 4;
    OK(eum_buffer_destroy(it->buffer));
    free(it->words);
}

static void draw_range(program *p, const item *it, size_t *first, size_t *count)
{
    *first = 0;
    *count = it->count;
    if (draw(p, 3) == 0)
        return;
    *first = draw(p, (uint32_t)it->count);
    *count = 1 + draw(p, (uint32_t)(it->count - *first));
    if (draw(p, 3) == 0 && it->count > 4096) { /* whole pages */
        *first = *first / 1024 * 1024;
        *count = (*count + 1023) / 1024 * 1024;
        if (*first + *count > it->count)
            *count = it->count - *first;
    }
}

static bool conflicts(const item *it, size_t first, size_t count, eum_access access)
{
    return it->held != NULL && (it->held_access != EUM_ACCESS_READ || access != EUM_ACCESS_READ) &&
           first < it->held_first + it->held_count && it->held_first < first + count;
}

static void let_go(item *it)
{
    if (it->held == NULL)
        return;
    if (it->held_access == EUM_ACCESS_READ)
        expect_words(it->held, it->words + it->held_first, it->held_count, "a map that was held");
    else
        for (size_t i = 0; i < it->held_count; i++)
            it->words[it->held_first + i] = ((uint32_t *)it->held)[i] = (uint32_t)i * 2654435761u;
    OK(eum_buffer_unmap(it->buffer, it->held));
    it->held = NULL;
}

static void between(program *p)
{
    item *it = &p->items[draw(p, BUFFERS)];
    size_t first, count;
    uint32_t *mapped;
    uint32_t what = draw(p, 12);
    if (it->held != NULL && what < 9)
        let_go(it);
    draw_range(p, it, &first, &count);
    eum_view view = {it->buffer, first * 4, count * 4};
    p->maps += what < 6;
    switch (what) {
    case 0:
    case 1: /* the CPU reads */
        OK(eum_buffer_map(view, EUM_ACCESS_READ, (void **)&mapped));
        expect_words(mapped, it->words + first, count, "a map for reading");
        OK(eum_buffer_unmap(it->buffer, mapped));
        break;
    case 2:
    case 3: /* changes */
        OK(eum_buffer_map(view, EUM_ACCESS_READ_WRITE, (void **)&mapped));
        for (size_t i = 0; i < count; i += 1 + i % 7) {
            if (mapped[i] != it->words[first + i])
                ck_abort_msg("a map for changing: word %zu is %08x, not %08x", i, mapped[i], it->words[first + i]);
            it->words[first + i] = mapped[i] = mapped[i] * 31 + 7;
        }
        OK(eum_buffer_unmap(it->buffer, mapped));
        break;
    case 4: /* overwrites */
        OK(eum_buffer_map(view, EUM_ACCESS_OVERWRITE, (void **)&mapped));
        for (size_t i = 0; i < count; i++)
            it->words[first + i] = mapped[i] = gpu_hash(what, i);
        OK(eum_buffer_unmap(it->buffer, mapped));
        break;
    case 5: /* holds a map during the next launches */
        it->held_access = (eum_access)(1 + draw(p, 2));
        it->held_first = first;
        it->held_count = count;
        OK(eum_buffer_map(view, it->held_access, &it->held));
        break;
    case 6:
        p->transfers++;
        for (size_t i = 0; i < count; i++)
            it->words[first + i] ^= 0x5a5a5a5au;
        OK(eum_buffer_write(view, it->words + first));
        break;
    case 7: {
        p->transfers++;
        uint32_t *back = malloc(count * 4);
        OK(eum_buffer_read(view, back));
        expect_words(back, it->words + first, count, "a bulk read");
        free(back);
        break;
    }
    case 8:
        drop_item(p, it);
        make_item(p, it);
        break;
    case 9:
        it->role = (eum_role)draw(p, 5);
        OK(eum_buffer_set_role(it->buffer, it->role));
        break;
    case 10:
        if (!conflicts(it, first, count, EUM_ACCESS_READ))
            OK(eum_buffer_prefetch(view, draw(p, 2) == 0 ? EUM_LOCATION_HOST : 0, p->streams[draw(p, STREAMS)]));
        break;
    default:
        OK(eum_stream_synchronize(p->streams[draw(p, STREAMS)]));
        break;
    }
}

static void random_launch(program *p, uint32_t number)
{
    eum_argument arguments[GPU_VIEWS];
    item *items[GPU_VIEWS];
    uint32_t *views[GPU_VIEWS], count = 1 + draw(p, 3);
    size_t firsts[GPU_VIEWS];
    bool refused = false;
    for (uint32_t i = 0; i < count; i++) {
        size_t words;
        items[i] = &p->items[draw(p, BUFFERS)];
        for (uint32_t k = 0; k < i; k++)
            while (items[k] == items[i]) {
                items[i] = &p->items[draw(p, BUFFERS)];
                k = 0;
            }
        eum_access access = (eum_access)(1 + draw(p, 3));
        draw_range(p, items[i], &firsts[i], &words);
        arguments[i] = argument(items[i]->buffer, firsts[i] * 4, words * 4, access);
        refused = refused || conflicts(items[i], firsts[i], words, access);
        views[i] = items[i]->words + firsts[i];
    }
    eum_stream *on = p->streams[draw(p, STREAMS)];
    uint32_t spin = draw(p, 8) == 0 ? 100 : 0;
    if (refused) {
        FAILS(work_on(on, arguments, count, number, p->sums + number, spin, NULL), EUM_ERROR_MAPPED);
        p->refused++;
        for (uint32_t i = 0; i < count; i++)
            if (conflicts(items[i], firsts[i], arguments[i].view.bytes / 4, arguments[i].access))
                let_go(items[i]);
    }
    eum_decision before[GPU_VIEWS];
    for (uint32_t i = 0; p->each && i < count; i++) {
        eum_decision_init(&before[i]);
        OK(eum_buffer_explain(items[i]->buffer, &before[i]));
    }
    if (p->each)
        OK(eum_faults_begin(context));
    OK(work_on(on, arguments, count, number, p->sums + number, spin, NULL));
    if (p->each) {
        eum_faults faults = end_window();
        if (faults.gpu_faults > 0)
            for (uint32_t i = 0; i < count; i++) {
                eum_faults one = EUM_FAULTS_INIT;
                OK(eum_buffer_faults(items[i]->buffer, &one));
                printf("  launch %u faults %llu; view %u: faults %llu, role %d, access %d, bytes %zu at %zu of %zu, on host %llu, "
                       "device %llu "
                       "of them, extents %u, held %d (%zu at %zu), last movement %d\n",
                       number, (unsigned long long)faults.gpu_faults, i, (unsigned long long)one.gpu_faults, (int)items[i]->role,
                       (int)arguments[i].access, arguments[i].view.bytes, arguments[i].view.offset, items[i]->count * 4,
                       (unsigned long long)before[i].bytes_on_host, (unsigned long long)before[i].bytes_on_device,
                       before[i].extents, items[i]->held != NULL, items[i]->held_count * 4, items[i]->held_first * 4,
                       (int)before[i].last_movement);
            }
        p->faults += faults.gpu_faults;
    }
    p->wanted[number] = model_work(arguments, count, number, views);
}

/* Returns the GPU faults of all launches. */
static uint64_t run_program(eum_backing backing, uint64_t seed, bool moving, bool each)
{
    static program p;
    uint64_t *got = malloc(sizeof p.wanted);
    memset(&p, 0, sizeof p);
    p.state = seed;
    p.each = each;
    open_context(backing, 0);
    if (!moving)
        switch_movement_off();
    CUDA(cudaMalloc((void **)&p.sums, sizeof p.wanted));
    CUDA(cudaMemset(p.sums, 0, sizeof p.wanted));
    for (int i = 0; i < STREAMS; i++)
        OK(eum_stream_create(context, NULL, &p.streams[i]));
    for (int i = 0; i < BUFFERS; i++)
        make_item(&p, &p.items[i]);
    double begin = now_ms();
    eum_context *counting = each ? keep_counting() : NULL;
    if (!each)
        OK(eum_faults_begin(context));
    for (uint32_t i = 0; i < LAUNCHES; i++) {
        random_launch(&p, i);
        for (uint32_t k = draw(&p, 3); k > 0; k--)
            between(&p);
    }
    eum_faults faults = EUM_FAULTS_INIT;
    if (!each) {
        faults = end_window();
        p.faults = faults.gpu_faults;
    }
    char what[128];
    snprintf(what, sizeof what, "%d random launches, %s, seed %llu, movement %s%s", LAUNCHES,
             backing == EUM_BACKING_MANAGED ? "managed" : "mirrored", (unsigned long long)seed, moving ? "on" : "off",
             each ? ", a window each" : "");
    for (int i = 0; i < BUFFERS; i++) {
        item *it = &p.items[i];
        void *mapped;
        let_go(it);
        OK(eum_buffer_map(whole(it->buffer), EUM_ACCESS_READ, &mapped));
        expect_words(mapped, it->words, it->count, "at the end");
        OK(eum_buffer_unmap(it->buffer, mapped));
        drop_item(&p, it);
    }
    CUDA(cudaMemcpy(got, p.sums, sizeof p.wanted, cudaMemcpyDeviceToHost));
    for (int i = 0; i < LAUNCHES; i++)
        ck_assert_msg(got[i] == p.wanted[i], "launch %d read something else than the model", i);
    eum_stats stats;
    eum_stats_init(&stats);
    OK(eum_context_stats(context, &stats));
    if (!each)
        print_faults(what, &faults);
    printf("%s: %llu GPU faults, %u maps, %u transfers, %u refused, %llu bytes to the device, %llu to the host, %llu discarded, "
           "%.0f ms\n",
           what, (unsigned long long)p.faults, p.maps, p.transfers, p.refused, (unsigned long long)stats.bytes_to_device,
           (unsigned long long)stats.bytes_to_host, (unsigned long long)stats.bytes_discarded, now_ms() - begin);
    if (each)
        stop_counting(counting);
    for (int i = 0; i < STREAMS; i++)
        OK(eum_stream_destroy(p.streams[i]));
    CUDA(cudaFree(p.sums));
    free(got);
    close_context();
    return p.faults;
}

static uint64_t seed_of(int i)
{
    const char *text = getenv("EUM_GPU_SEED");
    return (text != NULL && *text != 0 ? strtoull(text, NULL, 10) : 20140607) + (uint64_t)i;
}

START_TEST(a_thousand_random_launches_have_no_faults)
{
    uint64_t faults = run_program(EUM_BACKING_MANAGED, seed_of(_i), true, false);
    if (faults > 0)
        (void)run_program(EUM_BACKING_MANAGED, seed_of(_i), true, true);
    ck_assert_uint_eq(faults, 0);
}
END_TEST

START_TEST(the_same_launches_mirrored)
{
    ck_assert_uint_eq(run_program(EUM_BACKING_MIRRORED, seed_of(0), true, false), 0);
}
END_TEST

START_TEST(the_same_launches_without_movement_have_faults)
{
    ck_assert_uint_gt(run_program(EUM_BACKING_MANAGED, seed_of(0), false, false), 0);
}
END_TEST

Suite *gpu_faults_suite(void);
Suite *gpu_faults_suite(void)
{
    Suite *suite = suite_create("gpu_faults");
    TCase *tests = tcase_create("gpu_faults");
    tcase_set_timeout(tests, 150);
    tcase_add_test(tests, the_counter_counts);
    tcase_add_test(tests, faults_belong_to_buffers);
    tcase_add_test(tests, no_cupti_is_an_error_that_says_so);
    tcase_add_test(tests, another_profiler_is_an_error_that_says_so);
    tcase_add_test(tests, windows_of_two_contexts_and_windows_out_of_order);
    tcase_add_loop_test(tests, no_transition_faults, 0, 5);
    tcase_add_test(tests, a_cycle_of_the_cosine_in_every_role_has_no_faults);
    tcase_add_loop_test(tests, a_thousand_random_launches_have_no_faults, 0, 3);
    tcase_add_test(tests, the_same_launches_mirrored);
    tcase_add_test(tests, the_same_launches_without_movement_have_faults);
    suite_add_tcase(suite, tests);
    return suite;
}

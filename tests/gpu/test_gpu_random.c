/* Random launches have no page faults in kernels, counted by the driver; the same without movement have some.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Managed memory in use: 128 MiB at most. EUM_GPU_SEED=N gives the launches another seed. */
#include "gpu_faults_fixture.h"

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

Suite *gpu_random_suite(void);
Suite *gpu_random_suite(void)
{
    Suite *suite = suite_create("gpu_random");
    TCase *tests = tcase_create("gpu_random");
    tcase_set_timeout(tests, 150);
    tcase_add_loop_test(tests, a_thousand_random_launches_have_no_faults, 0, 3);
    tcase_add_test(tests, the_same_launches_mirrored);
    tcase_add_test(tests, the_same_launches_without_movement_have_faults);
    suite_add_tcase(suite, tests);
    return suite;
}

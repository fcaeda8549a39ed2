/* Bulk writes and reads while others use the buffer: what they move, record and refuse in between; failures in the middle; random ones by several
 * threads beside a plain array.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine.h"

Suite *bulk_suite(void);

#define LARGE (20 * MIB) /* more pieces than the ring of a staged transfer has */
#define TAIL (4 * MIB)

static bool on_sim(void)
{
    return strncmp(device_name(), "sim:", 4) == 0;
}

/* Has the device managed memory whose pages the library moves? */
static bool moves_pages(void)
{
    return on_sim() && strncmp(device_name(), "sim:maxwell", 11) != 0;
}

/* ------------------------------------------------------------------------------- memory that holds up who touches it -- */

static char *held;
static size_t held_bytes;
static atomic_int touched, let_through;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    char *at = info->si_addr;
    if (at < held || at >= held + held_bytes) {
        signal(number, SIG_DFL);
        return;
    }
    atomic_store(&touched, 1);
    while (atomic_load(&let_through) == 0)
        sleep_ms(1);
    mprotect(held, held_bytes, PROT_READ | PROT_WRITE);
}

/* Before a context is opened: a simulated device passes on the faults that are not its own. */
static char *memory_of(size_t bytes)
{
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    ck_assert_int_eq(sigaction(SIGSEGV, &action, NULL), 0);
    return memory;
}

static void hold_up_at(char *memory, size_t offset)
{
    held = memory + offset;
    held_bytes = 64 * KIB;
    atomic_store(&touched, 0);
    atomic_store(&let_through, 0);
    ck_assert_int_eq(mprotect(held, held_bytes, PROT_NONE), 0);
}

static eum_status call_write(pending *p)
{
    return eum_buffer_write(p->view, p->address);
}

static eum_status call_read(pending *p)
{
    return eum_buffer_read(p->view, p->address);
}

static void start_and_hold(pending *p, eum_status (*call)(pending *))
{
    start(p, call);
    while (atomic_load(&touched) == 0)
        sleep_ms(1);
}

static eum_status go_on(pending *p)
{
    atomic_store(&let_through, 1);
    return finish(p);
}

/* ---------------------------------------------------------------------------------------------------- meanwhile ---- */

START_TEST(what_a_prefetch_moves_meanwhile_is_waited_for_by_a_staged_read)
{
    char *memory = memory_of(LARGE);
    eum_context *context = open_on(device_name(), EUM_BACKING_MANAGED);
    eum_stream *stream = new_stream(context);
    eum_buffer *buffer = new_buffer(context, LARGE), *other = new_buffer(context, 4 * KIB);
    gpu_fill(default_stream(context), whole(buffer), 1);
    hold_up_at(memory, 0);
    pending p = {.view = whole(buffer), .address = memory};
    start_and_hold(&p, call_read);
    gate g = GATE_INIT;
    launch1(stream, (work){.kind = WORK_NOTHING, .gate = &g}, overwrites(whole(other)));
    await_gate(&g, 1);
    OK(eum_buffer_prefetch(part(buffer, LARGE - 4 * KIB, 4 * KIB), EUM_LOCATION_HOST, stream)); /* once the gate is open */
    atomic_store(&let_through, 1);
    assert_waits(&p);
    open_gate(&g);
    OK(finish(&p));
    expect_words((const uint32_t *)(void *)memory, LARGE / WORD, 1, 0);
    cpu_expect(whole(buffer), 1);
    OK(eum_stream_destroy(stream));
    OK(eum_buffer_destroy(other));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
    munmap(memory, LARGE);
}
END_TEST

/* How many uses the buffer has room for; its lists are no longer than their memory. */
static size_t room_of(eum_buffer *buffer)
{
    eum_buf *buf = NULL;
    OK(eum_pin_buffer(buffer, &buf));
    pthread_mutex_lock(&buf->ctx->lock);
    ck_assert_uint_le(buf->hazards.count, buf->hazards.capacity);
    ck_assert_uint_le(buf->extents.count, buf->extents.capacity);
    size_t room = buf->hazards.capacity - buf->hazards.count;
    pthread_mutex_unlock(&buf->ctx->lock);
    eum_handle_unpin(buffer);
    return room;
}

START_TEST(what_others_record_meanwhile_leaves_a_staged_transfer_its_room)
{
    char *memory = memory_of(LARGE);
    eum_context *context = open_on(device_name(), EUM_BACKING_MANAGED);
    eum_stream *stream = new_stream(context);
    eum_buffer *buffer = new_buffer(context, LARGE + TAIL);
    gpu_fill(default_stream(context), part(buffer, 0, LARGE), 1);
    cpu_fill(part(buffer, LARGE, TAIL), 2);
    hold_up_at(memory, 0);
    pending p = {.view = part(buffer, 0, LARGE), .address = memory};
    start_and_hold(&p, call_read);
    size_t page = 64 * KIB, used = 0, moved = 0, room;
    for (int i = 0; i < 40 && (room = room_of(buffer)) > 0;
         i++) { /* a launch with a movement records two uses, one without it one */
        size_t at = room % 2 == 0 ? LARGE + 2 * page * moved++ : page * used++;
        wait_job(launch1(stream, (work){.kind = WORK_NOTHING}, reads(part(buffer, at, 4 * KIB))));
    }
    ck_assert_uint_eq(room_of(buffer), 0);
    OK(go_on(&p));
    (void)room_of(buffer); /* nothing was written behind the lists' ends */
    expect_words((const uint32_t *)(void *)memory, LARGE / WORD, 1, 0);
    OK(eum_stream_destroy(stream));
    OK(eum_buffer_destroy(buffer));
    close_context(context);
    munmap(memory, LARGE);
}
END_TEST

static void says_to_let_it_return(void)
{
    eum_error detail = EUM_ERROR_INIT;
    OK(eum_last_error(&detail));
    ck_assert_msg(strstr(detail.sentence, "another thread's call") != NULL && strstr(detail.sentence, "let it return") != NULL &&
                      strstr(detail.sentence, "unmap") == NULL,
                  "%s", detail.sentence);
}

/* A transfer of all the bytes, held up in its second quarter, and a launch on the last one. */
static void others_do_not_come_between(eum_backing backing, bool reads_it, size_t at)
{
    char *memory = memory_of(LARGE);
    fill_words((uint32_t *)(void *)memory, LARGE / WORD, 5);
    eum_context *context = open_on(device_name(), backing);
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, LARGE);
    gpu_fill(stream, whole(buffer), 1);
    hold_up_at(memory, at);
    pending p = {.view = whole(buffer), .address = memory};
    start_and_hold(&p, reads_it ? call_read : call_write);
    eum_view last = part(buffer, LARGE - MIB, MIB);
    GIVES(EUM_ERROR_MAPPED, try_launch1(stream, (work){.kind = WORK_FILL, .value = 7}, updates(last)));
    if (!reads_it)
        GIVES(EUM_ERROR_MAPPED, try_launch1(stream, (work){.kind = WORK_NOTHING}, reads(whole(buffer))));
    says_to_let_it_return();
    eum_raw raw = EUM_RAW_INIT;
    GIVES(EUM_ERROR_MAPPED, eum_buffer_into_raw(buffer, &raw));
    OK(go_on(&p));
    expect_words((const uint32_t *)(void *)memory, LARGE / WORD, reads_it ? 1 : 5, 0);
    gpu_expect(stream, whole(buffer), reads_it ? 1 : 5);
    gpu_fill(stream, last, 7);
    cpu_expect(last, 7);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
    munmap(memory, LARGE);
}

START_TEST(a_read_is_of_one_moment)
{
    others_do_not_come_between(EUM_BACKING_AUTO, true, LARGE / 2);
}
END_TEST

START_TEST(a_write_is_there_as_a_whole)
{
    others_do_not_come_between(EUM_BACKING_AUTO, false, LARGE / 2);
}
END_TEST

START_TEST(a_read_of_managed_memory_is_of_one_moment)
{
    others_do_not_come_between(EUM_BACKING_MANAGED, true, LARGE / 2);
}
END_TEST

START_TEST(a_write_to_managed_memory_is_there_as_a_whole)
{
    others_do_not_come_between(EUM_BACKING_MANAGED, false, LARGE / 2);
}
END_TEST

START_TEST(a_transfer_by_the_cpu_says_that_it_has_to_return)
{
    for (int reads_it = 0; reads_it < 2; reads_it++) {
        char *memory = memory_of(64 * KIB);
        fill_words((uint32_t *)(void *)memory, 64 * KIB / WORD, 5);
        eum_context *context = open_on(device_name(), EUM_BACKING_MAPPED); /* kernels use it where it is, and so does the CPU */
        eum_buffer *buffer = new_buffer(context, 64 * KIB);
        cpu_fill(whole(buffer), 5);
        hold_up_at(memory, 0);
        pending p = {.view = whole(buffer), .address = memory};
        start_and_hold(&p, reads_it ? call_read : call_write);
        GIVES(EUM_ERROR_MAPPED,
              try_launch1(default_stream(context), (work){.kind = WORK_FILL, .value = 7}, updates(part(buffer, 4 * KIB, 8))));
        says_to_let_it_return();
        OK(go_on(&p));
        gpu_expect(default_stream(context), whole(buffer), 5);
        OK(eum_buffer_destroy(buffer));
        close_context(context);
        munmap(memory, 64 * KIB);
    }
}
END_TEST

static uint64_t copies_of(eum_context *context)
{
    eum_sim_counters counters;
    ck_assert(eum_sim_counters_get(device_of(context), &counters));
    return counters.copies[EUM_HOST_TO_DEVICE] + counters.copies[EUM_DEVICE_TO_HOST];
}

START_TEST(a_staged_transfer_does_with_what_can_be_pinned)
{
    char *memory = memory_of(LARGE);
    const size_t slots = (size_t)_i; /* that there are */
    for (int reads_it = 0; reads_it < 2; reads_it++) {
        eum_context *context = open_on(device_name(), EUM_BACKING_MANAGED); /* its pool is empty */
        eum_buffer *buffer = new_buffer(context, LARGE + TAIL);
        gpu_fill(default_stream(context), whole(buffer), 1);
        fill_words((uint32_t *)(void *)memory, LARGE / WORD, 2);
        eum_sim_fail(device_of(context), EUM_SIM_ALLOC, slots == 0 ? EUM_SIM_FAIL_ALL : slots + 1);
        GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_buffer_read(whole(buffer), NULL));
        const uint64_t before = copies_of(context);
        if (reads_it)
            OK(eum_buffer_read(part(buffer, 0, LARGE), memory));
        else
            OK(eum_buffer_write(part(buffer, 0, LARGE), memory));
        ck_assert_uint_eq(copies_of(context) - before, slots == 0 ? 1 : LARGE / (4 * MIB));
        eum_error detail = EUM_ERROR_INIT; /* a call that succeeds leaves the last error as it was */
        OK(eum_last_error(&detail));
        ck_assert_int_eq(detail.status, EUM_ERROR_INVALID_ARGUMENT);
        eum_sim_fail(device_of(context), EUM_SIM_ALLOC, 0);
        expect_words((const uint32_t *)(void *)memory, LARGE / WORD, reads_it ? 1 : 2, 0);
        cpu_expect(part(buffer, 0, LARGE), reads_it ? 1 : 2);
        OK(eum_buffer_destroy(buffer));
        close_context(context);
    }
    munmap(memory, LARGE);
}
END_TEST

static eum_status call_prefetch(pending *p)
{
    return eum_buffer_prefetch(p->view, 0, NULL);
}

START_TEST(a_prefetch_that_waited_for_room_looks_at_the_maps_again)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = device_name();
    config.backing = EUM_BACKING_MIRRORED;
    config.budget_bytes = MIB + MIB / 2;
    eum_context *context = open_with(&config);
    eum_buffer *first = new_buffer(context, MIB), *second = new_buffer(context, MIB);
    gate g = GATE_INIT;
    launch1(default_stream(context), (work){.kind = WORK_FILL, .value = 1, .gate = &g}, overwrites(whole(first)));
    await_gate(&g, 1);
    cpu_fill(whole(second), 1);
    pending p = {.view = whole(second)};
    start(&p, call_prefetch); /* the first buffer's copy must go, which a kernel uses */
    assert_waits(&p);
    void *address = map(whole(second), EUM_ACCESS_READ_WRITE);
    open_gate(&g);
    GIVES(EUM_ERROR_MAPPED, finish(&p));
    fill_words(address, MIB / WORD, 2);
    unmap(second, address);
    gpu_expect(default_stream(context), whole(second), 2);
    cpu_expect(whole(first), 1);
    OK(eum_buffer_destroy(first));
    OK(eum_buffer_destroy(second));
    close_context(context);
}
END_TEST

/* ----------------------------------------------------------------------------------------------------- failures ---- */

typedef struct late_launch {
    eum_stream *stream;
    eum_view view;
    eum_status status;
    pthread_t thread;
} late_launch;

static void *launch_late(void *arg)
{
    late_launch *l = arg;
    l->status = try_launch1(l->stream, (work){.kind = WORK_NOTHING}, reads(l->view));
    return NULL;
}

/* which: the mark that the launch makes for its movements, after that of the kernel that is held up, and on managed memory that of the pages that
 * the CPU's first map populates. */
static void point_refused_behind_movements(eum_backing backing, int which)
{
    char device[64];
    snprintf(device, sizeof device, "%s,fail=mark:%d", device_name(), which);
    eum_context *context = open_on(device, backing);
    eum_stream *streams[2] = {new_stream(context), new_stream(context)};
    eum_buffer *buffer = new_buffer(context, MIB), *other = new_buffer(context, MIB);
    cpu_fill(whole(buffer), 1);
    gate g = GATE_INIT;
    launch1(streams[0], (work){.kind = WORK_NOTHING, .gate = &g}, overwrites(part(other, 0, 0)));
    await_gate(&g, 1);
    late_launch l = {.stream = streams[1], .view = whole(buffer)};
    ck_assert_int_eq(pthread_create(&l.thread, NULL, launch_late, &l), 0);
    sleep_ms(30); /* it waits for everything, because the device refused a point behind what it moved */
    void *address = NULL;
    GIVES(EUM_ERROR_MAPPED, eum_buffer_map(whole(buffer), EUM_ACCESS_READ_WRITE, &address));
    open_gate(&g);
    pthread_join(l.thread, NULL);
    OK(l.status);
    cpu_fill(whole(buffer), 2);
    gpu_expect(streams[1], whole(buffer), 2);
    OK(eum_stream_destroy(streams[0]));
    OK(eum_stream_destroy(streams[1]));
    OK(eum_buffer_destroy(buffer));
    OK(eum_buffer_destroy(other));
    close_context(context);
}

START_TEST(others_keep_off_what_is_in_flight_without_a_point)
{
    point_refused_behind_movements(EUM_BACKING_MIRRORED, 2);
    if (strcmp(device_name(), "sim:maxwell") != 0)
        point_refused_behind_movements(EUM_BACKING_MANAGED, 3);
}
END_TEST

START_TEST(a_staged_write_that_fails_in_the_middle_leaves_the_bytes_undefined)
{
    uint32_t *memory = (uint32_t *)(void *)memory_of(LARGE);
    for (int which = 1; which <= 5; which++) {
        char device[64];
        snprintf(device, sizeof device, "%s,fail=copy:%d", device_name(), which);
        eum_context *context = open_on(device, EUM_BACKING_MANAGED);
        eum_buffer *buffer = new_buffer(context, LARGE + TAIL);
        gpu_fill(default_stream(context), whole(buffer), 1);
        fill_words(memory, LARGE / WORD, 2);
        GIVES(EUM_ERROR_CUDA, eum_buffer_write(part(buffer, 0, LARGE), memory));
        if (which == 1) /* nothing was written */
            cpu_expect(whole(buffer), 1);
        else
            GIVES(EUM_ERROR_UNDEFINED_DATA, eum_buffer_read(part(buffer, LARGE - 4, 4), memory));
        OK(eum_buffer_read(part(buffer, LARGE, 4), memory));
        ck_assert_uint_eq(memory[0], word_at(1, LARGE / WORD));
        fill_words(memory, LARGE / WORD, 3);
        OK(eum_buffer_write(part(buffer, 0, LARGE), memory));
        cpu_expect(part(buffer, 0, LARGE), 3);
        OK(eum_buffer_destroy(buffer));
        close_context(context);
    }
    munmap(memory, LARGE);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------- random ---- */

#define THREADS 3
#define SHARE (6 * MIB + 12)

typedef struct member {
    pthread_t thread;
    eum_context *context;
    eum_buffer *buffer;
    size_t begin;
    uint64_t random;
    uint32_t *model, *scratch;
} member;

static uint64_t draw(member *m, uint64_t below)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return m->random % below;
}

/* Sizes around what decides how a transfer goes: 64 KiB, 128 KiB, 512 KiB, 4 MiB. */
static void draw_range(member *m, size_t *out_first, size_t *out_count)
{
    static const size_t around[] = {WORD, 64 * KIB, 128 * KIB, 512 * KIB, 4 * MIB};
    size_t bytes = around[draw(m, 5)] + (draw(m, 3) - 1) * WORD * (1 + draw(m, 2));
    *out_count = bytes / WORD > SHARE ? 1 : bytes / WORD;
    if (*out_count == 0)
        *out_count = 1;
    *out_first = draw(m, 2) == 0 ? 0 : (size_t)draw(m, SHARE / WORD - *out_count + 1);
}

static void step(member *m, eum_stream *stream, uint32_t seed)
{
    size_t first, count;
    draw_range(m, &first, &count);
    eum_view view = part(m->buffer, m->begin + first * WORD, count * WORD);
    uint32_t *expected = m->model + first;
    eum_location device = is_host(m->context) ? EUM_LOCATION_HOST : 0;
    void *address = NULL;
    switch (draw(m, 7)) {
    case 0:
    case 1:
        fill_words(expected, count, seed);
        OK(eum_buffer_write(view, expected));
        break;
    case 2:
        memset(m->scratch, 0xA5, count * WORD);
        OK(eum_buffer_read(view, m->scratch));
        ck_assert_mem_eq(m->scratch, expected, count * WORD);
        break;
    case 3:
        fill_words(expected, count, seed);
        launch1(stream, (work){.kind = WORK_FILL, .value = seed}, overwrites(view));
        break;
    case 4:
        for (size_t i = 0; i < count; i++)
            expected[i] += seed;
        launch1(stream, (work){.kind = WORK_ADD, .value = seed}, updates(view));
        break;
    case 5:
        OK(eum_buffer_prefetch(view, draw(m, 2) == 0 ? EUM_LOCATION_HOST : device, stream));
        break;
    default:
        address = map(view, EUM_ACCESS_READ_WRITE);
        ck_assert_mem_eq(address, expected, count * WORD);
        fill_words(expected, count, seed);
        memcpy(address, expected, count * WORD);
        unmap(m->buffer, address);
    }
}

static void *take_part(void *arg)
{
    member *m = arg;
    eum_stream *streams[2] = {new_stream(m->context), new_stream(m->context)};
    m->model = calloc(1, SHARE);
    m->scratch = malloc(SHARE);
    for (uint32_t i = 1; i <= 60; i++)
        step(m, streams[draw(m, 2)], i);
    OK(eum_buffer_read(part(m->buffer, m->begin, SHARE), m->scratch));
    ck_assert_mem_eq(m->scratch, m->model, SHARE);
    free(m->model);
    free(m->scratch);
    OK(eum_stream_destroy(streams[0]));
    OK(eum_stream_destroy(streams[1]));
    return NULL;
}

static void several_threads(eum_backing backing, uint64_t seed)
{
    eum_context *context = open_on(device_name(), backing);
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    config.flags = EUM_BUFFER_ZEROED;
    eum_buffer *buffer = NULL;
    OK(eum_buffer_create(context, THREADS * SHARE, &config, &buffer));
    member members[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        members[i] = (member){.context = context, .buffer = buffer, .begin = i * SHARE};
        members[i].random = (seed * THREADS + i + 1) * UINT64_C(0x9E3779B97F4A7C15);
        ck_assert_int_eq(pthread_create(&members[i].thread, NULL, take_part, &members[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(members[i].thread, NULL);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}

START_TEST(threads_on_disjoint_ranges_do_not_disturb_each_other)
{
    /* Where the environment forces managed memory and it cannot be used from both sides at once, maps and launches take turns. */
    bool sides_at_once = !on_sim() || moves_pages();
    several_threads(sides_at_once ? EUM_BACKING_AUTO : EUM_BACKING_MIRRORED, (uint64_t)_i);
}
END_TEST

START_TEST(threads_on_disjoint_ranges_of_managed_memory_do_not_disturb_each_other)
{
    several_threads(EUM_BACKING_MANAGED, (uint64_t)_i);
}
END_TEST

Suite *bulk_suite(void)
{
    Suite *suite = suite_create("bulk");
    TCase *tests = tcase_create("bulk");
    if (!runs_cpu_kernels())
        return suite;
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, threads_on_disjoint_ranges_do_not_disturb_each_other, 0, 3);
    if (on_sim()) {
        tcase_add_test(tests, a_prefetch_that_waited_for_room_looks_at_the_maps_again);
        tcase_add_test(tests, others_keep_off_what_is_in_flight_without_a_point);
        tcase_add_test(tests, a_read_is_of_one_moment);
        tcase_add_test(tests, a_write_is_there_as_a_whole);
        tcase_add_test(tests, a_transfer_by_the_cpu_says_that_it_has_to_return);
    }
    if (moves_pages()) {
        tcase_add_test(tests, what_a_prefetch_moves_meanwhile_is_waited_for_by_a_staged_read);
        tcase_add_test(tests, what_others_record_meanwhile_leaves_a_staged_transfer_its_room);
        tcase_add_test(tests, a_read_of_managed_memory_is_of_one_moment);
        tcase_add_test(tests, a_write_to_managed_memory_is_there_as_a_whole);
        tcase_add_loop_test(tests, a_staged_transfer_does_with_what_can_be_pinned, 0, 4);
        tcase_add_test(tests, a_staged_write_that_fails_in_the_middle_leaves_the_bytes_undefined);
        tcase_add_loop_test(tests, threads_on_disjoint_ranges_of_managed_memory_do_not_disturb_each_other, 0, 3);
    }
    suite_add_tcase(suite, tests);
    return suite;
}

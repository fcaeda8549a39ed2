/* Residency on the simulated devices, whatever EUM_DEVICE says: exactly what moves, when, and how often it faults (never).
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine.h"

Suite *residency_suite(void);

#define PAGE (64 * KIB)
#define SEED_BYTES ((size_t)1000 * 768 * sizeof(float))

static const char *const sims[] = {"sim:maxwell", "sim:pascal", "sim:turing", "sim:ampere", "sim:hopper"};
enum { MAXWELL, PASCAL, TURING, AMPERE, HOPPER, SIMS };

/* Every device with each backing that it has and that the CPU and kernels can use at once. */
static const struct {
    const char *device;
    eum_backing backing;
} setups[] = {
    {"sim:maxwell", EUM_BACKING_MIRRORED}, {"sim:pascal", EUM_BACKING_MANAGED},  {"sim:pascal", EUM_BACKING_MIRRORED},
    {"sim:turing", EUM_BACKING_MANAGED},   {"sim:turing", EUM_BACKING_MIRRORED}, {"sim:ampere", EUM_BACKING_MANAGED},
    {"sim:ampere", EUM_BACKING_MIRRORED},  {"sim:hopper", EUM_BACKING_MANAGED},  {"sim:hopper", EUM_BACKING_MIRRORED},
};
#define SETUPS ((int)(sizeof setups / sizeof setups[0]))

static eum_context *open_setup(int i)
{
    return open_on(setups[i].device, setups[i].backing);
}

static bool is_managed(int i)
{
    return setups[i].backing == EUM_BACKING_MANAGED;
}

/* What moved over the link, by whatever means. */
typedef struct traffic {
    uint64_t to_device, to_host;
} traffic;

static traffic traffic_of(eum_context *context)
{
    eum_sim_counters c;
    ck_assert(eum_sim_counters_get(device_of(context), &c));
    traffic t = {c.bytes_copied[EUM_HOST_TO_DEVICE], c.bytes_copied[EUM_DEVICE_TO_HOST]};
    for (int cause = 0; cause < EUM_SIM_CAUSES; cause++) {
        t.to_device += c.bytes_to_device[cause];
        t.to_host += c.bytes_to_host[cause];
    }
    return t;
}

static eum_sim_counters block_of(eum_context *context, eum_buffer *buffer)
{
    void *address = map(part(buffer, 0, 0), EUM_ACCESS_READ);
    eum_sim_counters c;
    ck_assert(eum_sim_block_counters(device_of(context), address, &c));
    unmap(buffer, address);
    return c;
}

static eum_sim_page_info page_of(eum_context *context, eum_buffer *buffer, size_t offset)
{
    char *address = map(part(buffer, 0, 0), EUM_ACCESS_READ);
    eum_sim_page_info info;
    ck_assert(eum_sim_page_info_get(device_of(context), address + offset, &info));
    unmap(buffer, address);
    return info;
}

/* ------------------------------------------------------------------------------------------------ the seed's case -- */

typedef struct look {
    eum_context *context;
    uint64_t migrations, faults; /* of the first argument, when the kernel starts */
} look;

static int32_t look_at_start(const eum_kernel_call *call)
{
    look *l = call->user;
    eum_sim_counters c;
    if (!eum_sim_block_counters(device_of(l->context), call->addresses[0], &c))
        return 1;
    l->migrations = eum_sim_migrations(&c);
    l->faults = c.gpu_faults;
    volatile const uint32_t *words = call->addresses[0];
    uint32_t sum = 0;
    for (size_t i = 0; i < call->bytes[0] / WORD; i++)
        sum += words[i];
    return sum == 1 ? 2 : 0;
}

START_TEST(a_thousand_rows_of_768_floats_migrate_before_the_launch_and_none_during_it)
{
    static const struct {
        int sim;
        uint64_t migrations;
    } cases[] = {{PASCAL, 47}, {TURING, 47}, {AMPERE, 1 + 15}, {HOPPER, 1 + 15}}; /* a whole 2 MiB block, and 15 pages */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eum_context *context = open_on(sims[cases[i].sim], EUM_BACKING_MANAGED);
        eum_buffer *targets = new_buffer(context, SEED_BYTES);
        cpu_fill(whole(targets), 1);
        look l = {.context = context};
        eum_argument argument = reads(whole(targets));
        eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
        config.cpu = look_at_start;
        config.arguments = &argument;
        config.argument_count = 1;
        config.user = &l;
        eum_job job;
        OK(eum_launch(default_stream(context), &config, &job));
        wait_job(job);
        eum_sim_counters c = block_of(context, targets);
        ck_assert_uint_eq(l.migrations, cases[i].migrations);
        ck_assert_uint_eq(eum_sim_migrations(&c), cases[i].migrations);
        ck_assert_uint_eq(c.migrations_to_device[EUM_SIM_CAUSE_PREFETCH], cases[i].migrations);
        ck_assert_uint_eq(c.bytes_to_device[EUM_SIM_CAUSE_PREFETCH], 47 * PAGE);
        ck_assert_uint_eq(c.gpu_faults, 0);
        ck_assert_uint_eq(c.cpu_faults, 0);
        OK(eum_buffer_destroy(targets));
        close_context(context);
    }
}
END_TEST

/* ------------------------------------------------------------------------------------------------- little moves ---- */

START_TEST(one_changed_row_of_a_large_buffer_moves_two_mebibytes_at_most)
{
    eum_context *context = open_setup(_i);
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, 64 * MIB);
    const size_t row = 3072, places[] = {0, 3072 * 10923, 64 * MIB - 3072, 2 * MIB - 1536};
    cpu_fill(whole(buffer), 1);
    gpu_expect(stream, whole(buffer), 1);
    for (size_t i = 0; i < 4; i++) {
        for (int how = 0; how < 3; how++) {
            uint32_t words[768];
            fill_words(words, 768, (uint32_t)(10 * i) + (uint32_t)how);
            traffic before = traffic_of(context);
            eum_view view = part(buffer, places[i], row);
            if (how == 0) {
                cpu_fill(view, (uint32_t)(10 * i));
            } else if (how == 1) {
                OK(eum_buffer_write(view, words));
            } else {
                void *address = map(view, EUM_ACCESS_READ_WRITE);
                memcpy(address, words, row);
                unmap(buffer, address);
            }
            wait_job(launch1(stream, (work){.kind = WORK_NOTHING}, reads(whole(buffer))));
            gpu_expect(stream, view, (uint32_t)(10 * i) + (uint32_t)how);
            traffic after = traffic_of(context);
            ck_assert_uint_le(after.to_device - before.to_device + after.to_host - before.to_host, 2 * MIB);
        }
    }
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(one_row_that_a_kernel_changes_moves_two_mebibytes_at_most)
{
    eum_context *context = open_setup(_i);
    eum_stream *stream = default_stream(context);
    for (eum_role role = EUM_ROLE_AUTO; role <= EUM_ROLE_TARGETS; role++) {
        eum_buffer *buffer = new_buffer_as(context, 64 * MIB, role);
        cpu_fill(whole(buffer), 1);
        gpu_expect(stream, whole(buffer), 1);
        traffic before = traffic_of(context);
        gpu_fill(stream, part(buffer, 33 * MIB + 512, 3072), 2);
        cpu_expect(part(buffer, 33 * MIB + 512, 3072), 2);
        if (role == EUM_ROLE_QUERY) /* others of this size leave the host when the device reads them */
            unmap(buffer, map(whole(buffer), EUM_ACCESS_READ));
        traffic after = traffic_of(context);
        ck_assert_uint_le(after.to_device - before.to_device + after.to_host - before.to_host, 2 * MIB);
        OK(eum_buffer_destroy(buffer));
    }
    close_context(context);
}
END_TEST

START_TEST(a_read_after_a_read_moves_nothing_on_either_side)
{
    eum_context *context = open_setup(_i);
    eum_stream *stream = default_stream(context);
    for (eum_role role = EUM_ROLE_AUTO; role <= EUM_ROLE_TARGETS; role++) {
        for (int writer = 0; writer < 2; writer++) {
            eum_buffer *buffer = new_buffer_as(context, SEED_BYTES, role);
            if (writer == 0)
                cpu_fill(whole(buffer), 1);
            else
                gpu_fill(stream, whole(buffer), 1);
            gpu_expect(stream, whole(buffer), 1);
            cpu_expect(whole(buffer), 1);
            traffic before = traffic_of(context);
            for (int round = 0; round < 3; round++) {
                gpu_expect(stream, whole(buffer), 1);
                cpu_expect(whole(buffer), 1);
                gpu_expect(stream, part(buffer, 0, 4), 1);
            }
            traffic after = traffic_of(context);
            ck_assert_uint_eq(after.to_device, before.to_device);
            ck_assert_uint_eq(after.to_host, before.to_host);
            ck_assert_int_eq(explain(buffer).last_movement, EUM_MOVEMENT_NONE);
            OK(eum_buffer_destroy(buffer));
        }
    }
    close_context(context);
}
END_TEST

START_TEST(a_kernel_that_overwrites_what_the_cpu_wrote_moves_nothing)
{
    eum_context *context = open_setup(_i);
    eum_stream *stream = default_stream(context);
    for (int duplicated = 0; duplicated < 2; duplicated++) {
        eum_buffer *buffer = new_buffer(context, SEED_BYTES);
        cpu_fill(whole(buffer), 1);
        if (duplicated)
            gpu_expect(stream, whole(buffer), 1);
        traffic before = traffic_of(context);
        gpu_fill(stream, whole(buffer), 2);
        traffic after = traffic_of(context);
        ck_assert_uint_eq(after.to_device, before.to_device);
        ck_assert_uint_eq(after.to_host, before.to_host);
        cpu_expect(whole(buffer), 2);
        OK(eum_buffer_destroy(buffer));
    }
    close_context(context);
}
END_TEST

START_TEST(a_cpu_that_overwrites_what_a_kernel_wrote_moves_nothing_where_discard_exists)
{
    eum_context *context = open_setup(_i);
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, SEED_BYTES);
    gpu_fill(stream, whole(buffer), 1);
    traffic before = traffic_of(context);
    unmap(buffer, map(whole(buffer), EUM_ACCESS_OVERWRITE));
    traffic after = traffic_of(context);
    bool must_move = is_managed(_i) && !info_of(context).discard;
    ck_assert_uint_eq(after.to_host - before.to_host, must_move ? 47 * PAGE : 0);
    ck_assert_uint_eq(after.to_device, before.to_device);
    if (!must_move)
        ck_assert_uint_gt(stats_of(context).bytes_discarded, 0);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(memory_that_was_never_written_moves_nothing)
{
    eum_context *context = open_setup(_i);
    eum_buffer *buffer = new_buffer(context, SEED_BYTES);
    wait_job(launch1(default_stream(context), (work){.kind = WORK_ADD, .value = 1}, updates(whole(buffer))));
    ck_assert_uint_eq(traffic_of(context).to_device, 0);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(a_bulk_write_to_what_is_on_the_device_goes_there_directly)
{
    eum_context *context = open_setup(_i);
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, SEED_BYTES);
    uint32_t *words = malloc(SEED_BYTES);
    for (eum_role role = EUM_ROLE_AUTO; role <= EUM_ROLE_STREAM; role++) {
        OK(eum_buffer_set_role(buffer, EUM_ROLE_AUTO));
        gpu_fill(stream, whole(buffer), 1);
        OK(eum_buffer_prefetch(whole(buffer), 0, stream));
        gpu_fill(stream, whole(buffer), 1);
        bool there = explain(buffer).bytes_on_host == 0;
        OK(eum_buffer_set_role(buffer, role));
        fill_words(words, SEED_BYTES / WORD, 2);
        traffic before = traffic_of(context);
        OK(eum_buffer_write(whole(buffer), words));
        gpu_expect(stream, whole(buffer),
                   2); /* waits; mirrored bytes go to the device while or after the CPU has copied them to the host side */
        traffic after = traffic_of(context);
        bool in_place = role == EUM_ROLE_STREAM && explain(buffer).backing == EUM_BACKING_MIRRORED;
        if (there) {
            ck_assert_uint_eq(after.to_host, before.to_host);
            ck_assert_uint_eq(after.to_device - before.to_device, in_place ? 0 : SEED_BYTES);
        }
        cpu_expect(whole(buffer), 2);
    }
    free(words);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

START_TEST(the_statistics_say_what_the_device_counted)
{
    eum_context *context = open_setup(_i);
    eum_stream *stream = default_stream(context);
    eum_buffer *buffer = new_buffer(context, SEED_BYTES);
    for (uint32_t round = 0; round < 3; round++) {
        cpu_fill(part(buffer, 100 * KIB * round, 200 * KIB), round);
        wait_job(launch1(stream, (work){.kind = WORK_ADD, .value = 1}, updates(part(buffer, 0, 300 * KIB))));
        wait_job(launch1(stream, (work){.kind = WORK_NOTHING}, reads(part(buffer, 200 * KIB, MIB))));
        unmap(buffer, map(part(buffer, 150 * KIB, 100 * KIB), EUM_ACCESS_READ_WRITE));
        unmap(buffer, map(part(buffer, 0, MIB), EUM_ACCESS_READ));
    }
    traffic t = traffic_of(context);
    eum_stats stats = stats_of(context);
    ck_assert_uint_eq(stats.bytes_to_device, t.to_device);
    ck_assert_uint_eq(stats.bytes_to_host, t.to_host);
    ck_assert_uint_gt(stats.bytes_to_device, 0);
    eum_decision decision = explain(buffer);
    ck_assert_uint_eq(decision.bytes_to_device, t.to_device);
    ck_assert_uint_eq(decision.bytes_to_host, t.to_host);
    OK(eum_buffer_destroy(buffer));
    close_context(context);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------- roles ----- */

START_TEST(results_are_written_in_place_and_never_move)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *results = new_buffer_as(context, 200 * KIB, EUM_ROLE_RESULTS);
        cpu_fill(whole(results), 99);
        for (uint32_t round = 0; round < 3; round++) {
            gpu_fill(default_stream(context), whole(results), round);
            ck_assert_int_eq(explain(results).last_movement, EUM_MOVEMENT_IN_PLACE);
            cpu_expect(whole(results), round);
        }
        ck_assert_uint_eq(traffic_of(context).to_device + traffic_of(context).to_host, 0);
        eum_sim_page_info page = page_of(context, results, 0);
        ck_assert(page.on_host && page.prefers_host && page.accessed_by_device);
        OK(eum_buffer_destroy(results));
        close_context(context);
    }
}
END_TEST

START_TEST(arguments_that_share_a_page_with_a_map_are_all_used_in_place)
{
    for (int i = 0; i < SETUPS; i++) {
        eum_context *context = open_setup(i);
        eum_stream *stream = default_stream(context);
        eum_buffer *buffer = new_buffer(context, 4000);
        void *mapped = map(part(buffer, 0, 4), EUM_ACCESS_READ);
        /* The first argument writes beside the map. The second only reads, as the map does: alone it could have copies on both sides. */
        wait_job(
            launch2(stream, (work){.kind = WORK_ADD, .value = 1}, overwrites(part(buffer, 800, 8)), reads(part(buffer, 2000, 8))));
        gpu_fill(stream, part(buffer, 2000, 8), 1);
        wait_job(launch2(stream, (work){.kind = WORK_COPY}, reads(part(buffer, 2000, 8)), overwrites(part(buffer, 800, 8))));
        wait_job(
            launch2(stream, (work){.kind = WORK_ADD, .value = 1}, updates(part(buffer, 800, 8)), reads(part(buffer, 2000, 8))));
        cpu_expect_plus(part(buffer, 800, 8), 1, 1);
        unmap(buffer, mapped);
        OK(eum_buffer_destroy(buffer));
        close_context(context);
    }
}
END_TEST

START_TEST(a_stream_of_input_is_read_in_place_and_never_moves)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *input = new_buffer_as(context, 200 * KIB, EUM_ROLE_STREAM);
        for (uint32_t round = 0; round < 3; round++) {
            cpu_fill(whole(input), round);
            gpu_expect(default_stream(context), whole(input), round);
        }
        ck_assert_uint_eq(traffic_of(context).to_device + traffic_of(context).to_host, 0);
        OK(eum_buffer_destroy(input));
        close_context(context);
    }
}
END_TEST

START_TEST(a_query_is_duplicated_and_stays_valid_on_both_sides)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *query = new_buffer_as(context, 3072, EUM_ROLE_QUERY);
        cpu_fill(whole(query), 1);
        gpu_expect(default_stream(context), whole(query), 1);
        ck_assert_int_eq(explain(query).last_movement, EUM_MOVEMENT_DUPLICATE);
        eum_sim_page_info page = page_of(context, query, 0);
        ck_assert(page.read_mostly && page.on_host && page.on_device);
        ck_assert_uint_eq(explain(query).bytes_on_host, 3072);
        ck_assert_uint_eq(explain(query).bytes_on_device, 3072);
        cpu_fill(whole(query), 2);
        gpu_expect(default_stream(context), whole(query), 2);
        OK(eum_buffer_destroy(query));
        close_context(context);
    }
}
END_TEST

START_TEST(large_targets_move_and_are_duplicated_once_the_cpu_has_read_them_back)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *targets = new_buffer_as(context, 6 * MIB, sim % 2 == 0 ? EUM_ROLE_TARGETS : EUM_ROLE_AUTO);
        for (uint32_t cycle = 1; cycle < 3; cycle++) { /* a write begins anew */
            cpu_fill(whole(targets), cycle);
            gpu_expect(default_stream(context), whole(targets), cycle);
            ck_assert_int_eq(explain(targets).last_movement, EUM_MOVEMENT_PREFETCH);
            ck_assert_uint_eq(explain(targets).bytes_on_host, 0);
            cpu_expect(whole(targets), cycle);
            ck_assert_uint_eq(explain(targets).bytes_on_device, 0);
            gpu_expect(default_stream(context), whole(targets), cycle);
            ck_assert_int_eq(explain(targets).last_movement, EUM_MOVEMENT_DUPLICATE);
            traffic before = traffic_of(context);
            cpu_expect(whole(targets), cycle);
            gpu_expect(default_stream(context), whole(targets), cycle);
            traffic after = traffic_of(context);
            ck_assert_uint_eq(after.to_device + after.to_host, before.to_device + before.to_host);
        }
        OK(eum_buffer_destroy(targets));
        close_context(context);
    }
}
END_TEST

START_TEST(large_targets_that_the_cpu_is_reading_are_duplicated_and_it_does_not_wait_for_kernels_that_read)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *targets = new_buffer_as(context, 6 * MIB, EUM_ROLE_TARGETS);
        cpu_fill(whole(targets), 1);
        void *address = NULL;
        OK(eum_buffer_map(part(targets, 2 * MIB, 8), EUM_ACCESS_READ, &address));
        gpu_expect(default_stream(context), whole(targets), 1);
        ck_assert_int_eq(explain(targets).last_movement, EUM_MOVEMENT_DUPLICATE);
        OK(eum_buffer_unmap(targets, address));
        cpu_fill(whole(targets), 2);
        gate g = GATE_INIT;
        eum_job job = launch1(default_stream(context), (work){.kind = WORK_EXPECT, .value = 2, .gate = &g}, reads(whole(targets)));
        await_gate(&g, 1);
        cpu_expect(whole(targets), 2); /* while the kernel runs */
        open_gate(&g);
        wait_job(job);
        OK(eum_buffer_destroy(targets));
        close_context(context);
    }
}
END_TEST

START_TEST(a_kernel_may_write_pages_that_were_read_mostly_on_the_device_alone)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_stream *stream = default_stream(context);
        for (int unset = 0; unset < 2; unset++) { /* the advice is taken back by the library, or by the user */
            eum_buffer *buffer = new_buffer(context, 256 * KIB);
            cpu_fill(whole(buffer), 1);
            launch1(stream, (work){.kind = WORK_ADD, .value = 1}, updates(whole(buffer)));
            OK(eum_buffer_advise(whole(buffer), EUM_ADVICE_READ_MOSTLY, 0, NULL));
            if (unset)
                OK(eum_buffer_advise(whole(buffer), EUM_ADVICE_UNSET_READ_MOSTLY, 0, NULL));
            for (int i = 0; i < 3; i++) {
                uint64_t moved = explain(buffer).bytes_to_device;
                launch1(stream, (work){.kind = WORK_ADD, .value = 1}, updates(whole(buffer)));
                ck_assert_uint_eq(explain(buffer).bytes_to_device - moved, i == 0 ? 256 * KIB : 0); /* there and back, once */
            }
            OK(eum_stream_synchronize(stream));
            OK(eum_buffer_destroy(buffer));
        }
        close_context(context);
    }
}
END_TEST

static eum_status call_launch_that_writes(pending *p)
{
    return try_launch1(p->address, (work){.kind = WORK_FILL, .value = 2}, overwrites(p->view)); /* on the stream at `address` */
}

START_TEST(copies_do_not_collapse_under_a_kernel_that_reads_them)
{
    for (int sim = PASCAL; sim < SIMS; sim++)
        for (int part_of_it = 0; part_of_it < 2; part_of_it++) {
            eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
            eum_stream *other = new_stream(context);
            eum_buffer *query = new_buffer_as(context, 3072, EUM_ROLE_QUERY);
            cpu_fill(whole(query), 1);
            gpu_expect(default_stream(context), whole(query), 1);
            ck_assert(page_of(context, query, 0).read_mostly);
            gate g = GATE_INIT;
            eum_view read = part(query, 0, 1024), written = part_of_it ? part(query, 2048, 1024) : read;
            eum_job job = launch1(default_stream(context), (work){.kind = WORK_EXPECT, .value = 1, .gate = &g}, reads(read));
            await_gate(&g, 1);
            uint64_t faults = block_of(context, query).gpu_faults;
            pending p = {.view = written, .address = other};
            start(&p, call_launch_that_writes); /* advice acts at once, so the caller waits, also where only the page is shared */
            assert_waits(&p);
            ck_assert(page_of(context, query, 0).read_mostly && page_of(context, query, 0).on_device);
            open_gate(&g);
            OK(finish(&p));
            wait_job(job);
            ck_assert_uint_eq(block_of(context, query).gpu_faults, faults);
            cpu_expect(written, 2);
            OK(eum_stream_destroy(other));
            OK(eum_buffer_destroy(query));
            close_context(context);
        }
}
END_TEST

START_TEST(copies_that_advice_collapses_are_moved_again_before_a_launch_on_the_side_that_lost_them)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *query = new_buffer_as(context, 3072, EUM_ROLE_QUERY), *beside = new_buffer_as(context, 3072, EUM_ROLE_QUERY);
        cpu_fill(whole(query), 1);
        cpu_fill(whole(beside), 2);
        gpu_expect(default_stream(context), whole(query), 1);
        gpu_expect(default_stream(context), whole(beside), 2);
        OK(eum_buffer_advise(whole(query), EUM_ADVICE_UNSET_READ_MOSTLY, 0, NULL));
        eum_sim_page_info page = page_of(context, query, 0);
        ck_assert(!page.read_mostly && page.on_host != page.on_device);
        ck_assert_uint_eq(explain(query).bytes_on_host + explain(query).bytes_on_device,
                          0); /* the driver chose the side: nobody knows */
        ck_assert_uint_eq(explain(beside).bytes_on_device, 3072);
        uint64_t faults = block_of(context, query).gpu_faults, moved = explain(query).bytes_to_device;
        gpu_expect(default_stream(context), whole(query), 1);
        ck_assert_uint_eq(block_of(context, query).gpu_faults, faults);
        ck_assert_uint_gt(explain(query).bytes_to_device, moved);
        ck_assert(page_of(context, query, 0).on_device);
        OK(eum_buffer_destroy(query));
        OK(eum_buffer_destroy(beside));
        close_context(context);
    }
}
END_TEST

START_TEST(a_map_that_writes_takes_no_page_from_a_map_that_reads_its_neighbours)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *buffer = new_buffer(context, 64 * KIB);
        cpu_fill(whole(buffer), 1);
        gpu_expect(default_stream(context), whole(buffer), 1); /* a duplicate */
        void *read = map(part(buffer, 0, 4 * KIB), EUM_ACCESS_READ);
        eum_sim_counters before, after;
        ck_assert(eum_sim_counters_get(device_of(context), &before));
        void *written = map(part(buffer, 4 * KIB, 4 * KIB), EUM_ACCESS_OVERWRITE);
        ck_assert(eum_sim_counters_get(device_of(context), &after));
        ck_assert_uint_eq(after.bytes_to_host[EUM_SIM_CAUSE_PREFETCH],
                          before.bytes_to_host[EUM_SIM_CAUSE_PREFETCH]); /* never away */
        eum_sim_page_info page = page_of(context, buffer, 0);
        ck_assert(page.on_host && !page.on_device && page.host_reads);
        ck_assert_uint_eq(((volatile uint32_t *)read)[5], word_at(1, 5));
        ck_assert(eum_sim_counters_get(device_of(context), &after));
        ck_assert_uint_eq(after.cpu_faults, before.cpu_faults);
        fill_words(written, KIB, 2);
        unmap(buffer, written);
        unmap(buffer, read);
        gpu_expect(default_stream(context), part(buffer, 4 * KIB, 4 * KIB), 2);
        OK(eum_buffer_destroy(buffer));
        close_context(context);
    }
}
END_TEST

START_TEST(a_launch_that_reads_beside_a_writer_takes_no_page_from_a_map_that_reads)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *buffer = new_buffer(context, 64 * KIB);
        eum_stream *second = new_stream(context);
        cpu_fill(whole(buffer), 1);
        volatile uint32_t *read = map(part(buffer, 0, 4 * KIB), EUM_ACCESS_READ);
        gate g = GATE_INIT;
        eum_job writer = launch1(default_stream(context), (work){.kind = WORK_FILL, .value = 2, .gate = &g},
                                 overwrites(part(buffer, 8 * KIB, 4 * KIB)));
        await_gate(&g, 1);
        eum_sim_counters before, after;
        ck_assert(eum_sim_counters_get(device_of(context), &before));
        eum_job reader = launch1(second, (work){.kind = WORK_EXPECT, .value = 1}, reads(part(buffer, 0, 4 * KIB)));
        open_gate(&g);
        wait_job(reader);
        ck_assert_uint_eq(read[7], word_at(1, 7));
        ck_assert(eum_sim_counters_get(device_of(context), &after));
        ck_assert_uint_eq(after.cpu_faults, before.cpu_faults);
        wait_job(writer);
        unmap(buffer, (void *)read);
        OK(eum_stream_destroy(second));
        OK(eum_buffer_destroy(buffer));
        close_context(context);
    }
}
END_TEST

START_TEST(targets_prefer_the_device_until_the_role_changes)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_buffer *targets = new_buffer_as(context, SEED_BYTES, EUM_ROLE_TARGETS);
        cpu_fill(whole(targets), 1);
        gpu_expect(default_stream(context), whole(targets), 1);
        ck_assert(page_of(context, targets, 0).prefers_device);
        ck_assert(page_of(context, targets, SEED_BYTES - 1).prefers_device);
        uint64_t hints = stats_of(context).hints_applied;
        gpu_expect(default_stream(context), whole(targets), 1);
        ck_assert_uint_eq(stats_of(context).hints_applied, hints); /* said once */
        OK(eum_buffer_set_role(targets, EUM_ROLE_AUTO));
        gpu_expect(default_stream(context), whole(targets), 1);
        ck_assert(!page_of(context, targets, 0).prefers_device);
        OK(eum_buffer_destroy(targets));
        close_context(context);
    }
}
END_TEST

/* ----------------------------------------------------------------------------------------- random use, no faults --- */

static uint64_t random_state;
static uint32_t draw(uint32_t below) /* splitmix64 */
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) % below);
}

#define FIELD_WORDS (5 * PAGE / WORD)

typedef struct field {
    eum_buffer *buffer;
    uint32_t model[FIELD_WORDS];
} field;

static eum_view random_view(field *f, size_t *out_first, size_t *out_count)
{
    *out_first = draw(FIELD_WORDS);
    *out_count = 1 + draw((uint32_t)(FIELD_WORDS - *out_first));
    if (draw(3) == 0) { /* whole pages */
        *out_first = draw(4) * (PAGE / WORD);
        *out_count = PAGE / WORD * (1 + draw(2));
    }
    if (*out_count > FIELD_WORDS - *out_first)
        *out_count = FIELD_WORDS - *out_first;
    return part(f->buffer, *out_first * WORD, *out_count * WORD);
}

static void check_field(const field *f, const uint32_t *words, size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (words[i] != f->model[first + i])
            ck_abort_msg("word %zu is %08x instead of %08x", first + i, words[i], f->model[first + i]);
}

static void random_step(eum_stream **streams, field *f)
{
    size_t first, count;
    eum_view view = random_view(f, &first, &count);
    eum_stream *stream = streams[draw(3)];
    uint32_t value = draw(1000);
    uint32_t *words;
    switch (draw(10)) {
    case 0:
        cpu_fill(view, value);
        fill_words(f->model + first, count, value);
        break;
    case 1:
        words = map(view, EUM_ACCESS_READ_WRITE);
        check_field(f, words, first, count);
        words[0] = f->model[first] = value;
        words[count - 1] = f->model[first + count - 1] = value;
        unmap(f->buffer, words);
        break;
    case 2:
        words = map(view, EUM_ACCESS_READ);
        check_field(f, words, first, count);
        launch1(stream, (work){.kind = WORK_NOTHING}, reads(whole(f->buffer)));
        unmap(f->buffer, words);
        break;
    case 3:
        launch1(stream, (work){.kind = WORK_FILL, .value = value}, overwrites(view));
        fill_words(f->model + first, count, value);
        break;
    case 4:
        launch1(stream, (work){.kind = WORK_ADD, .value = value}, updates(view));
        for (size_t i = 0; i < count; i++)
            f->model[first + i] += value;
        break;
    case 5:
        launch1(stream, (work){.kind = WORK_NOTHING}, reads(view));
        break;
    case 6:
        words = malloc(count * WORD);
        fill_words(words, count, value);
        OK(eum_buffer_write(view, words));
        memcpy(f->model + first, words, count * WORD);
        free(words);
        break;
    case 7:
        words = malloc(count * WORD);
        OK(eum_buffer_read(view, words));
        check_field(f, words, first, count);
        free(words);
        break;
    case 8:
        OK(eum_buffer_prefetch(view, draw(2) == 0 ? EUM_LOCATION_HOST : 0, stream));
        break;
    default:
        if (draw(2) == 0)
            OK(eum_buffer_set_role(f->buffer, (eum_role)draw(5)));
        else
            OK(eum_buffer_advise(view, (eum_advice)(1 + draw(6)), draw(2) == 0 ? EUM_LOCATION_HOST : 0, NULL));
    }
}

START_TEST(random_programs_over_three_streams_agree_with_the_model_and_never_fault)
{
    static field f;
    for (uint64_t program = 0; program < 30; program++) {
        random_state = program * 100 + (uint64_t)_i;
        eum_context *context = open_setup(_i);
        eum_stream *streams[3] = {default_stream(context), new_stream(context), new_stream(context)};
        f.buffer = new_buffer(context, FIELD_WORDS * WORD);
        cpu_fill(whole(f.buffer), 1);
        fill_words(f.model, FIELD_WORDS, 1);
        for (int step = 0; step < 40; step++)
            random_step(streams, &f);
        const uint32_t *words = map(whole(f.buffer), EUM_ACCESS_READ);
        check_field(&f, words, 0, FIELD_WORDS);
        for (int i = 1; i < 3; i++)
            OK(eum_stream_destroy(streams[i]));
        OK(eum_buffer_destroy(f.buffer));
        char text[512];
        uint64_t violations = eum_sim_violations(device_of(context), text, sizeof text);
        ck_assert_msg(violations == 0, "program %d: %s", (int)program, text);
        eum_sim_counters c;
        ck_assert(eum_sim_counters_get(device_of(context), &c));
        ck_assert_msg(c.gpu_faults_in_kernels == 0, "program %d: %d faults in kernels", (int)program, (int)c.gpu_faults_in_kernels);
        close_context(context);
    }
}
END_TEST

/* --------------------------------------------------------------------------- without concurrent managed access ----- */

START_TEST(managed_memory_without_concurrent_access_is_taken_in_turns)
{
    eum_context *context = open_on("sim:maxwell", EUM_BACKING_MANAGED);
    eum_stream *stream = default_stream(context), *other = new_stream(context);
    eum_buffer *a = new_buffer(context, 200 * KIB), *b = new_buffer(context, 200 * KIB), *empty = new_buffer(context, 0);
    cpu_fill(whole(a), 1);
    cpu_fill(whole(b), 2);
    gate g = GATE_INIT;
    eum_job job = launch1(stream, (work){.kind = WORK_ADD, .value = 1, .gate = &g}, updates(whole(a)));
    await_gate(&g, 1);
    pending p = {.view = whole(b), .access = EUM_ACCESS_READ}; /* another buffer: but the whole device must be idle */
    start(&p, call_map);
    assert_waits(&p);
    GIVES(EUM_ERROR_MAPPED, try_launch1(other, (work){.kind = WORK_NOTHING}, reads(whole(a))));
    open_gate(&g);
    OK(finish(&p));
    expect_words(p.address, 200 * KIB / WORD, 2, 0);
    GIVES(EUM_ERROR_MAPPED, try_launch1(stream, (work){.kind = WORK_NOTHING}, reads(whole(a))));
    unmap(b, p.address);
    wait_job(job);
    void *nothing = map(whole(empty), EUM_ACCESS_READ), *inside = map(part(a, 100, 0), EUM_ACCESS_READ);
    gpu_expect(stream, whole(b), 2);
    unmap(empty, nothing);
    unmap(a, inside);
    gpu_expect(other, whole(b), 2);
    void *forgotten = map(whole(b), EUM_ACCESS_READ);
    (void)forgotten;
    OK(eum_buffer_destroy(b)); /* its map ends with it */
    wait_job(launch1(other, (work){.kind = WORK_ADD, .value = 1}, updates(whole(a))));
    cpu_expect_plus(whole(a), 1, 2);
    OK(eum_buffer_destroy(a));
    OK(eum_buffer_destroy(empty));
    OK(eum_stream_destroy(other));
    close_context(context);
}
END_TEST

/* ------------------------------------------------------------------------------------------------ wrapped memory --- */

START_TEST(wrapped_managed_memory_that_begins_inside_a_page_does_not_fault)
{
    for (int sim = PASCAL; sim < SIMS; sim++) {
        eum_context *context = open_on(sims[sim], EUM_BACKING_MANAGED);
        eum_stream *stream = default_stream(context);
        eum_buffer *owned = new_buffer(context, 6 * PAGE), *buffer = NULL;
        cpu_fill(whole(owned), 1);
        eum_raw raw = EUM_RAW_INIT;
        OK(eum_buffer_into_raw(owned, &raw));
        ck_assert_int_eq(raw.memory, EUM_MEMORY_MANAGED);
        eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
        config.address = (char *)raw.address + PAGE / 2;
        config.bytes = 5 * PAGE;
        config.memory = EUM_MEMORY_MANAGED;
        OK(eum_buffer_wrap(context, &config, &buffer));
        for (uint32_t round = 0; round < 4; round++) {
            cpu_fill(whole(buffer), round);
            gpu_expect(stream, part(buffer, 0, PAGE), round); /* reaches into the page of the next part */
            cpu_fill(part(buffer, PAGE, PAGE), round + 10);
            gpu_expect(stream, part(buffer, 0, PAGE), round);
            gpu_expect(stream, part(buffer, PAGE, PAGE), round + 10);
            gpu_fill(stream, part(buffer, 3 * PAGE, PAGE / 2), round + 20);
            cpu_fill(part(buffer, 3 * PAGE + PAGE / 2, PAGE / 2), round + 30);
            gpu_expect(stream, part(buffer, 3 * PAGE, PAGE / 2), round + 20);
            cpu_expect(part(buffer, 3 * PAGE + PAGE / 2, PAGE / 2), round + 30);
        }
        OK(eum_buffer_destroy(buffer));
        raw.release(raw.release_user, raw.address, raw.bytes);
        check_device(context);
        OK(eum_context_destroy(context));
    }
}
END_TEST

Suite *residency_suite(void)
{
    Suite *suite = suite_create("residency");
    TCase *tests = tcase_create("residency");
    if (!runs_cpu_kernels())
        return suite;
    tcase_add_test(tests, a_thousand_rows_of_768_floats_migrate_before_the_launch_and_none_during_it);
    tcase_add_loop_test(tests, one_changed_row_of_a_large_buffer_moves_two_mebibytes_at_most, 0, SETUPS);
    tcase_add_loop_test(tests, one_row_that_a_kernel_changes_moves_two_mebibytes_at_most, 0, SETUPS);
    tcase_add_loop_test(tests, a_read_after_a_read_moves_nothing_on_either_side, 0, SETUPS);
    tcase_add_loop_test(tests, a_kernel_that_overwrites_what_the_cpu_wrote_moves_nothing, 0, SETUPS);
    tcase_add_loop_test(tests, a_cpu_that_overwrites_what_a_kernel_wrote_moves_nothing_where_discard_exists, 0, SETUPS);
    tcase_add_loop_test(tests, memory_that_was_never_written_moves_nothing, 0, SETUPS);
    tcase_add_loop_test(tests, a_bulk_write_to_what_is_on_the_device_goes_there_directly, 0, SETUPS);
    tcase_add_loop_test(tests, the_statistics_say_what_the_device_counted, 0, SETUPS);
    tcase_add_test(tests, results_are_written_in_place_and_never_move);
    tcase_add_test(tests, arguments_that_share_a_page_with_a_map_are_all_used_in_place);
    tcase_add_test(tests, a_stream_of_input_is_read_in_place_and_never_moves);
    tcase_add_test(tests, a_query_is_duplicated_and_stays_valid_on_both_sides);
    tcase_add_test(tests, a_kernel_may_write_pages_that_were_read_mostly_on_the_device_alone);
    tcase_add_test(tests, copies_do_not_collapse_under_a_kernel_that_reads_them);
    tcase_add_test(tests, copies_that_advice_collapses_are_moved_again_before_a_launch_on_the_side_that_lost_them);
    tcase_add_test(tests, a_map_that_writes_takes_no_page_from_a_map_that_reads_its_neighbours);
    tcase_add_test(tests, a_launch_that_reads_beside_a_writer_takes_no_page_from_a_map_that_reads);
    tcase_add_test(tests, large_targets_move_and_are_duplicated_once_the_cpu_has_read_them_back);
    tcase_add_test(tests, large_targets_that_the_cpu_is_reading_are_duplicated_and_it_does_not_wait_for_kernels_that_read);
    tcase_add_test(tests, targets_prefer_the_device_until_the_role_changes);
    tcase_add_loop_test(tests, random_programs_over_three_streams_agree_with_the_model_and_never_fault, 0, SETUPS);
    tcase_add_test(tests, managed_memory_without_concurrent_access_is_taken_in_turns);
    tcase_add_test(tests, wrapped_managed_memory_that_begins_inside_a_page_does_not_fault);
    suite_add_tcase(suite, tests);
    return suite;
}

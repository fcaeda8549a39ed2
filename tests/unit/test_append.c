/* Targets that grow: rows that are appended to a set on the device move, and nothing else does.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "scoring_problem.h"

Suite *append_suite(void);

#define DIM 96
#define CAPACITY 40000 /* rows: 15 MB */
#define PAGE ((size_t)65536)

static const char *const devices[] = {"sim:maxwell", "sim:pascal", "sim:turing", "sim:ampere", "sim:hopper"};
#define DEVICES ((int)(sizeof devices / sizeof *devices))

static const size_t appended[] = {20000, 1, 1, 700, 64, 3, 9000, 1, 10230}; /* 40000 in all */

typedef struct collection {
    eum_context *context;
    eum_buffer *query, *targets, *indices, *scores;
    size_t rows;
    float query_values[DIM];
} collection;

static float element(size_t row, size_t i)
{
    return (float)((int)(word_at(7, row * DIM + i) % 201) - 100);
}

static void append(collection *c, size_t rows, int how)
{
    static float values[CAPACITY * DIM];
    for (size_t i = 0; i < rows * DIM; i++)
        values[i] = element(c->rows + i / DIM, i % DIM);
    eum_view place = part(c->targets, c->rows * DIM * 4, rows * DIM * 4);
    if (how == 0) {
        OK(eum_buffer_write(place, values));
    } else {
        void *address = map(place, EUM_ACCESS_OVERWRITE);
        memcpy(address, values, rows * DIM * 4);
        unmap(c->targets, address);
    }
    c->rows += rows;
}

/* The nearest row of the collection, on the device; checked against the plain arrays. */
static void search(collection *c)
{
    eum_topk_config config = EUM_TOPK_CONFIG_INIT;
    config.metric = EUM_METRIC_DOT;
    config.queries = whole(c->query);
    config.targets = part(c->targets, 0, c->rows * DIM * 4);
    config.indices = whole(c->indices);
    config.scores = whole(c->scores);
    config.rows = c->rows;
    config.dim = DIM;
    config.executor = EUM_EXECUTOR_DEVICE;
    eum_job job;
    OK(eum_topk(default_stream(c->context), &config, &job));
    wait_job(job);
}

static void check_nearest(collection *c)
{
    int64_t found = -1, best = -1;
    float score = NAN, highest = -INFINITY;
    OK(eum_buffer_read(whole(c->indices), &found));
    OK(eum_buffer_read(whole(c->scores), &score));
    for (size_t r = 0; r < c->rows; r++) {
        float dot = 0; /* whole numbers below 2^24: exact */
        for (size_t i = 0; i < DIM; i++)
            dot += c->query_values[i] * element(r, i);
        if (dot > highest) {
            highest = dot;
            best = (int64_t)r;
        }
    }
    ck_assert_int_eq(found, best);
    ck_assert(score == highest);
}

static void grow(int device, eum_backing backing, eum_role role, int how)
{
    collection c = {.context = open_on(devices[device], backing)};
    bool pages = info_of(c.context).backing == EUM_BACKING_MANAGED;
    c.query = new_buffer_as(c.context, DIM * 4, EUM_ROLE_QUERY);
    c.targets = new_buffer_as(c.context, CAPACITY * DIM * 4, role);
    c.indices = new_buffer_as(c.context, 8, EUM_ROLE_RESULTS);
    c.scores = new_buffer_as(c.context, 4, EUM_ROLE_RESULTS);
    for (size_t i = 0; i < DIM; i++)
        c.query_values[i] = (float)((int)(word_at(8, i) % 9) - 4);
    OK(eum_buffer_write(whole(c.query), c.query_values));
    for (size_t i = 0; i < sizeof appended / sizeof *appended; i++) {
        size_t begin = c.rows * DIM * 4, bytes = appended[i] * DIM * 4;
        append(&c, appended[i], how);
        search(&c); /* several times: EUM_ROLE_AUTO moves what is used again */
        for (int again = 0; again < 4 && role == EUM_ROLE_AUTO; again++)
            search(&c);
        eum_decision decision = explain(c.targets);
        ck_assert_uint_ge(decision.bytes_on_device, role == EUM_ROLE_AUTO ? begin : begin + bytes);
        check_nearest(&c);
    }
    /* All that ever moved to the device: each row once. On managed memory pages move, so each step may move the page that it begins in again,
     * and that page comes back to the host to be written, if the new rows do not begin it. */
    eum_decision all = explain(c.targets);
    const size_t total = CAPACITY * DIM * 4, edges = pages ? PAGE * sizeof appended / sizeof *appended : 0;
    ck_assert_uint_ge(all.bytes_to_device, total);
    ck_assert_uint_le(all.bytes_to_device, total + 2 * edges);
    ck_assert_uint_le(all.bytes_to_host, edges);
    /* And the next row moves alone. */
    eum_stats before = stats_of(c.context);
    c.rows -= 1;
    append(&c, 1, how);
    search(&c);
    search(&c);
    eum_stats after = stats_of(c.context);
    ck_assert_uint_le(after.bytes_to_device - before.bytes_to_device, (pages ? 2 * PAGE : DIM * 4) + 2 * (pages ? PAGE : DIM * 4));
    check_nearest(&c);
    OK(eum_buffer_destroy(c.query));
    OK(eum_buffer_destroy(c.targets));
    OK(eum_buffer_destroy(c.indices));
    OK(eum_buffer_destroy(c.scores));
    close_context(c.context);
}

static void grow_on_every_backing(int device, eum_role role)
{
    for (int how = 0; how < 2; how++) {
        grow(device, EUM_BACKING_AUTO, role, how);
        grow(device, EUM_BACKING_MIRRORED, role, how);
        if (device > 0) /* without concurrent access the driver moves managed memory, all of it, at each launch */
            grow(device, EUM_BACKING_MANAGED, role, how);
    }
}

START_TEST(appending_rows_to_resident_targets_moves_the_new_rows_only)
{
    grow_on_every_backing(_i, EUM_ROLE_TARGETS);
}
END_TEST

START_TEST(the_same_without_being_told_that_they_are_reused)
{
    grow_on_every_backing(_i, EUM_ROLE_AUTO);
}
END_TEST

Suite *append_suite(void)
{
    Suite *suite = suite_create("append");
    TCase *tests = tcase_create("append");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, appending_rows_to_resident_targets_moves_the_new_rows_only, 0, DEVICES);
    tcase_add_loop_test(tests, the_same_without_being_told_that_they_are_reused, 0, DEVICES);
    suite_add_tcase(suite, tests);
    return suite;
}

/* The costs of a context: measured, told, kept in a file.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"
#include "figures.h"

Suite *calibrate_suite(void);

static const char *const simulated[] = {"sim:maxwell", "sim:pascal", "sim:turing", "sim:ampere", "sim:hopper"};
#define SIMULATED ((int)(sizeof simulated / sizeof *simulated))

static char path[64]; /* of a file that tests may write */

static void set_up(void)
{
    snprintf(path, sizeof path, "/tmp/eum-costs-%ld", (long)getpid());
    unsetenv("EUM_COSTS");
}

static void tear_down(void)
{
    unsetenv("EUM_COSTS");
    unlink(path);
}

static void write_text(const char *text, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, bytes, file), bytes);
    ck_assert_int_eq(fclose(file), 0);
}

static eum_costs_info costs_of(eum_context *context)
{
    eum_costs_info info;
    eum_costs_info_init(&info);
    OK(eum_context_costs(context, &info));
    return info;
}

static void expect_near(const char *what, uint64_t got, uint64_t wanted)
{
    uint64_t off = got > wanted ? got - wanted : wanted - got;
    ck_assert_msg(off * 100 <= wanted * 2, "%s is %llu instead of %llu", what, (unsigned long long)got, (unsigned long long)wanted);
}

#define NEAR(field) expect_near(#field, got->field, wanted->field)
static void expect_figures(const eum_costs *got, const eum_costs *wanted, bool prefetches)
{
    NEAR(link_mbps);
    NEAR(to_host_mbps);
    NEAR(in_place_mbps);
    NEAR(memory_mbps);
    NEAR(copy_ns);
    NEAR(launch_ns);
    if (prefetches) {
        NEAR(prefetch_ns);
        NEAR(unit_ns);
    }
    /* Of what a range takes by a call of its own: it may be 0. */
    uint64_t a = got->batch_range_ns, b = wanted->batch_range_ns;
    ck_assert_msg((a > b ? a - b : b - a) * 50 <= wanted->prefetch_ns, "batch_range_ns is %llu instead of %llu",
                  (unsigned long long)a, (unsigned long long)b);
    ck_assert_uint_eq(got->batch_waits, wanted->batch_waits);
    ck_assert_uint_eq(got->unit_bytes, wanted->unit_bytes);
    ck_assert_uint_eq(got->macs_mhz, wanted->macs_mhz);
}

/* ---------------------------------------------------------------------------------------------------- the fit ------ */

/* What probes of a machine with these costs take. */
static eum_probes probes_of(const eum_costs *c)
{
    eum_probes p = {
        .small_bytes = 4 * KIB, .large_bytes = 16 * MIB, .launch = c->launch_ns, .far_bytes = 16 * MIB, .near_bytes = 63 * MIB};
    eum_costs back = eum_costs_back(c);
    p.to_small = eum_cost_copy(c, p.small_bytes);
    p.to_large = eum_cost_copy(c, p.large_bytes);
    p.back_small = eum_cost_copy(&back, p.small_bytes);
    p.back_large = eum_cost_copy(&back, p.large_bytes);
    p.far = p.launch + eum_cost_at(p.far_bytes, c->in_place_mbps);
    p.near = p.launch + eum_cost_at(p.near_bytes, c->memory_mbps);
    p.units = 16 * MIB / c->unit_bytes;
    p.prefetch_one = eum_cost_prefetch(c, c->unit_bytes);
    p.prefetch_units = eum_cost_prefetch(c, p.units * c->unit_bytes);
    p.ranges = 16;
    p.ranges_apart = 16 * eum_cost_prefetch(c, 64 * KIB);
    p.ranges_together = p.ranges_apart - 15 * c->prefetch_ns + 15 * c->batch_range_ns;
    p.together_call = c->batch_waits ? p.ranges_together * 99 / 100 : p.ranges_together / 10;
    p.host_bytes = 16 * MIB;
    p.host_one = eum_cost_at(p.host_bytes, 9000);
    p.host_all = eum_cost_at(p.host_bytes, 31000);
    return p;
}

static eum_costs some_costs(uint32_t seed)
{
    eum_costs costs = eum_costs_default((int32_t)(5 + word_at(seed, 0) % 5));
    costs.link_mbps = 3000 + word_at(seed, 1) % 90000;
    costs.to_host_mbps = 3000 + word_at(seed, 2) % 90000;
    costs.in_place_mbps = 3000 + word_at(seed, 3) % 90000;
    costs.copy_ns = 2000 + word_at(seed, 4) % 30000;
    costs.prefetch_ns = 2000 + word_at(seed, 5) % 60000;
    costs.unit_ns = 500 + word_at(seed, 6) % 20000;
    costs.launch_ns = 2000 + word_at(seed, 7) % 30000;
    costs.batch_range_ns = word_at(seed, 8) % (2 * costs.prefetch_ns);
    costs.batch_waits = word_at(seed, 9) % 2;
    return costs;
}

START_TEST(the_figures_of_a_machine_are_found_in_what_its_probes_take)
{
    for (uint32_t seed = 0; seed < 500; seed++) {
        eum_costs machine = some_costs(seed), before = some_costs(seed + 1000);
        before.unit_bytes = machine.unit_bytes;
        before.macs_mhz = machine.macs_mhz;
        eum_probes probes = probes_of(&machine);
        eum_costs found = eum_figures_from(&before, &probes);
        expect_figures(&found, &machine, true);
        expect_near("host_copy_mbps", found.host_copy_mbps, 9000);
        expect_near("host_copy_all_mbps", found.host_copy_all_mbps, 31000);
    }
}
END_TEST

START_TEST(figures_that_cannot_be_true_are_cut_and_none_is_0)
{
    eum_costs before = some_costs(1);
    for (int i = 0; i < 3; i++) {
        eum_probes p = probes_of(&before);
        if (i == 0) /* a clock that stands still */
            p.to_small = p.to_large = p.back_small = p.back_large = p.launch = p.near = p.prefetch_one = p.prefetch_units =
                p.host_one = p.host_all = 0;
        else if (i == 1) /* more takes less */
            p.to_large = p.back_large = p.far = p.near = p.prefetch_units = 1;
        else /* hours */
            p.to_large = p.back_large = p.launch = p.far = p.prefetch_one = p.host_one = p.host_all = p.ranges_together =
                (uint64_t)1 << 45;
        eum_costs found = eum_figures_from(&before, &p), again;
        eum_costs_device device = eum_costs_device_of("d", 1, 0), same;
        char text[EUM_FIGURES_TEXT];
        size_t bytes = eum_figures_text(&device, &found, text);
        OK(eum_figures_parse(text, bytes, "a test", &same, &again)); /* which refuses what is out of bounds, and 0 */
        ck_assert_mem_eq(&again, &found, sizeof found);
        ck_assert_uint_gt(found.host_copy_mbps, 0);
    }
}
END_TEST

START_TEST(what_was_not_measured_stays)
{
    eum_costs before = some_costs(2);
    eum_probes p = probes_of(&before);
    p.units = 0;
    p.prefetch_one = p.prefetch_units = 0;
    p.ranges = 0;
    p.far = 0;
    eum_costs found = eum_figures_from(&before, &p);
    ck_assert_uint_eq(found.batch_range_ns, before.batch_range_ns);
    ck_assert_uint_eq(found.batch_waits, before.batch_waits);
    ck_assert_uint_eq(found.prefetch_ns, before.prefetch_ns);
    ck_assert_uint_eq(found.unit_ns, before.unit_ns);
    ck_assert_uint_eq(found.in_place_mbps, found.link_mbps);
    eum_costs nothing = {0};
    eum_probes hosts = {.host_bytes = 16 * MIB, .host_one = 2000000, .host_all = 1000000};
    found = eum_figures_from(&nothing, &hosts);
    expect_near("host_copy_mbps", found.host_copy_mbps, 8389);
    ck_assert_uint_eq(found.link_mbps + found.copy_ns + found.launch_ns + found.prefetch_ns + found.in_place_mbps, 0);
}
END_TEST

START_TEST(the_way_back_and_the_use_in_place_have_rates_of_their_own)
{
    eum_costs costs = {.link_mbps = 1000, .memory_mbps = 1000000};
    uint64_t in_place = eum_cost_in_place(&costs, MIB), back = eum_costs_back(&costs).link_mbps;
    ck_assert_uint_eq(back, 1000);
    costs.to_host_mbps = 500;
    costs.in_place_mbps = 2000;
    ck_assert_uint_eq(eum_costs_back(&costs).link_mbps, 500);
    ck_assert_uint_lt(eum_cost_in_place(&costs, MIB), in_place * 51 / 100);
    ck_assert_uint_eq(eum_cost_copy(&costs, MIB), eum_cost_at(MIB, 1000));
}
END_TEST

/* ---------------------------------------------------------------------------------------------------- the text ----- */

START_TEST(text_gives_the_same_costs_and_device_back)
{
    for (uint32_t seed = 0; seed < 50; seed++) {
        eum_costs costs = some_costs(seed), again;
        costs.host_copy_mbps = seed % 2 == 0 ? 0 : 9000;
        eum_costs_device device = eum_costs_device_of("  NVIDIA H100\n80GB  HBM3 ", 9, 0), same;
        ck_assert_str_eq(device.name, "NVIDIA H100 80GB  HBM3");
        char text[EUM_FIGURES_TEXT], more[EUM_FIGURES_TEXT + 64];
        size_t bytes = eum_figures_text(&device, &costs, text);
        ck_assert_uint_eq(bytes, strlen(text));
        int length =
            snprintf(more, sizeof more, "# measured in spring\n\n%.*s", (int)bytes - 1, text); /* and no end of the last line */
        OK(eum_figures_parse(more, (size_t)length, "a test", &same, &again));
        ck_assert_mem_eq(&again, &costs, sizeof costs);
        ck_assert(eum_costs_device_same(&same, &device));
        same.minor = 1;
        ck_assert(!eum_costs_device_same(&same, &device));
    }
}
END_TEST

/* Replaces the first `from` by `to`; both NULL-terminated. */
static void replace(char *text, const char *from, const char *to)
{
    char *at = strstr(text, from);
    ck_assert_msg(at != NULL, "no \"%s\"", from);
    memmove(at + strlen(to), at + strlen(from), strlen(at + strlen(from)) + 1);
    memcpy(at, to, strlen(to));
}

static const struct {
    const char *from, *to, *says;
} damages[] = {
    {"engram_um costs 1", "engram_um costs 2", "line 1 names another version"},
    {"engram_um costs 1", "{\"costs\": 1}", "line 1 is not"},
    {"\ncompute 9.0", "", "not complete"},
    {"\ncopy_ns 8000", "", "not complete"},
    {"compute 9.0", "compute 9", "line 3 has no compute capability"},
    {"compute 9.0", "compute -9.0", "line 3 has no compute capability"},
    {"device d", "device  ", "line 2 is not a word and a value"},
    {"copy_ns 8000", "copy_ns 8e3", "has no whole number"},
    {"copy_ns 8000", "copy_ns -8000", "has no whole number"},
    {"copy_ns 8000", "copy_ns 99999999999999999999", "has no whole number"},
    {"copy_ns 8000", "copy_ns 0", "copy_ns is 0, outside"},
    {"prefetch_batch_waits 1", "prefetch_batch_waits 2", "prefetch_batch_waits is 2, outside 0 to 1"},
    {"prefetch_batch_range_ns 12400", "prefetch_batch_range_ns 20000001",
     "prefetch_batch_range_ns is 20000001, outside 0 to 20000000"},
    {"\nprefetch_batch_waits 1", "", "not complete"},
    {"copy_ns 8000", "copy_ns 8000000000", "copy_ns is 8000000000, outside"},
    {"to_device_mbps 50000", "to_device_mbps 0", "to_device_mbps is 0, outside"},
    {"copy_ns 8000", "copy_ns 8000\ncopy_ns 8000", "says again"},
    {"compute 9.0", "compute 9.0\ncompute 9.0", "line 4 says again"},
    {"copy_ns 8000", "copying_ns 8000", "none of the format's"},
    {"copy_ns 8000", "copy_ns", "is not a word and a value"},
    {"copy_ns 8000",
     "copy_ns 80\x01"
     "00",
     "has no whole number"},
};
#define DAMAGES ((int)(sizeof damages / sizeof *damages))

/* Of a device with defaults: what a context on it would save. */
static size_t text_of(const char *name, int32_t major, int32_t minor, char text[EUM_FIGURES_TEXT])
{
    eum_costs defaults = eum_costs_default(major), costs = eum_figures_settled(&defaults);
    eum_costs_device device = eum_costs_device_of(name, major, minor);
    return eum_figures_text(&device, &costs, text);
}

static void expect_sentence(const char *words)
{
    eum_error error = EUM_ERROR_INIT;
    OK(eum_last_error(&error));
    ck_assert_msg(strstr(error.sentence, words) != NULL, "\"%s\" is not in: %s", words, error.sentence);
}

START_TEST(a_damaged_file_is_an_error_that_names_the_line_and_what_to_do)
{
    char text[EUM_FIGURES_TEXT + 64];
    text_of("d", 9, 0, text);
    replace(text, damages[_i].from, damages[_i].to);
    write_text(text, strlen(text));
    setenv("EUM_COSTS", path, 1);
    eum_context *context = NULL;
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_create(NULL, &context));
    ck_assert_ptr_null(context);
    expect_sentence(damages[_i].says);
    expect_sentence(path);
    expect_sentence("unset EUM_COSTS");
}
END_TEST

START_TEST(a_file_of_zeros_a_long_one_and_an_empty_one_are_damaged)
{
    char text[3 * EUM_FIGURES_TEXT] = {0};
    eum_context *context = NULL;
    setenv("EUM_COSTS", path, 1);
    write_text(text, 100);
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_create(NULL, &context));
    expect_sentence("line 1 is no line of such a file");
    write_text(text, 0);
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_create(NULL, &context));
    expect_sentence("not complete");
    memset(text, '\n', sizeof text);
    write_text(text, sizeof text);
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_create(NULL, &context));
    expect_sentence("never longer than");
    memset(text, 'x', 300);
    write_text(text, 300);
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_create(NULL, &context));
    expect_sentence("line 1 is no line of such a file");
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_an_error_with_its_reason)
{
    eum_context *context = NULL;
    setenv("EUM_COSTS", "/nowhere/costs", 1);
    GIVES(EUM_ERROR_SYSTEM, eum_context_create(NULL, &context));
    expect_sentence("No such file");
    expect_sentence("/nowhere/costs (EUM_COSTS)");
    setenv("EUM_COSTS", "/tmp", 1);
    GIVES(EUM_ERROR_SYSTEM, eum_context_create(NULL, &context));
    expect_sentence("Is a directory");
    setenv("EUM_COSTS", "", 1); /* as if it were unset */
    OK(eum_context_create(NULL, &context));
    OK(eum_context_destroy(context));
}
END_TEST

static void keep_warning(void *user, eum_log_level level, const char *message)
{
    if (level == EUM_LOG_WARN)
        snprintf(user, 512, "%s", message);
}

START_TEST(a_file_of_another_device_is_a_warning_and_the_defaults_hold)
{
    static const struct {
        const char *name;
        int32_t major, minor;
    } others[] = {{"simulated hopper (compute capability 9.0)", 9, 1}, {"NVIDIA H100", 9, 0}, {"simulated ampere", 8, 0}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char text[EUM_FIGURES_TEXT], warning[512] = "";
        write_text(text, text_of(others[i].name, others[i].major, others[i].minor, text));
        setenv("EUM_COSTS", path, 1);
        eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
        config.device = "sim:hopper";
        config.log_fn = keep_warning;
        config.log_user = warning;
        config.log_level = EUM_LOG_WARN;
        eum_context *context = open_with(&config);
        eum_costs_info info = costs_of(context);
        ck_assert_int_eq(info.source, EUM_COSTS_DEFAULT);
        ck_assert_uint_eq(info.to_device_mbps, 50000);
        ck_assert_ptr_nonnull(strstr(warning, others[i].name));
        ck_assert_ptr_nonnull(strstr(warning, "defaults are used"));
        close_context(context);
    }
}
END_TEST

/* ------------------------------------------------------------------------------------------------- calibration ----- */

/* A file for the device with figures that are all wrong. */
static eum_costs write_wrong_costs(const char *device)
{
    eum_context *context = open_on(device, EUM_BACKING_AUTO);
    const eum_device_caps *caps = &device_of(context)->caps;
    eum_costs wrong = eum_figures_settled(&caps->costs);
    wrong.link_mbps /= 3;
    wrong.to_host_mbps *= 2;
    wrong.in_place_mbps /= 5;
    wrong.memory_mbps /= 2;
    wrong.copy_ns *= 7;
    wrong.prefetch_ns /= 4;
    wrong.unit_ns *= 9;
    wrong.launch_ns *= 5;
    wrong.batch_range_ns = wrong.prefetch_ns;
    wrong.batch_waits = 1;
    eum_costs_device named = eum_costs_device_of(caps->name, caps->compute_major, caps->compute_minor);
    char text[EUM_FIGURES_TEXT];
    write_text(text, eum_figures_text(&named, &wrong, text));
    close_context(context);
    return wrong;
}

START_TEST(calibration_finds_the_figures_of_a_simulated_device_and_they_are_decided_by)
{
    eum_costs wrong = write_wrong_costs(simulated[_i]);
    setenv("EUM_COSTS", path, 1);
    eum_context *context = open_on(simulated[_i], EUM_BACKING_AUTO);
    eum_ctx *ctx = ctx_of(context);
    eum_costs_info before = costs_of(context), after = EUM_COSTS_INFO_INIT, told;
    ck_assert_int_eq(before.source, EUM_COSTS_FILE);
    ck_assert_uint_eq(before.to_device_mbps, wrong.link_mbps);
    ck_assert_uint_eq(before.prefetch_unit_ns, wrong.unit_ns);
    ck_assert_uint_eq(before.host_copy_mbps + before.calibration_ns, 0);
    ck_assert_mem_eq(&ctx->costs, &wrong, sizeof wrong);
    eum_break_even_config shape = EUM_BREAK_EVEN_CONFIG_INIT;
    shape.dim = 768;
    shape.rows = 1000;
    eum_break_even slow = EUM_BREAK_EVEN_INIT, fast = EUM_BREAK_EVEN_INIT;
    OK(eum_context_break_even(context, &shape, &slow));

    OK(eum_context_calibrate(context, &after));
    const eum_device_caps *caps = &device_of(context)->caps;
    eum_costs right = eum_figures_settled(&caps->costs), now = ctx->costs;
    if (!caps->prefetch_many)
        right.batch_range_ns = wrong.batch_range_ns;
    if (!caps->concurrent_managed) {
        ck_assert_uint_eq(now.prefetch_ns, wrong.prefetch_ns);
        ck_assert_uint_eq(now.unit_ns, wrong.unit_ns);
    }
    expect_figures(&now, &right, caps->concurrent_managed);
    ck_assert_int_eq(after.source, EUM_COSTS_MEASURED);
    ck_assert_uint_gt(after.calibration_ns, 0);
    ck_assert_uint_gt(after.host_copy_mbps, 0);
    ck_assert_uint_gt(after.host_copy_all_mbps, 0);
    ck_assert_uint_eq(after.prefetch_batch_range_ns, now.batch_range_ns);
    ck_assert_uint_eq(after.prefetch_batch_waits, !caps->prefetch_many);
    ck_assert_uint_eq(before.prefetch_batch_range_ns, wrong.batch_range_ns);
    told = costs_of(context);
    ck_assert_mem_eq(&told, &after, sizeof told);
    OK(eum_context_break_even(context, &shape, &fast));
    ck_assert_uint_lt(fast.device_cold_ns, slow.device_cold_ns);
    ck_assert_uint_lt(fast.device_resident_ns, slow.device_resident_ns);
    ck_assert_uint_eq(fast.cpu_ns, slow.cpu_ns);

    OK(eum_context_save_costs(context, path));
    eum_context *next = open_on(simulated[_i], EUM_BACKING_AUTO);
    ck_assert_int_eq(costs_of(next).source, EUM_COSTS_FILE);
    ck_assert_mem_eq(&ctx_of(next)->costs, &now, sizeof now);
    close_context(next);
    close_context(context);
}
END_TEST

START_TEST(calibration_leaves_the_statistics_of_the_users_work_alone)
{
    eum_context *context = open_context();
    eum_stats before = stats_of(context);
    OK(eum_context_calibrate(context, NULL));
    eum_stats after = stats_of(context);
    ck_assert_uint_eq(after.launches, before.launches);
    ck_assert_uint_eq(after.bytes_to_device + after.bytes_to_host, before.bytes_to_device + before.bytes_to_host);
    ck_assert_uint_eq(after.buffers_peak, before.buffers_peak);
    ck_assert_int_eq(costs_of(context).source, EUM_COSTS_MEASURED);
    close_context(context); /* which finds what was not freed */
}
END_TEST

START_TEST(on_the_host_only_the_cpus_copies_are_measured)
{
    unsetenv("EUM_BACKING"); /* which may name one that the host does not have */
    eum_context *context = open_on("host", EUM_BACKING_AUTO);
    eum_costs_info info = costs_of(context);
    ck_assert_int_eq(info.source, EUM_COSTS_DEFAULT);
    ck_assert_uint_eq(info.host_copy_mbps, 0);
    OK(eum_context_calibrate(context, &info));
    ck_assert_int_eq(info.source, EUM_COSTS_MEASURED);
    ck_assert_uint_gt(info.host_copy_mbps, 0);
    ck_assert_uint_gt(info.host_copy_all_mbps, 0);
    ck_assert_uint_eq(info.to_device_mbps + info.to_host_mbps + info.in_place_mbps + info.memory_mbps + info.copy_ns +
                          info.prefetch_ns + info.prefetch_unit_ns + info.prefetch_unit_bytes + info.launch_ns + info.macs_mhz,
                      0);
    OK(eum_context_save_costs(context, path));
    setenv("EUM_COSTS", path, 1);
    eum_context *next = open_on("host", EUM_BACKING_AUTO);
    eum_costs_info again = costs_of(next);
    ck_assert_int_eq(again.source, EUM_COSTS_FILE);
    ck_assert_uint_eq(again.host_copy_mbps, info.host_copy_mbps);
    close_context(next);
    close_context(context);
}
END_TEST

START_TEST(every_device_call_that_fails_leaves_the_costs_as_they_were)
{
    static const char *const operations[] = {"alloc", "copy", "submit", "mark", "stream_create", "prefetch", "prefetch_many"};
    static const int most[] = {3, 33, 25, 90, 3, 150, 8};
    for (size_t k = 0; k < sizeof operations / sizeof *operations; k++) {
        int failures = 0;
        for (int nth = 1; nth <= most[k]; nth += nth < 4 ? 1 : 13) {
            char device[64];
            snprintf(device, sizeof device, "sim:hopper,fail=%s:%d", operations[k], nth);
            eum_context *context = NULL;
            eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
            config.device = device;
            config.worker_threads = 2;
            if (eum_context_create(&config, &context) != EUM_OK)
                continue; /* a stream of the context's own */
            eum_costs_info before = costs_of(context), after, out;
            memset(&out, 0xa5, sizeof out);
            out.struct_size = sizeof out;
            eum_costs_info poisoned = out;
            eum_status status = eum_context_calibrate(context, &out);
            after = costs_of(context);
            if (status != EUM_OK) {
                failures++;
                ck_assert_mem_eq(&out, &poisoned, sizeof out);
                ck_assert_mem_eq(&after, &before, sizeof after);
            } else {
                ck_assert_int_eq(after.source, EUM_COSTS_MEASURED);
            }
            close_context(context);
        }
        ck_assert_msg(failures > 0, "%s never failed", operations[k]);
    }
}
END_TEST

START_TEST(without_room_for_the_probes_it_is_an_error_and_the_costs_stay)
{
    eum_context *context = open_on("sim:hopper,memory=32M", EUM_BACKING_AUTO);
    GIVES(EUM_ERROR_OVER_BUDGET, eum_context_calibrate(context, NULL));
    expect_sentence("the calibration");
    ck_assert_int_eq(costs_of(context).source, EUM_COSTS_DEFAULT);
    close_context(context);
}
END_TEST

START_TEST(while_a_window_counts_faults_it_is_an_error)
{
    eum_context *context = open_on("sim:hopper", EUM_BACKING_AUTO);
    eum_faults faults = EUM_FAULTS_INIT;
    OK(eum_faults_begin(context));
    GIVES(EUM_ERROR_INVALID_STATE, eum_context_calibrate(context, NULL));
    expect_sentence("eum_faults_end");
    OK(eum_faults_end(context, &faults));
    ck_assert_int_eq(costs_of(context).source, EUM_COSTS_DEFAULT);
    close_context(context);
}
END_TEST

typedef struct caller {
    eum_context *context;
    eum_status status;
} caller;

static void calibrate_in_callback(void *user, eum_status status)
{
    caller *c = user;
    (void)status;
    c->status = eum_context_calibrate(c->context, NULL);
}

START_TEST(inside_a_callback_it_is_an_error)
{
    eum_context *context = open_context();
    caller c = {context, EUM_OK};
    OK(eum_stream_on_done(default_stream(context), calibrate_in_callback, &c));
    OK(eum_stream_synchronize(default_stream(context)));
    ck_assert_int_eq(c.status, EUM_ERROR_IN_CALLBACK);
    ck_assert_int_eq(costs_of(context).source, EUM_COSTS_DEFAULT);
    close_context(context);
}
END_TEST

START_TEST(costs_that_cannot_be_written_are_an_error_and_leave_no_file)
{
    eum_context *context = open_context();
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_save_costs(context, NULL));
    GIVES(EUM_ERROR_INVALID_ARGUMENT, eum_context_save_costs(context, ""));
    GIVES(EUM_ERROR_SYSTEM, eum_context_save_costs(context, "/nowhere/costs"));
    expect_sentence("No such file");
    ck_assert_int_eq(mkdir(path, 0700), 0);
    GIVES(EUM_ERROR_SYSTEM, eum_context_save_costs(context, path)); /* it is a directory */
    char beside[128];
    snprintf(beside, sizeof beside, "%s.%ld.new", path, (long)getpid());
    ck_assert_int_ne(access(beside, F_OK), 0);
    ck_assert_int_eq(rmdir(path), 0);
    close_context(context);
}
END_TEST

Suite *calibrate_suite(void)
{
    Suite *suite = suite_create("calibrate");
    TCase *tests = tcase_create("calibrate");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, the_figures_of_a_machine_are_found_in_what_its_probes_take);
    tcase_add_test(tests, figures_that_cannot_be_true_are_cut_and_none_is_0);
    tcase_add_test(tests, what_was_not_measured_stays);
    tcase_add_test(tests, the_way_back_and_the_use_in_place_have_rates_of_their_own);
    tcase_add_test(tests, text_gives_the_same_costs_and_device_back);
    tcase_add_loop_test(tests, a_damaged_file_is_an_error_that_names_the_line_and_what_to_do, 0, DAMAGES);
    tcase_add_test(tests, a_file_of_zeros_a_long_one_and_an_empty_one_are_damaged);
    tcase_add_test(tests, a_file_that_cannot_be_read_is_an_error_with_its_reason);
    tcase_add_test(tests, a_file_of_another_device_is_a_warning_and_the_defaults_hold);
    tcase_add_loop_test(tests, calibration_finds_the_figures_of_a_simulated_device_and_they_are_decided_by, 0, SIMULATED);
    tcase_add_test(tests, calibration_leaves_the_statistics_of_the_users_work_alone);
    tcase_add_test(tests, on_the_host_only_the_cpus_copies_are_measured);
    tcase_add_test(tests, every_device_call_that_fails_leaves_the_costs_as_they_were);
    tcase_add_test(tests, without_room_for_the_probes_it_is_an_error_and_the_costs_stay);
    tcase_add_test(tests, while_a_window_counts_faults_it_is_an_error);
    tcase_add_test(tests, inside_a_callback_it_is_an_error);
    tcase_add_test(tests, costs_that_cannot_be_written_are_an_error_and_leave_no_file);
    suite_add_tcase(suite, tests);
    return suite;
}

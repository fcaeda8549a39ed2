/* calibrate: measures what movement costs on this machine, and keeps it in a file.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "error.h"
#include "json.h"
#include "options.h"
#include "words.h"

static const char help[] =
    "Usage: engram-um calibrate [OPTIONS]\n"
    "\n"
    "Measures what copies, launches and the use of memory in place cost on this machine, and prints it\n"
    "beside what the library went by before. Takes less than 200 ms on a GPU; let nothing else run.\n"
    "\n"
    "  --output FILE  write the costs to FILE, for programs that run with EUM_COSTS=FILE\n"
    "  --device D     auto, host, cuda, cuda:N, or a simulated device (sim:hopper); default: the environment\n"
    "                 variable EUM_DEVICE, or auto\n"
    "  --json         print one JSON object\n"
    "  -h, --help     print this help\n";

typedef struct calibrate_options {
    common_options common;
    const char *output;
} calibrate_options;

typedef struct calibration {
    eum_info info;
    eum_costs_info before, after;
} calibration;

static int take_option(void *own, int option, const char *value)
{
    calibrate_options *options = own;
    (void)option; /* there is no other */
    return options_output("calibrate", value, &options->output);
}

static int parse_options(int argc, char **argv, calibrate_options *options)
{
    static const struct option longs[] = {{"device", required_argument, NULL, OPTION_DEVICE},
                                          {"output", required_argument, NULL, OPTION_OUTPUT},
                                          {"json", no_argument, NULL, OPTION_JSON},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    static const command_options known = {"calibrate", help, longs, take_option};
    const int code = options_parse(&known, argc, argv, &options->common, options);
    return code == OPTIONS_GO_ON ? options_no_more(&known, argc, argv) : code;
}

static bool calibrate(eum_context *context, const char *output, calibration *out, tool_error *error)
{
    eum_info_init(&out->info);
    eum_costs_info_init(&out->before);
    eum_costs_info_init(&out->after);
    if (eum_context_info(context, &out->info) != EUM_OK || eum_context_costs(context, &out->before) != EUM_OK)
        return tool_fail_library(error, "the costs could not be read");
    if (eum_context_calibrate(context, &out->after) != EUM_OK)
        return tool_fail_library(error, "the costs could not be measured");
    if (output != NULL && eum_context_save_costs(context, output) != EUM_OK)
        return tool_fail_library(error, "the costs could not be kept");
    return true;
}

static bool run(const calibrate_options *options, calibration *out, tool_error *error)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context *context = NULL;
    config.device = options->common.device;
    if (eum_context_create(&config, &context) != EUM_OK)
        return tool_fail_library(error, "the device could not be opened");
    const bool done = calibrate(context, options->output, out, error);
    (void)eum_context_destroy(context);
    return done;
}

/* ------------------------------------------------------------------------------------------------ printing --------- */

static const char *source_name(eum_costs_source source)
{
    return source == EUM_COSTS_FILE ? "file" : source == EUM_COSTS_MEASURED ? "measured" : "default";
}

typedef struct line {
    const char *key, *words, *unit;
    size_t offset;
    bool zero; /* 0 is a figure, and not that there is none */
} line;
#define LINE_OR_ZERO(field, words, unit, zero)                                                                                     \
    {                                                                                                                              \
#field, words, unit, offsetof(eum_costs_info, field), zero                                                                 \
    }
#define LINE(field, words, unit) LINE_OR_ZERO(field, words, unit, false)
static const line lines[] = {
    LINE(to_device_mbps, "copies to the device", "MB/s"),
    LINE(to_host_mbps, "copies to the host", "MB/s"),
    LINE(in_place_mbps, "host memory read in place", "MB/s"),
    LINE(memory_mbps, "device memory", "MB/s"),
    LINE(copy_ns, "a copy, beside its bytes", "ns"),
    LINE(prefetch_ns, "a prefetch, beside its bytes", "ns"),
    LINE(prefetch_unit_ns, "each transfer of a prefetch", "ns"),
    LINE(prefetch_unit_bytes, "such a transfer, at most", "bytes"),
    LINE_OR_ZERO(prefetch_batch_range_ns, "each further range of a call", "ns", true),
    LINE_OR_ZERO(prefetch_batch_waits, "that call waits: 1; not: 0", "", true),
    LINE(launch_ns, "a launch and its wait", "ns"),
    LINE(macs_mhz, "multiply-adds", "M/s"),
    LINE(host_copy_mbps, "copies by one thread", "MB/s"),
    LINE(host_copy_all_mbps, "copies by all threads", "MB/s"),
};
#define LINES (sizeof lines / sizeof *lines)

static uint64_t figure(const eum_costs_info *costs, const line *l)
{
    uint64_t value = 0;
    memcpy(&value, (const char *)costs + l->offset, sizeof value);
    return value;
}

static bool is_known(const eum_costs_info *costs, const line *l)
{
    return figure(costs, l) != 0 || (l->zero && costs->to_device_mbps != 0);
}

static void json_costs(json *j, const char *key, const eum_costs_info *costs)
{
    json_begin_object(j, key);
    json_string(j, "source", source_name(costs->source));
    for (size_t i = 0; i < LINES; i++) {
        if (is_known(costs, &lines[i]))
            json_unsigned(j, lines[i].key, figure(costs, &lines[i]));
        else
            json_null(j, lines[i].key);
    }
    json_end_object(j);
}

static void print_json(const calibration *c)
{
    char word[WORD_BYTES];
    json j = {stdout, false};
    json_begin_object(&j, NULL);
    json_string(&j, "device", device_word(word, &c->info));
    json_string(&j, "name", c->info.device_name);
    json_milliseconds(&j, "ms", (double)c->after.calibration_ns / 1e6);
    json_costs(&j, "before", &c->before);
    json_costs(&j, "after", &c->after);
    json_end_object(&j);
    (void)putchar('\n');
}

static void print_figure(const eum_costs_info *costs, const line *l)
{
    if (is_known(costs, l))
        (void)printf("  %12" PRIu64, figure(costs, l));
    else
        (void)printf("  %12s", "-");
}

static void print_text(const calibration *c, const char *output)
{
    char word[WORD_BYTES];
    (void)printf("%s: %s\n\n%-30s  %12s  %12s\n", device_word(word, &c->info), c->info.device_name, "",
                 source_name(c->before.source), source_name(c->after.source));
    for (size_t i = 0; i < LINES; i++) {
        if (!is_known(&c->before, &lines[i]) && !is_known(&c->after, &lines[i]))
            continue; /* nothing moves on the host */
        (void)printf("%-30s", lines[i].words);
        print_figure(&c->before, &lines[i]);
        print_figure(&c->after, &lines[i]);
        (void)printf(lines[i].unit[0] == '\0' ? "\n" : "  %s\n", lines[i].unit);
    }
    (void)printf("\nMeasured in %.1f ms.\n", (double)c->after.calibration_ns / 1e6);
    if (output != NULL)
        (void)printf("Written to %s: EUM_COSTS=%s makes programs use it.\n", output, output);
}

int calibrate_main(int argc, char **argv)
{
    calibrate_options options = {0};
    calibration found = {0};
    tool_error error = {0};
    const int code = parse_options(argc, argv, &options);
    if (code != OPTIONS_GO_ON)
        return code;
    if (run(&options, &found, &error)) {
        if (options.common.json)
            print_json(&found);
        else
            print_text(&found, options.output);
        if (output_finish(&error))
            return 0;
    }
    tool_error_print(&error);
    return TOOL_EXIT_FAILED;
}

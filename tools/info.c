/* info: what this machine has and what the library makes of it.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "commands.h"
#include "error.h"
#include "json.h"
#include "options.h"
#include "words.h"

static const char help[] =
    "Usage: engram-um info [OPTIONS]\n"
    "\n"
    "Says which device the library uses here and why, what that device can do, how buffers are held and\n"
    "why, and which other devices there are.\n"
    "\n"
    "  --device D     auto, host, cuda, cuda:N, or a simulated device (sim:hopper); default: the environment\n"
    "                 variable EUM_DEVICE, or auto. With it, other devices are not looked for\n"
    "  --backing B    auto, managed, mirrored, mapped or host; default: EUM_BACKING, or auto\n"
    "  --json         print one JSON object\n"
    "  -h, --help     print this help\n";

#define DEVICES_MAX 64 /* devices 0 to 62, and the host */

static int parse_options(int argc, char **argv, common_options *options)
{
    static const struct option longs[] = {{"device", required_argument, NULL, OPTION_DEVICE},
                                          {"backing", required_argument, NULL, OPTION_BACKING},
                                          {"json", no_argument, NULL, OPTION_JSON},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    static const command_options known = {"info", help, longs, NULL};
    const int code = options_parse(&known, argc, argv, options, NULL);
    return code == OPTIONS_GO_ON ? options_no_more(&known, argc, argv) : code;
}

/* The shape that the break-even is told for: rows of sentence embeddings, one query. */
#define BREAK_EVEN_DIM 768

typedef struct device_info {
    eum_info info;
    eum_break_even pays;
} device_info;

static eum_status ask_break_even(const eum_context *context, eum_break_even *out)
{
    eum_break_even_config config = EUM_BREAK_EVEN_CONFIG_INIT;
    config.dim = BREAK_EVEN_DIM;
    eum_break_even_init(out);
    return eum_context_break_even(context, &config, out);
}

static eum_status ask(const char *device, eum_backing backing, device_info *out)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context *context = NULL;
    config.device = device;
    config.backing = backing;
    eum_status status = eum_context_create(&config, &context);
    if (status != EUM_OK)
        return status;
    eum_info_init(&out->info);
    status = eum_context_info(context, &out->info);
    if (status == EUM_OK)
        status = ask_break_even(context, &out->pays);
    (void)eum_context_destroy(context);
    return status;
}

/* Appends the devices that there are besides the first of `devices`. Returns how many there are now. */
static size_t ask_others(device_info devices[DEVICES_MAX])
{
    size_t count = 1;
    char name[WORD_BYTES];
    for (int32_t index = 0; index < DEVICES_MAX - 1 && count < DEVICES_MAX - 1; index++) {
        if (devices[0].info.device_kind == EUM_DEVICE_CUDA && devices[0].info.device_index == index)
            continue;
        (void)snprintf(name, sizeof name, "cuda:%" PRId32, index);
        if (ask(name, EUM_BACKING_AUTO, &devices[count]) != EUM_OK)
            break;
        count++;
    }
    if (devices[0].info.device_kind != EUM_DEVICE_HOST && ask("host", EUM_BACKING_AUTO, &devices[count]) == EUM_OK)
        count++;
    return count;
}

/* ------------------------------------------------------------------------------------------------ printing --------- */

static void json_cuda_version(json *j, const char *key, int32_t version)
{
    char text[WORD_BYTES];
    (void)snprintf(text, sizeof text, "%" PRId32 ".%" PRId32, version / 1000, version % 1000 / 10);
    if (version == 0)
        json_null(j, key);
    else
        json_string(j, key, text);
}

static void json_rows(json *j, const char *key, uint64_t rows)
{
    if (rows == EUM_NEVER)
        json_null(j, key);
    else
        json_unsigned(j, key, rows);
}

static void json_device(json *j, const char *key, const device_info *device)
{
    const eum_info *info = &device->info;
    char text[WORD_BYTES];
    json_begin_object(j, key);
    json_string(j, "device", device_word(text, info));
    json_string(j, "name", info->device_name);
    json_string(j, "why", info->device_sentence);
    json_string(j, "backing", backing_name(info->backing));
    json_string(j, "backing_why", info->backing_sentence);
    (void)snprintf(text, sizeof text, "%" PRId32 ".%" PRId32, info->compute_major, info->compute_minor);
    if (info->compute_major == 0)
        json_null(j, "compute_capability");
    else
        json_string(j, "compute_capability", text);
    json_cuda_version(j, "driver", info->driver_version);
    json_cuda_version(j, "runtime", info->runtime_version);
    json_bool(j, "managed", info->managed != 0);
    json_bool(j, "concurrent_managed", info->concurrent_managed != 0);
    json_bool(j, "pageable", info->pageable != 0);
    json_bool(j, "discard", info->discard != 0);
    json_unsigned(j, "page_bytes", info->page_bytes);
    json_unsigned(j, "memory_total", info->memory_total);
    json_unsigned(j, "memory_free", info->memory_free);
    if (info->budget_bytes == 0)
        json_null(j, "budget_bytes");
    else
        json_unsigned(j, "budget_bytes", info->budget_bytes);
    json_unsigned(j, "budget_used", info->budget_used);
    json_string(j, "cpu_kernels", info->cpu_kernels);
    json_unsigned(j, "worker_threads", info->worker_threads);
    json_rows(j, "break_even_rows_cold", device->pays.rows_cold);
    json_rows(j, "break_even_rows_resident", device->pays.rows_resident);
    json_end_object(j);
}

static void print_json(const device_info *devices, size_t count)
{
    json j = {stdout, false};
    json_begin_object(&j, NULL);
    json_string(&j, "version", eum_version_string());
    json_device(&j, "chosen", &devices[0]);
    json_begin_array(&j, "others");
    for (size_t i = 1; i < count; i++)
        json_device(&j, NULL, &devices[i]);
    json_end_array(&j);
    json_end_object(&j);
    (void)putchar('\n');
}

static const char *yes_or_no(int32_t value)
{
    return value != 0 ? "yes" : "no";
}

#define ROWS_BYTES 48
static const char *rows_words(char out[ROWS_BYTES], uint64_t rows)
{
    if (rows == EUM_NEVER)
        (void)snprintf(out, ROWS_BYTES, "for no rows");
    else
        (void)snprintf(out, ROWS_BYTES, "from %" PRIu64 " row%s on", rows, rows == 1 ? "" : "s");
    return out;
}

static void print_device(const device_info *device, bool chosen)
{
    const eum_info *info = &device->info;
    char word[WORD_BYTES], total[WORD_BYTES], left[WORD_BYTES], page[WORD_BYTES], resident[ROWS_BYTES], cold[ROWS_BYTES];
    (void)printf("%s: %s\n", device_word(word, info), info->device_name);
    if (chosen)
        (void)printf("  why this device     %s\n", info->device_sentence);
    (void)printf("  backing             %s\n", backing_name(info->backing));
    (void)printf("  why this backing    %s\n", info->backing_sentence);
    (void)printf("  memory              %s, %s free\n", size_words(total, info->memory_total), size_words(left, info->memory_free));
    if (info->budget_bytes != 0)
        (void)printf("  budget              %s, %s used\n", size_words(total, info->budget_bytes),
                     size_words(left, info->budget_used));
    else
        (void)printf("  budget              none\n");
    if (info->compute_major != 0)
        (void)printf("  compute capability  %" PRId32 ".%" PRId32 "\n", info->compute_major, info->compute_minor);
    if (info->runtime_version != 0)
        (void)printf("  CUDA                driver %" PRId32 ".%" PRId32 ", runtime %" PRId32 ".%" PRId32 "\n",
                     info->driver_version / 1000, info->driver_version % 1000 / 10, info->runtime_version / 1000,
                     info->runtime_version % 1000 / 10);
    if (info->device_kind != EUM_DEVICE_HOST)
        (void)printf("  managed memory      %s, used by CPU and GPU at once: %s, pages of %s\n", yes_or_no(info->managed),
                     yes_or_no(info->concurrent_managed), size_words(page, info->page_bytes));
    if (info->device_kind != EUM_DEVICE_HOST)
        (void)printf("  plain host memory   %s from kernels; discarding pages: %s\n",
                     info->pageable != 0 ? "reachable" : "not reachable", yes_or_no(info->discard));
    if (info->device_kind != EUM_DEVICE_HOST)
        (void)printf("  the device pays     for one query of %d float32: %s that it has, %s that it lacks\n", BREAK_EVEN_DIM,
                     rows_words(resident, device->pays.rows_resident), rows_words(cold, device->pays.rows_cold));
    (void)printf("  CPU kernels         %s, %" PRIu32 " thread%s\n", info->cpu_kernels, info->worker_threads,
                 info->worker_threads == 1 ? "" : "s");
}

static void print_text(const device_info *devices, size_t count)
{
    (void)printf("engram_um %s\n\n", eum_version_string());
    print_device(&devices[0], true);
    for (size_t i = 1; i < count; i++) {
        (void)printf("\n%s", i == 1 ? "Also here:\n\n" : "");
        print_device(&devices[i], false);
    }
}

int info_main(int argc, char **argv)
{
    common_options options = {0};
    device_info devices[DEVICES_MAX];
    tool_error error = {0};
    size_t count = 1;
    const int code = parse_options(argc, argv, &options);
    if (code != OPTIONS_GO_ON)
        return code;
    if (ask(options.device, options.backing, &devices[0]) != EUM_OK) {
        (void)tool_fail_library(&error, "the device could not be opened");
        tool_error_print(&error);
        return TOOL_EXIT_FAILED;
    }
    if (options.device == NULL)
        count = ask_others(devices);
    if (options.json)
        print_json(devices, count);
    else
        print_text(devices, count);
    if (output_finish(&error))
        return 0;
    tool_error_print(&error);
    return TOOL_EXIT_FAILED;
}

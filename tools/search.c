/* search: the rows of a file that are nearest to a query.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "element.h"
#include "error.h"
#include "options.h"
#include "report.h"
#include "results.h"
#include "vectors.h"
#include "words.h"

static const char help[] =
    "Usage: engram-um search VECTORS --query ROW|FILE [OPTIONS]\n"
    "\n"
    "Prints the rows of VECTORS that are nearest to the query, and how the search ran.\n"
    "Equal scores are in the order of their rows. VECTORS is used where it is, without a copy.\n"
    "\n"
    "VECTORS is rows x dim float32: an .npy file ('<f4', C order) or an .fvecs file; see --dtype for others.\n"
    "\n"
    "  --query ROW    a number: that row of VECTORS is the query (the first row is 0); it is found too, with score 1\n"
    "  --query FILE   an .npy or .fvecs file: each of its rows is a query (a file with a number for a name: ./12)\n"
    "  --top K        how many rows to print for each query, 1 or more; default 10; all where there are fewer\n"
    "  --metric M     cosine (default), dot (inner product): the highest scores; l2 (squared distance): the lowest\n"
    "  --dtype T      what the elements of VECTORS are: float32 (default), float16 (an .npy file with '<f2'), or bfloat16\n"
    "                 ('<u2' or '|V2'); a query FILE is always float32\n"
    "  --output NAME  write the results of all queries to NAME.indices.npy (int64) and NAME.scores.npy (float32), queries x K,\n"
    "                 and print only how the search ran\n"
    "  --skip-self    leave the query's own row out (with --query ROW)\n"
    "  --labels FILE  a text file with one name for each row of VECTORS\n"
    "  --json         print one JSON object: \"query\" is the number of the row, in VECTORS or in the query file; \"ms\" is\n"
    "                 the time from mapping VECTORS to the results, without opening the device; a score of NaN is null\n"
    "  --device D     auto, host, cuda, cuda:N, or a simulated device (sim:hopper); default: the environment\n"
    "                 variable EUM_DEVICE, or auto\n"
    "  --backing B    auto, managed, mirrored, mapped or host; default: EUM_BACKING, or auto\n"
    "  --count-faults count the page faults of the GPU on a CUDA device too, through CUPTI (slower; EUM_CUPTI names the file\n"
    "                 where it is not found); simulated devices always count. \"gpu_faults\" is null where they are unknown\n"
    "  -h, --help     print this help\n";

typedef struct search_options {
    common_options common;
    const char *vectors, *labels, *output;
    const char *query_file; /* NULL: the query is a row */
    uint64_t query_row;
    size_t top;
    eum_metric metric;
    eum_element element;
    bool has_query, skip_self, count_faults;
} search_options;

typedef struct search {
    const search_options *options;
    vectors targets, queries; /* queries: not open where the query is a row of the targets */
    labels names;
    uint64_t query_count;
    size_t top; /* results of each query */
    eum_context *context;
    eum_stream *stream; /* borrowed */
    eum_buffer *target_buffer, *query_buffer, *score_buffer, *index_buffer;
    uint64_t block;        /* queries that are answered at once */
    topk_entry *neighbors; /* query_count x top */
    double ms;
    bool counting, faults_known; /* a window is open; its count is known */
    uint64_t gpu_faults;
} search;

/* -------------------------------------------------------------------------------------------- command line --------- */

static int parse_query(search_options *options, const char *text)
{
    const size_t sign = text[0] == '-' || text[0] == '+' ? 1 : 0;
    const size_t digits = strspn(text + sign, "0123456789");
    options->query_file = NULL;
    options->has_query = true;
    if (options_number(text, &options->query_row))
        return OPTIONS_GO_ON;
    if (digits > 0 && text[sign + digits] == '\0')
        return tool_usage_error("search", "'%s' is no row; rows are counted from 0 (a file of that name: ./%s)", text, text);
    if (text[0] == '\0')
        return tool_usage_error("search", "the option '--query' is empty; it takes a row number or a file");
    options->query_file = text;
    return OPTIONS_GO_ON;
}

static int parse_top(search_options *options, const char *text)
{
    uint64_t top = 0;
    if (!options_number(text, &top) || top == 0 || top > SIZE_MAX)
        return tool_usage_error("search", "'--top %s': a whole number of 1 or more is needed", text);
    options->top = (size_t)top;
    return OPTIONS_GO_ON;
}

static int take_option(void *own, int option, const char *value)
{
    search_options *options = own;
    switch (option) {
    case OPTION_QUERY:
        return parse_query(options, value);
    case OPTION_TOP:
        return parse_top(options, value);
    case OPTION_LABELS:
        options->labels = value;
        return OPTIONS_GO_ON;
    case OPTION_METRIC:
        if (!metric_parse(value, &options->metric))
            return tool_usage_error("search", "unknown metric '%s'; there are cosine, dot and l2", value);
        return OPTIONS_GO_ON;
    case OPTION_DTYPE:
        if (!element_parse(value, &options->element))
            return tool_usage_error("search", "unknown dtype '%s'; there are float32, float16 and bfloat16", value);
        return OPTIONS_GO_ON;
    case OPTION_OUTPUT:
        return options_output("search", value, &options->output);
    case OPTION_SKIP_SELF:
        options->skip_self = true;
        return OPTIONS_GO_ON;
    case OPTION_COUNT_FAULTS:
        options->count_faults = true;
        return OPTIONS_GO_ON;
    default:
        return TOOL_EXIT_USAGE; /* there is no other */
    }
}

static int parse_options(int argc, char **argv, search_options *options)
{
    static const struct option longs[] = {{"query", required_argument, NULL, OPTION_QUERY},
                                          {"top", required_argument, NULL, OPTION_TOP},
                                          {"labels", required_argument, NULL, OPTION_LABELS},
                                          {"device", required_argument, NULL, OPTION_DEVICE},
                                          {"backing", required_argument, NULL, OPTION_BACKING},
                                          {"metric", required_argument, NULL, OPTION_METRIC},
                                          {"dtype", required_argument, NULL, OPTION_DTYPE},
                                          {"output", required_argument, NULL, OPTION_OUTPUT},
                                          {"skip-self", no_argument, NULL, OPTION_SKIP_SELF},
                                          {"count-faults", no_argument, NULL, OPTION_COUNT_FAULTS},
                                          {"json", no_argument, NULL, OPTION_JSON},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    static const command_options known = {"search", help, longs, take_option};
    const int code = options_parse(&known, argc, argv, &options->common, options);
    if (code != OPTIONS_GO_ON)
        return code;
    if (optind == argc)
        return tool_usage_error("search", "the file with the vectors is missing");
    if (optind + 1 < argc)
        return tool_usage_error("search", "unexpected argument '%s'; there is one file with vectors", argv[optind + 1]);
    if (!options->has_query)
        return tool_usage_error("search", "the option '--query' is missing; it takes a row number or a file");
    if (options->skip_self && options->query_file != NULL)
        return tool_usage_error("search", "'--skip-self' needs a row of the vectors as its query, not a file");
    options->vectors = argv[optind];
    return OPTIONS_GO_ON;
}

/* --------------------------------------------------------------------------------------------------- files --------- */

static double milliseconds(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static bool open_vectors(search *s, tool_error *error)
{
    const double start = milliseconds();
    if (!vectors_open(s->options->vectors, s->options->element, &s->targets, error))
        return false;
    s->ms += milliseconds() - start;
    error->path = s->options->vectors;
    if (s->targets.layout.shape != 2)
        return tool_fail(error, "the array has one dimension; two are needed, rows x dim; in Python: array.reshape(rows, dim)");
    error->path = NULL;
    return true;
}

static bool open_queries(search *s, tool_error *error)
{
    const vector_layout *targets = &s->targets.layout;
    if (s->options->query_file == NULL) {
        s->query_count = 1;
        if (s->options->query_row >= targets->rows)
            return tool_fail(error, "there is no row %" PRIu64 " in %s: it has rows 0 to %" PRIu64, s->options->query_row,
                             s->options->vectors, targets->rows - 1);
        return true;
    }
    if (!vectors_open(s->options->query_file, EUM_ELEMENT_FLOAT32, &s->queries, error))
        return false;
    s->query_count = s->queries.layout.rows;
    if (s->queries.layout.dim != targets->dim) {
        error->path = s->options->query_file;
        return tool_fail(error, "the queries have dim %" PRIu64 ", but the rows of %s have dim %" PRIu64, s->queries.layout.dim,
                         s->options->vectors, targets->dim);
    }
    return true;
}

static bool open_labels(search *s, tool_error *error)
{
    if (s->options->labels == NULL)
        return true;
    if (!labels_open(s->options->labels, &s->names, error))
        return false;
    if (s->names.count != s->targets.layout.rows) {
        error->path = s->options->labels;
        return tool_fail(error, "there are %" PRIu64 " labels, but %s has %" PRIu64 " rows; one label a row is needed",
                         s->names.count, s->options->vectors, s->targets.layout.rows);
    }
    return true;
}

static bool allocate_neighbors(search *s, tool_error *error)
{
    const uint64_t rows = s->targets.layout.rows - (s->options->skip_self ? 1 : 0);
    s->top = s->options->top < rows ? s->options->top : (size_t)rows;
    const size_t each = (s->top == 0 ? 1 : s->top) * sizeof *s->neighbors;
    s->neighbors = s->query_count > SIZE_MAX / each ? NULL : malloc((size_t)s->query_count * each);
    if (s->neighbors == NULL)
        return tool_fail(error, "not enough memory for %" PRIu64 " x %zu results; ask for fewer with --top", s->query_count,
                         s->top);
    return true;
}

/* ------------------------------------------------------------------------------------------------- the run --------- */

static bool open_device(search *s, tool_error *error)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = s->options->common.device;
    config.backing = s->options->common.backing;
    if (eum_context_create(&config, &s->context) != EUM_OK || eum_context_default_stream(s->context, &s->stream) != EUM_OK)
        return tool_fail_library(error, "the device could not be opened");
    return true;
}

static eum_status wrap(const search *s, const vectors *v, eum_role role, eum_buffer **out)
{
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    config.address = v->address;
    config.bytes = v->bytes;
    config.memory = EUM_MEMORY_HOST;
    config.ownership = EUM_BORROWED;
    config.flags = EUM_WRAP_READ_ONLY;
    config.role = role;
    return eum_buffer_wrap(s->context, &config, out);
}

/* How many places eum_topk must fill for a query: one more where a row is to be left out. */
static uint64_t asked_for(const search *s)
{
    return (uint64_t)s->top + (s->options->skip_self ? 1 : 0);
}

/* The one query is a row of the targets: its own buffer holds it as float32. */
static eum_status make_query(search *s)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    void *mapped = NULL;
    config.role = EUM_ROLE_QUERY;
    eum_status status = eum_buffer_create(s->context, (size_t)s->targets.layout.dim * sizeof(float), &config, &s->query_buffer);
    const eum_view view = {s->query_buffer, 0, EUM_WHOLE_SIZE};
    if (status == EUM_OK)
        status = eum_buffer_map(view, EUM_ACCESS_OVERWRITE, &mapped);
    if (status != EUM_OK)
        return status;
    const char *row = (const char *)s->targets.address + vectors_row_offset(&s->targets, s->options->query_row);
    element_widen(s->targets.layout.element, row, s->targets.layout.dim, mapped);
    return eum_buffer_unmap(s->query_buffer, mapped);
}

#define BLOCK_QUERIES 512u                /* at once, between two looks at the clock */
#define BLOCK_RESULTS ((uint64_t)1 << 20) /* places of a block at most: 12 MB */

static bool create_buffers(search *s, tool_error *error)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    config.role = EUM_ROLE_RESULTS;
    if (wrap(s, &s->targets, EUM_ROLE_TARGETS, &s->target_buffer) != EUM_OK)
        return tool_fail_library(error, "the vectors could not be used in place");
    if ((s->options->query_file != NULL ? wrap(s, &s->queries, EUM_ROLE_QUERY, &s->query_buffer) : make_query(s)) != EUM_OK)
        return tool_fail_library(error, "the queries could not be used in place");
    const uint64_t asked = asked_for(s);
    s->block = asked > EUM_TOPK_MOST || s->top == 0 ? 0 : BLOCK_RESULTS / asked;
    s->block = s->block < BLOCK_QUERIES ? s->block : BLOCK_QUERIES;
    s->block = s->block < s->query_count ? s->block : s->query_count;
    if (s->block > 0 &&
        (eum_buffer_create(s->context, (size_t)(s->block * asked) * sizeof(float), &config, &s->score_buffer) != EUM_OK ||
         eum_buffer_create(s->context, (size_t)(s->block * asked) * sizeof(int64_t), &config, &s->index_buffer) != EUM_OK))
        return tool_fail_library(error, "there is no room for the results");
    return true;
}

static eum_view query_view(const search *s, uint64_t query, uint64_t count)
{
    if (s->options->query_file == NULL)
        return (eum_view){s->query_buffer, 0, EUM_WHOLE_SIZE};
    return (eum_view){s->query_buffer, vectors_row_offset(&s->queries, query),
                      (size_t)(count - 1) * s->queries.layout.stride + (size_t)s->queries.layout.dim * sizeof(float)};
}

static eum_view target_view(const search *s)
{
    return (eum_view){s->target_buffer, s->targets.layout.offset, vectors_span(&s->targets)};
}

/* All scores of one query. */
static eum_status score(const search *s, uint64_t query, eum_buffer *scores)
{
    const vector_layout *layout = &s->targets.layout;
    if (s->options->metric == EUM_METRIC_COSINE && layout->element == EUM_ELEMENT_FLOAT32) {
        eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
        config.query = query_view(s, query, 1);
        config.targets = target_view(s);
        config.scores = (eum_view){scores, 0, EUM_WHOLE_SIZE};
        config.rows = layout->rows;
        config.dim = layout->dim;
        config.row_stride = layout->stride;
        return eum_cosine(s->stream, &config, NULL);
    }
    eum_similarity_config config = EUM_SIMILARITY_CONFIG_INIT;
    config.metric = s->options->metric;
    config.element = layout->element;
    config.queries = query_view(s, query, 1);
    config.targets = target_view(s);
    config.scores = (eum_view){scores, 0, EUM_WHOLE_SIZE};
    config.rows = layout->rows;
    config.dim = layout->dim;
    config.row_stride = layout->stride;
    return eum_similarity(s->stream, &config, NULL);
}

/* One query, by all its scores: more results than eum_topk gives. */
static bool answer_alone(search *s, uint64_t query, tool_error *error)
{
    const uint64_t rows = s->targets.layout.rows, skip = s->options->skip_self ? s->options->query_row : TOPK_SKIP_NONE;
    const bool smaller = s->options->metric == EUM_METRIC_L2_SQUARED;
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    eum_buffer *scores = NULL;
    void *mapped = NULL;
    config.role = EUM_ROLE_RESULTS;
    bool done = eum_buffer_create(s->context, (size_t)rows * sizeof(float), &config, &scores) == EUM_OK &&
                score(s, query, scores) == EUM_OK &&
                eum_buffer_map((eum_view){scores, 0, EUM_WHOLE_SIZE}, EUM_ACCESS_READ_WRITE, &mapped) == EUM_OK;
    if (!done)
        (void)tool_fail_library(error, "the search failed");
    if (done) {
        float *values = mapped;
        topk_entry *best = s->neighbors + query * s->top;
        for (uint64_t row = 0; smaller && row < rows; row++)
            values[row] = -values[row]; /* the selection takes the largest */
        (void)topk_select(values, rows, skip, s->top, best);
        for (size_t i = 0; smaller && i < s->top; i++)
            best[i].score = -best[i].score;
        (void)eum_buffer_unmap(scores, mapped);
    }
    (void)eum_buffer_destroy(scores);
    return done;
}

static void take_results(search *s, uint64_t query, uint64_t count, const int64_t *indices, const float *scores)
{
    const uint64_t asked = asked_for(s);
    for (uint64_t q = 0; q < count; q++) {
        topk_entry *out = s->neighbors + (query + q) * s->top, *end = out + s->top;
        for (uint64_t i = q * asked; i < (q + 1) * asked && out < end; i++)
            if (!s->options->skip_self || indices[i] != (int64_t)s->options->query_row)
                *out++ = (topk_entry){(uint64_t)indices[i], scores[i]};
    }
}

/* Queries [query, query + count) at once. */
static bool answer_block(search *s, uint64_t query, uint64_t count, tool_error *error)
{
    const vector_layout *layout = &s->targets.layout;
    const eum_view indices = {s->index_buffer, 0, EUM_WHOLE_SIZE}, scores = {s->score_buffer, 0, EUM_WHOLE_SIZE};
    eum_topk_config config = EUM_TOPK_CONFIG_INIT;
    void *mapped_indices = NULL, *mapped_scores = NULL;
    config.metric = s->options->metric;
    config.element = layout->element;
    config.queries = query_view(s, query, count);
    config.targets = target_view(s);
    config.indices = indices;
    config.scores = scores;
    config.query_count = count;
    config.rows = layout->rows;
    config.dim = layout->dim;
    config.k = asked_for(s);
    config.query_stride = s->options->query_file == NULL ? 0 : s->queries.layout.stride;
    config.row_stride = layout->stride;
    const eum_status status = eum_topk(s->stream, &config, NULL);
    if (status != EUM_OK || eum_buffer_map(indices, EUM_ACCESS_READ, &mapped_indices) != EUM_OK ||
        eum_buffer_map(scores, EUM_ACCESS_READ, &mapped_scores) != EUM_OK)
        return tool_fail_library(error, "the search failed");
    take_results(s, query, count, mapped_indices, mapped_scores);
    if (eum_buffer_unmap(s->index_buffer, mapped_indices) != EUM_OK || eum_buffer_unmap(s->score_buffer, mapped_scores) != EUM_OK)
        return tool_fail_library(error, "the search failed");
    return true;
}

#define PROGRESS_AFTER_MS 2000
#define PROGRESS_EVERY_MS 200

static bool answer_all(search *s, tool_error *error)
{
    const bool watched = isatty(STDERR_FILENO) != 0;
    double shown = milliseconds() + PROGRESS_AFTER_MS - PROGRESS_EVERY_MS;
    bool done = true, visible = false;
    for (uint64_t query = 0, count; query < s->query_count && done && s->top > 0; query += count) {
        const uint64_t left = s->query_count - query;
        count = s->block == 0 ? 1 : left < s->block ? left : s->block;
        done = s->block == 0 ? answer_alone(s, query, error) : answer_block(s, query, count, error);
        if (watched && milliseconds() - shown > PROGRESS_EVERY_MS) {
            (void)fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " queries", query + count, s->query_count);
            shown = milliseconds();
            visible = true;
        }
    }
    if (visible)
        (void)fputs("\r\033[K", stderr);
    return done;
}

/* ------------------------------------------------------------------------------------------------- faults --------- */

static void say_not_counted(void)
{
    eum_error why = {.struct_size = sizeof why};
    (void)eum_last_error(&why);
    (void)fprintf(stderr, "engram-um: the page faults are not counted: %s\n", why.sentence);
}

/* Before the first buffer: the driver counts only in managed memory that it has seen being made. */
static bool begin_counting(search *s, tool_error *error)
{
    eum_info info = {.struct_size = sizeof info};
    if (eum_context_info(s->context, &info) != EUM_OK)
        return tool_fail_library(error, "the library does not say what device this is");
    if (info.device_kind == EUM_DEVICE_HOST)
        s->faults_known = true; /* no GPU: none */
    else if (info.device_kind == EUM_DEVICE_SIM || s->options->count_faults)
        s->counting = eum_faults_begin(s->context) == EUM_OK;
    if (info.device_kind == EUM_DEVICE_CUDA && s->options->count_faults && !s->counting)
        say_not_counted();
    return true;
}

static void end_counting(search *s)
{
    eum_faults faults = {.struct_size = sizeof faults};
    if (!s->counting)
        return;
    s->counting = false;
    s->faults_known = eum_faults_end(s->context, &faults) == EUM_OK;
    s->gpu_faults = s->faults_known ? faults.gpu_faults : 0;
    if (!s->faults_known && s->options->count_faults)
        say_not_counted();
}

static bool print_results(const search *s, tool_error *error)
{
    eum_info info = {.struct_size = sizeof info};
    eum_stats stats = {.struct_size = sizeof stats};
    eum_decision decision = {.struct_size = sizeof decision};
    if (eum_context_info(s->context, &info) != EUM_OK || eum_context_stats(s->context, &stats) != EUM_OK ||
        eum_buffer_explain(s->target_buffer, &decision) != EUM_OK)
        return tool_fail_library(error, "the library does not say how the search ran");
    const report r = {.neighbors = s->neighbors,
                      .top = s->top,
                      .queries = s->options->output != NULL ? 0 : s->query_count,
                      .first_query = s->options->query_file == NULL ? s->options->query_row : 0,
                      .query_is_row = s->options->query_file == NULL,
                      .names = s->options->labels != NULL ? &s->names : NULL,
                      .info = &info,
                      .backing = decision.backing,
                      .ms = s->ms,
                      .bytes_moved = stats.bytes_to_device + stats.bytes_to_host,
                      .faults_known = s->faults_known,
                      .gpu_faults = s->gpu_faults};
    if (s->options->output != NULL && !results_write(s->options->output, s->neighbors, s->query_count, s->top, error))
        return false;
    if (s->options->common.json)
        report_json(&r);
    else
        report_text(&r);
    return output_finish(error);
}

static bool run(search *s, tool_error *error)
{
    if (!open_vectors(s, error) || !open_queries(s, error) || !open_labels(s, error) || !allocate_neighbors(s, error) ||
        !open_device(s, error) || !begin_counting(s, error))
        return false;
    const double start = milliseconds();
    if (!create_buffers(s, error) || !answer_all(s, error))
        return false;
    s->ms += milliseconds() - start;
    end_counting(s);
    return print_results(s, error);
}

/* The buffers end before the memory that they wrap. */
static void end(search *s)
{
    (void)eum_buffer_destroy(s->score_buffer);
    (void)eum_buffer_destroy(s->index_buffer);
    (void)eum_buffer_destroy(s->query_buffer);
    (void)eum_buffer_destroy(s->target_buffer);
    (void)eum_context_destroy(s->context);
    free(s->neighbors);
    labels_close(&s->names);
    vectors_close(&s->queries);
    vectors_close(&s->targets);
}

int search_main(int argc, char **argv)
{
    search_options options = {.top = 10, .metric = EUM_METRIC_COSINE, .element = EUM_ELEMENT_FLOAT32};
    tool_error error = {0};
    const int code = parse_options(argc, argv, &options);
    if (code != OPTIONS_GO_ON)
        return code;
    search s = {.options = &options};
    const bool done = run(&s, &error);
    if (!done)
        tool_error_print(&error);
    end(&s);
    return done ? 0 : TOOL_EXIT_FAILED;
}

/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "report.h"

#include <inttypes.h>
#include <stdio.h>

#include "json.h"
#include "words.h"

/* Control characters would drive the terminal; other bytes are the reader's own encoding. */
static void put_label(const report *r, uint64_t row)
{
    size_t size = 0;
    const char *label = labels_get(r->names, row, &size);
    for (size_t i = 0; i < size; i++) {
        const unsigned char byte = (unsigned char)label[i];
        (void)putchar(byte < 0x20 || byte == 0x7F ? '?' : byte);
    }
}

static void print_heading(const report *r, uint64_t query)
{
    (void)printf("Nearest to %s %" PRIu64, r->query_is_row ? "row" : "query", r->first_query + query);
    if (r->query_is_row && r->names != NULL) {
        (void)fputs(" (", stdout);
        put_label(r, r->first_query + query);
        (void)putchar(')');
    }
    (void)printf("\n  rank         row      score%s\n", r->names != NULL ? "  label" : "");
}

void report_text(const report *r)
{
    char device[WORD_BYTES], moved[WORD_BYTES];
    for (uint64_t query = 0; query < r->queries; query++) {
        const topk_entry *neighbors = r->neighbors + query * r->top;
        print_heading(r, query);
        for (size_t i = 0; i < r->top; i++) {
            (void)printf("%6zu  %10" PRIu64 "  %9.6f", i + 1, neighbors[i].row, (double)neighbors[i].score);
            if (r->names != NULL) {
                (void)fputs("  ", stdout);
                put_label(r, neighbors[i].row);
            }
            (void)putchar('\n');
        }
        (void)putchar('\n');
    }
    (void)printf("On %s, %s, backing %s: %.1f ms, %s moved", device_word(device, r->info), r->info->device_name,
                 backing_name(r->backing), r->ms, size_words(moved, r->bytes_moved));
    if (r->faults_known && r->info->device_kind != EUM_DEVICE_HOST)
        (void)printf(", %" PRIu64 " GPU page faults", r->gpu_faults);
    (void)putchar('\n');
}

static void json_neighbor(json *j, const report *r, const topk_entry *neighbor)
{
    json_begin_object(j, NULL);
    json_unsigned(j, "row", neighbor->row);
    json_float(j, "score", neighbor->score);
    if (r->names != NULL) {
        size_t size = 0;
        const char *label = labels_get(r->names, neighbor->row, &size);
        json_text(j, "label", label, size);
    } else {
        json_null(j, "label");
    }
    json_end_object(j);
}

void report_json(const report *r)
{
    char device[WORD_BYTES];
    json j = {stdout, false};
    json_begin_object(&j, NULL);
    json_begin_array(&j, "results");
    for (uint64_t query = 0; query < r->queries; query++) {
        json_begin_object(&j, NULL);
        json_unsigned(&j, "query", r->first_query + query);
        json_begin_array(&j, "neighbors");
        for (size_t i = 0; i < r->top; i++)
            json_neighbor(&j, r, &r->neighbors[query * r->top + i]);
        json_end_array(&j);
        json_end_object(&j);
    }
    json_end_array(&j);
    json_begin_object(&j, "run");
    json_string(&j, "device", device_word(device, r->info));
    json_string(&j, "backing", backing_name(r->backing));
    json_milliseconds(&j, "ms", r->ms);
    json_unsigned(&j, "bytes_moved", r->bytes_moved);
    if (r->faults_known)
        json_unsigned(&j, "gpu_faults", r->gpu_faults);
    else
        json_null(&j, "gpu_faults");
    json_end_object(&j);
    json_end_object(&j);
    (void)putchar('\n');
}

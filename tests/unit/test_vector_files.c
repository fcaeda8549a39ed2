/* The tool's file readers.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/fvecs.h"
#include "tools/labels.h"
#include "tools/npy.h"
#include "tools/vectors.h"

Suite *vector_files_suite(void);

/* ---------------------------------------------------------------------------------------------- making files ------- */

typedef struct bytes {
    unsigned char *data; /* exactly `size` bytes of malloc, so that the sanitizer sees every read beyond */
    size_t size;
} bytes;

static bytes copy_of(const void *data, size_t size)
{
    bytes b = {malloc(size == 0 ? 1 : size), size};
    ck_assert_ptr_nonnull(b.data);
    memcpy(b.data, data, size);
    return b;
}

/* An .npy file: the header text is padded with spaces as numpy does, so that the data start at a multiple of 64. */
static bytes npy_with(unsigned major, const char *header, size_t data_bytes)
{
    const size_t prefix = major == 1 ? 10 : 12;
    const size_t offset = (prefix + strlen(header) + 1 + 63) / 64 * 64;
    const size_t length = offset - prefix;
    bytes b = {calloc(1, offset + data_bytes), offset + data_bytes};
    ck_assert_ptr_nonnull(b.data);
    memcpy(b.data, "\x93NUMPY", 6);
    b.data[6] = (unsigned char)major;
    b.data[8] = (unsigned char)(length & 0xFF);
    b.data[9] = (unsigned char)(length >> 8);
    memset(b.data + prefix, ' ', length);
    memcpy(b.data + prefix, header, strlen(header));
    b.data[offset - 1] = '\n';
    return b;
}

#define GOOD_HEADER "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"
#define HEADER(descr, order, shape) "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }"

static char folder[] = "/tmp/engram_um_files_XXXXXX";
static char file_path[128];

static void make_folder(void)
{
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    file_path[0] = '\0';
}

static void remove_folder(void)
{
    if (file_path[0] != '\0')
        (void)unlink(file_path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static const char *write_file(const char *name, const void *data, size_t size)
{
    (void)snprintf(file_path, sizeof file_path, "%s/%s", folder, name);
    FILE *out = fopen(file_path, "wb");
    ck_assert_ptr_nonnull(out);
    ck_assert_uint_eq(fwrite(data, 1, size, out), size);
    ck_assert_int_eq(fclose(out), 0);
    return file_path;
}

/* ------------------------------------------------------------------------------------------------------ .npy ------- */

START_TEST(npy_versions_1_to_3_give_the_layout)
{
    vector_layout layout = {0};
    tool_error error = {0};
    bytes file = npy_with((unsigned)_i, GOOD_HEADER, 24);
    ck_assert_msg(npy_parse(file.data, file.size, &layout, &error), "%s", error.sentence);
    ck_assert_uint_eq(layout.offset, file.size - 24);
    ck_assert_uint_eq(layout.rows, 3);
    ck_assert_uint_eq(layout.dim, 2);
    ck_assert_uint_eq(layout.stride, 8);
    ck_assert_int_eq(layout.shape, 2);
    free(file.data);
}
END_TEST

/* What numpy's own reader takes as well. */
static const char *const accepted_headers[] = {
    GOOD_HEADER,
    "{'shape': (3, 2), 'fortran_order': False, 'descr': '<f4'}",
    "{\"descr\":\"<f4\",\"fortran_order\":False,\"shape\":(3,2)}",
    "{ 'descr' : '<f4' ,\t'fortran_order' : False , 'shape' : ( 3 , 2 , ) , }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 2L), }", /* written by Python 2 */
};

START_TEST(npy_header_may_be_spelled_as_python_allows)
{
    vector_layout layout = {0};
    tool_error error = {0};
    bytes file = npy_with(1, accepted_headers[_i], 24);
    ck_assert_msg(npy_parse(file.data, file.size, &layout, &error), "%s", error.sentence);
    ck_assert_uint_eq(layout.rows, 3);
    ck_assert_uint_eq(layout.dim, 2);
    free(file.data);
}
END_TEST

START_TEST(npy_of_one_dimension_is_one_row)
{
    vector_layout layout = {0};
    tool_error error = {0};
    bytes file = npy_with(1, HEADER("'<f4'", "False", "(6,)"), 24);
    ck_assert_msg(npy_parse(file.data, file.size, &layout, &error), "%s", error.sentence);
    ck_assert_uint_eq(layout.rows, 1);
    ck_assert_uint_eq(layout.dim, 6);
    ck_assert_int_eq(layout.shape, 1);
    free(file.data);
}
END_TEST

static const struct {
    const char *header;
    size_t data_bytes;
    const char *says; /* part of the sentence */
} refused_headers[] = {
    {HEADER("'<f8'", "False", "(3, 2)"), 48, "'<f8', which is float64; little-endian float32 ('<f4') is needed"},
    {HEADER("'<f8'", "False", "(3, 2)"), 48, "dtype='<f4')"},
    {HEADER("'>f4'", "False", "(3, 2)"), 24, "big-endian float32"},
    {HEADER("'<f2'", "False", "(3, 2)"), 12, "float16"},
    {HEADER("'<i4'", "False", "(3, 2)"), 24, "int32"},
    {HEADER("'|S4'", "False", "(3, 2)"), 24, "'|S4'"},
    {HEADER("'\x01\xff'", "False", "(3, 2)"), 24, "'\?\?'"},
    {HEADER("[('x', '<f4'), ('y', '<f4')]", "False", "(3,)"), 24, "structured"},
    {HEADER("('<f4', (2,))", "False", "(3,)"), 24, "structured"},
    {HEADER("'<f4'", "True", "(3, 2)"), 24, "Fortran order"},
    {HEADER("'<f4'", "False", "()"), 4, "0 dimensions"},
    {HEADER("'<f4'", "False", "(3, 2, 1)"), 24, "3 dimensions"},
    {HEADER("'<f4'", "False", "(0, 2)"), 0, "no rows"},
    {HEADER("'<f4'", "False", "(3, 0)"), 0, "no elements"},
    {HEADER("'<f4'", "False", "(0,)"), 0, "no elements"},
    {HEADER("'<f4'", "False", "(3, 2)"), 23, "promises 3 x 2 float32, 24 bytes, but only 23 bytes follow"},
    {HEADER("'<f4'", "False", "(3, 2)"), 0, "but only 0 bytes follow"},
    {HEADER("'<f4'", "False", "(3, 2)"), 25, "but 25 bytes follow"},
    {HEADER("'<f4'", "False", "(30, 2)"), 24, "truncated, or its header is wrong"},
    {HEADER("'<f4'", "False", "(4611686018427387905, 4)"), 16, "more than any file can hold"},
    {HEADER("'<f4'", "False", "(4294967296, 4294967296)"), 24, "more than any file can hold"},
    {HEADER("'<f4'", "False", "(1, 18446744073709551615)"), 24, "more than any file can hold"},
    {HEADER("'<f4'", "False", "(18446744073709551616, 2)"), 24, "more than 64 bits"},
    {HEADER("'<f4'", "False", "(-3, 2)"), 24, "negative"},
    {HEADER("'<f4'", "False", "(3)"), 24, "a number instead of a tuple"},
    {HEADER("'<f4'", "False", "(3 2)"), 24, "a comma or the end of the shape"},
    {HEADER("'<f4'", "False", "3"), 24, "the shape, a tuple"},
    {HEADER("'<f4'", "False", "(x, 2)"), 24, "a number of the shape"},
    {HEADER("'<f4'", "0", "(3, 2)"), 24, "True or False"},
    {HEADER("4", "False", "(3, 2)"), 24, "the element type"},
    {"{'descr': '<f4', 'fortran_order': False, }", 24, "no 'shape'"},
    {"{'descr': '<f4', 'shape': (3, 2), }", 24, "no 'fortran_order'"},
    {"{'fortran_order': False, 'shape': (3, 2), }", 24, "no 'descr'"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), 'shape': (3, 2)}", 24, "the key 'shape' twice"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), 'more': 1}", 24, "the key 'more'"},
    {"{'descr': '<f4' 'fortran_order': False, 'shape': (3, 2)}", 24, "a comma or the end of the dictionary"},
    {"{'descr' '<f4', 'fortran_order': False, 'shape': (3, 2)}", 24, "a colon"},
    {GOOD_HEADER " junk", 24, "\"junk"},
    {"{'descr': '<f4", 24, "a closed string"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2", 24, "ends where"},
    {"{", 24, "ends where"},
    {"", 24, "a dictionary"},
};

START_TEST(npy_that_is_wrong_is_refused_with_what_was_found)
{
    vector_layout layout, untouched;
    tool_error error = {0};
    memset(&layout, 0x5A, sizeof layout);
    untouched = layout;
    bytes file = npy_with(1, refused_headers[_i].header, refused_headers[_i].data_bytes);
    ck_assert_msg(!npy_parse(file.data, file.size, &layout, &error), "accepted: %s", refused_headers[_i].header);
    ck_assert_msg(strstr(error.sentence, refused_headers[_i].says) != NULL, "\"%s\" is not in \"%s\"", refused_headers[_i].says,
                  error.sentence);
    ck_assert_mem_eq(&layout, &untouched, sizeof layout);
    free(file.data);
}
END_TEST

START_TEST(npy_cut_anywhere_is_refused)
{
    for (unsigned major = 1; major <= 3; major++) {
        bytes whole = npy_with(major, GOOD_HEADER, 24);
        for (size_t size = 0; size < whole.size; size++) {
            vector_layout layout = {0};
            tool_error error = {0};
            bytes cut = copy_of(whole.data, size);
            ck_assert_msg(!npy_parse(cut.data, cut.size, &layout, &error), "accepted after %zu bytes", size);
            ck_assert_uint_gt(strlen(error.sentence), 20);
            free(cut.data);
        }
        free(whole.data);
    }
}
END_TEST

START_TEST(npy_with_a_wrong_preamble_is_refused)
{
    static const struct {
        size_t at;
        unsigned char value;
        unsigned major;
        const char *says;
    } changes[] = {{0, 'N', 1, "no .npy file"},
                   {6, 0, 1, "version is 0.0"},
                   {6, 4, 1, "version is 4.0"},
                   {7, 1, 1, "version is 1.1"},
                   {9, 0xFF, 1, "but only"},
                   {8, 0, 1, "where the end of"},
                   {11, 0x7F, 2, "more than a float32 array's ever has"},
                   {10, 1, 3, "more than a float32 array's ever has"}};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        vector_layout layout = {0};
        tool_error error = {0};
        bytes file = npy_with(changes[i].major, GOOD_HEADER, 24);
        file.data[changes[i].at] = changes[i].value;
        ck_assert(!npy_parse(file.data, file.size, &layout, &error));
        if (changes[i].at != 8) /* where the length is 0, only that it is refused matters */
            ck_assert_msg(strstr(error.sentence, changes[i].says) != NULL, "\"%s\" is not in \"%s\"", changes[i].says,
                          error.sentence);
        free(file.data);
    }
}
END_TEST

START_TEST(npy_with_misaligned_data_is_refused)
{
    static const char header[] = "\x93NUMPY\x01\x00\x3d\x00" GOOD_HEADER "  "; /* 61 bytes of header: the data start at 71 */
    unsigned char file[71 + 24] = {0};
    vector_layout layout = {0};
    tool_error error = {0};
    ck_assert_uint_eq(sizeof header - 1, 71);
    memcpy(file, header, 71);
    ck_assert(!npy_parse(file, sizeof file, &layout, &error));
    ck_assert_msg(strstr(error.sentence, "byte 71, which is not a multiple of 4") != NULL, "%s", error.sentence);
}
END_TEST

/* xorshift64*: the same numbers on every machine. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static void mutate(bytes *file, uint64_t *state)
{
    static const char likely[] = "0123456789(),'{}: L-TF<>f48\"\n        ";
    for (uint64_t changes = 1 + next_random(state) % 2; changes > 0; changes--) {
        const uint64_t header_bytes = file->size < 128 ? file->size : 128;
        const size_t at = (size_t)(next_random(state) % header_bytes);
        switch (next_random(state) % 8) {
        case 0:
            file->data[at] = (unsigned char)next_random(state);
            break;
        case 1:
            file->data[at] ^= (unsigned char)(1u << next_random(state) % 8);
            break;
        case 2: /* moves a part of the header */
            memmove(file->data + at, file->data + header_bytes / 2, (size_t)(header_bytes - at) / 2);
            break;
        default:
            file->data[at] = (unsigned char)likely[next_random(state) % (sizeof likely - 1)];
            break;
        }
    }
}

START_TEST(npy_mutations_never_lead_beyond_the_file)
{
    uint64_t state = UINT64_C(0x656E6772616D756D), accepted = 0;
    for (int i = 0; i < 20000; i++) {
        vector_layout layout = {0};
        tool_error error = {0};
        bytes whole = npy_with(1 + (unsigned)(i % 3), GOOD_HEADER, 24);
        bytes file = copy_of(whole.data, i % 7 == 0 ? (size_t)(1 + next_random(&state) % whole.size) : whole.size);
        mutate(&file, &state);
        if (npy_parse(file.data, file.size, &layout, &error)) {
            accepted++;
            ck_assert(layout.rows > 0 && layout.dim > 0 && layout.offset % 4 == 0 && layout.offset <= file.size);
            ck_assert_uint_le(layout.rows, file.size);
            ck_assert_uint_le(layout.dim, file.size);
            ck_assert_uint_eq(layout.offset + layout.rows * layout.dim * 4, file.size);
        } else {
            ck_assert_uint_gt(strlen(error.sentence), 0);
        }
        free(file.data);
        free(whole.data);
    }
    ck_assert_uint_gt(accepted, 100); /* the mutations must not all be refused at the first byte */
    ck_assert_uint_lt(accepted, 19000);
}
END_TEST

/* ---------------------------------------------------------------------------------------------------- .fvecs ------- */

static bytes fvecs_with(size_t rows, int32_t dim)
{
    const size_t stride = 4 + (size_t)dim * 4;
    bytes b = {calloc(rows, stride), rows * stride};
    ck_assert_ptr_nonnull(b.data);
    for (size_t row = 0; row < rows; row++) {
        memcpy(b.data + row * stride, &dim, sizeof dim);
        for (int32_t i = 0; i < dim; i++) {
            const float value = (float)row + (float)i / 16;
            memcpy(b.data + row * stride + 4 + (size_t)i * 4, &value, sizeof value);
        }
    }
    return b;
}

START_TEST(fvecs_gives_the_layout)
{
    vector_layout layout = {0};
    tool_error error = {0};
    bytes file = fvecs_with((size_t)_i, 5);
    ck_assert_msg(fvecs_parse(file.data, file.size, &layout, &error), "%s", error.sentence);
    ck_assert_uint_eq(layout.offset, 4);
    ck_assert_uint_eq(layout.rows, (uint64_t)_i);
    ck_assert_uint_eq(layout.dim, 5);
    ck_assert_uint_eq(layout.stride, 24);
    free(file.data);
}
END_TEST

START_TEST(fvecs_cut_anywhere_but_between_rows_is_refused)
{
    bytes whole = fvecs_with(3, 5);
    for (size_t size = 0; size < whole.size; size++) {
        vector_layout layout = {0};
        tool_error error = {0};
        bytes cut = copy_of(whole.data, size);
        const bool done = fvecs_parse(cut.data, cut.size, &layout, &error);
        ck_assert_msg(done == (size > 0 && size % 24 == 0), "after %zu bytes: %s", size, error.sentence);
        ck_assert_msg(done || strstr(error.sentence, "truncated") != NULL, "%s", error.sentence);
        free(cut.data);
    }
    free(whole.data);
}
END_TEST

START_TEST(fvecs_rows_of_another_dim_are_named)
{
    static const size_t rows[] = {1, 57, 99}; /* of 100: the first that can differ, one in between, the last */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        vector_layout layout = {0};
        tool_error error = {0};
        char says[64];
        bytes file = fvecs_with(100, 5);
        file.data[rows[i] * 24] = 6;
        ck_assert(!fvecs_parse(file.data, file.size, &layout, &error));
        (void)snprintf(says, sizeof says, "row %zu (at byte %zu) says that its dim is 6", rows[i], rows[i] * 24);
        ck_assert_msg(strstr(error.sentence, says) != NULL, "%s", error.sentence);
        free(file.data);
    }
}
END_TEST

START_TEST(fvecs_with_an_impossible_dim_is_refused)
{
    static const int32_t dims[] = {0, -1, INT32_MIN, INT32_MAX, 18};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        vector_layout layout = {0};
        tool_error error = {0};
        bytes file = fvecs_with(3, 5);
        memcpy(file.data, &dims[i], sizeof dims[i]);
        ck_assert(!fvecs_parse(file.data, file.size, &layout, &error));
        ck_assert_msg(strncmp(error.sentence, "row 0 says", 10) == 0, "%s", error.sentence);
        free(file.data);
    }
}
END_TEST

/* ---------------------------------------------------------------------------------------------- opened files ------- */

START_TEST(vectors_are_read_where_the_layout_says)
{
    tool_error error = {0};
    vectors v = {0};
    bytes file = fvecs_with(7, 3);
    ck_assert_msg(vectors_open(write_file("a.FVECS", file.data, file.size), EUM_ELEMENT_FLOAT32, &v, &error), "%s", error.sentence);
    for (uint64_t row = 0; row < 7; row++)
        for (size_t i = 0; i < 3; i++) {
            float value = 0;
            memcpy(&value, (const char *)v.address + vectors_row_offset(&v, row) + i * 4, sizeof value);
            ck_assert_float_eq(value, (float)row + (float)i / 16);
        }
    ck_assert_uint_eq(v.layout.offset + vectors_span(&v), file.size);
    vectors_close(&v);
    vectors_close(&v); /* ending what is not open is fine */
    free(file.data);
}
END_TEST

START_TEST(vectors_know_npy_by_its_first_bytes)
{
    tool_error error = {0};
    vectors v = {0};
    bytes file = npy_with(1, GOOD_HEADER, 24);
    ck_assert_msg(vectors_open(write_file("no-extension", file.data, file.size), EUM_ELEMENT_FLOAT32, &v, &error), "%s",
                  error.sentence);
    ck_assert_ptr_null(error.path);
    ck_assert_uint_eq(v.layout.rows, 3);
    vectors_close(&v);
    free(file.data);
}
END_TEST

START_TEST(vectors_that_cannot_be_opened_say_why)
{
    static const struct {
        const char *name, *contents, *says;
    } files[] = {{"empty.npy", "", "the file is empty"},
                 {"text.npy", "1 2 3\n", "no .npy file"},
                 {"text.txt", "1 2 3\n", "these two formats"},
                 {"short.fvecs", "\x02", "truncated"}};
    vectors v = {0};
    tool_error error = {0};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const char *path = write_file(files[i].name, files[i].contents, strlen(files[i].contents));
        ck_assert(!vectors_open(path, EUM_ELEMENT_FLOAT32, &v, &error));
        ck_assert_str_eq(error.path, path);
        ck_assert_msg(strstr(error.sentence, files[i].says) != NULL, "%s", error.sentence);
        ck_assert_int_eq(unlink(path), 0);
    }
    ck_assert(!vectors_open(file_path, EUM_ELEMENT_FLOAT32, &v, &error));
    ck_assert_msg(strstr(error.sentence, "No such file") != NULL, "%s", error.sentence);
    ck_assert(!vectors_open(folder, EUM_ELEMENT_FLOAT32, &v, &error));
    ck_assert_msg(strstr(error.sentence, "is a directory") != NULL, "%s", error.sentence);
    ck_assert(!vectors_open("/dev/null", EUM_ELEMENT_FLOAT32, &v, &error));
    ck_assert_msg(strstr(error.sentence, "is a device") != NULL, "%s", error.sentence);
    ck_assert_int_eq(mkfifo(file_path, 0600), 0); /* and nobody ever writes to it */
    ck_assert(!vectors_open(file_path, EUM_ELEMENT_FLOAT32, &v, &error));
    ck_assert_msg(strstr(error.sentence, "is a pipe") != NULL, "%s", error.sentence);
    ck_assert_ptr_null(v.address);
}
END_TEST

/* ---------------------------------------------------------------------------------------------------- labels ------- */

static const struct {
    const char *contents;
    uint64_t count;
    const char *lines[3];
} label_files[] = {
    {"one\ntwo\nthree\n", 3, {"one", "two", "three"}},
    {"one\ntwo\nthree", 3, {"one", "two", "three"}},
    {"one\r\ntwo\r\nthree\r\n", 3, {"one", "two", "three"}},
    {"\n\nx\n", 3, {"", "", "x"}},
    {"\xEF\xBB\xBFone\n", 1, {"one", NULL, NULL}},
    {"a\rb\n", 1, {"a\rb", NULL, NULL}},
    {"\n", 1, {"", NULL, NULL}},
    {"", 0, {NULL, NULL, NULL}},
    {"\xEF\xBB\xBF", 0, {NULL, NULL, NULL}},
};

START_TEST(labels_are_lines)
{
    labels l = {0};
    tool_error error = {0};
    const char *contents = label_files[_i].contents;
    ck_assert_msg(labels_open(write_file("labels.txt", contents, strlen(contents)), &l, &error), "%s", error.sentence);
    ck_assert_uint_eq(l.count, label_files[_i].count);
    for (uint64_t line = 0; line < l.count; line++) {
        size_t size = 0;
        const char *text = labels_get(&l, line, &size);
        ck_assert_uint_eq(size, strlen(label_files[_i].lines[line]));
        ck_assert_mem_eq(text, label_files[_i].lines[line], size);
    }
    labels_close(&l);
}
END_TEST

START_TEST(labels_of_a_long_file_are_all_there)
{
    const size_t lines = 50000;
    labels l = {0};
    tool_error error = {0};
    char *contents = malloc(lines * 7 + 1);
    ck_assert_ptr_nonnull(contents);
    for (size_t i = 0; i < lines; i++)
        (void)snprintf(contents + i * 7, 8, "%06zu\n", i);
    ck_assert_msg(labels_open(write_file("labels.txt", contents, lines * 7), &l, &error), "%s", error.sentence);
    ck_assert_uint_eq(l.count, lines);
    for (uint64_t line = 0; line < l.count; line++) {
        size_t size = 0;
        ck_assert_mem_eq(labels_get(&l, line, &size), contents + line * 7, 6);
        ck_assert_uint_eq(size, 6);
    }
    labels_close(&l);
    free(contents);
}
END_TEST

START_TEST(labels_that_cannot_be_read_say_why)
{
    labels l = {0};
    tool_error error = {0};
    ck_assert(!labels_open("/nowhere/labels", &l, &error));
    ck_assert_str_eq(error.path, "/nowhere/labels");
    ck_assert_msg(strstr(error.sentence, "No such file") != NULL, "%s", error.sentence);
    ck_assert(!labels_open(folder, &l, &error));
    ck_assert_msg(strstr(error.sentence, "directory") != NULL, "%s", error.sentence);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static TCase *parser_tests(void)
{
    TCase *tests = tcase_create("parsers");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, npy_versions_1_to_3_give_the_layout, 1, 4);
    tcase_add_loop_test(tests, npy_header_may_be_spelled_as_python_allows, 0, COUNT(accepted_headers));
    tcase_add_test(tests, npy_of_one_dimension_is_one_row);
    tcase_add_loop_test(tests, npy_that_is_wrong_is_refused_with_what_was_found, 0, COUNT(refused_headers));
    tcase_add_test(tests, npy_cut_anywhere_is_refused);
    tcase_add_test(tests, npy_with_a_wrong_preamble_is_refused);
    tcase_add_test(tests, npy_with_misaligned_data_is_refused);
    tcase_add_test(tests, npy_mutations_never_lead_beyond_the_file);
    tcase_add_loop_test(tests, fvecs_gives_the_layout, 1, 5);
    tcase_add_test(tests, fvecs_cut_anywhere_but_between_rows_is_refused);
    tcase_add_test(tests, fvecs_rows_of_another_dim_are_named);
    tcase_add_test(tests, fvecs_with_an_impossible_dim_is_refused);
    return tests;
}

static TCase *file_tests(void)
{
    TCase *tests = tcase_create("files");
    tcase_add_checked_fixture(tests, make_folder, remove_folder);
    tcase_add_test(tests, vectors_are_read_where_the_layout_says);
    tcase_add_test(tests, vectors_know_npy_by_its_first_bytes);
    tcase_add_test(tests, vectors_that_cannot_be_opened_say_why);
    tcase_add_loop_test(tests, labels_are_lines, 0, COUNT(label_files));
    tcase_add_test(tests, labels_of_a_long_file_are_all_there);
    tcase_add_test(tests, labels_that_cannot_be_read_say_why);
    return tests;
}

Suite *vector_files_suite(void)
{
    Suite *suite = suite_create("vector_files");
    suite_add_tcase(suite, parser_tests());
    suite_add_tcase(suite, file_tests());
    return suite;
}

/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "npy.h"

#include <inttypes.h>
#include <string.h>

#include "element.h"

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES 6u
/* The most that a version 1.0 header can have. Later versions allow 4 GiB, for structured types of thousands of fields: never ours. */
#define HEADER_BYTES_MAX 65535u
#define CONVERT "in Python: numpy.save('converted.npy', numpy.ascontiguousarray(numpy.load('this.npy'), dtype='<f4'))"

typedef struct cursor {
    const char *at, *end;
    tool_error *error;
} cursor;

typedef struct text {
    const char *start;
    size_t size;
} text;

typedef struct npy_header {
    bool has_descr, has_order, has_shape;
    text descr;
    bool fortran_order;
    uint64_t shape[2]; /* the first two of `dimensions` */
    unsigned dimensions;
} npy_header;

bool npy_recognize(const void *bytes, size_t size)
{
    return size >= MAGIC_BYTES && memcmp(bytes, MAGIC, MAGIC_BYTES) == 0;
}

/* ------------------------------------------------------------------------------- the dictionary, a Python literal -- */

static bool fail_at(const cursor *c, const char *expected)
{
    char found[TOOL_EXCERPT_BYTES];
    if (c->at == c->end)
        return tool_fail(c->error, "the .npy header ends where %s should be: the file is damaged", expected);
    return tool_fail(c->error, "the .npy header has \"%s\" where %s should be: the file is damaged",
                     tool_excerpt(found, c->at, (size_t)(c->end - c->at)), expected);
}

static void skip_spaces(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
        c->at++;
}

/* Steps over `wanted` and what is blank before it, if it is next. */
static bool accept(cursor *c, char wanted)
{
    skip_spaces(c);
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

static bool accept_word(cursor *c, const char *word)
{
    const size_t size = strlen(word);
    skip_spaces(c);
    if ((size_t)(c->end - c->at) < size || memcmp(c->at, word, size) != 0)
        return false;
    c->at += size;
    return true;
}

static bool parse_quoted(cursor *c, const char *expected, text *out)
{
    skip_spaces(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"'))
        return fail_at(c, expected);
    const char *start = c->at + 1;
    const char *quote = memchr(start, *c->at, (size_t)(c->end - start));
    if (quote == NULL)
        return fail_at(c, "a closed string");
    *out = (text){start, (size_t)(quote - start)};
    c->at = quote + 1;
    return true;
}

static bool text_is(text t, const char *word)
{
    return t.size == strlen(word) && memcmp(t.start, word, t.size) == 0;
}

static bool parse_descr(cursor *c, npy_header *header)
{
    char found[TOOL_EXCERPT_BYTES];
    skip_spaces(c);
    if (c->at < c->end && (*c->at == '[' || *c->at == '('))
        return tool_fail(c->error,
                         "the elements are structured (descr %s); plain float32 ('<f4') is needed: save one field, rows x dim, "
                         "as an array of its own",
                         tool_excerpt(found, c->at, (size_t)(c->end - c->at)));
    return parse_quoted(c, "the element type", &header->descr);
}

static bool parse_order(cursor *c, npy_header *header)
{
    if (accept_word(c, "True"))
        header->fortran_order = true;
    else if (accept_word(c, "False"))
        header->fortran_order = false;
    else
        return fail_at(c, "True or False");
    return true;
}

static bool parse_count(cursor *c, uint64_t *out)
{
    uint64_t count = 0;
    skip_spaces(c);
    if (c->at < c->end && *c->at == '-')
        return tool_fail(c->error, "the .npy header has a negative number in the shape: the file is damaged");
    if (c->at == c->end || *c->at < '0' || *c->at > '9')
        return fail_at(c, "a number of the shape");
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        const uint64_t digit = (uint64_t)(*c->at - '0');
        if (count > (UINT64_MAX - digit) / 10)
            return tool_fail(c->error, "the .npy header has a number of more than 64 bits in the shape: the file is damaged");
        count = count * 10 + digit;
    }
    if (c->at < c->end && *c->at == 'L') /* Python 2 wrote its long numbers so */
        c->at++;
    *out = count;
    return true;
}

static bool parse_shape(cursor *c, npy_header *header)
{
    bool comma = true;
    if (!accept(c, '('))
        return fail_at(c, "the shape, a tuple");
    header->dimensions = 0;
    while (!accept(c, ')')) {
        uint64_t count = 0;
        if (!comma)
            return fail_at(c, "a comma or the end of the shape");
        if (!parse_count(c, &count))
            return false;
        if (header->dimensions < 2)
            header->shape[header->dimensions] = count;
        header->dimensions++;
        comma = accept(c, ',');
    }
    if (header->dimensions == 1 && !comma)
        return tool_fail(c->error, "the shape in the .npy header is a number instead of a tuple: the file is damaged");
    return true;
}

static bool parse_entry(cursor *c, npy_header *header)
{
    text key = {NULL, 0};
    bool *seen = NULL;
    bool (*parse)(cursor *, npy_header *) = NULL;
    if (!parse_quoted(c, "a key in quotes", &key))
        return false;
    if (text_is(key, "descr")) {
        seen = &header->has_descr;
        parse = parse_descr;
    } else if (text_is(key, "fortran_order")) {
        seen = &header->has_order;
        parse = parse_order;
    } else if (text_is(key, "shape")) {
        seen = &header->has_shape;
        parse = parse_shape;
    } else {
        char found[TOOL_EXCERPT_BYTES];
        return tool_fail(c->error, "the .npy header has the key '%s'; 'descr', 'fortran_order' and 'shape' are all it may have",
                         tool_excerpt(found, key.start, key.size));
    }
    if (*seen)
        return tool_fail(c->error, "the .npy header has the key '%.*s' twice: the file is damaged", (int)key.size, key.start);
    *seen = true;
    if (!accept(c, ':'))
        return fail_at(c, "a colon");
    return parse(c, header);
}

static bool parse_dictionary(cursor *c, npy_header *header)
{
    bool comma = true;
    if (!accept(c, '{'))
        return fail_at(c, "a dictionary");
    while (!accept(c, '}')) {
        if (!comma)
            return fail_at(c, "a comma or the end of the dictionary");
        if (!parse_entry(c, header))
            return false;
        comma = accept(c, ',');
    }
    skip_spaces(c);
    if (c->at != c->end)
        return fail_at(c, "the end of the header");
    if (!header->has_descr || !header->has_order || !header->has_shape)
        return tool_fail(c->error, "the .npy header has no '%s': the file is damaged",
                         !header->has_descr   ? "descr"
                         : !header->has_order ? "fortran_order"
                                              : "shape");
    return true;
}

/* ------------------------------------------------------------------------------------------- what it promises ------ */

static const char *descr_meaning(text descr)
{
    static const struct {
        const char *descr, *meaning;
    } known[] = {{"<f8", ", which is float64"},
                 {"<f2", ", which is float16"},
                 {">f4", ", which is big-endian float32"},
                 {">f8", ", which is big-endian float64"},
                 {"<i4", ", which is int32"},
                 {"<i8", ", which is int64"},
                 {"|u1", ", which is uint8"},
                 {"|i1", ", which is int8"},
                 {"|O", ", which is Python objects"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (text_is(descr, known[i].descr))
            return known[i].meaning;
    return "";
}

/* A 16-bit element that was asked for. Float32 is the usual case, and has more to say. */
static bool check_narrow(const npy_header *header, eum_element element, tool_error *error)
{
    char found[TOOL_EXCERPT_BYTES];
    const bool half = element == EUM_ELEMENT_FLOAT16;
    if (half ? text_is(header->descr, "<f2")
             : text_is(header->descr, "<u2") || text_is(header->descr, "|V2") || text_is(header->descr, "<V2"))
        return true;
    return tool_fail(error, "the elements are '%s'%s; %s is needed for --dtype %s",
                     tool_excerpt(found, header->descr.start, header->descr.size), descr_meaning(header->descr),
                     half ? "'<f2'" : "'<u2' or '|V2' (two bytes an element)", half ? "float16" : "bfloat16");
}

static bool check_kind(const npy_header *header, eum_element element, tool_error *error)
{
    char found[TOOL_EXCERPT_BYTES];
    if (element != EUM_ELEMENT_FLOAT32) {
        if (!check_narrow(header, element, error))
            return false;
    } else if (!text_is(header->descr, "<f4"))
        return tool_fail(error, "the elements are '%s'%s; little-endian float32 ('<f4') is needed; " CONVERT,
                         tool_excerpt(found, header->descr.start, header->descr.size), descr_meaning(header->descr));
    if (header->fortran_order)
        return tool_fail(error, "the array is in Fortran order, column after column; C order, row after row, is needed; " CONVERT);
    if (header->dimensions == 0 || header->dimensions > 2)
        return tool_fail(error, "the array has %u dimensions; two are needed, rows x dim; in Python: array.reshape(rows, dim)",
                         header->dimensions);
    return true;
}

/* Turns the shape into a layout that lies within `data_bytes`. */
static bool check_shape(const npy_header *header, size_t data_bytes, vector_layout *layout, tool_error *error)
{
    layout->rows = header->dimensions == 1 ? 1 : header->shape[0];
    layout->dim = header->shape[header->dimensions - 1];
    layout->shape = (int)header->dimensions;
    if (layout->rows == 0)
        return tool_fail(error, "the array has no rows (shape (0, %" PRIu64 ")); at least one is needed", layout->dim);
    if (layout->dim == 0)
        return tool_fail(error, "the rows have no elements (dim is 0); at least one is needed");
    if (layout->dim > SIZE_MAX / element_bytes(layout->element) / layout->rows)
        return tool_fail(error,
                         "the header promises %" PRIu64 " x %" PRIu64 " elements, more than any file can hold: it is damaged",
                         layout->rows, layout->dim);
    layout->stride = (size_t)layout->dim * element_bytes(layout->element);
    const size_t needed = (size_t)layout->rows * layout->stride;
    if (data_bytes < needed)
        return tool_fail(error,
                         "the header promises %" PRIu64 " x %" PRIu64 " %s, %zu bytes, but only %zu bytes follow it: the file is "
                         "truncated, or its header is wrong",
                         layout->rows, layout->dim, layout->element == EUM_ELEMENT_FLOAT32 ? "float32" : "elements of 16 bits",
                         needed, data_bytes);
    if (data_bytes > needed)
        return tool_fail(error,
                         "the header promises %" PRIu64 " x %" PRIu64
                         " %s, %zu bytes, but %zu bytes follow it: the header is wrong, "
                         "or something was appended",
                         layout->rows, layout->dim, layout->element == EUM_ELEMENT_FLOAT32 ? "float32" : "elements of 16 bits",
                         needed, data_bytes);
    return true;
}

/* Finds the dictionary: [*start, *data). */
static bool find_header(const unsigned char *bytes, size_t size, size_t *start, size_t *data, tool_error *error)
{
    if (!npy_recognize(bytes, size))
        return tool_fail(error, "this is no .npy file: it does not start with \"\\x93NUMPY\"");
    if (size < MAGIC_BYTES + 2)
        return tool_fail(error, "the file ends within the .npy header, after %zu bytes: it is truncated", size);
    const unsigned major = bytes[MAGIC_BYTES], minor = bytes[MAGIC_BYTES + 1];
    if (major < 1 || major > 3 || minor != 0)
        return tool_fail(error, "the .npy format version is %u.%u; 1.0, 2.0 and 3.0 can be read", major, minor);
    const size_t length_bytes = major == 1 ? 2 : 4;
    *start = MAGIC_BYTES + 2 + length_bytes;
    if (size < *start)
        return tool_fail(error, "the file ends within the .npy header, after %zu bytes: it is truncated", size);
    uint32_t length = 0;
    for (size_t i = length_bytes; i-- > 0;)
        length = length << 8 | bytes[MAGIC_BYTES + 2 + i];
    if (length > HEADER_BYTES_MAX)
        return tool_fail(error,
                         "the .npy header claims %" PRIu32 " bytes, more than a float32 array's ever has (%u): the file is damaged",
                         length, HEADER_BYTES_MAX);
    if (length > size - *start)
        return tool_fail(error, "the .npy header claims %" PRIu32 " bytes, but only %zu follow: the file is truncated", length,
                         size - *start);
    *data = *start + length;
    return true;
}

bool npy_parse_as(const void *bytes, size_t size, eum_element element, vector_layout *out, tool_error *error)
{
    npy_header header = {0};
    vector_layout layout = {.element = element};
    size_t start = 0;
    if (!find_header(bytes, size, &start, &layout.offset, error))
        return false;
    cursor c = {(const char *)bytes + start, (const char *)bytes + layout.offset, error};
    if (!parse_dictionary(&c, &header) || !check_kind(&header, element, error) ||
        !check_shape(&header, size - layout.offset, &layout, error))
        return false;
    if (layout.offset % element_bytes(element) != 0)
        return tool_fail(
            error,
            "the data start at byte %zu, which is not a multiple of %zu, so that they cannot be used in place; loading and "
            "saving the array with numpy aligns it",
            layout.offset, element_bytes(element));
    *out = layout;
    return true;
}

bool npy_parse(const void *bytes, size_t size, vector_layout *out, tool_error *error)
{
    return npy_parse_as(bytes, size, EUM_ELEMENT_FLOAT32, out, error);
}

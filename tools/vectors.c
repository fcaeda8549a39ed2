/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "vectors.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "element.h"
#include "fvecs.h"
#include "npy.h"

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode) ? "a directory" : S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
}

static bool map_file(const char *path, vectors *out, tool_error *error)
{
    struct stat about;
    bool done = false;
    /* O_NONBLOCK: a pipe without a writer must not hold us; regular files do not care. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return tool_fail(error, "cannot be opened: %s", strerror(errno));
    if (fstat(fd, &about) != 0) {
        (void)tool_fail(error, "cannot be examined: %s", strerror(errno));
    } else if (!S_ISREG(about.st_mode)) {
        (void)tool_fail(error, "is %s; vectors are mapped into memory, which takes a regular file", kind_of(about.st_mode));
    } else if (about.st_size == 0) {
        (void)tool_fail(error, "the file is empty");
    } else if ((uintmax_t)about.st_size > SIZE_MAX) {
        (void)tool_fail(error, "the file is too large for this machine's addresses");
    } else {
        out->bytes = (size_t)about.st_size;
        out->address = mmap(NULL, out->bytes, PROT_READ, MAP_SHARED, fd, 0);
        done = out->address != MAP_FAILED;
        if (!done)
            (void)tool_fail(error, "cannot be mapped into memory: %s", strerror(errno));
    }
    (void)close(fd);
    return done;
}

static bool is_named_fvecs(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL && strcasecmp(dot, ".fvecs") == 0;
}

bool vectors_open(const char *path, eum_element element, vectors *out, tool_error *error)
{
    vectors v = {0};
    bool done = false;
    error->path = path;
    if (!map_file(path, &v, error))
        return false;
    if (npy_recognize(v.address, v.bytes))
        done = npy_parse_as(v.address, v.bytes, element, &v.layout, error);
    else if (is_named_fvecs(path) && element != EUM_ELEMENT_FLOAT32)
        (void)tool_fail(error, "an .fvecs file holds float32; elements of 16 bits can be read from .npy files");
    else if (is_named_fvecs(path))
        done = fvecs_parse(v.address, v.bytes, &v.layout, error);
    else
        (void)tool_fail(error,
                        "this is no .npy file (it does not start with \"\\x93NUMPY\"), and its name does not end in .fvecs; these "
                        "two formats can be read");
    if (!done) {
        vectors_close(&v);
        return false;
    }
    error->path = NULL;
    *out = v;
    return true;
}

void vectors_close(vectors *v)
{
    if (v->address != NULL)
        (void)munmap(v->address, v->bytes);
    *v = (vectors){0};
}

size_t vectors_row_offset(const vectors *v, uint64_t row)
{
    return v->layout.offset + (size_t)row * v->layout.stride;
}

size_t vectors_span(const vectors *v)
{
    return (size_t)(v->layout.rows - 1) * v->layout.stride + (size_t)v->layout.dim * element_bytes(v->layout.element);
}

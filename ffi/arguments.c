/* arguments: see arguments.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "arguments.h"

#include "objects.h"

/* Devices are numbered 0 to 62: residency is a mask of 64 bits, one of them the host's. */
#define LAST_DEVICE 62

eum_status eum_check_pointer(const char *name, const void *pointer)
{
    if (pointer == NULL)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "%s is NULL; pass a valid address", name);
    return EUM_OK;
}

eum_status eum_check_enum(const char *name, int32_t value, int32_t first, int32_t last, const char *constants)
{
    if (value < first || value > last)
        return eum_fail(EUM_ERROR_INVALID_ENUM, "%s is %d, which is none of %s; this version knows %d to %d", name, (int)value,
                        constants, (int)first, (int)last);
    return EUM_OK;
}

eum_status eum_check_flags(const char *name, uint32_t flags, uint32_t known)
{
    if ((flags & ~known) != 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "%s is 0x%x, of which this version does not know 0x%x; clear those bits", name,
                        (unsigned)flags, (unsigned)(flags & ~known));
    return EUM_OK;
}

eum_status eum_check_zero(const char *name, int64_t value)
{
    if (value != 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "%s is %lld; it must be 0", name, (long long)value);
    return EUM_OK;
}

eum_status eum_check_role(eum_role role)
{
    return eum_check_enum("role", role, EUM_ROLE_AUTO, EUM_ROLE_STREAM, "EUM_ROLE_*");
}

eum_status eum_check_access(eum_access access)
{
    return eum_check_enum("access", access, EUM_ACCESS_READ, EUM_ACCESS_OVERWRITE, "EUM_ACCESS_*");
}

eum_status eum_check_backing(eum_backing backing)
{
    if (backing == EUM_BACKING_DEVICE)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                        "backing is EUM_BACKING_DEVICE (%d), which is for wrapped device memory only; use "
                        "EUM_BACKING_AUTO (0) or another one",
                        EUM_BACKING_DEVICE);
    return eum_check_enum("backing", backing, EUM_BACKING_AUTO, EUM_BACKING_HOST, "EUM_BACKING_*");
}

eum_status eum_check_location(eum_location location)
{
    if (location < EUM_LOCATION_HOST || location > LAST_DEVICE)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                        "the location is %d; it is EUM_LOCATION_HOST (-1) or a device number from 0 to %d", (int)location,
                        LAST_DEVICE);
    return EUM_OK;
}

eum_status eum_check_size(const char *name, size_t bytes)
{
    if (bytes > PTRDIFF_MAX)
        return eum_fail(EUM_ERROR_SIZE_OVERFLOW,
                        "%s is %zu, more than an object can have (%td); was something subtracted from a smaller number?", name,
                        bytes, (ptrdiff_t)PTRDIFF_MAX);
    return EUM_OK;
}

eum_status eum_check_view(const char *what, eum_buf *buf, eum_view view, eum_range *out)
{
    size_t size = eum_buf_bytes(buf), bytes = view.bytes;
    if (bytes == EUM_WHOLE_SIZE) {
        if (view.offset > size)
            return eum_fail(EUM_ERROR_OUT_OF_BOUNDS,
                            "%s starts at offset %zu, after the end of its buffer of %zu bytes; begin it within", what, view.offset,
                            size);
        bytes = size - view.offset;
    } else if (bytes > SIZE_MAX - view.offset) {
        return eum_fail(EUM_ERROR_SIZE_OVERFLOW,
                        "%s has offset %zu + %zu bytes, which does not fit in size_t; check how they were computed", what,
                        view.offset, bytes);
    } else if (view.offset + bytes > size) {
        return eum_fail(EUM_ERROR_OUT_OF_BOUNDS,
                        "%s has offset %zu + %zu bytes, which ends at %zu, after the end of its buffer of %zu bytes; shorten it, "
                        "or make the buffer larger",
                        what, view.offset, bytes, view.offset + bytes, size);
    }
    *out = (eum_range){buf, view.offset, bytes};
    return EUM_OK;
}

eum_status eum_check_same_context(const char *what, const eum_buf *buf, const eum_strm *stream)
{
    if (eum_buf_context(buf) != eum_strm_context(stream))
        return eum_fail(EUM_ERROR_WRONG_CONTEXT,
                        "%s is a buffer of another context than the stream's; use handles of one context in one call", what);
    return EUM_OK;
}

eum_status eum_fail_about(const char *what, eum_status status)
{
    eum_error saved = EUM_ERROR_INIT;
    eum_error_save(&saved);
    return eum_fail(status, "%s: %s", what, saved.sentence);
}

eum_status eum_pin_view(const char *what, eum_view view, eum_range *out)
{
    eum_buf *buf = NULL;
    eum_status status = eum_pin_buffer(view.buffer, &buf);
    if (status != EUM_OK)
        return eum_fail_about(what, status);
    status = eum_check_view(what, buf, view, out);
    if (status != EUM_OK)
        eum_handle_unpin(view.buffer);
    return status;
}

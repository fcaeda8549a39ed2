/* arguments: the checks that several functions of the C ABI share. Each returns EUM_OK, or fails with a sentence that has the values.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_FFI_ARGUMENTS_H
#define EUM_FFI_ARGUMENTS_H

#include "engine.h"

/* EUM_ERROR_INVALID_ARGUMENT if `pointer` is NULL. name: "out". */
eum_status eum_check_pointer(const char *name, const void *pointer);
/* EUM_ERROR_INVALID_ENUM unless first <= value <= last. name: "access"; constants: "EUM_ACCESS_*". */
eum_status eum_check_enum(const char *name, int32_t value, int32_t first, int32_t last, const char *constants);
/* EUM_ERROR_INVALID_ARGUMENT if a flag outside `known` is set. name: "eum_buffer_config.flags". */
eum_status eum_check_flags(const char *name, uint32_t flags, uint32_t known);
/* EUM_ERROR_INVALID_ARGUMENT unless the value is 0. */
eum_status eum_check_zero(const char *name, int64_t value);

eum_status eum_check_role(eum_role role);
eum_status eum_check_access(eum_access access);
/* What owned buffers may have: not EUM_BACKING_DEVICE (EUM_ERROR_INVALID_ARGUMENT). */
eum_status eum_check_backing(eum_backing backing);
eum_status eum_check_location(eum_location location);

/* A size that no object can have is EUM_ERROR_SIZE_OVERFLOW. */
eum_status eum_check_size(const char *name, size_t bytes);

/* Turns a view of `buf` into a checked range. what: "the view", "query". Errors: EUM_ERROR_SIZE_OVERFLOW, EUM_ERROR_OUT_OF_BOUNDS. */
eum_status eum_check_view(const char *what, eum_buf *buf, eum_view view, eum_range *out);

/* EUM_ERROR_WRONG_CONTEXT if the buffer and the stream are of different contexts. */
eum_status eum_check_same_context(const char *what, const eum_buf *buf, const eum_strm *stream);

/* Puts "what: " in front of the sentence of the failure that just happened, so that it says which of several things it was about. */
eum_status eum_fail_about(const char *what, eum_status status);

#endif

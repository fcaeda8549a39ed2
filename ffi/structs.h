/* structs: the structs that cross the ABI, in any version that a caller may have been compiled with.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A struct grows at its end. Its struct_size says how much of it the caller knows: what a caller does not know is taken as its default,
 * and is not written. Behind these functions there are only full, current structs. */
#ifndef EUM_FFI_STRUCTS_H
#define EUM_FFI_STRUCTS_H

#include "status.h"

typedef struct eum_struct_type {
    const char *name;
    size_t first;         /* size of the first version; never changes */
    size_t size;          /* size today */
    const void *defaults; /* `size` bytes, struct_size included */
} eum_struct_type;

extern const eum_struct_type eum_error_type, eum_context_config_type, eum_buffer_config_type, eum_wrap_config_type, eum_raw_type,
    eum_hint_type, eum_stream_config_type, eum_launch_config_type, eum_cosine_config_type, eum_similarity_config_type,
    eum_topk_config_type, eum_similarity_rows_config_type, eum_info_type, eum_stats_type, eum_decision_type, eum_buffer_info_type,
    eum_faults_type, eum_operation_stats_type, eum_costs_info_type, eum_break_even_config_type, eum_break_even_type;

/* EUM_OK, EUM_ERROR_STRUCT_TOO_SMALL or EUM_ERROR_STRUCT_TOO_NEW, without an error detail. */
eum_status eum_struct_fits(const eum_struct_type *type, size_t struct_size);

/* An input: fills `full` (type->size bytes) with the defaults and then with what the caller gave; NULL gives the defaults.
 * Errors: EUM_ERROR_STRUCT_TOO_SMALL, EUM_ERROR_STRUCT_TOO_NEW. */
eum_status eum_struct_take(const eum_struct_type *type, const void *given, void *full);

/* An output, before the work: can it hold an answer? Gives its size, and the defaults in `full` to build the answer in.
 * Errors: EUM_ERROR_INVALID_ARGUMENT (NULL), EUM_ERROR_STRUCT_TOO_SMALL, EUM_ERROR_STRUCT_TOO_NEW. */
eum_status eum_struct_expect(const eum_struct_type *type, const void *out, size_t *out_size, void *full);
/* After the work: copies the answer, as much as the caller knows. struct_size stays the caller's. */
void eum_struct_give(const void *full, void *out, size_t size);

#endif

/* structs: see structs.h. The init functions, and the rules of struct_size.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "structs.h"

#include <string.h>

/* One struct: its defaults, its type and its init function. `first_size` is the struct's size when it was first released, on the 64-bit
 * ABIs that there are; it stays when the struct grows. */
#define STRUCT(struct_name, first_size, ...)                                                                                       \
    _Static_assert((first_size) <= sizeof(struct_name), "a struct of the ABI never shrinks");                                      \
    static const struct_name struct_name##_defaults = __VA_ARGS__;                                                                 \
    const eum_struct_type struct_name##_type = {#struct_name, first_size, sizeof(struct_name), &struct_name##_defaults};           \
    void struct_name##_init(struct_name *given)                                                                                    \
    {                                                                                                                              \
        if (given != NULL)                                                                                                         \
            memcpy(given, &struct_name##_defaults, sizeof *given);                                                                 \
    }                                                                                                                              \
    _Static_assert(offsetof(struct_name, struct_size) == 0, "struct_size comes first")

STRUCT(eum_error, 592, EUM_ERROR_INIT);
STRUCT(eum_context_config, 64, EUM_CONTEXT_CONFIG_INIT);
STRUCT(eum_buffer_config, 24, EUM_BUFFER_CONFIG_INIT);
STRUCT(eum_wrap_config, 56, EUM_WRAP_CONFIG_INIT);
STRUCT(eum_raw, 56, EUM_RAW_INIT);
STRUCT(eum_hint, 272, EUM_HINT_INIT);
STRUCT(eum_stream_config, 16, EUM_STREAM_CONFIG_INIT);
STRUCT(eum_launch_config, 64, EUM_LAUNCH_CONFIG_INIT);
STRUCT(eum_cosine_config, 112, EUM_COSINE_CONFIG_INIT);
STRUCT(eum_similarity_config, 136, EUM_SIMILARITY_CONFIG_INIT);
STRUCT(eum_topk_config, 168, EUM_TOPK_CONFIG_INIT);
STRUCT(eum_similarity_rows_config, 152, EUM_SIMILARITY_ROWS_CONFIG_INIT);
STRUCT(eum_info, 776, {.struct_size = sizeof(eum_info)});
STRUCT(eum_stats, 264, {.struct_size = sizeof(eum_stats)});
STRUCT(eum_operation_stats, 160, {.struct_size = sizeof(eum_operation_stats)});
STRUCT(eum_costs_info, 120, EUM_COSTS_INFO_INIT);
STRUCT(eum_break_even_config, 40, EUM_BREAK_EVEN_CONFIG_INIT);
STRUCT(eum_break_even, 56, EUM_BREAK_EVEN_INIT);
STRUCT(eum_decision, 112, {.struct_size = sizeof(eum_decision)});
STRUCT(eum_faults, 112, EUM_FAULTS_INIT);
STRUCT(eum_buffer_info, 40, {.struct_size = sizeof(eum_buffer_info)});

/* What the caller says the size is; the rest of the struct may not be there. */
static size_t size_of(const void *given)
{
    size_t size = 0;
    memcpy(&size, given, sizeof size);
    return size;
}

eum_status eum_struct_fits(const eum_struct_type *type, size_t struct_size)
{
    if (struct_size < type->first)
        return EUM_ERROR_STRUCT_TOO_SMALL;
    return struct_size > type->size ? EUM_ERROR_STRUCT_TOO_NEW : EUM_OK;
}

static eum_status check_size(const eum_struct_type *type, size_t size)
{
    eum_status status = eum_struct_fits(type, size);
    if (status == EUM_ERROR_STRUCT_TOO_SMALL)
        return eum_fail(status,
                        "struct_size of the %s is %zu, its first version has %zu bytes; set it to sizeof(%s) or call %s_init",
                        type->name, size, type->first, type->name, type->name);
    if (status == EUM_ERROR_STRUCT_TOO_NEW)
        return eum_fail(status,
                        "struct_size of the %s is %zu, this library (" EUM_VERSION_STRING
                        ") knows %zu bytes; use a library as new as the header, or set struct_size to sizeof(%s)",
                        type->name, size, type->size, type->name);
    return EUM_OK;
}

eum_status eum_struct_take(const eum_struct_type *type, const void *given, void *full)
{
    if (given != NULL && size_of(given) == type->size) {
        memcpy(full, given, type->size);
        return EUM_OK;
    }
    memcpy(full, type->defaults, type->size);
    if (given == NULL)
        return EUM_OK;
    size_t size = size_of(given);
    eum_status status = check_size(type, size);
    if (status == EUM_OK)
        eum_struct_give(given, full, size);
    return status;
}

eum_status eum_struct_expect(const eum_struct_type *type, const void *out, size_t *out_size, void *full)
{
    memcpy(full, type->defaults, type->size);
    if (out == NULL)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "out is NULL; pass the address of an %s", type->name);
    *out_size = size_of(out);
    return check_size(type, *out_size);
}

void eum_struct_give(const void *full, void *out, size_t size)
{
    memcpy((char *)out + sizeof(size_t), (const char *)full + sizeof(size_t), size - sizeof(size_t));
}

/* costs: the C ABI of a context's costs.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "arguments.h"
#include "objects.h"
#include "structs.h"

eum_status eum_context_costs(const eum_context *context, eum_costs_info *out)
{
    eum_costs_info full;
    size_t size = 0;
    eum_context_object *object = NULL;
    eum_status status = eum_struct_expect(&eum_costs_info_type, out, &size, &full);
    if (status == EUM_OK)
        status = eum_pin_context(context, &object);
    if (status != EUM_OK)
        return status;
    status = eum_ctx_costs(object->ctx, &full);
    if (status == EUM_OK)
        eum_struct_give(&full, out, size);
    eum_handle_unpin(context);
    return status;
}

eum_status eum_context_calibrate(eum_context *context, eum_costs_info *out)
{
    eum_costs_info full;
    size_t size = 0;
    eum_context_object *object = NULL;
    eum_status status = out == NULL ? EUM_OK : eum_struct_expect(&eum_costs_info_type, out, &size, &full);
    if (status == EUM_OK)
        status = eum_check_may_wait("eum_context_calibrate");
    if (status == EUM_OK)
        status = eum_pin_context(context, &object);
    if (status != EUM_OK)
        return status;
    status = eum_ctx_calibrate(object->ctx, &full);
    if (status == EUM_OK && out != NULL)
        eum_struct_give(&full, out, size);
    eum_handle_unpin(context);
    return status;
}

eum_status eum_context_save_costs(const eum_context *context, const char *path)
{
    eum_context_object *object = NULL;
    eum_status status = eum_check_pointer("path", path);
    if (status == EUM_OK && path[0] == '\0')
        status = eum_fail(EUM_ERROR_INVALID_ARGUMENT, "path is empty; name the file that the costs are to be written to");
    if (status == EUM_OK)
        status = eum_pin_context(context, &object);
    if (status != EUM_OK)
        return status;
    status = eum_ctx_save_costs(object->ctx, path);
    eum_handle_unpin(context);
    return status;
}

static eum_status check_shape(const eum_break_even_config *config)
{
    size_t size = config->element == EUM_ELEMENT_FLOAT32 ? 4 : 2, row, all;
    if (config->reserved != 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "eum_break_even_config.reserved is %d; it must be 0", (int)config->reserved);
    if (config->dim == 0 || config->query_count == 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "%s is 0; it must be 1 or more", config->dim == 0 ? "dim" : "query_count");
    if (__builtin_mul_overflow(config->dim, 4, &row) || __builtin_mul_overflow(row, config->query_count, &all) ||
        __builtin_mul_overflow(config->dim, size, &row) || __builtin_mul_overflow(row, config->rows, &all))
        return eum_fail(EUM_ERROR_SIZE_OVERFLOW,
                        "%llu queries and %llu rows of %llu elements are more bytes than there are addresses; make them fewer",
                        (unsigned long long)config->query_count, (unsigned long long)config->rows, (unsigned long long)config->dim);
    return EUM_OK;
}

eum_status eum_context_break_even(const eum_context *context, const eum_break_even_config *config, eum_break_even *out)
{
    eum_break_even full;
    eum_break_even_config asked;
    size_t size = 0;
    eum_context_object *object = NULL;
    eum_status status = eum_struct_expect(&eum_break_even_type, out, &size, &full);
    if (status == EUM_OK)
        status = eum_check_pointer("config", config);
    if (status == EUM_OK)
        status = eum_struct_take(&eum_break_even_config_type, config, &asked);
    if (status == EUM_OK)
        status = eum_check_enum("element", asked.element, EUM_ELEMENT_FLOAT32, EUM_ELEMENT_BFLOAT16, "EUM_ELEMENT_*");
    if (status == EUM_OK)
        status = check_shape(&asked);
    if (status == EUM_OK)
        status = eum_pin_context(context, &object);
    if (status != EUM_OK)
        return status;
    status = eum_ctx_break_even(object->ctx, &asked, &full);
    if (status == EUM_OK)
        eum_struct_give(&full, out, size);
    eum_handle_unpin(context);
    return status;
}

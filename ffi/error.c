/* error: this thread's last failure, and the version, as the C ABI gives them out.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "structs.h"

/* Fails without recording anything: it must not change what it reports. */
eum_status eum_last_error(eum_error *error)
{
    if (error == NULL)
        return EUM_ERROR_INVALID_ARGUMENT;
    size_t size = error->struct_size;
    eum_status status = eum_struct_fits(&eum_error_type, size);
    if (status != EUM_OK)
        return status;
    eum_error full = EUM_ERROR_INIT;
    eum_error_save(&full);
    eum_struct_give(&full, error, size);
    return EUM_OK;
}

int32_t eum_version_number(void)
{
    return EUM_VERSION_NUMBER;
}

const char *eum_version_string(void)
{
    return EUM_VERSION_STRING;
}

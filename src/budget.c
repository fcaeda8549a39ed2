/* budget: see budget.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "budget.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

struct eum_budget {
    struct eum_budget *next;
    eum_device *only; /* not shared: the one device; NULL: shared by CUDA index */
    int32_t index;
    uint32_t references;
    uint64_t limit, used;
    uint32_t maps;
};

static pthread_mutex_t budgets_lock = PTHREAD_MUTEX_INITIALIZER;
static eum_budget *budgets;

eum_status eum_budget_get(eum_device *device, uint64_t limit, eum_budget **out)
{
    uint64_t free_bytes = 0, total = 0;
    eum_status status = device->ops->memory(device, &free_bytes, &total);
    if (status != EUM_OK)
        return status;
    if (limit > total)
        limit = total;
    bool shared = device->caps.kind == EUM_DEVICE_CUDA;
    pthread_mutex_lock(&budgets_lock);
    eum_budget *budget = budgets;
    while (budget != NULL && !(shared && budget->only == NULL && budget->index == device->caps.index))
        budget = budget->next;
    if (budget == NULL) {
        budget = calloc(1, sizeof *budget);
        if (budget == NULL) {
            pthread_mutex_unlock(&budgets_lock);
            return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for the device's budget; free some host memory");
        }
        budget->only = shared ? NULL : device;
        budget->index = device->caps.index;
        budget->limit = limit != 0 ? limit : free_bytes / 5 * 4;
        budget->next = budgets;
        budgets = budget;
    } else if (limit != 0) {
        budget->limit = limit;
    }
    budget->references++;
    pthread_mutex_unlock(&budgets_lock);
    *out = budget;
    return EUM_OK;
}

void eum_budget_put(eum_budget *budget)
{
    if (budget == NULL)
        return;
    pthread_mutex_lock(&budgets_lock);
    if (--budget->references == 0) {
        eum_budget **link = &budgets;
        while (*link != budget)
            link = &(*link)->next;
        *link = budget->next;
        free(budget);
    }
    pthread_mutex_unlock(&budgets_lock);
}

eum_status eum_budget_take(eum_budget *budget, uint64_t bytes, bool oversubscribe, const char *what)
{
    pthread_mutex_lock(&budgets_lock);
    uint64_t limit = budget->limit, used = budget->used;
    bool fits = used <= limit && bytes <= limit - used;
    if (fits || oversubscribe)
        budget->used += bytes;
    pthread_mutex_unlock(&budgets_lock);
    if (fits || oversubscribe)
        return EUM_OK;
    return eum_fail(EUM_ERROR_OVER_BUDGET,
                    "%s needs %" PRIu64 " bytes of device memory, and %" PRIu64 " of the budget of %" PRIu64
                    " are in use; destroy buffers, raise budget_bytes, or ask for EUM_CONTEXT_OVERSUBSCRIBE",
                    what, bytes, used, limit);
}

void eum_budget_return(eum_budget *budget, uint64_t bytes)
{
    pthread_mutex_lock(&budgets_lock);
    budget->used -= bytes;
    pthread_mutex_unlock(&budgets_lock);
}

void eum_budget_mapped(eum_budget *budget, int change)
{
    pthread_mutex_lock(&budgets_lock);
    budget->maps += (uint32_t)change;
    pthread_mutex_unlock(&budgets_lock);
}

uint32_t eum_budget_maps(eum_budget *budget)
{
    pthread_mutex_lock(&budgets_lock);
    uint32_t maps = budget->maps;
    pthread_mutex_unlock(&budgets_lock);
    return maps;
}

void eum_budget_read(eum_budget *budget, uint64_t *out_limit, uint64_t *out_used)
{
    pthread_mutex_lock(&budgets_lock);
    *out_limit = budget->limit;
    *out_used = budget->used;
    pthread_mutex_unlock(&budgets_lock);
}

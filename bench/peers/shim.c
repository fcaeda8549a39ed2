/* What the comparison needs in C: one foreign call for each operation, as the peers' extension modules have it, and a plain read of memory.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "engram_um.h"

/* An operation and its wait, as ours.py fills it in. */
typedef struct operation {
    eum_status (*call)(eum_stream *, const void *, eum_job *); /* eum_similarity or eum_topk */
    eum_status (*wait)(eum_job, int64_t);
    eum_stream *stream;
    const void *config;
} operation;

eum_status peers_finish(const operation *op)
{
    eum_job job = {NULL, 0, 0};
    eum_status status = op->call(op->stream, op->config, &job);
    return status == EUM_OK ? op->wait(job, -1) : status;
}

typedef struct part {
    const uint64_t *words;
    size_t count;
    uint64_t found;
} part;

static void *read_part(void *arg)
{
    part *p = arg;
    uint64_t found[8] = {0}; /* a line of them: whole registers for the compiler */
    for (size_t i = 0; i + 8 <= p->count; i += 8)
        for (size_t k = 0; k < 8; k++)
            found[k] ^= p->words[i + k];
    for (size_t k = 0; k < 8; k++)
        p->found ^= found[k];
    return NULL;
}

#define MOST_THREADS 64

/* Reads every line of `bytes` bytes once, each thread its part. */
uint64_t peers_read(const void *address, size_t bytes, int threads)
{
    part parts[MOST_THREADS];
    pthread_t others[MOST_THREADS];
    uint64_t found = 0;
    threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    size_t each = bytes / sizeof(uint64_t) / (size_t)threads;
    for (int i = 0; i < threads; i++) {
        parts[i] = (part){(const uint64_t *)address + (size_t)i * each, each, 0};
        if (i > 0 && pthread_create(&others[i], NULL, read_part, &parts[i]) != 0)
            return 0;
    }
    (void)read_part(&parts[0]);
    for (int i = 0; i < threads; i++) {
        if (i > 0)
            (void)pthread_join(others[i], NULL);
        found ^= parts[i].found;
    }
    return found;
}

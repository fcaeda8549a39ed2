/* again: a launch that was made just now is made once more with next to no work.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What the state of the buffers says to a launch can only change when somebody takes the context's lock to do something. So launches
 * that were settled (see settled.h) are remembered until then, those of one stream, and one that is the same again needs only its
 * addresses. What they change, their place among what is in flight and what is learned from them, is counted and recorded later: at the
 * latest when somebody takes the lock to do something, and at once for all of them; and not at all who is in flight, if somebody has
 * waited for the stream by then, which is what most programs do next. Who has waited is not kept for it either: the next launch records
 * it while its kernel runs. After EUM_AGAIN_MOST times a launch is looked at as any other. Unless eum_again_shares says otherwise, all
 * of them have one point, which has passed when all have.
 *
 * Who maps, reads or writes bytes of a buffer changes where they are, and nothing else; who launches what cannot be remembered changes
 * what is in flight. What is remembered is then in doubt, and looked at once more before it is made again, which is still a fraction of
 * the long way.
 *
 * A call is known by what it was given, handles and all: a buffer or stream cannot end without somebody taking the lock to do something
 * else.
 *
 * The context's lock is held for all of these. */
#ifndef EUM_SRC_AGAIN_H
#define EUM_SRC_AGAIN_H

#include "move.h"

#define EUM_AGAIN_LAUNCHES 8u
#define EUM_AGAIN_ARGUMENTS 4u
#define EUM_AGAIN_MOST 64u

#define EUM_AGAIN_PARAMS_BYTES 320u

typedef struct eum_again_launch {
    int32_t kind; /* of the call */
    size_t key_bytes;
    char key[EUM_CALL_KEY_BYTES];
    eum_launch_request request; /* its arrays are those below; the callbacks and params of a user's launch are not kept */
    eum_range ranges[EUM_AGAIN_ARGUMENTS];
    eum_access accesses[EUM_AGAIN_ARGUMENTS];
    void *addresses[EUM_AGAIN_ARGUMENTS];
    size_t bytes[EUM_AGAIN_ARGUMENTS];
    eum_move moves[EUM_AGAIN_ARGUMENTS]; /* as they are to be committed; without plans */
    _Alignas(16) char params[EUM_AGAIN_PARAMS_BYTES];
    eum_task task;   /* of an operation, on CUDA: ready to be submitted */
    eum_run run;     /* of an operation */
    uint32_t times;  /* it was made and is not recorded yet */
    uint32_t runs;   /* of these the repeats of an operation; who made the first has counted it */
    uint32_t left;   /* that may still be made */
    uint64_t doubts; /* how many there were when it was last looked at */
} eum_again_launch;

typedef struct eum_again {
    eum_strm *stream; /* of all that are remembered */
    uint32_t count, next;
    bool pending;      /* launches that are not recorded yet */
    bool unmarked;     /* the newest of them has no point yet */
    bool over;         /* somebody has waited for all of them */
    bool stopped;      /* from inside a callback, where nothing can be recorded: no more repeats */
    uint64_t epoch;    /* counts how often all were forgotten, */
    uint64_t doubts;   /* and how often somebody used the bytes of a buffer otherwise */
    uint64_t made;     /* launches in all */
    uint64_t repeated; /* of these, by eum_engine_again; for tests */
    eum_again_launch launches[EUM_AGAIN_LAUNCHES];
} eum_again;

/* The launch is settled, and will be submitted now. NULL: it is not one to remember, and those that are are in doubt. Else
 * eum_again_made is to follow, in place of a mark and a commit; or, if the device refuses it, eum_again_forget. */
eum_again_launch *eum_again_prepare(eum_strm *stream, const eum_launch_request *request, const eum_move *moves,
                                    void *const *addresses);
/* The launch that the same call made, if it may be made again; else NULL. */
eum_again_launch *eum_again_find(const eum_strm *stream, const eum_call_key *key);
/* May a launch and others behind it have one point together? Not where others may submit something in between, or a point costs nothing: there each
 * has its own, and fails by itself. */
bool eum_again_shares(const eum_strm *stream);
/* It was submitted; stream->promised is the sequence of its job, and so is *out_sequence (may be NULL) where it has a point now. May release the lock
 * for a while, if the device gives no point. */
void eum_again_made(eum_strm *stream, eum_again_launch *launch, uint64_t *out_sequence);

/* EUM_GRAPHS: auto (NULL and "": too), or never, where the device is not to make graphs of launches that are made again and again.
 * Errors: EUM_ERROR_INVALID_ARGUMENT. */
eum_status eum_again_parse(const char *text, bool *out_graphs);

/* Is there something on the stream that has no point yet, so that a wait for it is a wait for all that was submitted? */
bool eum_again_is_open(const eum_strm *stream);
/* All that was submitted to the stream until `made` launches had been made is over: if those are all, they will be recorded as such. */
void eum_again_is_over(eum_strm *stream, uint64_t made);
/* Records what is over, before the launch that was just submitted is counted. */
void eum_again_record_over(eum_ctx *ctx);
/* Gives what was made a point, and records it. If the device refuses, releases the lock, waits for all its work, and takes the lock again. */
void eum_again_record(eum_ctx *ctx);
/* The launch is settled all the same, with these moves: it is as good as new. false: it cannot be made again. */
bool eum_again_renew(eum_ctx *ctx, eum_again_launch *launch, const eum_move *moves);
/* Somebody uses bytes of a buffer: all launches are in doubt, after recording the repeats. */
void eum_again_doubt(eum_ctx *ctx);
/* Forgets all launches, after recording the repeats. From inside a callback of CUDA's they are only not repeated any more. */
void eum_again_forget(eum_ctx *ctx);

#endif

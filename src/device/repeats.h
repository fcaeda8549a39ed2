/* repeats: which submissions to a stream are made again and again, so that it pays to keep something ready for them. Pure.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A small table of the last different submissions, each known byte for byte. What is kept ready (`made`) is the caller's, and few have it at once. One
 * that was not used for a while gives way to a newer one, but not many in a row do: who makes each of many a few times would pay for
 * making ready more than it saves. One that is in use gives way only to what was made often. */
#ifndef EUM_DEVICE_REPEATS_H
#define EUM_DEVICE_REPEATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EUM_REPEATS 16u         /* that are known */
#define EUM_REPEATS_MADE 8u     /* of these, that have something ready */
#define EUM_REPEATS_WORTH 3u    /* the third time it is made ready; */
#define EUM_REPEATS_REPLACE 64u /* and the 64th, if one that is in use has to give way, */
#define EUM_REPEATS_IDLE 64u    /* which it is not once there were so many others; */
#define EUM_REPEATS_PAUSE 16u   /* of these, one gives way in so many submissions */
#define EUM_REPEAT_BYTES 256u   /* longer ones are not known */

typedef struct eum_repeat {
    uint64_t id;    /* never used again; 0: an empty place */
    uint64_t used;  /* when, by the table's count */
    uint64_t times; /* since it is known, or was made to give way */
    void *made;     /* NULL: nothing is ready */
    bool refused;   /* nothing can be made ready for it */
    size_t bytes;
    unsigned char identity[EUM_REPEAT_BYTES];
} eum_repeat;

/* All zero: empty. */
typedef struct eum_repeats {
    uint64_t uses, ids;
    uint64_t replaced; /* when one had to give way, by `uses` */
    eum_repeat items[EUM_REPEATS];
} eum_repeats;

/* Counts one more submission with this identity. NULL: it is too long. What is returned stays until as many others are seen; a place with something
 * ready stays until eum_repeats_worth gives it up. */
eum_repeat *eum_repeats_see(eum_repeats *table, const void *identity, size_t bytes);
/* The same for one that was returned before: `item`, if it is still the one with this id, else NULL. */
eum_repeat *eum_repeats_see_again(eum_repeats *table, eum_repeat *item, uint64_t id);
/* Is it time to make something ready for it? *out_victim: what was ready for that one must be ended first, its `made` set to NULL; NULL: none. */
bool eum_repeats_worth(eum_repeats *table, const eum_repeat *item, eum_repeat **out_victim);

#endif

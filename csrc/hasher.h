/* One thread that does stripes' jobs (stripe.h): whatever is there when it becomes free, together.
 *
 * Jobs go in and come out in batches; an event descriptor says that some came out. No interpreter
 * is asked for anything in between, so none of its locks is waited for. Of a long job the thread
 * does one step, then looks who else has come: those join it. Small jobs that end with the same
 * step come out together: one by one, the first would be written alone, and each disk sync twice.
 * Those before them are written while the next ones are coded, once they add up to much.
 *
 * Invariants:
 *   1. A job belongs to the hasher from its submission until it is reaped, or the hasher stopped.
 *   2. The descriptor is readable when there is something to reap that was not yet reaped for.
 *   3. Nothing allocates but the start of the thread: whatever was accepted is done. */
#ifndef S3NODE_HASHER_H
#define S3NODE_HASHER_H

#include "stripe.h"

#include <pthread.h>

enum { HASHER_TELL_BYTES = 2 << 20 }; /* jobs that are done come out when they add up to this */

struct stripe_jobs {
    struct stripe_job *first, *last;
};

struct hasher {
    /* Set by who makes it: */
    const struct md5_kernel *kernel;
    size_t step_bytes; /* of a job's MD5 before others may join: see stripe_md5 */
    int event_fd; /* non-blocking */
    /* Its own: */
    bool stopping;
    struct stripe_jobs queued, done;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    pthread_t thread;
};

/* 0, or a negated errno: there is no thread, and nothing to stop. */
int hasher_start(struct hasher *hasher);

/* Takes the jobs, in order. Their memory, and that of what they point to, stays as it is. */
void hasher_submit(struct hasher *hasher, struct stripe_job *const *jobs, size_t count);

/* The tokens of jobs that are done (HASHED or beyond), in the order in which
 * they became so, and how many: less than `capacity` when these were all. */
size_t hasher_reap(struct hasher *hasher, uint64_t *tokens, size_t capacity);

/* Ends the thread after its step. What is not done by then is not the hasher's any more, and what
 * is done is not to be reaped any more. */
void hasher_stop(struct hasher *hasher);

#endif

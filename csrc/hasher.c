/* See hasher.h. */
#define _GNU_SOURCE
#include "hasher.h"

#include "system.h"

static void append(struct stripe_jobs *jobs, struct stripe_job *job)
{
    job->next = NULL;
    if (jobs->first)
        jobs->last->next = job;
    else
        jobs->first = job;
    jobs->last = job;
}

static struct stripe_job *pop(struct stripe_jobs *jobs)
{
    struct stripe_job *job = jobs->first;
    if (job)
        jobs->first = job->next;
    return job;
}

/* Tell of jobs. Who is told once comes for all of them. */
static void tell(struct hasher *hasher, struct stripe_job *const *jobs, size_t count)
{
    if (!count)
        return;
    pthread_mutex_lock(&hasher->mutex);
    bool told = hasher->done.first;
    for (size_t i = 0; i < count; i++)
        append(&hasher->done, jobs[i]);
    if (!told)
        system_wake(hasher->event_fd); /* which cannot fail: the descriptor is open */
    pthread_mutex_unlock(&hasher->mutex);
}

/* One step of all. Those that are done are told of together, or when they add up to much. How many
 * go on, moved to the front. */
static size_t step(struct hasher *hasher, struct stripe_job **jobs, size_t count)
{
    struct stripe_job *done[STRIPES_TOGETHER_MAX];
    size_t left = 0, ended = 0, bytes = 0;
    stripe_md5(hasher->kernel, jobs, count, hasher->step_bytes);
    for (size_t i = 0; i < count; i++) {
        if (jobs[i]->md5->count) {
            jobs[left++] = jobs[i];
        } else {
            stripe_finish(jobs[i]);
            done[ended++] = jobs[i];
            bytes += jobs[i]->bytes;
        }
        if (bytes >= HASHER_TELL_BYTES) {
            tell(hasher, done, ended);
            ended = bytes = 0;
        }
    }
    tell(hasher, done, ended);
    return left;
}

static void *run(void *argument)
{
    struct hasher *hasher = argument;
    struct stripe_job *jobs[STRIPES_TOGETHER_MAX];
    size_t count = 0;
    pthread_mutex_lock(&hasher->mutex);
    while (!hasher->stopping) {
        while (count < STRIPES_TOGETHER_MAX && hasher->queued.first)
            jobs[count++] = pop(&hasher->queued);
        if (!count) {
            pthread_cond_wait(&hasher->work, &hasher->mutex);
            continue;
        }
        pthread_mutex_unlock(&hasher->mutex);
        count = step(hasher, jobs, count);
        pthread_mutex_lock(&hasher->mutex);
    }
    pthread_mutex_unlock(&hasher->mutex);
    return NULL;
}

int hasher_start(struct hasher *hasher)
{
    pthread_mutex_init(&hasher->mutex, NULL);
    pthread_cond_init(&hasher->work, NULL);
    return system_spawn(&hasher->thread, run, hasher);
}

void hasher_submit(struct hasher *hasher, struct stripe_job *const *jobs, size_t count)
{
    pthread_mutex_lock(&hasher->mutex);
    for (size_t i = 0; i < count; i++)
        append(&hasher->queued, jobs[i]);
    pthread_cond_signal(&hasher->work);
    pthread_mutex_unlock(&hasher->mutex);
}

size_t hasher_reap(struct hasher *hasher, uint64_t *tokens, size_t capacity)
{
    size_t count = 0;
    struct stripe_job *job;
    pthread_mutex_lock(&hasher->mutex);
    system_clear(hasher->event_fd);
    while (count < capacity && (job = pop(&hasher->done)))
        tokens[count++] = job->token;
    pthread_mutex_unlock(&hasher->mutex);
    return count;
}

void hasher_stop(struct hasher *hasher)
{
    pthread_mutex_lock(&hasher->mutex);
    hasher->stopping = true;
    pthread_cond_signal(&hasher->work);
    pthread_mutex_unlock(&hasher->mutex);
    pthread_join(hasher->thread, NULL);
    pthread_cond_destroy(&hasher->work);
    pthread_mutex_destroy(&hasher->mutex);
}

/* See stripe.h. */
#include "stripe.h"

#include "crc64.h"
#include "record.h"

#include <string.h>

static void begin(struct stripe_job *job)
{
    record_digests(job->shards, job->shard_bytes, job->code->plan->columns, job->before);
    job->state = STRIPE_BEGUN;
}

void stripe_verify(struct stripe_job *job)
{
    const struct gf_plan *plan = job->code->plan;
    size_t blocks = record_block_count(job->shard_bytes);
    record_digests(job->shards, job->shard_bytes, plan->columns + plan->rows, job->digests);
    bool same = !memcmp(job->before, job->digests, plan->columns * blocks * sizeof *job->digests);
    job->state = same ? STRIPE_RIGHT : STRIPE_CHANGED;
}

void stripe_finish(struct stripe_job *job)
{
    const struct stripe_code *code = job->code;
    xxh3_update(job->xxh3, job->shards, job->bytes);
    if (job->crc64)
        *job->crc64 = crc64(*job->crc64, job->shards, job->bytes);
    code->encode(code->kernel, code->plan, job->shard_bytes, job->shards);
    job->state = STRIPE_HASHED;
    if (!job->others)
        stripe_verify(job);
}

static void some_md5(const struct md5_kernel *kernel, struct stripe_job *const *jobs, size_t count,
                     size_t bytes_max)
{
    struct md5_job *hashed[STRIPES_TOGETHER_MAX] = {NULL};
    for (size_t i = 0; i < count; i++) {
        if (jobs[i]->state == STRIPE_NEW)
            begin(jobs[i]);
        hashed[i] = jobs[i]->md5;
    }
    md5_advance(kernel, hashed, count, bytes_max);
}

void stripe_md5(const struct md5_kernel *kernel, struct stripe_job *const *jobs, size_t count,
                size_t bytes_max)
{
    enum { MOST = STRIPES_TOGETHER_MAX };
    for (; count > MOST; count -= MOST, jobs += MOST)
        some_md5(kernel, jobs, MOST, bytes_max);
    some_md5(kernel, jobs, count, bytes_max);
}

void stripe_advance(const struct md5_kernel *kernel, struct stripe_job *const *jobs, size_t count,
                    size_t bytes_max)
{
    stripe_md5(kernel, jobs, count, bytes_max);
    for (size_t i = 0; i < count; i++)
        if (!jobs[i]->md5->count)
            stripe_finish(jobs[i]);
}

/* All that the CPU does for the stripes of uploads, many of them at one crossing into C.
 *
 * A job is one stripe. What is done for it, in this order, and how far it then is:
 *
 *   1  digests of the blocks of its data shards: what the hashes see is what is stored    BEGUN
 *   2  MD5, in lanes together with the other jobs', in steps, so that others may join
 *   3  XXH3-128 of the object, its CRC-64/NVME where that is wanted
 *   4  the parity shards                                                                  HASHED
 *      (here who called may have others see the bytes, whose hashes are not of these)
 *   5  digests of the blocks of all shards; those of the data must be what they were      RIGHT
 *      at first, else memory changed under a hash or while it was coded                   CHANGED
 *
 * Invariants:
 *   1. A job whose data changed anywhere between 1 and 5 never becomes RIGHT.
 *   2. Nothing is written but the parity, the digests, and the jobs with their streams.
 *   3. Nothing allocates, locks, or keeps state: any number of threads may advance different jobs
 *      at once. The streams of an object are in one job at a time. */
#ifndef S3NODE_STRIPE_H
#define S3NODE_STRIPE_H

#include "gf.h"
#include "md5.h"
#include "xxh3.h"

/* How the data shards become parity: the codec's own, which has been linked elsewhere. */
struct stripe_code {
    void (*encode)(const struct gf_kernel *kernel, const struct gf_plan *plan, size_t bytes,
                   uint8_t *shards);
    const struct gf_kernel *kernel;
    const struct gf_plan *plan; /* of m rows and k columns */
};

enum { STRIPES_TOGETHER_MAX = 4 * MD5_LANES_MAX }; /* more than sit in lanes: some end early */

enum stripe_state { STRIPE_NEW, STRIPE_BEGUN, STRIPE_HASHED, STRIPE_RIGHT, STRIPE_CHANGED };

struct stripe_job {
    struct md5_job *md5; /* of the stripe's bytes */
    struct xxh3_stream *xxh3;
    uint64_t *crc64; /* NULL if none is wanted */
    const struct stripe_code *code;
    uint8_t *shards; /* one right behind the other: k of data, padded; room for m of parity */
    size_t shard_bytes;
    size_t bytes; /* of the data, without their padding */
    uint64_t *before; /* room for the digests of step 1 */
    uint64_t *digests; /* room for those of step 5 */
    bool others; /* others are to see the bytes: after 4 it waits for stripe_verify */
    enum stripe_state state;
    uint64_t token; /* whose job it is, for those who queue it */
    struct stripe_job *next; /* in a queue */
};

/* Advances all jobs, each by at most bytes_max bytes of MD5 (at least a block of them): those with
 * no more than that are RIGHT then, or CHANGED, or wait as HASHED. */
void stripe_advance(const struct md5_kernel *kernel, struct stripe_job *const *jobs, size_t count,
                    size_t bytes_max);

/* The same in two parts. First 1 and 2 of all jobs, by at most bytes_max bytes of each ... */
void stripe_md5(const struct md5_kernel *kernel, struct stripe_job *const *jobs, size_t count,
                size_t bytes_max);

/* ... then the rest of a job whose MD5 has no pieces left. */
void stripe_finish(struct stripe_job *job);

/* Step 5 for a job that is HASHED. */
void stripe_verify(struct stripe_job *job);

#endif

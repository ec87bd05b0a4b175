/* Stripes of many shapes and states at one crossing, each step beside the function that it is made
 * of; and memory that changes between any two steps.
 *
 * Shards end where their allocation ends, so that the address sanitizer sees a read beyond them. */
#include "crc64.h"
#include "record.h"
#include "require.h"
#include "stripe.h"

#include <string.h>

enum { K = 4, N = 6, JOBS = 150, BLOCKS_MAX = 2, LONGEST = 80000 };

struct test {
    struct md5_stream md5;
    struct md5_piece piece;
    struct md5_job md5_job;
    struct xxh3_stream xxh3;
    uint64_t crc64, before[K * BLOCKS_MAX], digests[N * BLOCKS_MAX];
    struct stripe_job job;
};

static struct test tests[JOBS];
static struct gf_plan plan;
static const struct gf_kernel *gf;
static const struct md5_kernel *md5;
static struct stripe_code code, flipping;

/* Codes, and flips a bit of a data shard. */
static void encode_and_flip(const struct gf_kernel *kernel, const struct gf_plan *plan_,
                            size_t bytes, uint8_t *shards)
{
    gf_apply_in_row(kernel, plan_, bytes, shards);
    shards[K * bytes - 1] ^= 4;
}

static void make(struct test *test, size_t bytes, bool with_crc)
{
    size_t shard_bytes = (bytes + K - 1) / K;
    uint8_t *shards = calloc(N, shard_bytes);
    for (size_t i = 0; i < bytes; i++)
        shards[i] = (uint8_t)(i * 131 + (i >> 8) * 29 + bytes);
    md5_init(&test->md5);
    xxh3_begin(&test->xxh3);
    test->crc64 = 0;
    test->piece = (struct md5_piece){shards, bytes};
    test->md5_job = (struct md5_job){&test->md5, &test->piece, 1};
    test->job = (struct stripe_job){&test->md5_job, &test->xxh3, with_crc ? &test->crc64 : NULL,
                                    &code, shards, shard_bytes, bytes, test->before,
                                    test->digests, false, STRIPE_NEW, 0, NULL};
}

/* What was computed beside what the parts compute of the bytes that are there now. */
static void check(struct test *test)
{
    const struct stripe_job *job = &test->job;
    size_t blocks = record_block_count(job->shard_bytes);
    uint64_t digests[N * BLOCKS_MAX];
    uint8_t md5_now[16], md5_then[16], *copy = malloc(N * job->shard_bytes);
    struct md5_stream stream;
    memcpy(copy, job->shards, N * job->shard_bytes);
    md5_init(&stream);
    md5_update(md5, &stream, copy, job->bytes);
    md5_digest(&stream, md5_now);
    md5_digest(&test->md5, md5_then);
    REQUIRE(!memcmp(md5_now, md5_then, sizeof md5_now), "MD5 of %zu", job->bytes);
    if (job->bytes > XXH3_SHORT_MAX) {
        struct xxh3_stream whole;
        uint8_t now[XXH3_128_BYTES], then[XXH3_128_BYTES];
        xxh3_begin(&whole);
        xxh3_update(&whole, copy, job->bytes);
        xxh3_128_digest(&whole, now);
        xxh3_128_digest(&test->xxh3, then);
        REQUIRE(!memcmp(now, then, sizeof now), "XXH3 of %zu", job->bytes);
    }
    REQUIRE(test->crc64 == (job->crc64 ? crc64(0, copy, job->bytes) : 0), "CRC of %zu", job->bytes);
    gf_apply_in_row(gf, &plan, job->shard_bytes, copy);
    REQUIRE(!memcmp(copy, job->shards, N * job->shard_bytes), "parity of %zu", job->bytes);
    record_digests(copy, job->shard_bytes, N, digests);
    REQUIRE(!memcmp(digests, test->digests, N * blocks * sizeof *digests), "of %zu", job->bytes);
    free(copy);
}

/* Those that are done, or wait for others, leave; until all have. */
static void advance_all(size_t count, size_t bytes_max)
{
    struct stripe_job *under_way[JOBS];
    for (size_t i = 0; i < count; i++)
        under_way[i] = &tests[i].job;
    while (count) {
        stripe_advance(md5, under_way, count, bytes_max);
        size_t left = 0;
        for (size_t i = 0; i < count; i++)
            if (under_way[i]->state < STRIPE_HASHED)
                under_way[left++] = under_way[i];
        count = left;
    }
}

static void many(size_t count, size_t bytes_max)
{
    for (size_t i = 0; i < count; i++) {
        make(&tests[i], 1 + i * 977 * (i % 7) % LONGEST, i % 3);
        tests[i].job.others = i % 5 == 1;
        tests[i].job.code = i % 5 == 2 ? &flipping : &code;
    }
    advance_all(count, bytes_max);
    for (size_t i = 0; i < count; i++) {
        struct stripe_job *job = &tests[i].job;
        if (job->others) {
            REQUIRE(job->state == STRIPE_HASHED, "waits");
            job->shards[0] ^= i % 2;
            stripe_verify(job);
        }
        bool flipped = job->code == &flipping || (job->others && i % 2);
        REQUIRE(job->state == (flipped ? STRIPE_CHANGED : STRIPE_RIGHT), "%zu", i);
        if (!flipped)
            check(&tests[i]);
        free(job->shards);
    }
}

/* Any bit that changes after the first step: of the data, of the padding, in any shard. */
static void changed_between_steps(void)
{
    for (size_t at = 0; at < 4004; at += 91) {
        struct stripe_job *job = &tests[0].job;
        make(&tests[0], 4001, true);
        stripe_advance(md5, (struct stripe_job *const[]){job}, 1, 64);
        REQUIRE(job->state == STRIPE_BEGUN, "of many steps");
        job->shards[at] ^= (uint8_t)(1 << at % 8);
        advance_all(1, 1000);
        REQUIRE(job->state == STRIPE_CHANGED, "byte %zu", at);
        free(job->shards);
    }
}

int main(void)
{
    const uint8_t matrix[(N - K) * K] = {1, 2, 4, 8, 3, 5, 7, 11};
    REQUIRE(md5_select(NULL, &md5) == MD5_SELECTED && gf_select(NULL, &gf) == GF_SELECTED, "any");
    gf_plan_init(&plan, N - K, K, matrix);
    code = (struct stripe_code){gf_apply_in_row, gf, &plan};
    flipping = (struct stripe_code){encode_and_flip, gf, &plan};
    many(0, 1000);
    many(1, SIZE_MAX);
    many(JOBS, SIZE_MAX);
    many(JOBS, 5000);
    changed_between_steps();
    return 0;
}

/* Jobs of many shapes go in and come out, together or one after the other as they come; and what
 * becomes of those that are there when the hasher is stopped. Which step the thread has come to is
 * decided by a kernel that needs a permit for each. */
#define _GNU_SOURCE
#include "hasher.h"
#include "record.h"
#include "require.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { K = 4, N = 6, JOBS = 300, STEP = 4096, LONGEST = 40000 };
enum { BLOCKS_MAX = HASHER_TELL_BYTES / K >> RECORD_BLOCK_BITS };

struct test {
    struct md5_stream md5;
    struct md5_piece piece;
    struct md5_job md5_job;
    struct xxh3_stream xxh3;
    uint64_t before[K * BLOCKS_MAX], digests[N * BLOCKS_MAX];
    struct stripe_job job;
    size_t bytes;
    int came;
};

static struct test tests[JOBS];
static struct gf_plan plan;
static struct stripe_code code;
static sem_t begun, permits;

static void permitted(uint32_t chain[MD5_WORDS], const uint8_t *at, size_t blocks)
{
    sem_post(&begun);
    while (sem_wait(&permits) < 0)
        REQUIRE(errno == EINTR, "%s", strerror(errno));
    md5_lone_scalar(chain, at, blocks);
}

static const struct md5_kernel by_permit = {.name = "by permit", .lone = permitted};

static struct stripe_job *make(size_t i, size_t bytes)
{
    struct test *test = &tests[i];
    size_t shard_bytes = (bytes + K - 1) / K;
    uint8_t *shards = calloc(N, shard_bytes);
    for (size_t at = 0; at < bytes; at++)
        shards[at] = (uint8_t)(at * 131 + (at >> 8) * 29 + i);
    md5_init(&test->md5);
    xxh3_begin(&test->xxh3);
    test->came = 0;
    test->bytes = bytes;
    test->piece = (struct md5_piece){shards, bytes};
    test->md5_job = (struct md5_job){&test->md5, &test->piece, 1};
    test->job = (struct stripe_job){.md5 = &test->md5_job, .xxh3 = &test->xxh3, .code = &code,
                                    .shards = shards, .shard_bytes = shard_bytes, .bytes = bytes,
                                    .before = test->before, .digests = test->digests,
                                    .others = i % 5 == 1, .token = i};
    return &test->job;
}

static void unmake(size_t i)
{
    struct test *test = &tests[i];
    struct md5_stream stream;
    uint8_t now[MD5_DIGEST_BYTES], then[MD5_DIGEST_BYTES];
    if (test->came) {
        REQUIRE(test->came == 1, "%zu came %d times", i, test->came);
        REQUIRE(test->job.state == (test->job.others ? STRIPE_HASHED : STRIPE_RIGHT), "%zu", i);
        md5_init(&stream);
        for (size_t at = 0; at < test->bytes / MD5_BLOCK_BYTES; at++)
            md5_lone_scalar(stream.chain, test->job.shards + at * MD5_BLOCK_BYTES, 1);
        stream.bytes = test->bytes;
        memcpy(stream.rest, test->job.shards + test->bytes / MD5_BLOCK_BYTES * MD5_BLOCK_BYTES,
               test->bytes % MD5_BLOCK_BYTES);
        md5_digest(&stream, now);
        md5_digest(&test->md5, then);
        REQUIRE(!memcmp(now, then, sizeof now), "MD5 of %zu", i);
    }
    free(test->job.shards);
}

static void start(struct hasher *hasher, const struct md5_kernel *kernel)
{
    *hasher = (struct hasher){.kernel = kernel, .step_bytes = STEP,
                              .event_fd = eventfd(0, EFD_NONBLOCK)};
    REQUIRE(hasher_start(hasher) == 0, "a thread");
}

static void end(struct hasher *hasher)
{
    hasher_stop(hasher);
    close(hasher->event_fd);
}

/* Waits for one more batch; how many came. */
static size_t reap(struct hasher *hasher, size_t capacity)
{
    uint64_t tokens[JOBS];
    size_t all = 0, count;
    struct pollfd ready = {.fd = hasher->event_fd, .events = POLLIN};
    REQUIRE(poll(&ready, 1, 30000) == 1, "the descriptor tells");
    do {
        count = hasher_reap(hasher, tokens, capacity);
        for (size_t i = 0; i < count; i++)
            tests[tokens[i]].came++;
        all += count;
    } while (count == capacity);
    return all;
}

static void submit(struct hasher *hasher, size_t i, size_t bytes)
{
    struct stripe_job *job = make(i, bytes);
    hasher_submit(hasher, &job, 1);
}

static void permit(int count)
{
    while (count-- > 0)
        sem_post(&permits);
}

static void many(struct hasher *hasher, unsigned seed)
{
    struct stripe_job *jobs[JOBS];
    size_t made = 0, came = 0;
    while (made < JOBS) {
        size_t batch = 1 + (size_t)rand_r(&seed) % 100, count = 0;
        while (count < batch && made < JOBS) {
            jobs[count++] = make(made, 1 + (size_t)rand_r(&seed) % LONGEST);
            made++;
        }
        hasher_submit(hasher, jobs, count);
        if (rand_r(&seed) % 2)
            came += reap(hasher, 1 + (size_t)rand_r(&seed) % 7);
    }
    while (came < JOBS)
        came += reap(hasher, JOBS);
    for (size_t i = 0; i < JOBS; i++) {
        REQUIRE(tests[i].came, "%zu came", i);
        unmake(i);
    }
    uint64_t tokens[1];
    REQUIRE(hasher_reap(hasher, tokens, 1) == 0, "that was all");
}

/* Who comes while a step is done goes on with it together. */
static void together(void)
{
    struct hasher hasher;
    start(&hasher, &by_permit);
    submit(&hasher, 0, 1000);
    sem_wait(&begun);
    for (size_t i = 1; i < 12; i++)
        submit(&hasher, i, 2000);
    permit(1);
    REQUIRE(reap(&hasher, JOBS) == 1 && tests[0].came, "the first was alone");
    permit(10);
    for (size_t i = 1; i < 12; i++)
        sem_wait(&begun);
    struct pollfd ready = {.fd = hasher.event_fd, .events = POLLIN};
    REQUIRE(poll(&ready, 1, 0) == 0, "ten of the step are hashed, and none is done");
    permit(1);
    REQUIRE(reap(&hasher, JOBS) == 11, "all of the step");
    end(&hasher);
    for (size_t i = 0; i < 12; i++)
        unmake(i);
}

static void encode_by_permit(const struct gf_kernel *kernel, const struct gf_plan *plan_,
                             size_t bytes, uint8_t *shards)
{
    sem_post(&begun);
    while (sem_wait(&permits) < 0)
        REQUIRE(errno == EINTR, "%s", strerror(errno));
    gf_apply_in_row(kernel, plan_, bytes, shards);
}

/* Of four that end with the same step, each of a part of HASHER_TELL_BYTES, so many come out at a
 * time as make that up; and with the step, what is left. */
static void ended_together(const struct md5_kernel *md5, size_t part)
{
    enum { FOUR = 4 };
    struct hasher hasher;
    struct stripe_code by_permit_too = code;
    struct stripe_job *jobs[FOUR];
    struct pollfd ready = {.fd = -1, .events = POLLIN};
    by_permit_too.encode = encode_by_permit;
    for (size_t i = 0; i < FOUR; i++) {
        jobs[i] = make(i, (HASHER_TELL_BYTES + part - 1) / part);
        jobs[i]->code = &by_permit_too;
    }
    start(&hasher, md5);
    hasher_submit(&hasher, jobs, FOUR);
    sem_wait(&begun);
    ready.fd = hasher.event_fd;
    for (size_t done = 1; done <= FOUR; done++) {
        permit(1);
        if (done < FOUR)
            sem_wait(&begun); /* what was told of before the next one is coded, was by now */
        if (done % part == 0 || done == FOUR)
            REQUIRE(reap(&hasher, JOBS) == (done % part ? done % part : part), "%zu", done);
        else
            REQUIRE(poll(&ready, 1, 0) == 0, "%zu waits for the next", done);
        REQUIRE(!jobs[FOUR - 1]->md5->count, "all of one step");
    }
    end(&hasher);
    for (size_t i = 0; i < FOUR; i++)
        unmake(i);
}

/* A long job keeps nobody waiting who comes while it is at work. */
static void a_long_one(void)
{
    struct hasher hasher;
    start(&hasher, &by_permit);
    submit(&hasher, 0, 8 * STEP);
    sem_wait(&begun);
    submit(&hasher, 1, 100);
    permit(3); /* its first step; its second, and all of the short one */
    REQUIRE(reap(&hasher, JOBS) == 1 && tests[1].came && !tests[0].came, "overtaken");
    permit(6);
    REQUIRE(reap(&hasher, JOBS) == 1 && tests[0].came, "the rest");
    end(&hasher);
    unmake(0);
    unmake(1);
    while (sem_trywait(&begun) == 0)
        ;
}

static void *stop(void *hasher)
{
    hasher_stop(hasher);
    return NULL;
}

static bool stopping_now(struct hasher *hasher)
{
    pthread_mutex_lock(&hasher->mutex);
    bool stopping = hasher->stopping;
    pthread_mutex_unlock(&hasher->mutex);
    return stopping;
}

/* It ends after a step; what was not done is as it was then. */
static void stopped_at_work(void)
{
    enum { STEPS = LONGEST / 64 };
    struct hasher hasher;
    pthread_t stopping;
    start(&hasher, &by_permit);
    hasher.step_bytes = 64; /* seen by the thread with the first job */
    submit(&hasher, 0, STEPS * 64);
    sem_wait(&begun);
    submit(&hasher, 1, 64);
    permit(3);
    REQUIRE(reap(&hasher, JOBS) == 1, "the short one");
    pthread_create(&stopping, NULL, stop, &hasher);
    while (!stopping_now(&hasher)) /* at work it cannot end without a permit */
        sched_yield();
    do
        permit(1);
    while (pthread_tryjoin_np(stopping, NULL) == EBUSY);
    close(hasher.event_fd);
    REQUIRE(tests[0].job.state == STRIPE_BEGUN && tests[0].md5_job.count, "not done");
    unmake(0);
    unmake(1);
    while (sem_trywait(&begun) == 0 || sem_trywait(&permits) == 0)
        ;
}

int main(void)
{
    const uint8_t matrix[(N - K) * K] = {1, 2, 4, 8, 3, 5, 7, 11};
    const struct md5_kernel *md5;
    const struct gf_kernel *gf;
    struct hasher hasher;
    REQUIRE(md5_select(NULL, &md5) == MD5_SELECTED && gf_select(NULL, &gf) == GF_SELECTED, "any");
    gf_plan_init(&plan, N - K, K, matrix);
    code = (struct stripe_code){gf_apply_in_row, gf, &plan};
    sem_init(&begun, 0, 0);
    sem_init(&permits, 0, 0);
    start(&hasher, md5);
    for (unsigned seed = 0; seed < 5; seed++)
        many(&hasher, seed);
    end(&hasher);
    together();
    for (size_t part = 1; part <= 5; part++)
        ended_together(md5, part);
    a_long_one();
    stopped_at_work();
    return 0;
}

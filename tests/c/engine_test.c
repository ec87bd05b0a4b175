/* The disk engine under load, with faults, built with sanitizers by the tests.
 *
 * The table of calls is replaced by one that keeps "files" in memory, writes short, is
 * interrupted, and fails now and then. Several rounds of random batches over several slots are
 * submitted while completions are reaped. Checked are the engine's invariants:
 *   - every accepted operation completes exactly once;
 *   - a write that completed without error was on the "platter" (synced after its last byte);
 *   - no call is made on a file after one on it failed;
 *   - reads return what was written;
 *   - records of stripes are what they are said to be, at the place they were to go;
 *   - whom a disk holds holds nobody else, whatever set of queues is given to at once;
 *   - failing allocations and threads are answered, and nothing leaks or hangs.
 * usage: engine_test SEED ROUNDS
 */
#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 3, FILES = 6, FILE_BYTES = 1 << 16, OPS = 400, BATCH = 17, PIECE = 64 };

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                       \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

typedef struct { /* fd: its index; one slot's thread writes it, readers read */
    pthread_mutex_t mutex;
    unsigned char seen[FILE_BYTES], platter[FILE_BYTES];
    int failed, touched_after;
} memory_file;

static memory_file files[FILES];
static atomic_uint chance;       /* of each call to fail, in 1/1000 */
static atomic_int allocations;   /* that still succeed; negative: all */
static atomic_int chunks;        /* allocations large enough to be one */
static atomic_int threads_left;  /* that can still be spawned; negative: all */
static atomic_int stuck_sync = -1, stuck_read = -1; /* the file whose calls do not return; negative: none */
static engine_calls libc_calls;

static unsigned next_random(unsigned *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static unsigned roll(void) /* 0..999, per thread, from the seed alone */
{
    static atomic_uint streams;
    static _Thread_local unsigned state;
    if (!state)
        state = 2654435761u * (atomic_fetch_add(&streams, 1) + 1);
    return next_random(&state) % 1000;
}

static int enter(memory_file *file)
{
    pthread_mutex_lock(&file->mutex);
    if (file->failed)
        file->touched_after = 1;
    if (roll() < atomic_load(&chance))
        file->failed = 1;
    return file->failed ? -EIO : 0;
}

static int64_t test_pwritev(int fd, const engine_iov *iov, int count, int64_t offset)
{
    memory_file *file = &files[fd];
    if (roll() < 50)
        return -EINTR;
    int64_t written = enter(file);
    int64_t limit = roll() < 300 ? 1 + roll() % 100 : FILE_BYTES;
    for (int i = 0; !file->failed && i < count && written < limit; i++) {
        int64_t part = (int64_t)iov[i].length;
        if (part > limit - written)
            part = limit - written;
        CHECK(offset + written + part <= FILE_BYTES);
        memcpy(file->seen + offset + written, iov[i].base, (size_t)part);
        written += part;
    }
    pthread_mutex_unlock(&file->mutex);
    return written;
}

static void hang(const atomic_int *stuck, int fd)
{
    while (atomic_load(stuck) == fd)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static int64_t test_preadv(int fd, const engine_iov *iov, int count, int64_t offset, bool now)
{
    memory_file *file = &files[fd];
    int64_t limit = roll() < 300 ? 1 + roll() % 100 : FILE_BYTES, got = 0;
    if (roll() < 50)
        return -EINTR;
    if (now && roll() < 300)
        return roll() < 500 ? -EAGAIN : -EOPNOTSUPP;
    hang(&stuck_read, fd);
    pthread_mutex_lock(&file->mutex);
    for (int i = 0; i < count && got < limit; i++) {
        int64_t part = (int64_t)iov[i].length;
        if (part > limit - got)
            part = limit - got;
        if (offset + got + part > FILE_BYTES)
            part = offset + got < FILE_BYTES ? FILE_BYTES - offset - got : 0;
        memcpy(iov[i].base, file->seen + offset + got, (size_t)part);
        got += part;
    }
    pthread_mutex_unlock(&file->mutex);
    return got;
}

static int test_fdatasync(int fd)
{
    memory_file *file = &files[fd];
    hang(&stuck_sync, fd);
    int result = enter(file);
    if (result == 0)
        memcpy(file->platter, file->seen, FILE_BYTES);
    pthread_mutex_unlock(&file->mutex);
    return result;
}

static int test_fallocate(int fd, int64_t offset, int64_t length)
{
    CHECK(fd >= 0 && offset >= 0 && length > 0);
    return roll() < 100 ? -EOPNOTSUPP : 0;
}

static int test_wake(int event_fd)
{
    return roll() < 100 ? -EIO : libc_calls.wake(event_fd);
}

static int test_spawn(void *thread, void *(*body)(void *), void *argument)
{
    if (atomic_load(&threads_left) == 0)
        return -EAGAIN;
    atomic_fetch_sub(&threads_left, 1);
    return libc_calls.spawn(thread, body, argument);
}

static void *test_allocate(size_t size)
{
    if (atomic_load(&allocations) == 0)
        return NULL;
    if (atomic_load(&allocations) > 0)
        atomic_fetch_sub(&allocations, 1);
    if (size > ENGINE_CHUNK * sizeof(engine_op))
        atomic_fetch_add(&chunks, 1);
    return libc_calls.allocate(size);
}

static const engine_room no_room, room = {512, 4096, FILE_BYTES, false};

static engine_calls table(void)
{
    engine_system_calls(&libc_calls);
    engine_calls calls = libc_calls;
    calls.pwritev = test_pwritev;
    calls.preadv = test_preadv;
    calls.fdatasync = test_fdatasync;
    calls.fallocate = test_fallocate;
    calls.wake = test_wake;
    calls.spawn = test_spawn;
    calls.allocate = test_allocate;
    return calls;
}

/* ---- one round ------------------------------------------------------------------------- */

typedef struct {
    int file;
    int64_t offset, size;
    unsigned char data[4 * PIECE], got[4 * PIECE + 1];
    size_t head, gap;
    int read, done;
} operation;

static operation ops[2 * OPS];

static void finish(const engine_completion *one)
{
    operation *op = &ops[one->token];
    memory_file *file = &files[op->file];
    CHECK(!op->done);
    op->done = 1;
    if (op->read) {
        CHECK(one->error == 0 && one->stage == ENGINE_DONE && one->got == op->size);
        CHECK(!memcmp(op->got, op->data, op->head));
        CHECK(!memcmp(op->got + op->head + op->gap, op->data + op->head,
                      (size_t)op->size - op->head));
        return;
    }
    pthread_mutex_lock(&file->mutex);
    if (one->error == 0)
        CHECK(!memcmp(file->platter + op->offset, op->data, (size_t)op->size));
    else
        CHECK(file->failed && one->error == EIO && one->stage != ENGINE_DONE);
    CHECK(!file->touched_after);
    pthread_mutex_unlock(&file->mutex);
}

static int reap(engine *e, int event_fd, int wait)
{
    engine_completion out[7];
    uint64_t value;
    int total = 0, count = 7;
    if (wait) {
        struct pollfd ready = {.fd = event_fd, .events = POLLIN};
        CHECK(poll(&ready, 1, 20000) == 1);
    }
    if (read(event_fd, &value, sizeof value) < 0)
        CHECK(errno == EAGAIN);
    while (count == 7) {
        count = engine_reap(e, out, 7);
        for (int i = 0; i < count; i++)
            finish(&out[i]);
        total += count;
    }
    return total;
}

static engine_op write_of(int token, int file, int64_t *end, engine_file *handle, unsigned *random)
{
    operation *op = &ops[token];
    int count = 1 + (int)(next_random(random) % ENGINE_BUFFERS);
    engine_op result = {.token = (uint64_t)token,
                        .file = handle,
                        .offset = *end,
                        .slot = file % SLOTS,
                        .count = count};
    *op = (operation){.file = file, .offset = *end};
    for (int i = 0; i < count; i++) {
        size_t length = next_random(random) % PIECE;
        result.iov[i] = (engine_iov){op->data + op->size, length};
        for (size_t byte = 0; byte < length; byte++)
            op->data[op->size++] = (unsigned char)next_random(random);
    }
    *end += op->size + (next_random(random) % 4 ? 0 : 8); /* mostly, they lie side by side */
    return result;
}

static engine_op read_of(int token, const operation *of, engine_file *handle, unsigned *random)
{
    operation *op = &ops[token];
    *op = (operation){.file = of->file, .offset = of->offset, .size = of->size, .read = 1};
    memcpy(op->data, of->data, (size_t)of->size);
    size_t head = of->size ? next_random(random) % (size_t)(of->size + 1) : 0;
    size_t gap = next_random(random) % 2; /* in memory, so that it is not one run there */
    engine_op result = {.token = (uint64_t)token,
                        .file = handle,
                        .offset = of->offset,
                        .tail_offset = of->offset + (int64_t)head,
                        .slot = of->file % SLOTS,
                        .count = ENGINE_READ_BUFFERS};
    result.iov[0] = (engine_iov){op->got, head};
    result.iov[1] = (engine_iov){op->got + head + gap, (size_t)of->size - head};
    op->head = head;
    op->gap = gap;
    return result;
}

static void reset_files(void)
{
    for (int i = 0; i < FILES; i++) {
        memset(files[i].seen, 0, FILE_BYTES);
        memset(files[i].platter, 0, FILE_BYTES);
        files[i].failed = files[i].touched_after = 0;
    }
}

/* What is in memory is read at once; how many that were. */
static int read_now(engine *e, const engine_op *reads, int count)
{
    engine_op given[BATCH];
    engine_completion out[BATCH];
    int done = 0;
    memcpy(given, reads, (size_t)count * sizeof *reads);
    CHECK(engine_read(e, given, count, out) == 0);
    for (int i = 0; i < count; i++) {
        CHECK(out[i].token == reads[i].token);
        if (out[i].stage == ENGINE_QUEUED)
            continue;
        finish(&out[i]);
        done++;
    }
    return done;
}

static void submit_all(engine *e, int event_fd, const engine_op *all, int count, int are_reads,
                       int *reaped)
{
    for (int at = 0; at < count; at += BATCH) {
        int size = count - at < BATCH ? count - at : BATCH;
        if (are_reads && at % (2 * BATCH))
            *reaped += read_now(e, all + at, size);
        else if (are_reads)
            CHECK(engine_submit(e, NULL, 0, all + at, size) == 0);
        else
            CHECK(engine_submit(e, all + at, size, NULL, 0) == 0);
        *reaped += reap(e, event_fd, 0);
    }
    while (*reaped < count)
        *reaped += reap(e, event_fd, 1);
    CHECK(*reaped == count);
}

static void round_of(unsigned seed, unsigned faults)
{
    static engine_op all[OPS];
    engine_calls calls = table();
    engine_file *handles[FILES];
    int64_t ends[FILES] = {0};
    int error, reaped = 0, reads = 0;
    unsigned random = seed | 1;
    int event_fd = eventfd(0, EFD_NONBLOCK);
    reset_files();
    atomic_store(&allocations, -1);
    atomic_store(&threads_left, -1);
    atomic_store(&chance, faults);
    engine *e = engine_new(SLOTS, 2, event_fd, &calls, &error);
    CHECK(e && !error);
    atomic_store(&chunks, 0);
    for (int i = 0; i < FILES; i++)
        CHECK((handles[i] = engine_attach(e, i, 0, room, false)));
    for (int i = 0; i < OPS; i++) {
        int file = (int)(next_random(&random) % FILES);
        all[i] = write_of(i, file, &ends[file], handles[file], &random);
    }
    submit_all(e, event_fd, all, OPS, 0, &reaped);
    atomic_store(&chance, 0);
    for (int i = 0; i < OPS; i++)
        if (!files[ops[i].file].failed) {
            all[reads] = read_of(OPS + reads, &ops[i], handles[ops[i].file], &random);
            reads++;
        }
    reaped = 0;
    submit_all(e, event_fd, all, reads, 1, &reaped);
    engine_counters counters;
    engine_count(e, &counters);
    CHECK(atomic_load(&chunks) <= OPS / ENGINE_CHUNK + 1); /* operations are used again */
    CHECK(counters.syncs <= counters.drains * FILES && counters.drains <= OPS);
    engine_stop(e);
    for (int i = 0; i < FILES; i++)
        engine_detach(e, handles[i]);
    engine_free(e);
    close(event_fd);
}

/* Writes and reads of many slots at once, given to threads that mostly sleep. One slot's writer
 * hangs, and another's reads: nothing else waits for these, and they are done when it is over. */
static void one_is_stuck(unsigned seed)
{
    static engine_op writes[FILES], reads[FILES];
    engine_calls calls = table();
    engine_file *handles[FILES];
    int64_t ends[FILES] = {0};
    int error, event_fd = eventfd(0, EFD_NONBLOCK), reaped = 0, late = 0, token = 0;
    unsigned random = seed | 1;
    reset_files();
    atomic_store(&allocations, -1);
    atomic_store(&threads_left, -1);
    engine *e = engine_new(FILES, 3, event_fd, &calls, &error);
    CHECK(e);
    for (int i = 0; i < FILES; i++) {
        CHECK((handles[i] = engine_attach(e, i, 0, no_room, false)));
        writes[i] = write_of(token++, i, &ends[i], handles[i], &random);
        writes[i].slot = i;
    }
    submit_all(e, event_fd, writes, FILES, 0, &reaped);
    for (int step = 1; step <= 60; step++) {
        int write_count = 0, read_count = 0, stuck = step % 20 > 10;
        atomic_store(&stuck_sync, stuck ? 1 : -1);
        atomic_store(&stuck_read, stuck ? 2 : -1);
        for (int i = 0; i < FILES; i++)
            if (next_random(&random) % 4) {
                reads[read_count] = read_of(token++, &ops[i], handles[i], &random);
                reads[read_count++].slot = i;
                writes[write_count] = write_of(token++, i, &ends[i], handles[i], &random);
                writes[write_count++].slot = i;
                late += stuck && (i == 1 || i == 2); /* the one's write, the other's read */
            }
        CHECK(engine_submit(e, writes, write_count, reads, read_count) == 0);
        if (!stuck)
            late = 0;
        while (reaped < token - late)
            reaped += reap(e, event_fd, 1);
    }
    engine_stop(e);
    for (int i = 0; i < FILES; i++)
        engine_detach(e, handles[i]);
    engine_free(e);
    close(event_fd);
}

/* What is queued when the engine stops is done before it ends. */
static void stop_with_work(void)
{
    engine_calls calls = table();
    int error, event_fd = eventfd(0, EFD_NONBLOCK);
    unsigned random = 77;
    int64_t end = 0;
    engine_op all[BATCH];
    reset_files();
    engine *e = engine_new(SLOTS, 1, event_fd, &calls, &error);
    CHECK(e);
    engine_file *handle = engine_attach(e, 0, 0, no_room, false);
    for (int i = 0; i < BATCH; i++)
        all[i] = write_of(i, 0, &end, handle, &random);
    CHECK(engine_submit(e, all, BATCH, NULL, 0) == 0);
    engine_stop(e);
    CHECK(engine_submit(e, all, 1, NULL, 0) == ESHUTDOWN);
    CHECK(reap(e, event_fd, 0) == BATCH);
    engine_detach(e, handle);
    engine_free(e);
    close(event_fd);
}

/* Fail the n-th allocation, and the n-th thread, until everything works. */
static void starved(void)
{
    engine_calls calls = table();
    int error, event_fd = eventfd(0, EFD_NONBLOCK), worked = 0;
    unsigned random = 99;
    reset_files();
    for (int n = 0; !worked; n++) {
        atomic_store(&allocations, n);
        atomic_store(&threads_left, n < SLOTS * 2 ? n : -1);
        engine *e = engine_new(SLOTS, 1, event_fd, &calls, &error);
        if (!e) {
            CHECK(error == ENOMEM || error == EAGAIN);
            continue;
        }
        engine_file *handle = engine_attach(e, 0, 0, no_room, false);
        if (handle) {
            int64_t end = 0;
            engine_op op = write_of(0, 0, &end, handle, &random);
            int result = engine_submit(e, &op, 1, NULL, 0);
            CHECK(result == 0 || result == ENOMEM);
            worked = result == 0;
            if (worked)
                CHECK(reap(e, event_fd, 1) == 1);
            engine_stop(e);
            engine_detach(e, handle);
        }
        engine_stop(e);
        engine_free(e);
    }
    close(event_fd);
}

static void refused(void)
{
    engine_calls calls = table();
    int error, event_fd = eventfd(0, EFD_NONBLOCK);
    atomic_store(&allocations, -1);
    engine *e = engine_new(SLOTS, 1, event_fd, &calls, &error);
    CHECK(e);
    const engine_op wrong[] = {{.slot = -1, .count = 1},
                               {.slot = SLOTS, .count = 1},
                               {.slot = 0, .count = 0},
                               {.slot = 0, .count = ENGINE_BUFFERS + 1}};
    for (int i = 0; i < 4; i++)
        CHECK(engine_submit(e, &wrong[i], 1, NULL, 0) == EINVAL);
    engine_op reads[] = {{.slot = -1, .count = ENGINE_READ_BUFFERS},
                         {.slot = SLOTS, .count = ENGINE_READ_BUFFERS},
                         {.slot = 0, .count = 1}};
    engine_completion out;
    for (int i = 0; i < 3; i++) {
        CHECK(engine_submit(e, NULL, 0, &reads[i], 1) == EINVAL);
        CHECK(engine_read(e, &reads[i], 1, &out) == EINVAL);
    }
    CHECK(reap(e, event_fd, 0) == 0);
    engine_stop(e);
    engine_free(e);
    close(event_fd);
}

/* ---- records of stripes ---------------------------------------------------------------- */

enum { STRIPES = 60, MANY = ENGINE_CHUNK + 1, SHARDS = SLOTS, PAYLOAD = 70, TAIL = 3 };
enum { RECORD = RECORD_HEADER_BYTES + 8 + PAYLOAD + TAIL };

typedef struct {
    uint8_t common[RECORD_HEADER_BYTES], payloads[SHARDS * PAYLOAD];
    uint64_t digests[SHARDS];
    uint8_t heads[SHARDS * (RECORD_HEADER_BYTES + 8)];
    engine_target targets[SHARDS];
    int done;
} stripe_case;

static const uint8_t tail[TAIL] = {1, 2, 3};
static stripe_case cases[STRIPES];

/* A stripe, the first payload of which is shard 2 of 2 + SHARDS; some of them go to a slot each. */
static engine_stripe stripe_of(int number, engine_file **handles, int64_t *ends, unsigned *random)
{
    stripe_case *one = &cases[number];
    const uint16_t version = RECORD_VERSION, digests = 1;
    const uint32_t payload_bytes = PAYLOAD, stripe_bytes = SHARDS * PAYLOAD;
    memset(one, 0, sizeof *one);
    memcpy(one->common, "s3nRECD\n", 8);
    memcpy(one->common + 8, &version, sizeof version);
    memcpy(one->common + 12, (uint8_t[]){SHARDS, 2, 1, 2}, 4);
    memcpy(one->common + 84, &stripe_bytes, sizeof stripe_bytes);
    memcpy(one->common + 88, &payload_bytes, sizeof payload_bytes);
    memcpy(one->common + 92, &digests, sizeof digests);
    one->common[94] = RECORD_BLOCK_BITS;
    for (int i = 0; i < SHARDS * PAYLOAD; i++)
        one->payloads[i] = (uint8_t)next_random(random);
    for (int i = 0; i < SHARDS; i++) {
        one->digests[i] = xxh3_64(one->payloads + i * PAYLOAD, PAYLOAD);
        uint32_t slot = (uint32_t)(i + number) % SLOTS;
        one->targets[i] = (engine_target){.token = (uint64_t)(number * SHARDS + i),
                                          .file = handles[slot],
                                          .segment = slot + 7,
                                          .offset = (uint64_t)ends[slot],
                                          .slot = slot,
                                          .payload = (uint32_t)i};
        one->targets[i].disk_id[0] = (uint8_t)slot;
        ends[slot] += (RECORD + 7) & ~7;
    }
    return (engine_stripe){.common = one->common,
                           .payloads = one->payloads,
                           .digests = (const uint8_t *)one->digests,
                           .tail = tail,
                           .heads = one->heads,
                           .targets = one->targets,
                           .payload_bytes = PAYLOAD,
                           .tail_bytes = TAIL,
                           .count = 1 + next_random(random) % SHARDS};
}

static void verify_record(const stripe_case *one, const engine_target *target)
{
    const uint8_t *at = files[target->slot].platter + target->offset;
    const uint8_t *payload = one->payloads + target->payload * PAYLOAD;
    const size_t head = RECORD_HEADER_BYTES + 8;
    record_claim claim = {.k = SHARDS,
                          .m = 2,
                          .code = 1,
                          .shard_index = (uint8_t)(2 + target->payload),
                          .stripe_bytes = SHARDS * PAYLOAD,
                          .payload_bytes = PAYLOAD,
                          .segment = target->segment,
                          .offset = target->offset};
    memcpy(claim.disk_id, target->disk_id, sizeof claim.disk_id);
    CHECK(record_verify(&claim, at, head, at + head, PAYLOAD));
    CHECK(!memcmp(at + head, payload, PAYLOAD) && !memcmp(at + head + PAYLOAD, tail, TAIL));
    CHECK(!memcmp(at + RECORD_HEADER_BYTES - 4, &target->crc, 4));
}

static int reap_records(engine *e, int event_fd)
{
    engine_completion out[5];
    uint64_t value;
    struct pollfd ready = {.fd = event_fd, .events = POLLIN};
    CHECK(poll(&ready, 1, 20000) == 1);
    if (read(event_fd, &value, sizeof value) < 0)
        CHECK(errno == EAGAIN);
    int total = 0, count = 5;
    while (count == 5) {
        count = engine_reap(e, out, 5);
        for (int i = 0; i < count; i++) {
            stripe_case *one = &cases[out[i].token / SHARDS];
            const engine_target *target = &one->targets[out[i].token % SHARDS];
            one->done++;
            pthread_mutex_lock(&files[target->slot].mutex);
            if (out[i].error == 0)
                verify_record(one, target);
            else
                CHECK(files[target->slot].failed && out[i].error == EIO);
            pthread_mutex_unlock(&files[target->slot].mutex);
        }
        total += count;
    }
    return total;
}

static void records(unsigned seed, unsigned faults)
{
    engine_calls calls = table();
    engine_stripe given[MANY];
    engine_file *handles[SLOTS];
    int64_t ends[SLOTS] = {0};
    int error, event_fd = eventfd(0, EFD_NONBLOCK), asked = 0, reaped = 0;
    unsigned random = seed | 1;
    reset_files();
    atomic_store(&allocations, -1);
    atomic_store(&threads_left, -1);
    atomic_store(&chance, faults);
    engine *e = engine_new(SLOTS, 1, event_fd, &calls, &error);
    CHECK(e && !error);
    for (int i = 0; i < SLOTS; i++)
        CHECK((handles[i] = engine_attach(e, i, 0, room, false)));
    for (int i = 0; i < STRIPES; i++) {
        given[i] = stripe_of(i, handles, ends, &random);
        asked += (int)given[i].count;
    }
    for (int at = 0, size; at < STRIPES; at += size) {
        size = 1 + (int)(next_random(&random) % 9);
        size = size < STRIPES - at ? size : STRIPES - at;
        CHECK(engine_append(e, given + at, size) == 0);
        reaped += reap_records(e, event_fd);
    }
    while (reaped < asked)
        reaped += reap_records(e, event_fd);
    for (int i = 0; i < STRIPES; i++)
        CHECK(cases[i].done == (int)given[i].count);
    atomic_store(&allocations, 0);
    for (int i = STRIPES; i < MANY; i++)
        given[i] = given[i % STRIPES];
    CHECK(engine_append(e, given, MANY) == ENOMEM);
    atomic_store(&allocations, -1);
    cases[1].targets[given[1].count - 1].slot = SLOTS;
    CHECK(engine_append(e, given, 2) == EINVAL);
    engine_stop(e);
    CHECK(engine_append(e, given, 1) == ESHUTDOWN);
    for (int i = 0; i < SLOTS; i++)
        engine_detach(e, handles[i]);
    engine_free(e);
    close(event_fd);
}

int main(int argc, char **argv)
{
    unsigned seed = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    int rounds = argc > 2 ? atoi(argv[2]) : 10;
    for (int i = 0; i < FILES; i++)
        pthread_mutex_init(&files[i].mutex, NULL);
    for (int i = 0; i < rounds; i++)
        round_of(seed + (unsigned)i, i % 3 ? 0 : 20);
    for (int i = 0; i < rounds; i++)
        records(seed + (unsigned)i, i % 3 ? 0 : 20);
    atomic_store(&chance, 0);
    for (int i = 0; i < rounds; i++)
        one_is_stuck(seed + (unsigned)i);
    stop_with_work();
    starved();
    refused();
    puts("ok");
    return 0;
}

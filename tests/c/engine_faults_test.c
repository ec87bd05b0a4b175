/* Every call of the engine failing in turn, on a real file, and what chance does not reach.
 *
 * One history (writes and reads of two slots, some of them joined) is run again and again; in run
 * n the n-th call through the table goes wrong, in every way that a call of its kind can: an
 * error, an interruption, a short or empty or overstated result, slowness. The history ends when
 * a run makes fewer than n calls. Checked each time:
 *   - every accepted operation completes exactly once, and engine_stop returns;
 *   - a write without error was synced, and is read back as it was;
 *   - one failure takes one file at the most, and nothing is tried on it afterwards;
 *   - an interrupted, short or slow call is no failure; an empty or overstated one is EIO.
 * usage: engine_faults_test FOLDER
 */
#define _GNU_SOURCE
#include "crc32.h"
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 2, WRITES = 12, READS = 4, PIECE = 1000, ENDS = 3 * PIECE };
enum { MANY = ENGINE_IOV_MAX / ENGINE_BUFFERS + 40 }; /* writes, more than one pwritev takes */
enum kind { FAIL, SHORT, EMPTY, OVERSTATED, SLOW, KINDS };

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "%s:%d: run %d, kind %d, error %d: %s\n", __FILE__, __LINE__,         \
                    (int)fail_at, (int)kind, number, #condition);                                 \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

static engine_calls libc_calls;
static atomic_int calls_made, fail_at;
static enum kind kind;   /* how the call fails */
static int number;       /* the errno of FAIL */
static atomic_int hit;   /* the call that failed, by its letter in the functions below */
static atomic_int failed_fd, touched_after, allocated;
static atomic_int held;  /* pwritev waits while it is set */
static atomic_int absent; /* what is asked for in one piece is not in memory */

static int is_hit(char call, int fd)
{
    if (fd >= 0 && fd == atomic_load(&failed_fd) && (call == 'w' || call == 's'))
        atomic_store(&touched_after, 1);
    if (atomic_fetch_add(&calls_made, 1) + 1 != atomic_load(&fail_at))
        return 0;
    atomic_store(&hit, call);
    if (kind == SLOW)
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    return kind != SLOW;
}

static void dead(int fd)
{
    atomic_store(&failed_fd, fd);
}

static int64_t test_pwritev(int fd, const engine_iov *iov, int count, int64_t offset)
{
    while (atomic_load(&held))
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    if (!is_hit('w', fd))
        return libc_calls.pwritev(fd, iov, count, offset);
    if (kind == SHORT) {
        engine_iov half = {iov[0].base, (iov[0].length + 1) / 2};
        return libc_calls.pwritev(fd, &half, 1, offset);
    }
    if (kind == FAIL && number == EINTR)
        return -EINTR;
    dead(fd);
    return kind == FAIL ? -number : kind == EMPTY ? 0 : 1 << 30;
}

static int64_t test_preadv(int fd, const engine_iov *iov, int count, int64_t offset, bool now)
{
    if (now && count == 1 && atomic_load(&absent))
        return -EAGAIN;
    if (!is_hit('r', fd))
        return libc_calls.preadv(fd, iov, count, offset, false);
    if (kind == SHORT) {
        engine_iov half = {iov[0].base, (iov[0].length + 1) / 2};
        return libc_calls.preadv(fd, &half, 1, offset, false);
    }
    return kind == FAIL ? -number : kind == EMPTY ? 0 : 1 << 30;
}

static int test_fdatasync(int fd)
{
    if (!is_hit('s', fd) || kind != FAIL)
        return libc_calls.fdatasync(fd);
    dead(fd);
    return -number;
}

static int test_fallocate(int fd, int64_t offset, int64_t length)
{
    return is_hit('f', fd) && kind == FAIL ? -number : libc_calls.fallocate(fd, offset, length);
}

static int test_wake(int event_fd)
{
    return is_hit('k', -1) && kind == FAIL ? -number : libc_calls.wake(event_fd);
}

static int test_spawn(void *thread, void *(*body)(void *), void *argument)
{
    return is_hit('t', -1) && kind == FAIL ? -number : libc_calls.spawn(thread, body, argument);
}

static void *test_allocate(size_t size)
{
    if (is_hit('a', -1) && kind == FAIL)
        return NULL;
    atomic_fetch_add(&allocated, 1);
    return libc_calls.allocate(size);
}

static void test_release(void *memory)
{
    atomic_fetch_sub(&allocated, 1);
    libc_calls.release(memory);
}

static const engine_room no_room, ahead = {PIECE, 4 * PIECE, ENDS, false};
static const engine_room little = {10, 20, 10, false}; /* less than is written */

static engine_calls table(void)
{
    return (engine_calls){.pwritev = test_pwritev,
                          .preadv = test_preadv,
                          .fdatasync = test_fdatasync,
                          .fallocate = test_fallocate,
                          .wake = test_wake,
                          .clear = libc_calls.clear,
                          .spawn = test_spawn,
                          .allocate = test_allocate,
                          .release = test_release};
}

/* ---- one history ----------------------------------------------------------------------- */

typedef struct {
    engine *engine;
    engine_file *files[SLOTS];
    int fds[SLOTS], event_fd;
    engine_completion done[WRITES + READS + MANY + 1];
    int completed[WRITES + READS + MANY + 1];
} world;

static char sent[WRITES][PIECE], got[READS][2 * PIECE];

static void wait_for(world *w, int count)
{
    engine_completion out[5];
    while (count > 0) {
        struct pollfd ready = {.fd = w->event_fd, .events = POLLIN};
        uint64_t value;
        CHECK(poll(&ready, 1, 20000) == 1);
        CHECK(read(w->event_fd, &value, sizeof value) == sizeof value);
        for (int some = 5; some == 5;) {
            some = engine_reap(w->engine, out, 5);
            for (int i = 0; i < some; i++, count--) {
                w->done[out[i].token] = out[i];
                CHECK(++w->completed[out[i].token] == 1);
            }
        }
    }
    CHECK(count == 0);
}

static int slot_of(int token)
{
    return token % SLOTS;
}

static int64_t offset_of(int token)
{
    return (int64_t)(token / SLOTS) * PIECE;
}

static engine_op write_of(const world *w, int token)
{
    engine_op op = {.token = (uint64_t)token,
                    .file = w->files[slot_of(token)],
                    .offset = offset_of(token),
                    .slot = slot_of(token),
                    .count = 3};
    memset(sent[token], 'a' + token, PIECE);
    op.iov[0] = (engine_iov){sent[token], 10}; /* the second buffer is empty */
    op.iov[1] = (engine_iov){sent[token] + 10, 0};
    op.iov[2] = (engine_iov){sent[token] + 10, PIECE - 10};
    return op;
}

/* The first two pieces of a slot, the second one first; read number 2 asks for more than there is.
 */
static engine_op read_of(const world *w, int index)
{
    int slot = index % SLOTS;
    engine_op op = {.token = (uint64_t)(WRITES + index),
                    .file = w->files[slot],
                    .offset = PIECE,
                    .tail_offset = index == 2 ? WRITES / SLOTS * PIECE - 5 : 0,
                    .slot = slot,
                    .count = ENGINE_READ_BUFFERS};
    op.iov[0] = (engine_iov){got[index], PIECE};
    op.iov[1] = (engine_iov){got[index] + PIECE, PIECE};
    return op;
}

static int batch(world *w, int from, int to)
{
    engine_op ops[WRITES];
    for (int i = from; i < to; i++)
        ops[i - from] = write_of(w, i);
    int error = engine_submit(w->engine, ops, to - from, NULL, 0);
    if (error)
        CHECK(hit == 'a' && error == ENOMEM);
    else
        wait_for(w, to - from);
    return error ? 0 : to - from;
}

static void check_writes(const world *w)
{
    char back[PIECE];
    for (int i = 0; i < WRITES; i++) {
        if (!w->completed[i])
            continue;
        const engine_completion *one = &w->done[i];
        int fd = w->fds[slot_of(i)];
        if (one->error) {
            CHECK(fd == atomic_load(&failed_fd) && one->stage != ENGINE_DONE);
            CHECK(one->error == (kind == FAIL ? number : EIO));
        } else {
            CHECK(one->stage == ENGINE_DONE);
            CHECK(pread(fd, back, PIECE, offset_of(i)) == PIECE);
            CHECK(!memcmp(back, sent[i], PIECE));
        }
    }
    CHECK(!atomic_load(&touched_after));
}

static void check_reads(const world *w)
{
    for (int i = 0; i < READS; i++) {
        const engine_completion *one = &w->done[WRITES + i];
        if (!w->completed[WRITES + i] || w->fds[i % SLOTS] == atomic_load(&failed_fd))
            continue;
        if (one->error) {
            CHECK(hit == 'r' && one->stage == ENGINE_READ && one->got == 0);
            CHECK(one->error == (kind == FAIL ? number : EIO));
            continue;
        }
        int64_t whole = i == 2 ? PIECE + 5 : 2 * PIECE;
        CHECK(one->got == whole || (hit == 'r' && kind == EMPTY && one->got < whole));
        for (int64_t at = 0; at < one->got; at++) { /* pieces of a slot differ by SLOTS letters */
            int later = at < PIECE ? SLOTS : i == 2 ? WRITES - SLOTS : 0;
            CHECK(got[i][at] == 'a' + i % SLOTS + later);
        }
    }
}

static void history(const char *folder)
{
    world w = {.event_fd = eventfd(0, EFD_NONBLOCK)};
    engine_calls calls = table();
    engine_op reads[READS];
    int error = 0, batches = 0;
    memset(got, 0, sizeof got);
    atomic_store(&hit, 0);
    atomic_store(&failed_fd, -1);
    atomic_store(&touched_after, 0);
    atomic_store(&calls_made, 0);
    for (int i = 0; i < SLOTS; i++)
        CHECK((w.fds[i] = open(folder, O_TMPFILE | O_RDWR, 0600)) >= 0);
    w.engine = engine_new(SLOTS, 1, w.event_fd, &calls, &error);
    if (!w.engine)
        CHECK(kind == FAIL && ((hit == 'a' && error == ENOMEM) || (hit == 't' && error == number)));
    for (int i = 0; w.engine && i < SLOTS; i++) {
        w.files[i] = engine_attach(w.engine, w.fds[i], 0, ahead, false);
        if (!w.files[i])
            CHECK(hit == 'a');
    }
    if (w.engine && w.files[0] && w.files[1]) {
        batches += batch(&w, 0, 2);
        batches += batch(&w, 2, 8);
        batches += batch(&w, 8, WRITES);
        for (int i = 0; i < READS; i++)
            reads[i] = read_of(&w, i);
        error = batches == WRITES ? engine_submit(w.engine, NULL, 0, reads, READS) : ENOMEM;
        if (!error)
            wait_for(&w, READS);
        check_writes(&w);
        check_reads(&w);
    }
    if (w.engine) {
        engine_stop(w.engine);
        for (int i = 0; i < SLOTS; i++)
            if (w.files[i])
                engine_detach(w.engine, w.files[i]);
        engine_free(w.engine);
    }
    CHECK(atomic_load(&allocated) == 0);
    for (int i = 0; i < SLOTS; i++)
        close(w.fds[i]);
    close(w.event_fd);
}

/* Run n = 1, 2, ... of the history with the n-th call failing; how many there are. */
static int each_call(const char *folder)
{
    int n = 1;
    for (;; n++) {
        atomic_store(&fail_at, n);
        history(folder);
        if (atomic_load(&calls_made) < n)
            return n - 1;
    }
}

/* ---- what one failing call does not reach ---------------------------------------------- */

/* More buffers queue up behind a slow write than one pwritev takes; the limit of what is reserved
 * does not bound a file; and a write of nothing is one too. */
static void many_joined(const char *folder)
{
    static world w;
    static engine_op ops[MANY];
    static char data[MANY][ENGINE_BUFFERS], back[sizeof data];
    engine_calls calls = table();
    engine_counters counters;
    int error;
    w.event_fd = eventfd(0, EFD_NONBLOCK);
    w.fds[0] = open(folder, O_TMPFILE | O_RDWR, 0600);
    w.engine = engine_new(1, 1, w.event_fd, &calls, &error);
    CHECK(w.engine && (w.files[0] = engine_attach(w.engine, w.fds[0], 0, little, false)));
    for (int i = 0; i < MANY; i++) {
        ops[i] = (engine_op){.token = (uint64_t)i,
                             .file = w.files[0],
                             .offset = i * ENGINE_BUFFERS,
                             .count = ENGINE_BUFFERS};
        for (int b = 0; b < ENGINE_BUFFERS; b++) {
            data[i][b] = (char)(i + b);
            ops[i].iov[b] = (engine_iov){&data[i][b], 1};
        }
    }
    atomic_store(&held, 1);
    CHECK(!engine_submit(w.engine, ops, 1, NULL, 0));
    CHECK(!engine_submit(w.engine, ops + 1, MANY - 1, NULL, 0));
    atomic_store(&held, 0);
    wait_for(&w, MANY);
    const engine_op nothing = {.token = MANY, .file = w.files[0], .count = 1};
    CHECK(!engine_submit(w.engine, &nothing, 1, NULL, 0));
    wait_for(&w, 1);
    CHECK(!w.done[MANY].error);
    engine_count(w.engine, &counters);
    CHECK(counters.writes <= 3 && counters.bytes_written == sizeof data);
    CHECK(pread(w.fds[0], back, sizeof back, 0) == sizeof back && !memcmp(back, data, sizeof back));
    engine_stop(w.engine);
    engine_detach(w.engine, w.files[0]);
    engine_free(w.engine);
    close(w.fds[0]);
    close(w.event_fd);
}

/* A record of one block of a byte: the head is of a size no record has, or the record is right. */
static engine_op read_record(engine_file *file, uint64_t token, uint8_t *head, uint8_t *body)
{
    engine_op op = {.token = token,
                    .file = file,
                    .tail_offset = RECORD_HEADER_BYTES + 8,
                    .count = ENGINE_READ_BUFFERS,
                    .claim = {.k = 1, .m = 1, .stripe_bytes = 1, .payload_bytes = 1}};
    op.iov[0] = (engine_iov){head, RECORD_HEADER_BYTES + 8};
    op.iov[1] = (engine_iov){body, 1};
    return op;
}

/* With the byte 'x' of stripe 0, shard 0, at `offset` of its segment. */
static void make_record(uint8_t *to, uint16_t offset)
{
    static const uint8_t body = 'x';
    uint64_t digest = xxh3_64(&body, 1);
    uint32_t crc;
    memset(to, 0, RECORD_HEADER_BYTES);
    memcpy(to, "s3nRECD\n\1", 9);
    to[12] = to[13] = to[84] = to[88] = to[92] = 1; /* k, m, bytes, bytes, digests */
    memcpy(to + 56, &offset, sizeof offset);
    to[94] = RECORD_BLOCK_BITS;
    memcpy(to + RECORD_HEADER_BYTES, &digest, 8);
    crc = crc32_of(0, to + RECORD_HEADER_BYTES, 8);
    memcpy(to + 120, &crc, 4);
    crc = crc32_of(0, to, 124);
    memcpy(to + 124, &crc, 4);
    to[RECORD_HEADER_BYTES + 8] = body;
}

/* What is in memory completes at once, verified; the rest is queued, unless it is in a hurry. */
static void read_at_once(const char *folder)
{
    world w = {.event_fd = eventfd(0, EFD_NONBLOCK)};
    engine_calls calls = table();
    uint8_t record[RECORD_HEADER_BYTES + 9], heads[4][RECORD_HEADER_BYTES + 8], bodies[4];
    engine_op reads[4];
    engine_completion out[4];
    int error;
    make_record(record, 0);
    w.fds[0] = open(folder, O_TMPFILE | O_RDWR, 0600);
    CHECK(write(w.fds[0], record, sizeof record) == sizeof record);
    w.engine = engine_new(1, 1, w.event_fd, &calls, &error);
    CHECK(w.engine && (w.files[0] = engine_attach(w.engine, w.fds[0], 0, no_room, false)));
    for (int i = 0; i < 4; i++)
        reads[i] = read_record(w.files[0], (uint64_t)i, heads[i], &bodies[i]);
    reads[1].claim.k = 2;
    reads[2].offset = reads[3].offset = 1; /* in two pieces: not in memory */
    reads[3].hurry = 1;
    atomic_store(&absent, 1);
    CHECK(engine_read(w.engine, reads, 4, out) == 0);
    CHECK(out[0].stage == ENGINE_VERIFIED && !out[0].error && bodies[0] == 'x');
    CHECK(out[1].stage == ENGINE_DONE && out[1].got == sizeof record);
    CHECK(out[2].stage == ENGINE_QUEUED && out[2].token == 2);
    CHECK(out[3].stage == ENGINE_READ && out[3].error == EAGAIN && out[3].token == 3);
    wait_for(&w, 1);
    CHECK(w.done[2].stage == ENGINE_DONE && w.done[2].got == sizeof record);
    atomic_store(&absent, 0);
    CHECK(engine_read(w.engine, reads, 1, out) == 0 && out[0].stage == ENGINE_DONE); /* now it is */
    reads[0] = read_record(w.files[0], 5, heads[0], &bodies[0]);
    bodies[0] = 0;
    CHECK(engine_submit(w.engine, NULL, 0, reads, 1) == 0); /* a thread verifies as well */
    wait_for(&w, 1);
    CHECK(w.done[5].stage == ENGINE_VERIFIED && bodies[0] == 'x');
    engine_stop(w.engine);
    reads[0] = read_record(w.files[0], 6, heads[0], &bodies[0]);
    reads[0].offset = 1;
    atomic_store(&absent, 1);
    CHECK(engine_read(w.engine, reads, 1, out) == ESHUTDOWN && out[0].stage == ENGINE_QUEUED);
    atomic_store(&absent, 0);
    engine_detach(w.engine, w.files[0]);
    engine_free(w.engine);
    close(w.fds[0]);
    close(w.event_fd);
}

/* Stopped while no wake comes through: it ends all the same, and what was done can be reaped. */
static int never_wake(int event_fd)
{
    (void)event_fd;
    return -EIO;
}

/* Of a stripe's records: a bit for each that is in memory, whole, and the one that is claimed. */
static void at_hand(const char *folder)
{
    enum { PLACES = 3, HEAD = RECORD_HEADER_BYTES + 8, APART = HEAD + 8 };
    world w = {.event_fd = eventfd(0, EFD_NONBLOCK)};
    engine_calls calls = table();
    engine_counters before, after;
    uint8_t file[PLACES * APART] = {0}, memory[5];
    record_claim stripe = {.k = 1, .m = 1, .stripe_bytes = 1, .payload_bytes = 1};
    engine_spot spots[5];
    int error;
    for (uint16_t i = 0; i < PLACES; i++)
        make_record(file + i * APART, (uint16_t)(i * APART));
    file[APART + HEAD] = 'y'; /* its digest says otherwise */
    w.fds[0] = open(folder, O_TMPFILE | O_RDWR, 0600);
    CHECK(write(w.fds[0], file, sizeof file) == sizeof file);
    w.engine = engine_new(1, 1, w.event_fd, &calls, &error);
    CHECK(w.engine && (w.files[0] = engine_attach(w.engine, w.fds[0], 0, no_room, false)));
    for (unsigned i = 0; i < 5; i++)
        spots[i] = (engine_spot){.file = w.files[0], .offset = i * APART, .bytes = 1, .at = i};
    spots[3].offset = 0;
    spots[3].shard_index = 1; /* another one's; the fifth lies behind the end */
    engine_count(w.engine, &before);
    CHECK(engine_at_hand(w.engine, &stripe, spots, 5, memory) == 5);
    engine_count(w.engine, &after);
    CHECK(after.crossings == before.crossings + 1 && after.wakes == before.wakes);
    CHECK(memory[0] == 'x' && memory[2] == 'x');
    spots[0].disk_id[15] = 1;
    spots[2].segment = 1;
    CHECK(engine_at_hand(w.engine, &stripe, spots, 5, memory) == 0);
    spots[0].disk_id[15] = 0;
    atomic_store(&absent, 1);
    CHECK(engine_at_hand(w.engine, &stripe, spots, 1, memory) == 1); /* in one piece it is there */
    spots[0].first = 1 << RECORD_BLOCK_BITS; /* a block it does not have */
    CHECK(engine_at_hand(w.engine, &stripe, spots, 1, memory) == 0);
    atomic_store(&absent, 0);
    CHECK(engine_at_hand(w.engine, &stripe, spots, 1, memory) == 0);
    CHECK(engine_at_hand(w.engine, &stripe, NULL, 0, memory) == 0);
    spots[0].first = 0;
    stripe.payload_bytes = RECORD_PAYLOAD_BYTES_MAX + 1;
    CHECK(engine_at_hand(w.engine, &stripe, spots, 1, memory) == 0);
    engine_stop(w.engine);
    engine_detach(w.engine, w.files[0]);
    engine_free(w.engine);
    close(w.fds[0]);
    close(w.event_fd);
}

static void stopped_without_a_wake(const char *folder)
{
    engine_calls calls = table();
    engine_completion out[2];
    int error, event_fd = eventfd(0, EFD_NONBLOCK), fd = open(folder, O_TMPFILE | O_RDWR, 0600);
    calls.wake = never_wake;
    engine *e = engine_new(1, 1, event_fd, &calls, &error);
    engine_file *file = engine_attach(e, fd, 0, no_room, false);
    engine_op op = {.file = file, .count = 1, .iov = {{"x", 1}}};
    CHECK(engine_submit(e, &op, 1, NULL, 0) == 0);
    engine_stop(e);
    CHECK(engine_reap(e, out, 2) == 1 && out[0].error == 0);
    engine_detach(e, file);
    engine_free(e);
    close(fd);
    close(event_fd);
}

/* The table itself: what the kernel answers, negated errors. */
static void the_system(void)
{
    char byte = 0;
    engine_iov iov = {&byte, 1};
    uint64_t full = UINT64_MAX - 1;
    int event_fd = eventfd(0, EFD_NONBLOCK), input = open("/dev/null", O_RDONLY);
    CHECK(libc_calls.pwritev(-1, &iov, 1, 0) == -EBADF);
    CHECK(libc_calls.pwritev(input, &iov, 1, 0) == -EBADF);
    CHECK(libc_calls.preadv(-1, &iov, 1, 0, false) == -EBADF);
    CHECK(libc_calls.preadv(-1, &iov, 1, 0, true) == -EBADF);
    CHECK(libc_calls.fdatasync(-1) == -EBADF);
    CHECK(libc_calls.fallocate(-1, 0, 1) == -EBADF);
    CHECK(libc_calls.wake(-1) == -EBADF);
    CHECK(libc_calls.clear(-1) == -EBADF);
    CHECK(libc_calls.clear(event_fd) == 0); /* nothing is to clear */
    CHECK(write(event_fd, &full, sizeof full) == sizeof full);
    CHECK(libc_calls.wake(event_fd) == 0);  /* full is readable */
    CHECK(libc_calls.clear(event_fd) == 0); /* something was to clear */
    CHECK(read(event_fd, &full, sizeof full) < 0);
    close(event_fd);
    close(input);
}

int main(int argc, char **argv)
{
    static const int errors[] = {EIO, ENOSPC, EINTR};
    const char *folder = argc > 1 ? argv[1] : "/tmp";
    int runs = 0;
    engine_system_calls(&libc_calls);
    for (kind = FAIL; kind < KINDS; kind++)
        for (int i = 0; i < (kind == FAIL ? 3 : 1); i++) {
            number = errors[i];
            runs += each_call(folder);
        }
    atomic_store(&fail_at, 0);
    atomic_store(&failed_fd, -1);
    many_joined(folder);
    read_at_once(folder);
    at_hand(folder);
    stopped_without_a_wake(folder);
    the_system();
    printf("%d runs\n", runs);
    return 0;
}

/* The sender on real sockets: each of its calls failing in turn, and what chance does not reach.
 *
 * A history of jobs of random pieces on some sockets is run again and again; in run n the n-th call
 * through the table goes wrong, in every way that a call of its kind can. It ends when a run makes
 * fewer than n calls. Checked each time:
 *   - every accepted job completes exactly once, and send_stop returns;
 *   - a socket's other end gets of each job the bytes that it says were taken, and no others;
 *   - a job that met no failure is taken whole, for there is room; an interrupted call is none;
 *   - every duplicate is closed.
 * usage: send_test [SEED]
 */
#define _GNU_SOURCE
#include "require.h"
#include "send.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SOCKETS = 3, JOBS = 9, BYTES = 3000, PIECES = 5, ALL = JOBS * BYTES };
enum kind { FAIL, SHORT, EMPTY, SLOW, KINDS };

#define CHECK(condition)                                                                         \
    REQUIRE(condition, "line %d, run %d, kind %d, error %d", __LINE__, atomic_load(&fail_at),    \
            (int)kind, number)

static send_calls libc_calls;
static atomic_int calls_made, fail_at, hit; /* hit: the call that failed, by its letter */
static enum kind kind;
static int number;                     /* the errno of FAIL */
static atomic_int duplicates, memories;
static atomic_int held, entered, deaf; /* sends wait; how many began; wakes fail */

static bool is_hit(char call)
{
    if (atomic_fetch_add(&calls_made, 1) + 1 != atomic_load(&fail_at))
        return false;
    atomic_store(&hit, call);
    if (kind == SLOW)
        nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
    return kind != SLOW;
}

static int64_t test_send(int fd, const send_piece *pieces, int count)
{
    atomic_fetch_add(&entered, 1);
    while (atomic_load(&held))
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    CHECK(pieces[0].length > 0);
    if (!is_hit('s'))
        return libc_calls.send(fd, pieces, count);
    if (kind == SHORT) {
        send_piece half = {pieces[0].base, (pieces[0].length + 1) / 2};
        return libc_calls.send(fd, &half, 1);
    }
    return kind == EMPTY ? 0 : -number;
}

static int test_duplicate(int fd)
{
    if (is_hit('d') && kind == FAIL)
        return -number;
    int own = libc_calls.duplicate(fd);
    atomic_fetch_add(&duplicates, own >= 0);
    return own;
}

static int test_close(int fd)
{
    is_hit('c');
    atomic_fetch_sub(&duplicates, 1);
    CHECK(libc_calls.close(fd) == 0);
    return -EIO; /* it is closed all the same */
}

static int test_wake(int event_fd)
{
    if (atomic_load(&deaf) || (is_hit('w') && kind == FAIL))
        return -EIO;
    return libc_calls.wake(event_fd);
}

static int test_clear(int event_fd)
{
    return is_hit('r') && kind == FAIL ? -number : libc_calls.clear(event_fd);
}

static int test_spawn(void *thread, void *(*body)(void *), void *argument)
{
    return is_hit('t') && kind == FAIL ? -number : libc_calls.spawn(thread, body, argument);
}

static void *test_allocate(size_t size)
{
    if (is_hit('a') && kind == FAIL)
        return NULL;
    atomic_fetch_add(&memories, 1);
    return libc_calls.allocate(size);
}

static void test_release(void *memory)
{
    atomic_fetch_sub(&memories, 1);
    libc_calls.release(memory);
}

static const send_calls table = {.send = test_send,
                                 .duplicate = test_duplicate,
                                 .close = test_close,
                                 .wake = test_wake,
                                 .clear = test_clear,
                                 .spawn = test_spawn,
                                 .allocate = test_allocate,
                                 .release = test_release};

/* ---- a world of sockets ---------------------------------------------------------------- */

typedef struct {
    sender *sender;
    int event_fd, error;
    int ends[SOCKETS][2]; /* what is sent to [0] comes out of [1] */
} world;

static world opened(void)
{
    world w = {.event_fd = eventfd(0, EFD_NONBLOCK)};
    for (int i = 0; i < SOCKETS; i++)
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, w.ends[i]) == 0);
    w.sender = send_new(w.event_fd, &table, &w.error);
    return w;
}

static void closed(world *w)
{
    if (w->sender)
        send_free(w->sender);
    for (int i = 0; i < SOCKETS; i++) {
        close(w->ends[i][0]);
        close(w->ends[i][1]);
    }
    close(w->event_fd);
    CHECK(atomic_load(&duplicates) == 0 && atomic_load(&memories) == 0);
}

/* One completed job, waited for. */
static send_done reaped(world *w)
{
    send_done done;
    struct pollfd there = {.fd = w->event_fd, .events = POLLIN};
    do
        CHECK(poll(&there, 1, 20000) == 1);
    while (!send_reap(w->sender, &done, 1));
    libc_calls.wake(w->event_fd); /* there may be more than was asked for */
    return done;
}

/* All that has come, until there is nothing; its end is `ended`. */
static size_t received(int fd, uint8_t *into, size_t room, bool *ended)
{
    size_t count = 0;
    ssize_t got = 1;
    while (got > 0) {
        got = recv(fd, into + count, room - count, MSG_DONTWAIT);
        if (got > 0)
            count += (size_t)got;
    }
    *ended = got == 0 && count < room;
    return count;
}

static void wait_for(atomic_int *value, int at_least)
{
    while (atomic_load(value) < at_least)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

/* ---- a history, one call of it failing ------------------------------------------------- */

static uint32_t random_state;

static uint32_t next_random(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

/* Cut into pieces, some of them empty, also the first. */
static int cut(const uint8_t *bytes, size_t length, send_piece *pieces)
{
    size_t at = 0;
    for (int i = 0; i < PIECES - 1; i++) {
        size_t part = next_random() % 3 ? next_random() % (length - at + 1) : 0;
        pieces[i] = (send_piece){bytes + at, part};
        at += part;
    }
    pieces[PIECES - 1] = (send_piece){bytes + at, length - at};
    return PIECES;
}

typedef struct {
    uint8_t bytes[BYTES];
    size_t length;
    int number; /* of the job; negative: not accepted */
    int64_t taken;
    int error;
    bool done;
} given;

static void settle(world *w, given *jobs)
{
    send_done done = reaped(w);
    given *one = NULL;
    for (int i = 0; i < JOBS; i++)
        if (jobs[i].number == done.job && !jobs[i].done && jobs[i].length)
            one = &jobs[i];
    CHECK(one);
    one->done = true;
    one->taken = done.taken;
    one->error = done.error;
}

static void check_received(world *w, const given *jobs)
{
    static uint8_t got[ALL], wanted[ALL];
    for (int i = 0; i < SOCKETS; i++) {
        size_t count = 0;
        bool ended;
        for (int j = i; j < JOBS; j += SOCKETS) {
            memcpy(wanted + count, jobs[j].bytes, (size_t)jobs[j].taken);
            count += (size_t)jobs[j].taken;
        }
        CHECK(received(w->ends[i][1], got, ALL, &ended) == count && !ended);
        CHECK(memcmp(got, wanted, count) == 0);
    }
}

/* The calls that were made, or that it did not begin. */
static void history(uint32_t seed)
{
    given *jobs = calloc(JOBS, sizeof *jobs);
    int accepted = 0, settled = 0, cuts = 0;
    CHECK(jobs);
    random_state = seed;
    atomic_store(&calls_made, 0);
    atomic_store(&hit, 0);
    world w = opened();
    if (!w.sender)
        CHECK((w.error == ENOMEM && hit == 'a') || (w.error == number && hit == 't'));
    for (int i = 0; w.sender && i < JOBS; i++) {
        given *one = &jobs[i];
        send_piece pieces[PIECES];
        one->length = 1 + next_random() % BYTES;
        for (size_t b = 0; b < one->length; b++)
            one->bytes[b] = (uint8_t)next_random();
        int count = cut(one->bytes, one->length, pieces);
        while ((one->number = send_give(w.sender, w.ends[i % SOCKETS][0], pieces, count)) == -EBUSY)
            nanosleep(&(struct timespec){.tv_nsec = 10000}, NULL);
        accepted += one->number >= 0;
        CHECK(one->number >= 0 || (one->number == -number && hit == 'd'));
        if (next_random() % 2 && settled < accepted) {
            settle(&w, jobs);
            settled++;
        }
    }
    for (; settled < accepted; settled++)
        settle(&w, jobs);
    if (w.sender) {
        send_stop(w.sender);
        check_received(&w, jobs);
        send_done more;
        CHECK(send_reap(w.sender, &more, 1) == 0);
    }
    for (int i = 0; w.sender && i < JOBS; i++) {
        const given *one = &jobs[i];
        bool whole = one->taken == (int64_t)one->length;
        cuts += one->number >= 0 && !whole;
        CHECK(one->done == (one->number >= 0));
        CHECK(one->error == 0 || (one->error == number && hit == 's' && !whole));
    }
    CHECK(cuts <= (hit == 's' && (kind == EMPTY || (kind == FAIL && number != EINTR))));
    closed(&w);
    free(jobs);
}

static int each_call_fails(uint32_t seed)
{
    static const int numbers[] = {EPIPE, EAGAIN, EINTR, EMFILE};
    int runs = 0;
    for (kind = FAIL; kind < KINDS; kind++)
        for (size_t i = 0; i < (kind == FAIL ? sizeof numbers / sizeof *numbers : 1); i++) {
            number = numbers[i];
            for (int nth = 1;; nth++, runs++) {
                atomic_store(&fail_at, nth);
                history(seed + (uint32_t)nth);
                if (atomic_load(&calls_made) < nth)
                    break;
            }
        }
    atomic_store(&fail_at, 0);
    kind = FAIL;
    number = 0;
    return runs;
}

/* ---- what chance does not reach -------------------------------------------------------- */

static int give(world *w, int to, const char *text)
{
    send_piece piece = {text, strlen(text)};
    return send_give(w->sender, w->ends[to][0], &piece, 1);
}

static void require_received(world *w, int from, const char *text, bool end)
{
    uint8_t got[100];
    bool ended;
    size_t count = received(w->ends[from][1], got, sizeof got, &ended);
    CHECK(count == strlen(text) && memcmp(got, text, count) == 0 && ended == end);
}

/* The number of a descriptor that was closed is somebody else's; withdrawn jobs never begin. */
static void closed_and_withdrawn(void)
{
    world w = opened();
    atomic_store(&entered, 0);
    atomic_store(&held, 1);
    int first = give(&w, 0, "first");
    wait_for(&entered, 1);
    CHECK(!send_withdraw(w.sender, first)); /* it has begun */
    int second = give(&w, 1, "second");
    CHECK(give(&w, 2, "third") == -EBUSY);
    CHECK(!send_withdraw(w.sender, first));
    CHECK(send_withdraw(w.sender, second) && !send_withdraw(w.sender, second));
    CHECK((second = give(&w, 1, "other")) >= 0);
    CHECK(dup2(w.ends[2][0], w.ends[0][0]) >= 0 && dup2(w.ends[2][0], w.ends[1][0]) >= 0);
    atomic_store(&held, 0); /* sockets 0 and 1 are only their jobs' now */
    send_done a = reaped(&w), b = reaped(&w);
    CHECK(a.job == first && a.taken == 5 && b.job == second && b.taken == 5);
    require_received(&w, 0, "first", true);
    require_received(&w, 1, "other", true);
    require_received(&w, 2, "", false);
    CHECK(!send_withdraw(w.sender, second)); /* long over */
    send_stop(w.sender);
    closed(&w);
}

/* A client that does not read takes what there is room for, and delays nobody. */
static void slow_client(void)
{
    static uint8_t much[1 << 22];
    world w = opened();
    send_piece piece = {much, sizeof much};
    CHECK(send_give(w.sender, w.ends[0][0], &piece, 1) >= 0);
    send_done done = reaped(&w);
    CHECK(done.error == 0 && done.taken > 0 && done.taken < (int64_t)sizeof much);
    CHECK(send_give(w.sender, w.ends[0][0], &piece, 1) >= 0);
    done = reaped(&w);
    CHECK(done.error == 0 && done.taken == 0);
    CHECK(give(&w, 1, "other") >= 0);
    CHECK(reaped(&w).taken == 5);
    close(w.ends[2][1]);
    w.ends[2][1] = -1;
    CHECK(give(&w, 2, "nobody") >= 0); /* and no SIGPIPE */
    CHECK(reaped(&w).error == EPIPE);
    send_stop(w.sender);
    closed(&w);
}

static void refused(void)
{
    send_piece pieces[SEND_PIECES_MAX + 1] = {{"x", 1}};
    int jobs[SEND_JOBS_MAX];
    world w = opened();
    CHECK(send_give(w.sender, w.ends[0][0], pieces, SEND_PIECES_MAX + 1) == -EINVAL);
    CHECK(send_give(w.sender, -1, pieces, 1) == -EBADF);
    CHECK(send_give(w.sender, w.ends[0][0], pieces, 0) >= 0); /* nothing is soon sent */
    CHECK(reaped(&w).taken == 0);
    atomic_store(&entered, 0);
    for (int i = 0; i < SEND_JOBS_MAX; i++) {
        jobs[i] = send_give(w.sender, w.ends[0][0], pieces, i % 2 ? SEND_PIECES_MAX : 1);
        CHECK(jobs[i] >= 0 && jobs[i] < SEND_JOBS_MAX);
        for (int j = 0; j < i; j++)
            CHECK(jobs[j] != jobs[i]);
        wait_for(&entered, i + 1);
    }
    CHECK(give(&w, 0, "x") == -EBUSY);
    for (int i = 0; i < SEND_JOBS_MAX; i++)
        CHECK(reaped(&w).job == jobs[i]);
    CHECK(give(&w, 0, "x") >= 0);
    CHECK(reaped(&w).taken == 1);
    send_stop(w.sender);
    CHECK(give(&w, 0, "x") == -ESHUTDOWN);
    closed(&w);
}

static void *let_go(void *unused)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    atomic_store(&held, 0);
    return unused;
}

/* What has begun is sent, what has not is not. */
static void stopped_with_work(void)
{
    pthread_t thread;
    send_done done[4];
    world w = opened();
    atomic_store(&entered, 0);
    atomic_store(&held, 1);
    int first = give(&w, 0, "first");
    wait_for(&entered, 1);
    CHECK(give(&w, 1, "second") >= 0);
    CHECK(pthread_create(&thread, NULL, let_go, NULL) == 0);
    send_stop(w.sender);
    pthread_join(thread, NULL);
    CHECK(send_reap(w.sender, done, 4) == 2);
    for (int i = 0; i < 2; i++)
        CHECK(done[i].job == first ? done[i].taken == 5 && !done[i].error
                                   : done[i].taken == 0 && done[i].error == ECANCELED);
    require_received(&w, 0, "first", false);
    require_received(&w, 1, "", false);
    closed(&w);
}

/* A wake that never works keeps nobody from stopping. */
static void stopped_deaf(void)
{
    pthread_t thread;
    send_done done;
    world w = opened();
    atomic_store(&entered, 0);
    atomic_store(&held, 1);
    atomic_store(&deaf, 1);
    CHECK(give(&w, 0, "only") >= 0);
    wait_for(&entered, 1);
    CHECK(pthread_create(&thread, NULL, let_go, NULL) == 0);
    send_stop(w.sender);
    pthread_join(thread, NULL);
    atomic_store(&deaf, 0);
    CHECK(send_reap(w.sender, &done, 1) == 1 && done.taken == 4);
    closed(&w);
}

/* A wake that fails for a while is made up for. */
static void deaf_for_a_while(void)
{
    world w = opened();
    atomic_store(&deaf, 1);
    CHECK(give(&w, 0, "hear") >= 0);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    atomic_store(&deaf, 0);
    CHECK(reaped(&w).taken == 4);
    send_stop(w.sender);
    closed(&w);
}

static void system_calls_say_what_is_wrong(void)
{
    uint64_t full = UINT64_MAX - 1;
    int event_fd = eventfd(0, EFD_NONBLOCK);
    CHECK(libc_calls.close(-1) == -EBADF && libc_calls.duplicate(-1) == -EBADF);
    CHECK(libc_calls.wake(-1) == -EBADF && libc_calls.clear(-1) == -EBADF);
    CHECK(libc_calls.clear(event_fd) == 0);
    CHECK(write(event_fd, &full, sizeof full) == sizeof full);
    CHECK(libc_calls.wake(event_fd) == 0);
    int own = libc_calls.duplicate(event_fd);
    CHECK(own >= 0 && fcntl(own, F_GETFD) == FD_CLOEXEC && libc_calls.close(own) == 0);
    close(event_fd);
}

int main(int argc, char **argv)
{
    send_system_calls(&libc_calls);
    int runs = each_call_fails(argc > 1 ? (uint32_t)atoi(argv[1]) : 1);
    closed_and_withdrawn();
    slow_client();
    refused();
    stopped_with_work();
    stopped_deaf();
    deaf_for_a_while();
    system_calls_say_what_is_wrong();
    printf("%d runs\n", runs);
    return 0;
}

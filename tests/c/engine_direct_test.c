/* Writes past the page cache: every one begins and ends at whole blocks, from memory that does;
 * what is in the file is what was appended, whatever was there before, however the writes were
 * cut; a file that fails is dead. Then the same on a file of the system.
 * usage: engine_direct_test FOLDER
 */
#define _GNU_SOURCE
#include "engine_direct.h"
#include "require.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { FILE_BYTES = 4 << 20, HEADER = 512, PART = 3, ROUNDS = 60, TOGETHER = 7 };

static uint8_t platter[FILE_BYTES], wanted[FILE_BYTES], source[FILE_BYTES];
static int64_t there; /* bytes of the file */
static int fail_write = -1, fail_with = EIO; /* the write that fails */
static int fail_read, interrupt_read, writes, largest;
static bool cut; /* writes end early, at a block's end */
static int64_t quota = FILE_BYTES; /* where the file system is full */
static int syncs, cut_read;

static int64_t write_blocks(int fd, const engine_iov *iov, int count, int64_t offset)
{
    size_t length = iov->length;
    REQUIRE(count == 1 && length && length <= ENGINE_GATHER, "%d: %zu bytes", fd, length);
    REQUIRE(!((uintptr_t)iov->base % ENGINE_BLOCK) && !(length % ENGINE_BLOCK), "%zu", length);
    REQUIRE(offset % ENGINE_BLOCK == 0, "at %lld", (long long)offset);
    if (writes++ == fail_write)
        return -fail_with;
    if (writes % 5 == 0)
        return -EINTR;
    if (offset + (int64_t)length > quota)
        return -ENOSPC;
    if (cut && length > ENGINE_BLOCK)
        length -= ENGINE_BLOCK;
    memcpy(platter + offset, iov->base, length);
    if (offset + (int64_t)length > there)
        there = offset + (int64_t)length;
    if ((int)length > largest)
        largest = (int)length;
    return (int64_t)length;
}

static int64_t read_block(int fd, const engine_iov *iov, int count, int64_t offset, bool now)
{
    REQUIRE(count == 1 && !now && offset % ENGINE_BLOCK == 0, "%d", fd);
    REQUIRE(iov->length == ENGINE_BLOCK && !((uintptr_t)iov->base % ENGINE_BLOCK), "a block");
    if (interrupt_read) {
        interrupt_read = 0;
        return -EINTR;
    }
    if (fail_read)
        return -EIO;
    int64_t left = there > offset ? there - offset : 0;
    int64_t length = left < ENGINE_BLOCK ? left : ENGINE_BLOCK;
    if (cut_read)
        length = cut_read;
    memcpy(iov->base, platter + offset, (size_t)length);
    return length;
}

static int sync_nothing(int fd)
{
    (void)fd;
    syncs++;
    return 0;
}

static int sync_file(int fd)
{
    syncs++;
    return fdatasync(fd);
}

static bool yes(int fd)
{
    (void)fd;
    return true;
}

static struct {
    engine *engine;
    engine_file *file;
    int event_fd;
} w;

static void open_file(const engine_calls *calls, int fd, engine_room room)
{
    int error;
    w.event_fd = eventfd(0, EFD_NONBLOCK);
    w.engine = engine_new(1, 1, w.event_fd, calls, &error);
    REQUIRE(w.engine && (w.file = engine_attach(w.engine, fd, 0, room, true)), "an engine");
}

static void close_file(void)
{
    engine_stop(w.engine);
    engine_detach(w.engine, w.file);
    engine_free(w.engine);
    close(w.event_fd);
}

/* Writes `count` pieces of PART buffers from `at` on, together; the first error, and where they
 * end. */
static int append(int64_t *at, const size_t *lengths, int count)
{
    engine_op ops[TOGETHER] = {0};
    engine_completion done[TOGETHER];
    struct pollfd ready = {.fd = w.event_fd, .events = POLLIN};
    int came = 0, error = 0;
    for (int i = 0; i < count; i++) {
        size_t third = lengths[i] / PART;
        uint8_t *from = source + *at;
        ops[i] = (engine_op){.token = (uint64_t)i, .file = w.file, .offset = *at, .count = PART,
                             .iov = {{from, third}, {from + third, third},
                                     {from + 2 * third, lengths[i] - 2 * third}}};
        memcpy(wanted + *at, from, lengths[i]);
        *at += (int64_t)lengths[i];
    }
    int before = syncs;
    REQUIRE(engine_submit(w.engine, ops, count, NULL, 0) == 0, "taken");
    while (came < count) {
        REQUIRE(poll(&ready, 1, 30000) == 1, "completions");
        int some = engine_reap(w.engine, done, TOGETHER);
        for (int i = 0; i < some; i++)
            error = error ? error : done[i].error;
        came += some;
    }
    REQUIRE(error || syncs > before, "synced before it completes");
    return error;
}

static void same(int64_t end, const char *what)
{
    REQUIRE(!memcmp(platter, wanted, (size_t)end), "%s", what);
    int64_t block = (end + ENGINE_BLOCK - 1) / ENGINE_BLOCK * ENGINE_BLOCK;
    for (int64_t at = end; at < block; at++)
        REQUIRE(!platter[at], "%s: filled up with zeros", what);
}

/* A file with a header that something else wrote, in the middle of a block. */
static void begin_with(const engine_calls *calls, engine_room room)
{
    memset(platter, 0, sizeof platter);
    memset(wanted, 0, sizeof wanted);
    memset(platter, 'h', HEADER);
    memset(wanted, 'h', HEADER);
    there = HEADER;
    writes = 0;
    open_file(calls, 0, room);
}

static void begin(const engine_calls *calls)
{
    begin_with(calls, (engine_room){0});
}

static void many(const engine_calls *calls, unsigned seed)
{
    int64_t at = HEADER;
    begin(calls);
    interrupt_read = 1;
    for (int round = 0; round < ROUNDS; round++) {
        size_t lengths[TOGETHER];
        int count = 1 + (int)((unsigned)rand_r(&seed) % TOGETHER);
        for (int i = 0; i < count; i++)
            lengths[i] = PART + (unsigned)rand_r(&seed) % 8000;
        if (round % 9 == 0) /* ends with a block */
            lengths[count - 1] += (size_t)(ENGINE_BLOCK * 2 - 1);
        cut = round % 2;
        REQUIRE(append(&at, lengths, count) == 0, "round %d", round);
        same(at, "appended");
    }
    cut = false;
    close_file();
}

static void whole_blocks(const engine_calls *calls)
{
    const size_t first = ENGINE_BLOCK - HEADER, large = 2 * ENGINE_GATHER, odd = ENGINE_GATHER + 1;
    int64_t at = HEADER;
    begin(calls);
    REQUIRE(append(&at, &first, 1) == 0, "to the end of a block");
    largest = 0;
    REQUIRE(append(&at, &large, 1) == 0 && largest == ENGINE_GATHER, "as much as fits");
    same(at, "whole blocks");
    REQUIRE(append(&at, &odd, 1) == 0, "and one byte");
    same(at, "more");
    close_file();
}

/* Not where the last write ended: what is there stays, as far as it lies before. */
static void elsewhere(const engine_calls *calls)
{
    const size_t some = 10000;
    int64_t at = HEADER, back;
    begin(calls);
    REQUIRE(append(&at, &some, 1) == 0, "some");
    back = at - 5000;
    REQUIRE(append(&back, &some, 1) == 0, "from further up");
    same(back, "written over");
    at = back + 3 * ENGINE_BLOCK; /* the file does not reach so far: zeros */
    REQUIRE(append(&at, &some, 1) == 0, "behind a gap");
    same(at, "behind a gap");
    close_file();
}

static void failing(const engine_calls *calls)
{
    const size_t some = 10000, large = 3 * ENGINE_GATHER;
    for (fail_write = 0; fail_write < 4; fail_write++) {
        int64_t at = HEADER;
        begin(calls);
        REQUIRE(append(&at, &large, 1) == EIO, "write %d fails", fail_write);
        int before = writes;
        REQUIRE(append(&at, &some, 1) == EIO && writes == before, "it is dead");
        close_file();
    }
    fail_write = -1;
    int64_t at = HEADER;
    begin(calls);
    fail_read = 1;
    REQUIRE(append(&at, &some, 1) == EIO && writes == 0, "what was there is not known");
    fail_read = 0;
    close_file();
    for (int known = 0; known < 2; known++) { /* by what was written, or by what was there */
        at = HEADER;
        begin(calls);
        if (known)
            w.file->allocated = HEADER;
        else
            REQUIRE(append(&at, &some, 1) == 0, "some");
        cut_read = 100;
        at -= 200 * !known; /* not where it ended: it is read */
        writes = 0;
        REQUIRE(append(&at, &some, 1) == EIO && writes == 0, "less came than is there");
        cut_read = 0;
        close_file();
    }
}

static const engine_room filled = {2 * ENGINE_GATHER, 2 * ENGINE_GATHER, FILE_BYTES / 2, true};

/* What is appended lies before zeros that were written: a step of them, or up to the limit, but
 * none behind the first. */
static void filling(const engine_calls *calls)
{
    const size_t small = 1000, more = 2 * ENGINE_BLOCK, large = FILE_BYTES / 2;
    int64_t at = HEADER, ahead;
    begin_with(calls, filled);
    memset(platter + HEADER, 'g', FILE_BYTES - HEADER);
    REQUIRE(append(&at, &small, 1) == 0 && there == ENGINE_BLOCK, "the first by itself");
    REQUIRE(append(&at, &more, 1) == 0 && there >= at + filled.step_max, "a step ahead");
    REQUIRE(there < at + filled.step_max + ENGINE_BLOCK, "and no more");
    ahead = there;
    for (int64_t zero = at; zero < ahead; zero++)
        REQUIRE(!platter[zero], "zeros");
    writes = 0;
    while (at + (int64_t)small <= ahead)
        REQUIRE(append(&at, &small, 1) == 0 && there == ahead, "nothing is written ahead");
    REQUIRE(append(&at, &small, 1) == 0 && there >= at + filled.step_max, "a step more");
    REQUIRE(append(&at, &large, 1) == 0 && there < at + ENGINE_BLOCK, "not beyond the limit");
    same(at, "appended");
    close_file();
}

/* A file system that is full takes what it still takes; another fault is the file's. Whichever
 * piece of the zeros it is. */
static void failing_to_fill(const engine_calls *calls)
{
    static const int full[] = {ENOSPC, EDQUOT, EFBIG};
    const size_t small = 1000, more = 2 * ENGINE_BLOCK, large = 3 * ENGINE_GATHER;
    for (int i = 0; i < 8; i++) {
        int64_t at = HEADER;
        begin_with(calls, filled);
        REQUIRE(append(&at, &small, 1) == 0, "the first");
        writes = 0;
        fail_write = 1 + i / 4; /* behind what is appended */
        fail_with = i % 4 < 3 ? full[i % 4] : EIO;
        int error = append(&at, &more, 1);
        REQUIRE(error == (i % 4 < 3 ? 0 : EIO), "%d for %d", error, fail_with);
        fail_write = -1;
        REQUIRE(append(&at, &large, 1) == error, "and so it stays");
        if (!error) {
            REQUIRE(there < at + ENGINE_BLOCK, "nothing is written ahead any more");
            same(at, "appended");
        }
        close_file();
    }
    fail_with = EIO;
}

/* As long as there is room for what is appended it is taken: zeros are never in its stead. */
static void nearly_full(const engine_calls *calls)
{
    const size_t small = 1000, frame = 7 * ENGINE_BLOCK;
    for (int blocks = 8; blocks < 400; blocks += 7) {
        int64_t at = HEADER;
        begin_with(calls, filled);
        quota = (int64_t)blocks * ENGINE_BLOCK;
        REQUIRE(append(&at, &small, 1) == 0, "the first");
        while (at + (int64_t)frame <= quota)
            REQUIRE(append(&at, &frame, 1) == 0, "%d blocks: %lld", blocks, (long long)at);
        same(at, "appended");
        REQUIRE(append(&at, &frame, 1) == ENOSPC, "until there is none");
        close_file();
    }
    quota = FILE_BYTES;
}

static bool no(int fd)
{
    (void)fd;
    return false;
}

/* Found out by trying: whether a file takes whole blocks past the page cache. (One in memory does
 * as if.) */
static bool takes_direct(const char *path)
{
    struct statfs of;
    if (statfs(path, &of) == 0 && of.f_type == TMPFS_MAGIC)
        return false;
    void *block = aligned_alloc(ENGINE_BLOCK, ENGINE_BLOCK);
    int fd = open(path, O_RDWR | O_DIRECT);
    bool takes = fd >= 0 && pread(fd, block, ENGINE_BLOCK, 0) >= 0;
    if (fd >= 0)
        close(fd);
    free(block);
    return takes;
}

/* On a real file; whether its file system has such writes. */
static bool on_a_file(const char *folder, const engine_calls *calls)
{
    const size_t some[] = {1000, 5000, 3 * ENGINE_BLOCK, 300000};
    static uint8_t found[FILE_BYTES];
    int fd = open(folder, O_TMPFILE | O_RDWR, 0600);
    char path[64];
    memset(wanted, 'h', HEADER);
    REQUIRE(pwrite(fd, wanted, HEADER, 0) == HEADER && fdatasync(fd) == 0, "a header");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int reader = open(path, O_RDONLY), nowhere = open(path, O_PATH);
    int64_t at = HEADER;
    open_file(calls, fd, (engine_room){0});
    for (int i = 0; i < 4; i++) {
        REQUIRE(append(&at, &some[i], 1) == 0, "%zu bytes", some[i]);
        REQUIRE(pread(reader, found, (size_t)at, 0) == at, "read back");
        REQUIRE(!memcmp(found, wanted, (size_t)at), "by way of the page cache");
    }
    bool direct = (fcntl(fd, F_GETFL) & O_DIRECT) != 0;
    REQUIRE(direct == calls->go_direct(fd), "it says what it did");
    REQUIRE(direct == (calls->go_direct != no && takes_direct(path)), "where it is to be had");
    close_file();
    REQUIRE(!calls->go_direct(-1) && !calls->go_direct(nowhere), "no files");
    int folder_fd = open(folder, O_RDONLY);
    REQUIRE(!calls->go_direct(folder_fd), "a folder");
    close(folder_fd);
    close(nowhere);
    close(reader);
    close(fd);
    return direct;
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : "/tmp";
    engine_calls calls, of_the_system;
    engine_system_calls(&of_the_system);
    of_the_system.fdatasync = sync_file;
    calls = of_the_system;
    calls.pwritev = write_blocks;
    calls.preadv = read_block;
    calls.fdatasync = sync_nothing;
    calls.go_direct = yes;
    for (size_t i = 0; i < sizeof source; i++)
        source[i] = (uint8_t)(1 + i * 131 % 251);
    for (unsigned seed = 0; seed < 20; seed++)
        many(&calls, seed);
    whole_blocks(&calls);
    elsewhere(&calls);
    failing(&calls);
    filling(&calls);
    failing_to_fill(&calls);
    nearly_full(&calls);
    REQUIRE(engine_direct_fits(512, 512) && engine_direct_fits(4, ENGINE_BLOCK), "common ones");
    REQUIRE(!engine_direct_fits(0, 0) && !engine_direct_fits(512, 0), "none is to be had");
    REQUIRE(!engine_direct_fits(3, 512) && !engine_direct_fits(512, 2 * ENGINE_BLOCK), "others");
    printf("%s\n", on_a_file(folder, &of_the_system) ? "direct" : "not direct here");
    of_the_system.go_direct = no;
    on_a_file(folder, &of_the_system);
    return 0;
}

/* See engine_direct.h. */
#define _GNU_SOURCE
#include "engine_direct.h"

#include <errno.h>
#include <string.h>

bool engine_direct_fits(uint32_t memory, uint32_t offsets)
{
    return memory && offsets && ENGINE_BLOCK % memory == 0 && ENGINE_BLOCK % offsets == 0;
}

typedef struct {
    const engine_calls *calls;
    engine_file *file;
    engine_counters *tally;
    uint8_t *gather;
    size_t filled;
    int64_t at; /* of the file: where `gather` goes */
} run;

/* What lies in the run's first block before it. */
static int begin(run *r, size_t before)
{
    engine_file *file = r->file;
    r->filled = before;
    if (!before)
        return 0;
    if (file->end == r->at + (int64_t)before) {
        memcpy(r->gather, file->kept, before);
        return 0;
    }
    const engine_iov block = {r->gather, ENGINE_BLOCK};
    int64_t got;
    do
        got = r->calls->preadv(file->fd, &block, 1, r->at, false);
    while (got == -EINTR);
    if (got < 0)
        return (int)-got;
    if (got < (int64_t)before) { /* the file ends, or else it was cut short */
        if (r->at + got < file->end || r->at + got < file->allocated)
            return EIO;
        memset(r->gather + got, 0, before - (size_t)got);
    }
    return 0;
}

static int flush(run *r)
{
    engine_iov whole = {r->gather, r->filled};
    int error = engine_write_all(r->calls, r->file->fd, &whole, 1, r->at, r->tally);
    r->at += (int64_t)r->filled;
    r->filled = 0;
    return error;
}

static int take(run *r, const uint8_t *bytes, size_t length)
{
    while (length) {
        size_t room = ENGINE_GATHER - r->filled, some = length < room ? length : room;
        memcpy(r->gather + r->filled, bytes, some);
        r->filled += some;
        bytes += some;
        length -= some;
        int error = r->filled == ENGINE_GATHER ? flush(r) : 0;
        if (error)
            return error;
    }
    return 0;
}

/* The last block, filled up. */
static int end(run *r)
{
    engine_file *file = r->file;
    size_t over = r->filled % ENGINE_BLOCK;
    file->end = r->at + (int64_t)r->filled;
    if (over) {
        memcpy(file->kept, r->gather + r->filled - over, over);
        memset(r->gather + r->filled, 0, ENGINE_BLOCK - over);
        r->filled += ENGINE_BLOCK - over;
    }
    return r->filled ? flush(r) : 0;
}

int engine_write_direct(const engine_calls *calls, engine_file *file, const engine_iov *iov,
                        int count, int64_t offset, uint8_t *gather, engine_counters *tally)
{
    size_t before = (size_t)(offset % ENGINE_BLOCK);
    run r = {calls, file, tally, gather, 0, offset - (int64_t)before};
    int error = begin(&r, before);
    for (int i = 0; i < count && !error; i++)
        error = take(&r, iov[i].base, iov[i].length);
    return error ? error : end(&r);
}

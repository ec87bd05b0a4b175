/* See engine_write.h. */
#define _GNU_SOURCE
#include "engine_write.h"

#include "engine_direct.h"

#include <errno.h>
#include <string.h>

static size_t op_bytes(const engine_op *op)
{
    size_t bytes = 0;
    for (int i = 0; i < op->count; i++)
        bytes += op->iov[i].length;
    return bytes;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t whole_blocks(int64_t bytes)
{
    return (bytes + ENGINE_BLOCK - 1) / ENGINE_BLOCK * ENGINE_BLOCK;
}

/* Drop the first `written` bytes of iov[from..count): the new `from`; count if nothing is left,
 * -1 if more was reported written than was given. */
static int advance(engine_iov *iov, int from, int count, size_t written)
{
    for (; from < count; from++) {
        if (written < iov[from].length) {
            iov[from].base = (char *)iov[from].base + written;
            iov[from].length -= written;
            return from;
        }
        written -= iov[from].length;
    }
    return written ? -1 : count;
}

int engine_write_all(const engine_calls *calls, int fd, engine_iov *iov, int count, int64_t offset,
                     engine_counters *tally)
{
    for (int from = 0; from < count;) {
        tally->writes++;
        int64_t written = calls->pwritev(fd, iov + from, count - from, offset);
        if (written == -EINTR)
            continue;
        if (written < 0)
            return (int)-written;
        from = advance(iov, from, count, (size_t)written);
        if (written == 0 || from < 0)
            return EIO;
        tally->bytes_written += (uint64_t)written;
        offset += written;
    }
    return 0;
}

static int write_run(const engine_calls *calls, engine_file *file, engine_iov *iov, int count,
                     int64_t offset, uint8_t *gather, engine_counters *tally)
{
    if (file->direct)
        return engine_write_direct(calls, file, iov, count, offset, gather, tally);
    return engine_write_all(calls, file->fd, iov, count, offset, tally);
}

/* Write everything for one file from `first` on, joining what lies next to each other. */
static int write_runs(const engine_calls *calls, const engine_node *first, uint8_t *gather,
                      engine_counters *tally)
{
    engine_iov iov[ENGINE_IOV_MAX];
    engine_file *file = first->op.file;
    int count = 0, error = 0;
    int64_t start = 0, end = 0;
    for (const engine_node *n = first; n && !error; n = n->next) {
        const engine_op *op = &n->op;
        if (op->file != file)
            continue;
        if (count && (op->offset != end || count + op->count > ENGINE_IOV_MAX)) {
            error = write_run(calls, file, iov, count, start, gather, tally);
            count = 0;
        }
        if (!count)
            start = end = op->offset;
        for (int i = 0; i < op->count; i++)
            if (op->iov[i].length)
                iov[count++] = op->iov[i];
        end = op->offset + (int64_t)op_bytes(op);
    }
    return error || !count ? error : write_run(calls, file, iov, count, start, gather, tally);
}

/* Nothing is wrong with a file that is not filled because there is no room. */
static bool full(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

/* Up to where room is to be reserved for a write that ends at `end`; 0: no more is. */
static int64_t room_for(const engine_file *file, int64_t end)
{
    const engine_room *room = &file->room;
    if (!room->step_max || end <= file->allocated)
        return 0;
    int64_t step = smaller(end > room->step_min ? end : room->step_min, room->step_max);
    int64_t target = smaller(end + step, room->limit);
    return target > end ? target : end;
}

/* Reserve room ahead of a write that ends at `end`. If it is not to be had the write will tell; but
 * then it is not asked for again. */
static void reserve(const engine_calls *calls, engine_file *file, int64_t end)
{
    int64_t target = room_for(file, end);
    if (!target || file->room.filled)
        return;
    if (calls->fallocate(file->fd, file->allocated, target - file->allocated) < 0)
        file->room.step_max = 0;
    else
        file->allocated = target;
}

/* Behind what was written up to `end`, and so never in its stead, write zeros for what comes next:
 * 0, or the errno that kills the file. Not behind the first write: logs that fail at once are made
 * again and again. */
static int fill(const engine_calls *calls, engine_file *file, int64_t end, uint8_t *gather,
                engine_counters *tally)
{
    int64_t target = room_for(file, end), at = whole_blocks(end);
    bool first = !file->allocated;
    int error = 0;
    if (!file->room.filled || !target)
        return 0;
    file->allocated = first ? at : whole_blocks(target);
    memset(gather, 0, ENGINE_GATHER);
    while (at < file->allocated && !error) {
        int64_t length = smaller(file->allocated - at, ENGINE_GATHER);
        engine_iov zeros = {gather, (size_t)length};
        error = engine_write_all(calls, file->fd, &zeros, 1, at, tally);
        at += length;
    }
    if (full(error)) {
        file->room.step_max = 0;
        error = 0;
    }
    return error;
}

/* Write and sync everything for the file of `first`, and mark it. Any failure kills the file. */
static void write_file(const engine_calls *calls, engine_node *first, uint8_t *gather,
                       engine_counters *tally)
{
    engine_file *file = first->op.file;
    int32_t stage = file->error ? ENGINE_DEAD : ENGINE_WRITE;
    int64_t end = 0;
    if (!file->error) {
        for (const engine_node *n = first; n; n = n->next) {
            int64_t stop = n->op.offset + (int64_t)op_bytes(&n->op);
            if (n->op.file == file && stop > end)
                end = stop;
        }
        reserve(calls, file, end);
        file->error = write_runs(calls, first, gather, tally);
    }
    if (!file->error)
        file->error = fill(calls, file, end, gather, tally);
    if (!file->error) {
        /* EINTR too: after an interrupted sync nobody knows what the next one would promise. */
        tally->syncs++;
        int result = calls->fdatasync(file->fd);
        file->error = result < 0 ? -result : 0;
        stage = ENGINE_SYNC;
    }
    for (engine_node *n = first; n; n = n->next)
        if (n->op.file == file) {
            n->error = file->error;
            n->stage = file->error ? stage : ENGINE_DONE;
        }
}

void engine_write_batch(const engine_calls *calls, engine_node *first, uint8_t *gather,
                        engine_counters *tally)
{
    for (engine_node *n = first; n; n = n->next)
        if (n->stage == ENGINE_PENDING)
            write_file(calls, n, gather, tally);
}

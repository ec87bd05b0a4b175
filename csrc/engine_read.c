/* See engine_read.h, and engine.h for engine_read. */
#define _GNU_SOURCE
#include "engine_read.h"

#include <errno.h>
#include <string.h>

/* Fill buffers from `offset` on: how many bytes, fewer where the file ends (or, with `now`, where
 * what is in memory ends), or a negated errno. */
static int64_t fill(const engine_calls *calls, int fd, const engine_iov *from, int count,
                    int64_t offset, bool now, engine_counters *tally)
{
    engine_iov iov[ENGINE_READ_BUFFERS];
    int64_t got = 0;
    size_t left = 0;
    for (int i = 0; i < count; i++) {
        iov[i] = from[i];
        left += iov[i].length;
    }
    for (engine_iov *first = iov; left;) {
        tally->reads++;
        int64_t more = calls->preadv(fd, first, (int)(iov + count - first), offset + got, now);
        if (more == -EINTR)
            continue;
        if (more < 0)
            return more;
        if (more == 0)
            break;
        if ((size_t)more > left)
            return -EIO;
        got += more;
        left -= (size_t)more;
        for (size_t done = (size_t)more; left && done;) {
            size_t step = done < first->length ? done : first->length;
            first->base = (char *)first->base + step;
            first->length -= step;
            done -= step;
            if (!first->length)
                first++;
        }
    }
    tally->bytes_read += (uint64_t)got;
    return got;
}

/* Both buffers, at once if what they take lies together. */
static int64_t fill_both(const engine_calls *calls, const engine_op *op, bool now,
                         engine_counters *tally)
{
    int fd = engine_fd(op->file);
    const engine_iov *head = &op->iov[0], *body = &op->iov[1];
    if (op->offset + (int64_t)head->length == op->tail_offset)
        return fill(calls, fd, head, ENGINE_READ_BUFFERS, op->offset, now, tally);
    int64_t got = fill(calls, fd, head, 1, op->offset, now, tally);
    if (got != (int64_t)head->length)
        return got;
    int64_t more = fill(calls, fd, body, 1, op->tail_offset, now, tally);
    return more < 0 ? more : got + more;
}

bool engine_read_op(const engine_calls *calls, const engine_op *op, bool now,
                    engine_completion *out, engine_counters *tally)
{
    const engine_iov *head = &op->iov[0], *body = &op->iov[1];
    int64_t got = fill_both(calls, op, now, tally);
    bool whole = got == (int64_t)(head->length + body->length);
    if (now && !whole)
        return false;
    *out = (engine_completion){.token = op->token, .stage = ENGINE_DONE};
    if (got < 0) {
        out->error = (int32_t)-got;
        out->stage = ENGINE_READ;
        return true;
    }
    out->got = got;
    if (whole && record_verify(&op->claim, head->base, head->length, body->base, body->length))
        out->stage = ENGINE_VERIFIED;
    return true;
}

int engine_read(engine *e, engine_op *reads, int count, engine_completion *out)
{
    const engine_calls *calls = engine_table(e);
    engine_counters tally = {0};
    int left = 0;
    if (!engine_reads_valid(e, reads, count))
        return EINVAL;
    for (int i = 0; i < count; i++) {
        if (engine_read_op(calls, &reads[i], true, &out[i], &tally))
            continue;
        out[i] = (engine_completion){.token = reads[i].token, .stage = ENGINE_QUEUED};
        if (reads[i].hurry) {
            out[i].error = EAGAIN;
            out[i].stage = ENGINE_READ;
        } else {
            reads[left++] = reads[i];
        }
    }
    tally.crossings = !left;
    engine_tally(e, &tally);
    return left ? engine_submit(e, NULL, 0, reads, left) : 0;
}

uint32_t engine_at_hand(engine *e, const record_claim *stripe, const engine_spot *spots, int count,
                        uint8_t *memory)
{
    const engine_calls *calls = engine_table(e);
    engine_counters tally = {.crossings = 1};
    uint8_t head[RECORD_HEADER_BYTES + 8 * (RECORD_PAYLOAD_BYTES_MAX >> RECORD_BLOCK_BITS)];
    size_t head_bytes = record_payload_start(stripe->payload_bytes);
    uint32_t there = 0;
    if (head_bytes > sizeof head)
        return 0;
    for (int i = 0; i < count; i++) {
        const engine_spot *spot = &spots[i];
        engine_completion done = {0};
        engine_op op = {.file = spot->file, .count = ENGINE_READ_BUFFERS, .claim = *stripe};
        op.offset = (int64_t)spot->offset;
        op.tail_offset = op.offset + (int64_t)(head_bytes + spot->first);
        op.iov[0] = (engine_iov){head, head_bytes};
        op.iov[1] = (engine_iov){memory + spot->at, spot->bytes};
        op.claim.shard_index = (uint8_t)spot->shard_index;
        memcpy(op.claim.disk_id, spot->disk_id, sizeof spot->disk_id);
        op.claim.segment = spot->segment;
        op.claim.offset = spot->offset;
        op.claim.first_block = spot->first >> RECORD_BLOCK_BITS;
        engine_read_op(calls, &op, true, &done, &tally);
        there |= (uint32_t)(done.stage == ENGINE_VERIFIED) << i;
    }
    engine_tally(e, &tally);
    return there;
}

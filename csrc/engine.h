/* The disk engine: per slot one queue of writes with one thread, and one of reads with some.
 *
 * engine_submit hands over a batch of operations, engine_append one of records that are packed on
 * the way; each goes to its slot's queue. The writing thread takes all that is queued, joins
 * writes that follow each other in a file to one pwritev, syncs each file once, and completes them
 * all with one wake: that is the group commit. Reading threads take one operation at a time, so
 * that a read never waits for a sync. What is in memory already is read by engine_read where it is
 * asked for, without any thread.
 *
 * Invariants
 *  1. A file that failed a write or a sync is dead: nothing more is tried on its descriptor, and
 *     everything later for it completes with the same error and the stage ENGINE_DEAD.
 *  2. A write completes without error only after fdatasync of its file returned without error,
 *     called after its last byte was written.
 *  3. Every operation that engine_submit accepted completes exactly once; a batch is accepted
 *     whole or not at all.
 *  4. While completions are there to reap, the event descriptor is readable, or a wake is on its
 *     way, or the last reap had no room for more: it is signalled whenever the list of completions
 *     stops being empty, and cleared by a reap, which is repeated until it leaves nothing.
 *  5. Nothing here aborts, prints, or keeps errno: errors are positive numbers in completions.
 *
 * All calls to the system go through a table, so that tests can replace each of them.
 */
#ifndef S3NODE_ENGINE_H
#define S3NODE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record.h"

enum {
    ENGINE_BUFFERS = 3,    /* of one write */
    ENGINE_READ_BUFFERS = 2, /* of a read: header and digests, blocks of the payload */
    ENGINE_IOV_MAX = 1024, /* of one pwritev: the kernel's UIO_MAXIOV */
    ENGINE_BLOCK = 4096,   /* of writes past the page cache: no common device has a larger one */
    ENGINE_CHUNK = 256     /* operations allocated at a time; they are never given back */
};

enum {
    ENGINE_DONE,
    ENGINE_WRITE,
    ENGINE_SYNC,
    ENGINE_READ,
    ENGINE_DEAD,
    ENGINE_VERIFIED, /* read, and it is what the operation claims */
    ENGINE_QUEUED    /* by engine_read alone: not in memory, it will complete */
};

typedef struct engine engine;
typedef struct engine_file engine_file;

typedef struct { /* as struct iovec */
    void *base;
    size_t length;
} engine_iov;

typedef struct { /* of a file, reserved ahead of what is appended to it */
    int64_t step_min, step_max; /* in steps that double from the one to the other; 0: none */
    int64_t limit;              /* no step ends beyond this, or the block that it lies in */
    bool filled; /* with zeros, behind every write but the first that needs it: what is written
                    there later changes no metadata that a sync would have to write too. For
                    little that is waited for: it is written twice */
} engine_room;

typedef struct { /* of a record: blocks of its payload, to be read if they are in memory */
    engine_file *file;
    uint64_t segment, offset;
    uint64_t at;           /* where the blocks go */
    uint32_t first, bytes; /* where they begin in the payload, and how many bytes they are */
    uint32_t shard_index, unused;
    uint8_t disk_id[16];
} engine_spot;

typedef struct { /* where one record of a stripe goes */
    uint64_t token;
    engine_file *file;
    uint64_t segment, offset;
    uint32_t slot, payload; /* which of the stripe's payloads, 0-based */
    uint8_t disk_id[16];
    uint32_t crc, unused; /* answered: of its header */
} engine_target;

typedef struct { /* records of one stripe */
    const uint8_t *common; /* a header: what theirs have in common, and the first payload's index */
    const uint8_t *payloads, *digests; /* of all shards, one right behind the other */
    const uint8_t *tail;               /* what follows each payload: hint and padding */
    uint8_t *heads;                    /* room for the targets' headers with their digests */
    engine_target *targets;
    uint32_t payload_bytes, tail_bytes, count, unused;
} engine_stripe;

/* What the engine asks of the system. A negative result is a negated errno. */
typedef struct {
    int64_t (*pwritev)(int fd, const engine_iov *iov, int count, int64_t offset);
    /* `now`: only what is in memory; -EAGAIN, or another error, or short if that is not all. */
    int64_t (*preadv)(int fd, const engine_iov *iov, int count, int64_t offset, bool now);
    int (*fdatasync)(int fd);
    int (*fallocate)(int fd, int64_t offset, int64_t length);
    /* Whether the page cache is passed by from now on, and ENGINE_BLOCK is a multiple of what the
     * file then asks for. */
    bool (*go_direct)(int fd);
    int (*wake)(int event_fd);
    int (*clear)(int event_fd); /* no longer readable, until the next wake */
    int (*spawn)(void *thread, void *(*body)(void *), void *argument); /* thread: pthread_t* */
    void *(*allocate)(size_t size);
    void (*release)(void *memory);
} engine_calls;

typedef struct {
    uint64_t token;
    engine_file *file;
    int64_t offset;
    int64_t tail_offset; /* reads: where the bytes of iov[1] come from; iov[0]: from `offset` */
    int64_t hurry; /* reads: rather fail with EAGAIN than be queued by engine_read */
    int32_t slot;
    int32_t count; /* how many of iov; reads: ENGINE_READ_BUFFERS */
    engine_iov iov[ENGINE_BUFFERS];
    record_claim claim; /* reads: what iov[0] must say, with digests that iov[1] must match */
} engine_op;

typedef struct {
    uint64_t token;
    int32_t error;
    int32_t stage;
    int64_t got; /* bytes read; fewer than asked where the file ends */
} engine_completion;

typedef struct {
    uint64_t crossings, drains, writes, syncs, reads, wakes, bytes_written, bytes_read;
} engine_counters;

/* The kernel's and libc's. */
void engine_system_calls(engine_calls *calls);

/* An engine with its threads running; NULL and *error if there is no memory or no thread. */
engine *engine_new(int slots, int readers, int event_fd, const engine_calls *calls, int *error);

/* Finish what is queued and end the threads. Blocks. Completions can still be reaped. */
void engine_stop(engine *e);

/* After engine_stop and the last engine_detach. */
void engine_free(engine *e);

/* Make a file known; NULL without memory. Its first `allocated` bytes are there already. `direct`:
 * what is written is not to stay in memory, if that can be had; such a file is only appended to,
 * for what follows a write up to the end of its block is zeros then. */
engine_file *engine_attach(engine *e, int fd, int64_t allocated, engine_room room, bool direct);

/* Forget a file of which nothing is under way. The descriptor stays the caller's. */
void engine_detach(engine *e, engine_file *file);

/* Queue a batch: 0, or a positive errno and nothing of it was taken. Buffers must stay as they
 * are until their operation completes. */
int engine_submit(engine *e, const engine_op *writes, int write_count, const engine_op *reads,
                  int read_count);

/* Queue the records of stripes: 0, or a positive errno and nothing of it was taken. Packs their
 * headers, and answers the CRCs of these. What a stripe points to, but for `targets`, must stay
 * as it is until all its records have completed. */
int engine_append(engine *e, const engine_stripe *stripes, int count);

/* Read what can be had without waiting, here and now: such operations complete in `out`, by their
 * order in `reads`, as do those that are in a hurry. The others are queued, and their stage in
 * `out` is ENGINE_QUEUED. 0, or a positive errno: those that `out` calls queued were not taken, or
 * (EINVAL) none was tried. `reads` is used up. */
int engine_read(engine *e, engine_op *reads, int count, engine_completion *out);

/* Read of one stripe's records what is in memory, and verify it: one bit for each of `spots` (at
 * most 32) of which all is there and right. Blocks go to where in `memory` their spot says;
 * `stripe` claims what is the same of all the records. */
uint32_t engine_at_hand(engine *e, const record_claim *stripe, const engine_spot *spots, int count,
                        uint8_t *memory);

/* For engine_read.c. */
const engine_calls *engine_table(const engine *e);
int engine_fd(const engine_file *file);
bool engine_reads_valid(const engine *e, const engine_op *reads, int count);

/* Up to `capacity` completions, after the event descriptor was cleared; how many. */
int engine_reap(engine *e, engine_completion *out, int capacity);

void engine_count(engine *e, engine_counters *out);

#endif

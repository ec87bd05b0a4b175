/* MD5 (RFC 1321) of many streams at once: S3's ETag of everything that is stored.
 *
 * A block depends on the block before it, and each of its 64 steps on the step before it, so one
 * stream cannot use more than a part of a core.  But streams are independent: a vector register
 * holds the same variable of 8 or 16 streams, each in a lane of its own, and the 64 steps are done
 * for all of them together, in hardly more time than for one.
 *
 *   stream   the state of one message: what its whole blocks made, and the bytes after them
 *   piece    bytes in memory that continue a stream
 *   job      a stream and its next pieces, in order
 *   lane     a column of the registers; a job sits in one for as long as it has whole blocks
 *   kernel   an implementation: wide functions for several lanes, a lone one for a single stream
 *
 * Invariants:
 *   1. Every kernel makes the same digests: those of the scalar one, which is the definition.
 *   2. Nothing is read outside the pieces; they need no alignment, their lengths no multiple.
 *   3. Nothing allocates, locks, or keeps state: any number of threads may advance different
 *      streams at once.  A stream is in one job of one call at a time.
 *   4. Nothing is written but the streams, the jobs and the pieces' descriptions. */
#ifndef S3NODE_MD5_H
#define S3NODE_MD5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MD5_BLOCK_BYTES = 64,
    MD5_DIGEST_BYTES = 16,
    MD5_WORDS = 4, /* of 32 bits, in the chaining value */
    MD5_LANES_MAX = 16,
    MD5_WIDE_MAX = 2, /* functions for more than one stream */
};

struct md5_stream {
    uint32_t chain[MD5_WORDS];
    uint64_t bytes; /* taken so far */
    uint8_t rest[MD5_BLOCK_BYTES]; /* the last bytes % 64 of them, of no whole block yet */
};

struct md5_piece {
    const uint8_t *data;
    size_t bytes;
};

struct md5_job {
    struct md5_stream *stream;
    struct md5_piece *pieces; /* the first is shortened, or passed, by what was taken of it */
    size_t count; /* of pieces; 0 when all is taken */
};

/* Column i is lane i. */
struct md5_lanes {
    uint32_t chain[MD5_WORDS][MD5_LANES_MAX];
    const uint8_t *at[MD5_LANES_MAX];
};

/* Reads that many blocks of each of the first `lanes` lanes at `at`, which it leaves as it is. */
struct md5_wide {
    unsigned lanes;
    void (*run)(struct md5_lanes *lanes, size_t blocks);
};

struct md5_kernel {
    const char *name;
    bool (*supported)(void); /* by the CPU this process runs on */
    struct md5_wide wide[MD5_WIDE_MAX]; /* from narrow to wide; no more after 0 lanes */
    void (*lone)(uint32_t chain[MD5_WORDS], const uint8_t *at, size_t blocks);
};

enum md5_selection { MD5_SELECTED, MD5_UNKNOWN, MD5_NOT_BUILT, MD5_NO_CPU };

/* Kernels by rank, fastest first as measured, scalar last; NULL past the end. */
const char *md5_kernel_name(unsigned rank);

/* Puts the kernel of that name, or the first supported one when name is NULL, into *kernel.
 * On anything but MD5_SELECTED, *kernel is untouched. */
enum md5_selection md5_select(const char *name, const struct md5_kernel **kernel);

void md5_init(struct md5_stream *stream);

/* Takes the bytes of all jobs, of each at most bytes_max (at least a block of them): those with
 * more are left with the rest of their pieces, so that a long job need not keep others waiting. */
void md5_advance(const struct md5_kernel *kernel, struct md5_job *const *jobs, size_t count,
                 size_t bytes_max);

/* Takes the bytes for one stream. */
void md5_update(const struct md5_kernel *kernel, struct md5_stream *stream, const uint8_t *data,
                size_t bytes);

/* The digest of what was taken so far; the stream may go on. */
void md5_digest(const struct md5_stream *stream, uint8_t digest[MD5_DIGEST_BYTES]);

/* The definition, and a quicker one for AVX-512VL alone. */
void md5_lone_scalar(uint32_t chain[MD5_WORDS], const uint8_t *at, size_t blocks);
void md5_lone_avx512(uint32_t chain[MD5_WORDS], const uint8_t *at, size_t blocks);

/* Half as wide, for AVX-512VL. */
void md5_wide_avx512_8(struct md5_lanes *lanes, size_t blocks);

/* NULL where this build's architecture lacks the instructions. */
extern const struct md5_kernel *const md5_avx512, *const md5_avx2;

#endif

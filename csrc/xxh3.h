/* XXH3 with seed 0 and the default secret: 64 bits are the digest of a record's blocks, 128 that of
 * an object, which comes in pieces.
 *
 * Longer inputs than 240 bytes are taken in by a kernel, 64 bytes at a time, into eight lanes of
 * 64 bits:
 *
 *     lane i        += low 32 bits * high 32 bits of (word i XOR secret word i)
 *     lane i XOR 1  += word i
 *
 * with another part of the secret, 8 bytes further on, each time. After 16 such steps the lanes
 * are scrambled. Shorter inputs have formulas of their own.
 *
 * Invariants:
 *   1. Every kernel leaves the same lanes as the scalar one, which is the definition.
 *   2. Nothing is read outside data[0..bytes), data may be NULL if bytes is 0; no alignment is
 *      asked for.
 *   3. Nothing is allocated, locked or kept: any number of threads at once.
 */
#ifndef S3NODE_XXH3_H
#define S3NODE_XXH3_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    XXH3_LANES = 8,
    XXH3_STEP = 64,      /* bytes taken in at once */
    XXH3_STEPS = 16,     /* between two scrambles */
    XXH3_BLOCK = XXH3_STEP * XXH3_STEPS,
    XXH3_SHORT_MAX = 240, /* up to here no kernel is used */
    XXH3_128_BYTES = 16,
};

struct xxh3_kernel {
    const char *name;
    bool (*supported)(void); /* by the CPU this process runs on */
    /* The end of a message, or all of a long one: at least a byte, with XXH3_STEP of them up to
     * where it ends. */
    void (*take)(uint64_t *lanes, const uint8_t *data, size_t bytes);
    /* Whole blocks that are not the end of a message. */
    void (*blocks)(uint64_t *lanes, const uint8_t *data, size_t count);
};

extern const uint8_t xxh3_secret[192];
extern const uint64_t xxh3_first_lanes[XXH3_LANES];

/* Kernels by rank, fastest first, scalar last; NULL past the end or where it is not built or the
 * CPU lacks it. */
const struct xxh3_kernel *xxh3_kernel_at(unsigned rank);
enum { XXH3_KERNELS = 3 };

/* The first that this CPU can run. */
const struct xxh3_kernel *xxh3_select(void);

uint64_t xxh3_64_with(const struct xxh3_kernel *kernel, const void *data, size_t bytes);

/* The same with the kernel that xxh3_select finds. */
uint64_t xxh3_64(const void *data, size_t bytes);

/* A message of which pieces have come. */
struct xxh3_stream {
    uint64_t bytes; /* that have come */
    uint64_t lanes[XXH3_LANES];
    uint8_t kept[XXH3_STEP + XXH3_BLOCK]; /* the last that the lanes took; all that they did not */
};

void xxh3_begin(struct xxh3_stream *stream);

/* Takes the next bytes. */
void xxh3_update(struct xxh3_stream *stream, const uint8_t *data, size_t bytes);

/* 128 bits, big-endian, of what has come, which is more than XXH3_SHORT_MAX: shorter messages have
 * formulas that are not here, and lie at `kept + XXH3_STEP`. The stream may go on. */
void xxh3_128_digest(const struct xxh3_stream *stream, uint8_t digest[XXH3_128_BYTES]);

/* What the lanes say in the end of a message of that many bytes. */
void xxh3_merge_128(const uint64_t *lanes, uint64_t bytes, uint64_t *low, uint64_t *high);

/* NULL where this build's architecture lacks the instructions. */
extern const struct xxh3_kernel *const xxh3_avx512, *const xxh3_avx2;

#endif

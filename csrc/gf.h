/* Dot products over GF(2^8): all the arithmetic of the erasure code.
 *
 * The field.  A byte is a polynomial over GF(2) of degree < 8, bit i the coefficient of x^i.
 * Addition is XOR; multiplication is modulo x^8 + x^4 + x^3 + x^2 + 1 (0x11d), the field of ISA-L.
 *
 * The one operation.  A plan is a matrix of bytes, one row for each output, one column for each
 * source.  Byte by byte, at every position,
 *
 *     outputs[r][at] = sum over c of plan[r][c] * sources[c][at]
 *
 * Encoding is the dot product with the rows of the Cauchy matrix, rebuilding the one with rows of
 * an inverse; this file knows neither.  Positions are independent, so any range of shards works.
 *
 * Two ways to multiply a vector by the constant f, both consequences of f * (a + b) = f*a + f*b:
 *
 *   nibbles   b = low + 16 * high, so f*b = f*low + f*(16*high): two lookups in tables of 16 bytes,
 *             which is what a byte shuffle does to a whole register at once.
 *   affine    b -> f*b is linear over GF(2), so it is an 8x8 matrix of bits: one instruction where
 *             the CPU has GFNI, whose own multiplication is of another field (0x11b).
 *
 * Invariants:
 *   1. Every kernel writes exactly outputs[r][begin..end) for every row, with the same bytes as
 *      gf_dot_scalar, which is the definition.  Nothing else is written; it may write a byte twice.
 *   2. No kernel reads outside sources[c][0..end).  Pointers need no alignment, lengths no multiple.
 *   3. No kernel allocates, locks, or keeps state: any number of threads may run them at once.
 *   4. Outputs overlap neither sources nor each other (gf_apply checks); sources may.
 */
#ifndef S3NODE_GF_H
#define S3NODE_GF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GF_SHARDS_MAX = 16, /* rows and columns of a plan at most */
    GF_ROWS_PER_PASS = 6, /* outputs that one pass over the sources computes, kept in registers */
};

struct gf_nibbles {
    uint8_t low[16], high[16]; /* f * i, and f * (16 * i) */
};

/* A matrix expanded for every kernel.  Column-major, so that one pass, which takes a few rows and
 * walks the columns, reads it in order: the factor of (row, column) is at [column * rows + row]. */
struct gf_plan {
    unsigned rows, columns;
    uint64_t affine[GF_SHARDS_MAX * GF_SHARDS_MAX];
    struct gf_nibbles nibbles[GF_SHARDS_MAX * GF_SHARDS_MAX];
};

struct gf_job {
    const struct gf_plan *plan;
    const uint8_t *const *sources; /* plan->columns of them */
    uint8_t *const *outputs; /* plan->rows of them */
};

struct gf_kernel {
    const char *name;
    bool (*supported)(void); /* by the CPU this process runs on */
    void (*dot)(const struct gf_job *job, size_t begin, size_t end);
};

enum gf_selection { GF_SELECTED, GF_UNKNOWN, GF_NOT_BUILT, GF_NO_CPU };

/* Kernels by rank, fastest first as measured, scalar last; NULL past the end. */
const char *gf_kernel_name(unsigned rank);

/* Puts the kernel of that name, or the first supported one when name is NULL, into *kernel.
 * On anything but GF_SELECTED, *kernel is untouched. */
enum gf_selection gf_select(const char *name, const struct gf_kernel **kernel);

uint8_t gf_multiply(uint8_t a, uint8_t b);

/* Expands matrix (rows * columns bytes, row-major); both counts are 1..GF_SHARDS_MAX. */
void gf_plan_init(struct gf_plan *plan, unsigned rows, unsigned columns, const uint8_t *matrix);

/* Runs the plan over whole buffers of that many bytes.  False, and nothing is written, when the
 * buffers break invariant 4. */
bool gf_apply(const struct gf_kernel *kernel, const struct gf_plan *plan, size_t bytes,
              const uint8_t *const *sources, uint8_t *const *outputs);

/* The same for one buffer: sources of that many bytes in front, outputs right behind them. */
void gf_apply_in_row(const struct gf_kernel *kernel, const struct gf_plan *plan, size_t bytes,
                     uint8_t *shards);

/* The definition; also finishes what is shorter than a vector. */
void gf_dot_scalar(const struct gf_job *job, size_t begin, size_t end);

/* NULL where this build's architecture lacks the instructions. */
extern const struct gf_kernel *const gf_avx512_gfni, *const gf_avx2_gfni, *const gf_avx512,
    *const gf_avx2, *const gf_ssse3, *const gf_neon;

#endif

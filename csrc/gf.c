/* The field, plans, the scalar kernel, and the choice between kernels.  Algebra: gf.h. */
#include "gf.h"

#include <string.h>

enum {
    POLYNOMIAL = 0x11d,
    /* Several passes share a block of every source while it is still in the second-level cache:
     * 15 sources of one page are 60 KiB. */
    BLOCK_BYTES = 4096,
};

void gf_dot_scalar(const struct gf_job *job, size_t begin, size_t end)
{
    const struct gf_plan *plan = job->plan;
    for (unsigned row = 0; row < plan->rows; row++) {
        for (size_t at = begin; at < end; at++) {
            uint8_t sum = 0;
            for (unsigned column = 0; column < plan->columns; column++) {
                const struct gf_nibbles *factor = &plan->nibbles[column * plan->rows + row];
                uint8_t byte = job->sources[column][at];
                sum ^= factor->low[byte & 15] ^ factor->high[byte >> 4];
            }
            job->outputs[row][at] = sum;
        }
    }
}

uint8_t gf_multiply(uint8_t a, uint8_t b)
{
    unsigned product = 0;
    for (unsigned shifted = a; b; b >>= 1) {
        if (b & 1)
            product ^= shifted;
        shifted <<= 1;
        if (shifted & 0x100)
            shifted ^= POLYNOMIAL;
    }
    return (uint8_t)product;
}

static struct gf_nibbles nibbles_of(uint8_t factor)
{
    struct gf_nibbles nibbles;
    for (unsigned i = 0; i < 16; i++) {
        nibbles.low[i] = gf_multiply(factor, (uint8_t)i);
        nibbles.high[i] = gf_multiply(factor, (uint8_t)(i << 4));
    }
    return nibbles;
}

/* The bits of b -> factor * b as GFNI wants them: byte 7 - i of the matrix is the row that makes
 * bit i of the result, and bit j of that row says whether bit j of b takes part in it. */
static uint64_t affine_of(uint8_t factor)
{
    uint64_t matrix = 0;
    for (unsigned j = 0; j < 8; j++) {
        uint8_t column = gf_multiply(factor, (uint8_t)(1u << j));
        for (unsigned i = 0; i < 8; i++)
            matrix |= (uint64_t)(column >> i & 1) << (8 * (7 - i) + j);
    }
    return matrix;
}

void gf_plan_init(struct gf_plan *plan, unsigned rows, unsigned columns, const uint8_t *matrix)
{
    plan->rows = rows;
    plan->columns = columns;
    for (unsigned row = 0; row < rows; row++) {
        for (unsigned column = 0; column < columns; column++) {
            uint8_t factor = matrix[row * columns + column];
            plan->affine[column * rows + row] = affine_of(factor);
            plan->nibbles[column * rows + row] = nibbles_of(factor);
        }
    }
}

static bool overlap(const uint8_t *a, const uint8_t *b, size_t bytes)
{
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
    return (x < y ? y - x : x - y) < bytes;
}

static bool disjoint(const struct gf_job *job, size_t bytes)
{
    for (unsigned row = 0; row < job->plan->rows; row++) {
        for (unsigned column = 0; column < job->plan->columns; column++)
            if (overlap(job->outputs[row], job->sources[column], bytes))
                return false;
        for (unsigned other = 0; other < row; other++)
            if (overlap(job->outputs[row], job->outputs[other], bytes))
                return false;
    }
    return true;
}

static void run(const struct gf_kernel *kernel, const struct gf_job *job, size_t bytes)
{
    size_t step = job->plan->rows > GF_ROWS_PER_PASS ? BLOCK_BYTES : bytes;
    for (size_t begin = 0; begin < bytes; begin += step)
        kernel->dot(job, begin, bytes - begin > step ? begin + step : bytes);
}

bool gf_apply(const struct gf_kernel *kernel, const struct gf_plan *plan, size_t bytes,
              const uint8_t *const *sources, uint8_t *const *outputs)
{
    struct gf_job job = {plan, sources, outputs};
    if (!disjoint(&job, bytes))
        return false;
    run(kernel, &job, bytes);
    return true;
}

void gf_apply_in_row(const struct gf_kernel *kernel, const struct gf_plan *plan, size_t bytes,
                     uint8_t *shards)
{
    const uint8_t *sources[GF_SHARDS_MAX];
    uint8_t *outputs[GF_SHARDS_MAX];
    for (unsigned column = 0; column < plan->columns; column++, shards += bytes)
        sources[column] = shards;
    for (unsigned row = 0; row < plan->rows; row++, shards += bytes)
        outputs[row] = shards;
    struct gf_job job = {plan, sources, outputs};
    run(kernel, &job, bytes);
}

static bool always(void)
{
    return true;
}

static const struct gf_kernel scalar = {"scalar", always, gf_dot_scalar};
static const struct gf_kernel *const gf_scalar = &scalar;

static const struct {
    const char *name;
    const struct gf_kernel *const *kernel;
} kernels[] = {
    {"avx512-gfni", &gf_avx512_gfni},
    {"avx2-gfni", &gf_avx2_gfni},
    {"avx512", &gf_avx512},
    {"avx2", &gf_avx2},
    {"ssse3", &gf_ssse3},
    {"neon", &gf_neon},
    {"scalar", &gf_scalar},
};
enum { KERNELS = sizeof kernels / sizeof kernels[0] };

const char *gf_kernel_name(unsigned rank)
{
    return rank < KERNELS ? kernels[rank].name : NULL;
}

enum gf_selection gf_select(const char *name, const struct gf_kernel **kernel)
{
    for (unsigned rank = 0; rank < KERNELS; rank++) {
        const struct gf_kernel *candidate = *kernels[rank].kernel;
        if (name && strcmp(name, kernels[rank].name) != 0)
            continue;
        if (candidate && candidate->supported()) {
            *kernel = candidate;
            return GF_SELECTED;
        }
        if (name)
            return candidate ? GF_NO_CPU : GF_NOT_BUILT;
    }
    return GF_UNKNOWN;
}

/* Runs every kernel that this build and CPU have over every shape, many lengths and misalignments,
 * against products made one by one.  Sources end where their allocation ends, so that the address
 * sanitizer sees a read beyond them; outputs stand between guard bytes.
 *
 * Prints "KERNEL: N dot products" for each, and exits 1 at the first difference.  Arguments name the
 * kernels to run, which must then be there.  With ANY_CPU the test is the CPU, and takes features
 * away to see what is chosen then (GF_CPU_HAS is cpu_has). */
#include "gf.h"
#include "require.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef EMULATED
#include <immintrin.h>
#endif

#ifdef ANY_CPU /* what the CPU has is the question, other builds try all shapes */
enum { COLUMNS_STEP = 7 };
#else
enum { COLUMNS_STEP = 1 };
#endif
enum { GUARD_BYTES = 80, GUARD = 0xa5, LONGEST = 9001, MISALIGNMENTS = 67 };

static uint8_t product[256][256];
static uint8_t *sources[GF_SHARDS_MAX], *outputs[GF_SHARDS_MAX];
static uint8_t *source_blocks[GF_SHARDS_MAX], *output_blocks[GF_SHARDS_MAX];
static unsigned long dot_products;

static uint8_t noise(void)
{
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return (uint8_t)(state >> 24);
}

static void check_field(void)
{
    unsigned power = 1;
    for (unsigned i = 1; i < 255; i++) {
        power = gf_multiply((uint8_t)power, 2);
        REQUIRE(power != 1, "2 generates only %u elements", i);
    }
    REQUIRE(gf_multiply((uint8_t)power, 2) == 1, "2 does not generate the field");
    REQUIRE(gf_multiply(0x80, 2) == 0x1d, "another polynomial");
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++)
            product[a][b] = gf_multiply((uint8_t)a, (uint8_t)b);
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++)
            REQUIRE(product[a][b] == product[b][a]
                    && product[a ^ 1][b] == (product[a][b] ^ b), "%u * %u", a, b);
}

#ifdef EMULATED
/* FIPS 197: the S-box is the inverse (of 0x53 it is 0xca) under this matrix, plus 0x63. */
static void check_emulated_affine(void)
{
    REQUIRE(affine_byte(0xf1e3c78f1f3e7cf8, 0xca, 0x63) == 0xed, "not the S-box of 0x53");
    REQUIRE(affine_byte(0xf1e3c78f1f3e7cf8, 0x00, 0x63) == 0x63, "not the S-box of 0x00");
    REQUIRE(affine_byte(0xf1e3c78f1f3e7cf8, 0x01, 0x63) == 0x7c, "not the S-box of 0x01");
}
#endif

#ifdef ANY_CPU
static const char *lacking = "";

int cpu_has(const char *feature)
{
    return !strstr(lacking, feature);
}

static void check_selection(void)
{
    static const char *const cpus[] = {"", "avx512f", "avx512bw", "gfni", "avx512f gfni",
                                       "avx512bw avx2", "avx512f avx2 ssse3"};
    static const char *const best[] = {"avx512-gfni", "avx2-gfni", "avx2-gfni", "avx512", "avx2",
                                       "ssse3", "scalar"};
    const struct gf_kernel *kernel;
    for (unsigned i = 0; i < sizeof cpus / sizeof *cpus; i++) {
        lacking = cpus[i];
        REQUIRE(gf_select(NULL, &kernel) == GF_SELECTED, "without %s", cpus[i]);
        REQUIRE(!strcmp(kernel->name, best[i]), "%s without %s", kernel->name, cpus[i]);
    }
    REQUIRE(gf_select("avx2", &kernel) == GF_NO_CPU, "avx2 without it");
    REQUIRE(gf_select("neon", &kernel) == GF_NOT_BUILT, "neon on x86");
    REQUIRE(!gf_kernel_name(1000), "no such rank");
    lacking = "";
}
#endif

/* Each buffer gets a block of its own, at a misalignment of its own. */
static void lay_out(unsigned columns, unsigned rows, size_t bytes)
{
    for (unsigned column = 0; column < columns; column++) {
        size_t offset = noise() % MISALIGNMENTS;
        source_blocks[column] = malloc(offset + bytes + !(offset + bytes));
        sources[column] = source_blocks[column] + offset;
        for (size_t at = 0; at < bytes; at++)
            sources[column][at] = noise();
    }
    for (unsigned row = 0; row < rows; row++) {
        size_t offset = GUARD_BYTES + noise() % MISALIGNMENTS;
        output_blocks[row] = malloc(offset + bytes + GUARD_BYTES);
        memset(output_blocks[row], GUARD, offset + bytes + GUARD_BYTES);
        outputs[row] = output_blocks[row] + offset;
    }
}

static void clear(unsigned columns, unsigned rows)
{
    for (unsigned column = 0; column < columns; column++)
        free(source_blocks[column]);
    for (unsigned row = 0; row < rows; row++)
        free(output_blocks[row]);
}

static void check_row(const char *name, const uint8_t *factors, unsigned columns,
                      const uint8_t *output, size_t bytes)
{
    for (size_t at = 0; at < bytes; at++) {
        uint8_t sum = 0;
        for (unsigned column = 0; column < columns; column++)
            sum ^= product[factors[column]][sources[column][at]];
        REQUIRE(output[at] == sum, "%s, %u columns, byte %zu of %zu", name, columns, at, bytes);
    }
    for (size_t i = 1; i <= GUARD_BYTES; i++)
        REQUIRE(output[-(ptrdiff_t)i] == GUARD && output[bytes + i - 1] == GUARD,
                "%s, %u columns, %zu bytes: writes outside", name, columns, bytes);
}

static void check_shape(const struct gf_kernel *kernel, unsigned rows, unsigned columns,
                        size_t bytes)
{
    struct gf_plan plan;
    uint8_t factors[GF_SHARDS_MAX * GF_SHARDS_MAX];
    for (unsigned i = 0; i < rows * columns; i++)
        factors[i] = noise() % 8 ? noise() : noise() % 2; /* zeros and ones are common */
    gf_plan_init(&plan, rows, columns, factors);
    lay_out(columns, rows, bytes);
    REQUIRE(gf_apply(kernel, &plan, bytes, (const uint8_t *const *)sources, outputs),
            "%s refuses", kernel->name);
    for (unsigned row = 0; row < rows; row++)
        check_row(kernel->name, factors + row * columns, columns, outputs[row], bytes);
    dot_products += rows;
    clear(columns, rows);
}

/* One buffer holds all; the outputs must come out as with buffers of their own. */
static void check_in_row(const struct gf_kernel *kernel, size_t bytes)
{
    enum { ROWS = 3, COLUMNS = 5 };
    struct gf_plan plan;
    uint8_t factors[ROWS * COLUMNS];
    uint8_t *shards = malloc((ROWS + COLUMNS) * bytes + 1);
    for (unsigned i = 0; i < sizeof factors; i++)
        factors[i] = noise();
    gf_plan_init(&plan, ROWS, COLUMNS, factors);
    lay_out(COLUMNS, ROWS, bytes);
    for (unsigned column = 0; column < COLUMNS; column++)
        memcpy(shards + column * bytes, sources[column], bytes);
    gf_apply_in_row(kernel, &plan, bytes, shards);
    gf_apply(kernel, &plan, bytes, (const uint8_t *const *)sources, outputs);
    for (unsigned row = 0; row < ROWS; row++)
        REQUIRE(memcmp(shards + (COLUMNS + row) * bytes, outputs[row], bytes) == 0,
                "%s, row %u of %zu bytes", kernel->name, row, bytes);
    clear(COLUMNS, ROWS);
    free(shards);
}

static void check_overlap_is_refused(const struct gf_kernel *kernel)
{
    struct gf_plan plan;
    uint8_t memory[301], before[sizeof memory];
    const uint8_t *in[2] = {memory, memory + 100};
    memset(memory, 7, sizeof memory);
    memcpy(before, memory, sizeof memory);
    gf_plan_init(&plan, 2, 2, (const uint8_t[]){1, 2, 3, 4});
    for (unsigned shift = 1; shift < 200; shift++) {
        uint8_t *out[2] = {memory + shift, memory + 201};
        uint8_t *swapped[2] = {memory + 201, memory + shift};
        REQUIRE(!gf_apply(kernel, &plan, 100, in, out), "overlap by %u", shift);
        REQUIRE(!gf_apply(kernel, &plan, 100, in, swapped), "overlap by %u", shift);
    }
    uint8_t *each_other[2] = {memory + 200, memory + 201};
    REQUIRE(!gf_apply(kernel, &plan, 100, in, each_other), "outputs overlap");
    REQUIRE(memcmp(memory, before, sizeof memory) == 0, "written all the same");
    in[1] = memory; /* sources may be the same; touching is not overlapping */
    REQUIRE(gf_apply(kernel, &plan, 100, in, (uint8_t *[]){memory + 100, memory + 200}), "touch");
}

static void check_kernel(const struct gf_kernel *kernel)
{
    static const size_t lengths[] = {0,  1,  7,  15,  16,  17,  31,  32,  33,  47,  48,
                                     63, 64, 65, 127, 128, 129, 191, 193, 255, 300};
    static const size_t long_lengths[] = {4095, 4096, 4097, 4100, 8192, LONGEST};
    enum { LENGTHS = sizeof lengths / sizeof *lengths };
    enum { LONG_LENGTHS = sizeof long_lengths / sizeof *long_lengths };

    dot_products = 0;
    for (unsigned columns = 1; columns < GF_SHARDS_MAX; columns += COLUMNS_STEP)
        for (unsigned rows = 1; rows <= GF_SHARDS_MAX; rows++)
            for (unsigned i = 0; i < LENGTHS; i++)
                check_shape(kernel, rows, columns, lengths[i]);
    for (unsigned rows = 1; rows <= GF_SHARDS_MAX; rows += 5)
        for (unsigned i = 0; i < LONG_LENGTHS; i++)
            check_shape(kernel, rows, 3, long_lengths[i]);
    for (size_t bytes = 0; bytes < 300; bytes += 13)
        check_in_row(kernel, bytes);
    check_overlap_is_refused(kernel);
    printf("%s: %lu dot products\n", kernel->name, dot_products);
}

int main(int count, char **names)
{
    const struct gf_kernel *kernel = NULL;
    check_field();
#ifdef EMULATED
    check_emulated_affine();
#endif
#ifdef ANY_CPU
    check_selection();
#endif
    REQUIRE(gf_select("no such kernel", &kernel) == GF_UNKNOWN && !kernel, "unknown");
    for (int i = 1; i < count; i++) {
        REQUIRE(gf_select(names[i], &kernel) == GF_SELECTED, "%s", names[i]);
        check_kernel(kernel);
    }
    for (unsigned rank = 0; count == 1 && gf_kernel_name(rank); rank++)
        if (gf_select(gf_kernel_name(rank), &kernel) == GF_SELECTED)
            check_kernel(kernel);
    return 0;
}

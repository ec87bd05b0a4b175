/* The loop of every vector kernel, written once.
 *
 * A kernel file defines, for its instructions, and then includes this:
 *
 *     GF_FEATURES, WIDTH                  target features; bytes of a vector
 *     vector                              a register
 *     operand, split(vector)              what multiplication needs of a source, prepared once
 *     factor, factors(plan)               one factor of the plan in the form wanted; all of them
 *     load, store, zero                   unaligned
 *     add_product(sum, factor, operand)   sum + factor * operand
 *
 * ROWS and VECTORS are literals wherever they are passed, so the compiler unrolls the loops over
 * them and keeps every sum in a register: a source is loaded and split once for all rows of a pass.
 */
enum {
    VECTORS_PER_STEP = 2, /* each factor is loaded once for both */
    CACHE_LINE = 64,
    /* More sources than the hardware follows by itself; it gains up to half beyond the caches and
     * costs nothing within.  Past the end of a source a prefetch is harmless. */
    PREFETCH_AHEAD = 512,
};

GF_INLINE void dot_at(const struct gf_job *job, unsigned first, const unsigned ROWS,
                      const unsigned VECTORS, size_t at)
{
    const struct gf_plan *plan = job->plan;
    const factor *f = factors(plan) + first;
    vector sum[GF_ROWS_PER_PASS][VECTORS_PER_STEP];

    for (unsigned r = 0; r < ROWS; r++)
        for (unsigned v = 0; v < VECTORS; v++)
            sum[r][v] = zero();
    for (unsigned column = 0; column < plan->columns; column++, f += plan->rows) {
        const uint8_t *source = job->sources[column] + at;
        operand x[VECTORS_PER_STEP];
        for (unsigned line = 0; line < VECTORS * WIDTH; line += CACHE_LINE)
            __builtin_prefetch(source + PREFETCH_AHEAD + line);
        for (unsigned v = 0; v < VECTORS; v++)
            x[v] = split(load(source + v * WIDTH));
        for (unsigned r = 0; r < ROWS; r++)
            for (unsigned v = 0; v < VECTORS; v++)
                sum[r][v] = add_product(sum[r][v], &f[r], x[v]);
    }
    for (unsigned r = 0; r < ROWS; r++)
        for (unsigned v = 0; v < VECTORS; v++)
            store(job->outputs[first + r] + at + v * WIDTH, sum[r][v]);
}

/* Needs end >= WIDTH: what is left at the end is done by a last vector that overlaps the one
 * before, and so computes some bytes a second time. */
GF_INLINE void pass(const struct gf_job *job, unsigned first, const unsigned ROWS,
                    size_t begin, size_t end)
{
    size_t at = begin;
    for (; end - at >= VECTORS_PER_STEP * WIDTH; at += VECTORS_PER_STEP * WIDTH)
        dot_at(job, first, ROWS, VECTORS_PER_STEP, at);
    for (; end - at >= WIDTH; at += WIDTH)
        dot_at(job, first, ROWS, 1, at);
    if (at < end)
        dot_at(job, first, ROWS, 1, end - WIDTH);
}

GF_TARGET(GF_FEATURES)
static void dot(const struct gf_job *job, size_t begin, size_t end)
{
    unsigned first = 0, left = job->plan->rows;
    if (end < WIDTH) {
        gf_dot_scalar(job, begin, end);
        return;
    }
    while (left > 0) {
        unsigned passes = (left + GF_ROWS_PER_PASS - 1) / GF_ROWS_PER_PASS;
        unsigned rows = (left + passes - 1) / passes; /* 7 rows are 4 and 3, not 6 and 1 */
        switch (rows) {
        case 1: pass(job, first, 1, begin, end); break;
        case 2: pass(job, first, 2, begin, end); break;
        case 3: pass(job, first, 3, begin, end); break;
        case 4: pass(job, first, 4, begin, end); break;
        case 5: pass(job, first, 5, begin, end); break;
        case 6: pass(job, first, 6, begin, end); break;
        }
        first += rows;
        left -= rows;
    }
}

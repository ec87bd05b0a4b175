/* Streams, jobs in lanes, and the choice between kernels.  What it is about: md5.h. */
#include "md5.h"

#include <string.h>

enum { LENGTH_BYTES = 8 }; /* of the message's length, at the end of its last block */

void md5_init(struct md5_stream *stream)
{
    *stream = (struct md5_stream){.chain = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}};
}

/* The bytes of the first piece up to that many are taken. */
static void pass(struct md5_job *job, size_t bytes)
{
    job->stream->bytes += bytes;
    job->pieces->data += bytes;
    job->pieces->bytes -= bytes;
    if (!job->pieces->bytes) {
        job->pieces++;
        job->count--;
    }
}

/* Collects bytes until a block is whole, and takes that. */
static void collect(const struct md5_kernel *kernel, struct md5_job *job)
{
    struct md5_stream *stream = job->stream;
    size_t kept = stream->bytes % MD5_BLOCK_BYTES, missing = MD5_BLOCK_BYTES - kept;
    size_t bytes = job->pieces->bytes < missing ? job->pieces->bytes : missing;
    memcpy(stream->rest + kept, job->pieces->data, bytes);
    pass(job, bytes);
    if (bytes == missing)
        kernel->lone(stream->chain, stream->rest, 1);
}

/* Whole blocks that the job has at its first piece, after collecting what lies before them. */
static size_t whole_blocks(const struct md5_kernel *kernel, struct md5_job *job)
{
    while (job->count) {
        if (job->stream->bytes % MD5_BLOCK_BYTES == 0 && job->pieces->bytes >= MD5_BLOCK_BYTES)
            return job->pieces->bytes / MD5_BLOCK_BYTES;
        if (job->pieces->bytes)
            collect(kernel, job);
        else
            pass(job, 0);
    }
    return 0;
}

/* One call of md5_advance: the jobs that sit in lanes, [0, used) of them. */
struct shift {
    const struct md5_kernel *kernel;
    struct md5_job *const *next, *const *end; /* jobs that have not sat yet */
    size_t blocks_max;
    unsigned used;
    struct md5_lanes lanes;
    struct md5_job *jobs[MD5_LANES_MAX];
    size_t run[MD5_LANES_MAX]; /* blocks left at the first piece */
    size_t allowed[MD5_LANES_MAX]; /* blocks that the job may still take */
};

/* Seats the job, unless it has nothing more to do in this call. */
static bool seat(struct shift *shift, unsigned lane, struct md5_job *job, size_t allowed)
{
    size_t run = allowed ? whole_blocks(shift->kernel, job) : 0;
    if (!run)
        return false;
    shift->jobs[lane] = job;
    shift->run[lane] = run < allowed ? run : allowed;
    shift->allowed[lane] = allowed;
    shift->lanes.at[lane] = job->pieces->data;
    for (unsigned i = 0; i < MD5_WORDS; i++)
        shift->lanes.chain[i][lane] = job->stream->chain[i];
    return true;
}

/* Seats the next job that has something to do. */
static bool seat_next(struct shift *shift, unsigned lane)
{
    while (shift->next < shift->end)
        if (seat(shift, lane, *shift->next++, shift->blocks_max))
            return true;
    return false;
}

/* The lane has taken blocks.  When its run is over, its job goes on with its next piece, or else
 * another takes the seat, or else the last lane moves there. */
static void account(struct shift *shift, unsigned lane, size_t blocks)
{
    struct md5_job *job = shift->jobs[lane];
    size_t allowed = shift->allowed[lane] -= blocks;
    shift->lanes.at[lane] += blocks * MD5_BLOCK_BYTES;
    pass(job, blocks * MD5_BLOCK_BYTES);
    if (shift->run[lane] -= blocks)
        return;
    for (unsigned i = 0; i < MD5_WORDS; i++)
        job->stream->chain[i] = shift->lanes.chain[i][lane];
    if (seat(shift, lane, job, allowed) || seat_next(shift, lane))
        return;
    unsigned last = --shift->used;
    shift->jobs[lane] = shift->jobs[last];
    shift->run[lane] = shift->run[last];
    shift->allowed[lane] = shift->allowed[last];
    shift->lanes.at[lane] = shift->lanes.at[last];
    for (unsigned i = 0; i < MD5_WORDS; i++)
        shift->lanes.chain[i][lane] = shift->lanes.chain[i][last];
}

/* All lanes go as far as the shortest run.  Those that nobody sits in do the first one's work. */
static void step_wide(struct shift *shift)
{
    size_t blocks = shift->run[0];
    for (unsigned lane = 1; lane < shift->used; lane++)
        if (shift->run[lane] < blocks)
            blocks = shift->run[lane];
    const struct md5_wide *wide = shift->kernel->wide;
    while (wide->lanes < shift->used)
        wide++;
    for (unsigned lane = shift->used; lane < wide->lanes; lane++)
        shift->lanes.at[lane] = shift->lanes.at[0];
    wide->run(&shift->lanes, blocks);
    for (unsigned lane = shift->used; lane-- > 0;) /* downwards: the last one may move here */
        account(shift, lane, blocks);
}

static void step_lone(struct shift *shift)
{
    unsigned lane = shift->used - 1;
    uint32_t chain[MD5_WORDS];
    for (unsigned i = 0; i < MD5_WORDS; i++)
        chain[i] = shift->lanes.chain[i][lane];
    shift->kernel->lone(chain, shift->lanes.at[lane], shift->run[lane]);
    for (unsigned i = 0; i < MD5_WORDS; i++)
        shift->lanes.chain[i][lane] = chain[i];
    account(shift, lane, shift->run[lane]);
}

void md5_advance(const struct md5_kernel *kernel, struct md5_job *const *jobs, size_t count,
                 size_t bytes_max)
{
    unsigned seats = 1;
    for (unsigned i = 0; i < MD5_WIDE_MAX && kernel->wide[i].lanes; i++)
        seats = kernel->wide[i].lanes;
    struct shift shift = {.kernel = kernel, .next = jobs, .end = jobs + count,
                          .blocks_max = bytes_max / MD5_BLOCK_BYTES};
    if (!shift.blocks_max)
        shift.blocks_max = 1;
    while (shift.used < seats && seat_next(&shift, shift.used))
        shift.used++;
    while (shift.used) {
        if (shift.used > 1)
            step_wide(&shift);
        else
            step_lone(&shift);
    }
}

void md5_update(const struct md5_kernel *kernel, struct md5_stream *stream, const uint8_t *data,
                size_t bytes)
{
    struct md5_piece piece = {data, bytes};
    struct md5_job job = {stream, &piece, 1};
    size_t blocks;
    while ((blocks = whole_blocks(kernel, &job))) {
        kernel->lone(stream->chain, piece.data, blocks);
        pass(&job, blocks * MD5_BLOCK_BYTES);
    }
}

static void put_little_endian(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

void md5_digest(const struct md5_stream *stream, uint8_t digest[MD5_DIGEST_BYTES])
{
    uint8_t last[2 * MD5_BLOCK_BYTES] = {0};
    uint32_t chain[MD5_WORDS];
    size_t kept = stream->bytes % MD5_BLOCK_BYTES;
    size_t blocks = kept < MD5_BLOCK_BYTES - LENGTH_BYTES ? 1 : 2;
    memcpy(last, stream->rest, kept);
    last[kept] = 0x80;
    put_little_endian(last + blocks * MD5_BLOCK_BYTES - LENGTH_BYTES, stream->bytes * 8,
                      LENGTH_BYTES);
    memcpy(chain, stream->chain, sizeof chain);
    md5_lone_scalar(chain, last, blocks);
    for (unsigned i = 0; i < MD5_WORDS; i++)
        put_little_endian(digest + 4 * i, chain[i], 4);
}

static bool always(void)
{
    return true;
}

static const struct md5_kernel scalar = {"scalar", always, {{0, NULL}}, md5_lone_scalar};
static const struct md5_kernel *const md5_scalar = &scalar;

static const struct {
    const char *name;
    const struct md5_kernel *const *kernel;
} kernels[] = {
    {"avx512", &md5_avx512},
    {"avx2", &md5_avx2},
    {"scalar", &md5_scalar},
};
enum { KERNELS = sizeof kernels / sizeof kernels[0] };

const char *md5_kernel_name(unsigned rank)
{
    return rank < KERNELS ? kernels[rank].name : NULL;
}

enum md5_selection md5_select(const char *name, const struct md5_kernel **kernel)
{
    for (unsigned rank = 0; rank < KERNELS; rank++) {
        const struct md5_kernel *candidate = *kernels[rank].kernel;
        if (name && strcmp(name, kernels[rank].name) != 0)
            continue;
        if (candidate && candidate->supported()) {
            *kernel = candidate;
            return MD5_SELECTED;
        }
        if (name)
            return candidate ? MD5_NO_CPU : MD5_NOT_BUILT;
    }
    return MD5_UNKNOWN;
}

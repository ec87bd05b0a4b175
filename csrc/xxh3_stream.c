/* A message that comes in pieces. What the lanes are: xxh3.h. */
#include "xxh3.h"

#include <string.h>

void xxh3_begin(struct xxh3_stream *stream)
{
    *stream = (struct xxh3_stream){0};
    memcpy(stream->lanes, xxh3_first_lanes, sizeof stream->lanes);
}

/* Bytes that the lanes have not taken: at least one, for the end is taken in another way. */
static size_t waiting(const struct xxh3_stream *stream)
{
    return stream->bytes ? (stream->bytes - 1) % XXH3_BLOCK + 1 : 0;
}

void xxh3_update(struct xxh3_stream *stream, const uint8_t *data, size_t bytes)
{
    const struct xxh3_kernel *kernel = xxh3_select();
    uint8_t *rest = stream->kept + XXH3_STEP;
    size_t waits = waiting(stream), room = XXH3_BLOCK - waits;
    stream->bytes += bytes;
    if (bytes > room && waits) {
        memcpy(rest + waits, data, room);
        kernel->blocks(stream->lanes, rest, 1);
        memcpy(stream->kept, rest + XXH3_BLOCK - XXH3_STEP, XXH3_STEP);
        data += room;
        bytes -= room;
        waits = 0;
    }
    if (bytes > XXH3_BLOCK) {
        size_t blocks = (bytes - 1) / XXH3_BLOCK;
        kernel->blocks(stream->lanes, data, blocks);
        data += blocks * XXH3_BLOCK;
        bytes -= blocks * XXH3_BLOCK;
        memcpy(stream->kept, data - XXH3_STEP, XXH3_STEP);
    }
    if (bytes)
        memcpy(rest + waits, data, bytes);
}

static void put_big_endian(uint8_t *to, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(to, &value, sizeof value);
}

void xxh3_128_digest(const struct xxh3_stream *stream, uint8_t digest[XXH3_128_BYTES])
{
    uint64_t lanes[XXH3_LANES], low, high;
    memcpy(lanes, stream->lanes, sizeof lanes);
    xxh3_select()->take(lanes, stream->kept + XXH3_STEP, waiting(stream));
    xxh3_merge_128(lanes, stream->bytes, &low, &high);
    put_big_endian(digest, high);
    put_big_endian(digest + sizeof high, low);
}

/* See record.h. */
#include "record.h"

void record_digests(const uint8_t *payloads, size_t bytes, size_t count, uint64_t *out)
{
    const size_t block = (size_t)1 << RECORD_BLOCK_BITS;
    for (; count; count--, payloads += bytes)
        for (size_t at = 0; at < bytes; at += block)
            *out++ = xxh3_64(payloads + at, bytes - at < block ? bytes - at : block);
}

/* See crc32.h. Eight bytes at a time, by a table for each. */
#include "crc32.h"

enum { SLICES = 8 };
static uint32_t by_slice[SLICES][256];

__attribute__((constructor)) static void make_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
        by_slice[0][byte] = crc;
    }
    for (int slice = 1; slice < SLICES; slice++)
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t before = by_slice[slice - 1][byte];
            by_slice[slice][byte] = before >> 8 ^ by_slice[0][before & 255];
        }
}

static uint32_t little_endian(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Four bytes, `after` of which follow in the slice. */
static uint32_t four(uint32_t bytes, int after)
{
    return by_slice[after + 3][bytes & 255] ^ by_slice[after + 2][bytes >> 8 & 255] ^
           by_slice[after + 1][bytes >> 16 & 255] ^ by_slice[after][bytes >> 24];
}

uint32_t crc32_of(uint32_t crc, const uint8_t *data, size_t bytes)
{
    const uint8_t *at = data, *end = at + bytes;
    crc = ~crc;
    for (; end - at >= SLICES; at += SLICES)
        crc = four(crc ^ little_endian(at), 4) ^ four(little_endian(at + 4), 0);
    for (; at < end; at++)
        crc = crc >> 8 ^ by_slice[0][(crc ^ *at) & 255];
    return ~crc;
}

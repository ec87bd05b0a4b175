/* Short inputs, the scalar kernel, the choice between kernels, and how lanes become a digest. */
#include "xxh3.h"

#include <string.h>

#define PRIME32_1 0x9E3779B1u
#define PRIME32_2 0x85EBCA77u
#define PRIME32_3 0xC2B2AE3Du
#define PRIME64_1 0x9E3779B185EBCA87u
#define PRIME64_2 0xC2B2AE3D27D4EB4Fu
#define PRIME64_3 0x165667B19E3779F9u
#define PRIME64_4 0x85EBCA77C2B2AE63u
#define PRIME64_5 0x27D4EB2F165667C5u
#define PRIME_MX1 0x165667919E3779F9u
#define PRIME_MX2 0x9FB21C651E98DF25u

const uint8_t xxh3_secret[192] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c,
    0xf7, 0x21, 0xad, 0x1c, 0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb,
    0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f, 0xcb, 0x79, 0xe6, 0x4e,
    0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6,
    0x81, 0x3a, 0x26, 0x4c, 0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb,
    0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3, 0x71, 0x64, 0x48, 0x97,
    0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7,
    0xc7, 0x0b, 0x4f, 0x1d, 0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31,
    0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64, 0xea, 0xc5, 0xac, 0x83,
    0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26,
    0x29, 0xd4, 0x68, 0x9e, 0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc,
    0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce, 0x45, 0xcb, 0x3a, 0x8f,
    0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};

const uint64_t xxh3_first_lanes[XXH3_LANES] = {PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3,
                                               PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1};

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are read as they lie in memory"
#endif

static uint32_t word32(const uint8_t *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static uint64_t word64(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Two words of the secret as one. */
static uint64_t both(unsigned at)
{
    return word64(xxh3_secret + at) ^ word64(xxh3_secret + at + 8);
}

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static uint64_t folded_product(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t avalanche(uint64_t h)
{
    h ^= h >> 37;
    h *= PRIME_MX1;
    return h ^ h >> 32;
}

/* ---- short inputs ---------------------------------------------------------------------- */

static uint64_t avalanche_least(uint64_t h)
{
    h ^= h >> 33;
    h *= PRIME64_2;
    h ^= h >> 29;
    h *= PRIME64_3;
    return h ^ h >> 32;
}

static uint64_t up_to_3(const uint8_t *data, size_t bytes)
{
    uint32_t all = (uint32_t)data[0] << 16 | (uint32_t)data[bytes >> 1] << 24 | data[bytes - 1] |
                   (uint32_t)bytes << 8;
    return avalanche_least(all ^ (uint64_t)(word32(xxh3_secret) ^ word32(xxh3_secret + 4)));
}

static uint64_t up_to_8(const uint8_t *data, size_t bytes)
{
    uint64_t all = word32(data + bytes - 4) + ((uint64_t)word32(data) << 32);
    uint64_t h = all ^ both(8);
    h ^= rotate(h, 49) ^ rotate(h, 24);
    h *= PRIME_MX2;
    h ^= (h >> 35) + bytes;
    h *= PRIME_MX2;
    return h ^ h >> 28;
}

static uint64_t up_to_16(const uint8_t *data, size_t bytes)
{
    uint64_t low = word64(data) ^ both(24);
    uint64_t high = word64(data + bytes - 8) ^ both(40);
    return avalanche(bytes + __builtin_bswap64(low) + high + folded_product(low, high));
}

static uint64_t mix(const uint8_t *data, unsigned secret)
{
    return folded_product(word64(data) ^ word64(xxh3_secret + secret),
                          word64(data + 8) ^ word64(xxh3_secret + secret + 8));
}

/* 16 bytes at a time from both ends, as far as it takes for them to meet. */
static uint64_t up_to_128(const uint8_t *data, size_t bytes)
{
    uint64_t sum = bytes * PRIME64_1;
    for (unsigned pair = 0; pair <= (bytes - 1) / 32; pair++) {
        sum += mix(data + 16 * pair, 32 * pair);
        sum += mix(data + bytes - 16 * (pair + 1), 32 * pair + 16);
    }
    return avalanche(sum);
}

static uint64_t up_to_240(const uint8_t *data, size_t bytes)
{
    uint64_t sum = bytes * PRIME64_1;
    for (unsigned i = 0; i < 8; i++)
        sum += mix(data + 16 * i, 16 * i);
    sum = avalanche(sum);
    for (unsigned i = 8; i < bytes / 16; i++)
        sum += mix(data + 16 * i, 16 * (i - 8) + 3);
    return avalanche(sum + mix(data + bytes - 16, 136 - 17));
}

static uint64_t of_short(const uint8_t *data, size_t bytes)
{
    if (bytes == 0)
        return avalanche_least(both(56));
    if (bytes <= 3)
        return up_to_3(data, bytes);
    if (bytes <= 8)
        return up_to_8(data, bytes);
    if (bytes <= 16)
        return up_to_16(data, bytes);
    return bytes <= 128 ? up_to_128(data, bytes) : up_to_240(data, bytes);
}

/* ---- the scalar kernel ----------------------------------------------------------------- */

static void step(uint64_t *lanes, const uint8_t *data, const uint8_t *secret)
{
    for (int i = 0; i < XXH3_LANES; i++) {
        uint64_t word = word64(data + 8 * i), mixed = word ^ word64(secret + 8 * i);
        lanes[i ^ 1] += word;
        lanes[i] += (mixed & 0xFFFFFFFFu) * (mixed >> 32);
    }
}

static void scramble(uint64_t *lanes)
{
    const uint8_t *secret = xxh3_secret + sizeof xxh3_secret - XXH3_STEP;
    for (int i = 0; i < XXH3_LANES; i++)
        lanes[i] = (lanes[i] ^ lanes[i] >> 47 ^ word64(secret + 8 * i)) * PRIME32_1;
}

static void blocks_scalar(uint64_t *lanes, const uint8_t *data, size_t count)
{
    for (; count; count--) {
        for (size_t n = 0; n < XXH3_STEPS; n++, data += XXH3_STEP)
            step(lanes, data, xxh3_secret + 8 * n);
        scramble(lanes);
    }
}

static void take_scalar(uint64_t *lanes, const uint8_t *data, size_t bytes)
{
    const uint8_t *last = data + bytes - XXH3_STEP; /* may overlap the steps before it */
    size_t steps = (bytes - 1) / XXH3_STEP;
    blocks_scalar(lanes, data, steps / XXH3_STEPS);
    data += steps / XXH3_STEPS * XXH3_BLOCK;
    for (size_t n = 0; n < steps % XXH3_STEPS; n++)
        step(lanes, data + n * XXH3_STEP, xxh3_secret + 8 * n);
    step(lanes, last, xxh3_secret + sizeof xxh3_secret - XXH3_STEP - 7);
}

static bool always(void)
{
    return true;
}

static const struct xxh3_kernel scalar = {"scalar", always, take_scalar, blocks_scalar};

/* ---- all together ---------------------------------------------------------------------- */

const struct xxh3_kernel *xxh3_kernel_at(unsigned rank)
{
    const struct xxh3_kernel *kernels[XXH3_KERNELS] = {xxh3_avx512, xxh3_avx2, &scalar};
    const struct xxh3_kernel *kernel = rank < XXH3_KERNELS ? kernels[rank] : NULL;
    return kernel && kernel->supported() ? kernel : NULL;
}

const struct xxh3_kernel *xxh3_select(void)
{
    for (unsigned rank = 0;; rank++) {
        const struct xxh3_kernel *kernel = xxh3_kernel_at(rank);
        if (kernel)
            return kernel;
    }
}

/* The lanes, each with its part of the secret, which begins there. */
static uint64_t merged(const uint64_t *lanes, unsigned secret, uint64_t sum)
{
    for (unsigned i = 0; i < XXH3_LANES; i += 2)
        sum += folded_product(lanes[i] ^ word64(xxh3_secret + secret + 8 * i),
                              lanes[i + 1] ^ word64(xxh3_secret + secret + 8 * i + 8));
    return avalanche(sum);
}

uint64_t xxh3_64_with(const struct xxh3_kernel *kernel, const void *data, size_t bytes)
{
    if (bytes <= XXH3_SHORT_MAX)
        return of_short(data, bytes);
    uint64_t lanes[XXH3_LANES];
    memcpy(lanes, xxh3_first_lanes, sizeof lanes);
    kernel->take(lanes, data, bytes);
    return merged(lanes, 11, bytes * PRIME64_1);
}

void xxh3_merge_128(const uint64_t *lanes, uint64_t bytes, uint64_t *low, uint64_t *high)
{
    *low = merged(lanes, 11, bytes * PRIME64_1);
    *high = merged(lanes, sizeof xxh3_secret - XXH3_STEP - 11, ~(bytes * PRIME64_2));
}

uint64_t xxh3_64(const void *data, size_t bytes)
{
    return xxh3_64_with(xxh3_select(), data, bytes);
}

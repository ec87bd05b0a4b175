/* Folding with PCLMULQDQ: four units at once, as many as it takes to wait for none of them. */
#include "crc64.h"

#ifdef __x86_64__
#include <immintrin.h>

#ifndef CRC64_TARGET
#define CRC64_TARGET(features) __attribute__((target(features)))
#define CRC64_CPU_HAS(feature) __builtin_cpu_supports(feature)
#endif

#define INLINE CRC64_TARGET("pclmul") static inline __attribute__((always_inline))

enum { UNITS = CRC64_FOLD_MIN / CRC64_UNIT };

/* Of a distance of d bits: x^(d + 63) for a unit's first half, x^(d - 1) for its second, modulo the
 * polynomial and reflected. One power less than the distance, for the product of two reflected
 * factors lies one bit lower than it should. */
#define DISTANCE_128 _mm_set_epi64x(0x21E9761E252621AC, (int64_t)0xEADC41FD2BA3D420)
#define DISTANCE_512 _mm_set_epi64x(0x62242240ACE5045A, 0x0C32CDB31E18A84A)

INLINE __m128i load(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

/* The unit `x` into the one that lies that far behind it. */
INLINE __m128i folded(__m128i x, __m128i distance, __m128i into)
{
    __m128i first = _mm_clmulepi64_si128(x, distance, 0x00);
    __m128i second = _mm_clmulepi64_si128(x, distance, 0x11);
    return _mm_xor_si128(_mm_xor_si128(first, second), into);
}

CRC64_TARGET("pclmul")
static uint64_t fold(uint64_t state, const uint8_t *data, size_t bytes)
{
    const uint8_t *end = data + bytes;
    __m128i units[UNITS];
    uint8_t last[CRC64_UNIT];
    for (int i = 0; i < UNITS; i++)
        units[i] = load(data + i * CRC64_UNIT);
    units[0] = _mm_xor_si128(units[0], _mm_set_epi64x(0, (int64_t)state));
    for (data += CRC64_FOLD_MIN; end - data >= CRC64_FOLD_MIN; data += CRC64_FOLD_MIN)
        for (int i = 0; i < UNITS; i++)
            units[i] = folded(units[i], DISTANCE_512, load(data + i * CRC64_UNIT));
    __m128i all = units[0];
    for (int i = 1; i < UNITS; i++)
        all = folded(all, DISTANCE_128, units[i]);
    for (; data < end; data += CRC64_UNIT)
        all = folded(all, DISTANCE_128, load(data));
    _mm_storeu_si128((__m128i *)last, all);
    return crc64_table(0, last, sizeof last);
}

static bool supported(void)
{
    return CRC64_CPU_HAS("pclmul");
}

static const struct crc64_folding folding = {supported, fold};
const struct crc64_folding *const crc64_pclmul = &folding;
#else
const struct crc64_folding *const crc64_pclmul = NULL;
#endif

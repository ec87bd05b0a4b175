/* AVX-512: all eight lanes in one register. */
#include "xxh3_target.h"

#ifdef __x86_64__
#include <immintrin.h>

#define XXH3_FEATURES "avx512f"
enum { WIDTH = 64, PRIME32_1 = (int)0x9E3779B1 };
typedef __m512i vector;

XXH3_INLINE vector load(const uint8_t *p) { return _mm512_loadu_si512(p); }
XXH3_INLINE void store(uint8_t *p, vector x) { _mm512_storeu_si512(p, x); }

XXH3_INLINE vector step(vector lanes, vector word, vector key)
{
    vector mixed = _mm512_xor_si512(word, key);
    vector product = _mm512_mul_epu32(mixed, _mm512_srli_epi64(mixed, 32));
    vector swapped = _mm512_shuffle_epi32(word, _MM_PERM_BADC);
    return _mm512_add_epi64(lanes, _mm512_add_epi64(swapped, product));
}

/* The product with a constant of 32 bits: that of the low half, plus that of the high one. */
XXH3_INLINE vector scramble(vector lanes, vector key)
{
    vector prime = _mm512_set1_epi64(PRIME32_1);
    vector mixed = _mm512_xor_si512(lanes, _mm512_xor_si512(_mm512_srli_epi64(lanes, 47), key));
    vector low = _mm512_mul_epu32(mixed, prime);
    vector high = _mm512_mul_epu32(_mm512_srli_epi64(mixed, 32), prime);
    return _mm512_add_epi64(low, _mm512_slli_epi64(high, 32));
}

#include "xxh3_take.h"

static bool supported(void)
{
    return XXH3_CPU_HAS("avx512f");
}

static const struct xxh3_kernel kernel = {"avx512", supported, take, blocks};
const struct xxh3_kernel *const xxh3_avx512 = &kernel;
#else
const struct xxh3_kernel *const xxh3_avx512 = NULL;
#endif

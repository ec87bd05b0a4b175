/* AVX2: four lanes to a register. */
#include "xxh3_target.h"

#ifdef __x86_64__
#include <immintrin.h>

#define XXH3_FEATURES "avx2"
enum { WIDTH = 32, PRIME32_1 = (int)0x9E3779B1 };
typedef __m256i vector;

XXH3_INLINE vector load(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
XXH3_INLINE void store(uint8_t *p, vector x) { _mm256_storeu_si256((__m256i *)p, x); }

XXH3_INLINE vector step(vector lanes, vector word, vector key)
{
    vector mixed = _mm256_xor_si256(word, key);
    vector product = _mm256_mul_epu32(mixed, _mm256_srli_epi64(mixed, 32));
    vector swapped = _mm256_shuffle_epi32(word, _MM_SHUFFLE(1, 0, 3, 2));
    return _mm256_add_epi64(lanes, _mm256_add_epi64(swapped, product));
}

/* The product with a constant of 32 bits: that of the low half, plus that of the high one. */
XXH3_INLINE vector scramble(vector lanes, vector key)
{
    vector prime = _mm256_set1_epi64x(PRIME32_1);
    vector mixed = _mm256_xor_si256(lanes, _mm256_xor_si256(_mm256_srli_epi64(lanes, 47), key));
    vector low = _mm256_mul_epu32(mixed, prime);
    vector high = _mm256_mul_epu32(_mm256_srli_epi64(mixed, 32), prime);
    return _mm256_add_epi64(low, _mm256_slli_epi64(high, 32));
}

#include "xxh3_take.h"

static bool supported(void)
{
    return XXH3_CPU_HAS("avx2");
}

static const struct xxh3_kernel kernel = {"avx2", supported, take, blocks};
const struct xxh3_kernel *const xxh3_avx2 = &kernel;
#else
const struct xxh3_kernel *const xxh3_avx2 = NULL;
#endif

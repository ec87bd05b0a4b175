/* md5_wide.h for eight lanes: AVX2 has all that loading them takes. */
#define low_words _mm256_unpacklo_epi32
#define high_words _mm256_unpackhi_epi32
#define low_pairs _mm256_unpacklo_epi64
#define high_pairs _mm256_unpackhi_epi64
#define fetch(from) _mm256_loadu_si256((const __m256i *)(from))
#define store(to, x) _mm256_storeu_si256((__m256i *)(to), x)

ROUNDS_INLINE vector starts(const uint8_t *const *at, size_t offset)
{
    vector x = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(at[0] + offset)));
    return _mm256_inserti128_si256(x, _mm_loadu_si128((const __m128i *)(at[4] + offset)), 1);
}

#include "md5_wide.h"

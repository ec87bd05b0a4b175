/* AVX-512: 16 lanes, any function of three words in one instruction, and a rotation in one. */
#include "md5_target.h"

#ifdef __x86_64__
#include <immintrin.h>

#define MD5_FEATURES "avx512f"
typedef __m512i vector;

ROUNDS_INLINE vector constant(uint32_t k) { return _mm512_set1_epi32((int)k); }
ROUNDS_INLINE vector add(vector x, vector y) { return _mm512_add_epi32(x, y); }
/* Macros, for the instructions hold these numbers in themselves. */
#define rotate(x, bits) _mm512_rol_epi32(x, bits)
#define ternary(x, y, z, table) _mm512_ternarylogic_epi32(x, y, z, table)

#include "md5_ternary.h"
#include "md5_rounds.h"

#define low_words _mm512_unpacklo_epi32
#define high_words _mm512_unpackhi_epi32
#define low_pairs _mm512_unpacklo_epi64
#define high_pairs _mm512_unpackhi_epi64
#define fetch(from) _mm512_loadu_si512(from)
#define store(to, x) _mm512_storeu_si512(to, x)

ROUNDS_INLINE vector starts(const uint8_t *const *at, size_t offset)
{
    vector x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(at[0] + offset)));
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(at[4] + offset)), 1);
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(at[8] + offset)), 2);
    return _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(at[12] + offset)), 3);
}

#include "md5_wide.h"

static bool supported(void)
{
    return MD5_CPU_HAS("avx512f") && MD5_CPU_HAS("avx512vl");
}

static const struct md5_kernel kernel = {
    "avx512", supported, {{8, md5_wide_avx512_8}, {16, wide}}, md5_lone_avx512};
const struct md5_kernel *const md5_avx512 = &kernel;
#else
const struct md5_kernel *const md5_avx512 = NULL;
#endif

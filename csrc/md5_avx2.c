/* AVX2: 8 lanes.  A lone stream is quicker in general registers. */
#include "md5_target.h"

#ifdef __x86_64__
#include <immintrin.h>

#define MD5_FEATURES "avx2"
typedef __m256i vector;

ROUNDS_INLINE vector constant(uint32_t k) { return _mm256_set1_epi32((int)k); }
ROUNDS_INLINE vector add(vector x, vector y) { return _mm256_add_epi32(x, y); }
ROUNDS_INLINE vector and(vector x, vector y) { return _mm256_and_si256(x, y); }
ROUNDS_INLINE vector or(vector x, vector y) { return _mm256_or_si256(x, y); }
ROUNDS_INLINE vector xor(vector x, vector y) { return _mm256_xor_si256(x, y); }
ROUNDS_INLINE vector not(vector x) { return xor(x, constant(UINT32_MAX)); }

ROUNDS_INLINE vector rotate(vector x, int bits)
{
    return or(_mm256_slli_epi32(x, bits), _mm256_srli_epi32(x, 32 - bits));
}

/* The sum comes first, so that nothing but the function waits for x. */
ROUNDS_INLINE vector settled(vector sum)
{
    MD5_SETTLE(sum);
    return sum;
}

ROUNDS_INLINE vector plus_f(vector sum, vector x, vector y, vector z)
{
    return add(settled(sum), xor(and(xor(y, z), x), z));
}

/* The two sides of G have no bit in common, so that they can be added one after the other. */
ROUNDS_INLINE vector plus_g(vector sum, vector x, vector y, vector z)
{
    return add(settled(add(sum, and(y, not(z)))), and(x, z));
}

ROUNDS_INLINE vector plus_h(vector sum, vector x, vector y, vector z)
{
    return add(settled(sum), xor(x, xor(y, z)));
}

ROUNDS_INLINE vector plus_i(vector sum, vector x, vector y, vector z)
{
    return add(settled(sum), xor(y, or(x, not(z))));
}

#include "md5_rounds.h"
#include "md5_wide_256.h"

static bool supported(void)
{
    return MD5_CPU_HAS("avx2");
}

static const struct md5_kernel kernel = {"avx2", supported, {{8, wide}},
                                         md5_lone_scalar};
const struct md5_kernel *const md5_avx2 = &kernel;
#else
const struct md5_kernel *const md5_avx2 = NULL;
#endif

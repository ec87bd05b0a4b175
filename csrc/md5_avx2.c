/* AVX2: 8 lanes.  A lone stream is quicker in general registers. */
#include "md5_target.h"

#ifdef __x86_64__
#include <immintrin.h>

#define MD5_FEATURES "avx2"
enum { LANES = 8, LANES_MIN = 2 };
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

/* Four words of lanes 0 and 4 from `at` on, in this order. */
ROUNDS_INLINE vector halves(const uint8_t *const *at, size_t offset)
{
    vector x = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(at[0] + offset)));
    return _mm256_inserti128_si256(x, _mm_loadu_si128((const __m128i *)(at[4] + offset)), 1);
}

/* A block of every lane, transposed four words at a time. */
ROUNDS_INLINE void load(vector words[16], const uint8_t *const *at, size_t offset)
{
    for (unsigned i = 0; i < 16; i += 4) {
        vector lane_0 = halves(at, offset + 4 * i), lane_1 = halves(at + 1, offset + 4 * i);
        vector lane_2 = halves(at + 2, offset + 4 * i), lane_3 = halves(at + 3, offset + 4 * i);
        vector low_01 = _mm256_unpacklo_epi32(lane_0, lane_1);
        vector low_23 = _mm256_unpacklo_epi32(lane_2, lane_3);
        vector high_01 = _mm256_unpackhi_epi32(lane_0, lane_1);
        vector high_23 = _mm256_unpackhi_epi32(lane_2, lane_3);
        words[i] = _mm256_unpacklo_epi64(low_01, low_23);
        words[i + 1] = _mm256_unpackhi_epi64(low_01, low_23);
        words[i + 2] = _mm256_unpacklo_epi64(high_01, high_23);
        words[i + 3] = _mm256_unpackhi_epi64(high_01, high_23);
    }
}

MD5_TARGET(MD5_FEATURES)
static void wide(struct md5_lanes *lanes, size_t blocks)
{
    vector state[MD5_WORDS], words[16];
    for (unsigned i = 0; i < MD5_WORDS; i++)
        state[i] = _mm256_loadu_si256((const __m256i *)lanes->chain[i]);
    for (size_t offset = 0; blocks; blocks--, offset += MD5_BLOCK_BYTES) {
        load(words, lanes->at, offset);
        rounds(state, words);
    }
    for (unsigned i = 0; i < MD5_WORDS; i++)
        _mm256_storeu_si256((__m256i *)lanes->chain[i], state[i]);
}

static bool supported(void)
{
    return MD5_CPU_HAS("avx2");
}

static const struct md5_kernel kernel = {"avx2", LANES, LANES_MIN, supported, wide,
                                         md5_lone_scalar};
const struct md5_kernel *const md5_avx2 = &kernel;
#else
const struct md5_kernel *const md5_avx2 = NULL;
#endif

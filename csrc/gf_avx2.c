/* AVX2: multiplies by nibbles, 32 bytes to a shuffle. */
#include "gf_target.h"

#ifdef __x86_64__
#include <immintrin.h>

#define GF_FEATURES "avx2"
enum { WIDTH = 32 };
typedef __m256i vector;
typedef struct { vector low, high; } operand;
typedef struct gf_nibbles factor;

GF_INLINE const factor *factors(const struct gf_plan *plan) { return plan->nibbles; }
GF_INLINE vector load(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
GF_INLINE void store(uint8_t *p, vector x) { _mm256_storeu_si256((__m256i *)p, x); }
GF_INLINE vector zero(void) { return _mm256_setzero_si256(); }

GF_INLINE operand split(vector x)
{
    vector mask = _mm256_set1_epi8(15);
    return (operand){_mm256_and_si256(x, mask),
                     _mm256_and_si256(_mm256_srli_epi64(x, 4), mask)};
}

GF_INLINE vector twice(const uint8_t *table)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
}

GF_INLINE vector add_product(vector sum, const factor *f, operand x)
{
    vector low = _mm256_shuffle_epi8(twice(f->low), x.low);
    vector high = _mm256_shuffle_epi8(twice(f->high), x.high);
    return _mm256_xor_si256(sum, _mm256_xor_si256(low, high));
}

#include "gf_dot.h"

static bool supported(void)
{
    return GF_CPU_HAS("avx2");
}

static const struct gf_kernel kernel = {"avx2", supported, dot};
const struct gf_kernel *const gf_avx2 = &kernel;
#else
const struct gf_kernel *const gf_avx2 = NULL;
#endif

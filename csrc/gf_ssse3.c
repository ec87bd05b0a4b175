/* SSSE3: multiplies by nibbles, 16 bytes to a shuffle. */
#include "gf_target.h"

#ifdef __x86_64__
#include <immintrin.h>

#define GF_FEATURES "ssse3"
enum { WIDTH = 16 };
typedef __m128i vector;
typedef struct { vector low, high; } operand;
typedef struct gf_nibbles factor;

GF_INLINE const factor *factors(const struct gf_plan *plan) { return plan->nibbles; }
GF_INLINE vector load(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)p); }
GF_INLINE void store(uint8_t *p, vector x) { _mm_storeu_si128((__m128i *)p, x); }
GF_INLINE vector zero(void) { return _mm_setzero_si128(); }

GF_INLINE operand split(vector x)
{
    vector mask = _mm_set1_epi8(15);
    return (operand){_mm_and_si128(x, mask), _mm_and_si128(_mm_srli_epi64(x, 4), mask)};
}

GF_INLINE vector add_product(vector sum, const factor *f, operand x)
{
    vector low = _mm_shuffle_epi8(load(f->low), x.low);
    vector high = _mm_shuffle_epi8(load(f->high), x.high);
    return _mm_xor_si128(sum, _mm_xor_si128(low, high));
}

#include "gf_dot.h"

static bool supported(void)
{
    return GF_CPU_HAS("ssse3");
}

static const struct gf_kernel kernel = {"ssse3", supported, dot};
const struct gf_kernel *const gf_ssse3 = &kernel;
#else
const struct gf_kernel *const gf_ssse3 = NULL;
#endif

/* AVX-512 BW: multiplies by nibbles, 64 bytes to a shuffle, and adds both halves at once. */
#include "gf_target.h"

#ifdef __x86_64__
#include <immintrin.h>

#define GF_FEATURES "avx512f,avx512bw"
enum { WIDTH = 64, XOR_OF_THREE = 0x96 };
typedef __m512i vector;
typedef struct { vector low, high; } operand;
typedef struct gf_nibbles factor;

GF_INLINE const factor *factors(const struct gf_plan *plan) { return plan->nibbles; }
GF_INLINE vector load(const uint8_t *p) { return _mm512_loadu_si512(p); }
GF_INLINE void store(uint8_t *p, vector x) { _mm512_storeu_si512(p, x); }
GF_INLINE vector zero(void) { return _mm512_setzero_si512(); }

GF_INLINE operand split(vector x)
{
    vector mask = _mm512_set1_epi8(15);
    return (operand){_mm512_and_si512(x, mask),
                     _mm512_and_si512(_mm512_srli_epi64(x, 4), mask)};
}

GF_INLINE vector four_times(const uint8_t *table)
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table));
}

GF_INLINE vector add_product(vector sum, const factor *f, operand x)
{
    vector low = _mm512_shuffle_epi8(four_times(f->low), x.low);
    vector high = _mm512_shuffle_epi8(four_times(f->high), x.high);
    return _mm512_ternarylogic_epi64(sum, low, high, XOR_OF_THREE);
}

#include "gf_dot.h"

static bool supported(void)
{
    return GF_CPU_HAS("avx512f") && GF_CPU_HAS("avx512bw");
}

static const struct gf_kernel kernel = {"avx512", supported, dot};
const struct gf_kernel *const gf_avx512 = &kernel;
#else
const struct gf_kernel *const gf_avx512 = NULL;
#endif

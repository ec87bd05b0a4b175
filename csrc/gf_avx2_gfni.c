/* AVX2 with GFNI: multiplies by a matrix of bits, 32 bytes to an instruction. */
#include "gf_target.h"

#ifdef __x86_64__
#include <immintrin.h>

#define GF_FEATURES "avx2,gfni"
enum { WIDTH = 32 };
typedef __m256i vector;
typedef __m256i operand;
typedef uint64_t factor;

GF_INLINE const factor *factors(const struct gf_plan *plan) { return plan->affine; }
GF_INLINE vector load(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
GF_INLINE void store(uint8_t *p, vector x) { _mm256_storeu_si256((__m256i *)p, x); }
GF_INLINE vector zero(void) { return _mm256_setzero_si256(); }
GF_INLINE operand split(vector x) { return x; }

GF_INLINE vector add_product(vector sum, const factor *f, operand x)
{
    vector matrix = _mm256_set1_epi64x((int64_t)*f);
    return _mm256_xor_si256(sum, _mm256_gf2p8affine_epi64_epi8(x, matrix, 0));
}

#include "gf_dot.h"

static bool supported(void)
{
    return GF_CPU_HAS("avx2") && GF_CPU_HAS("gfni");
}

static const struct gf_kernel kernel = {"avx2-gfni", supported, dot};
const struct gf_kernel *const gf_avx2_gfni = &kernel;
#else
const struct gf_kernel *const gf_avx2_gfni = NULL;
#endif

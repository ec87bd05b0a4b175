/* AVX-512 with GFNI: multiplies by a matrix of bits, 64 bytes to an instruction. */
#include "gf_target.h"

#ifdef __x86_64__
#include <immintrin.h>

#define GF_FEATURES "avx512f,avx512bw,gfni"
enum { WIDTH = 64 };
typedef __m512i vector;
typedef __m512i operand;
typedef uint64_t factor;

GF_INLINE const factor *factors(const struct gf_plan *plan) { return plan->affine; }
GF_INLINE vector load(const uint8_t *p) { return _mm512_loadu_si512(p); }
GF_INLINE void store(uint8_t *p, vector x) { _mm512_storeu_si512(p, x); }
GF_INLINE vector zero(void) { return _mm512_setzero_si512(); }
GF_INLINE operand split(vector x) { return x; }

GF_INLINE vector add_product(vector sum, const factor *f, operand x)
{
    vector matrix = _mm512_set1_epi64((int64_t)*f);
    return _mm512_xor_si512(sum, _mm512_gf2p8affine_epi64_epi8(x, matrix, 0));
}

#include "gf_dot.h"

static bool supported(void)
{
    return GF_CPU_HAS("avx512f") && GF_CPU_HAS("avx512bw") && GF_CPU_HAS("gfni");
}

static const struct gf_kernel kernel = {"avx512-gfni", supported, dot};
const struct gf_kernel *const gf_avx512_gfni = &kernel;
#else
const struct gf_kernel *const gf_avx512_gfni = NULL;
#endif

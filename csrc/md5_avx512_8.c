/* AVX-512VL, 8 lanes: two to eight streams in the time of a lone one, which 16 lanes need twice of:
 * there are twice the words to be transposed, and CPUs that take such registers by halves. */
#include "md5_target.h"

#ifdef __x86_64__
#include <immintrin.h>

#define MD5_FEATURES "avx512f,avx512vl"
typedef __m256i vector;

ROUNDS_INLINE vector constant(uint32_t k) { return _mm256_set1_epi32((int)k); }
ROUNDS_INLINE vector add(vector x, vector y) { return _mm256_add_epi32(x, y); }
/* Macros, for the instructions hold these numbers in themselves. */
#define rotate(x, bits) _mm256_rol_epi32(x, bits)
#define ternary(x, y, z, table) _mm256_ternarylogic_epi32(x, y, z, table)

#include "md5_ternary.h"
#include "md5_rounds.h"
#include "md5_wide_256.h"

MD5_TARGET(MD5_FEATURES)
void md5_wide_avx512_8(struct md5_lanes *lanes, size_t blocks)
{
    wide(lanes, blocks);
}
#endif

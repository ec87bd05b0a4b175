/* AVX-512VL for a lone stream, in one word of a short register: each step waits for four
 * instructions one after the other, with general registers it waits for four or five. */
#include "md5_target.h"

#ifdef __x86_64__
#include <immintrin.h>
#include <string.h>

#define MD5_FEATURES "avx512f,avx512vl"
typedef __m128i vector;

ROUNDS_INLINE vector constant(uint32_t k) { return _mm_set1_epi32((int)k); }
ROUNDS_INLINE vector add(vector x, vector y) { return _mm_add_epi32(x, y); }
/* Macros, for the instructions hold these numbers in themselves. */
#define rotate(x, bits) _mm_rol_epi32(x, bits)
#define ternary(x, y, z, table) _mm_ternarylogic_epi32(x, y, z, table)

#include "md5_ternary.h"
#include "md5_rounds.h"

MD5_TARGET(MD5_FEATURES)
void md5_lone_avx512(uint32_t chain[MD5_WORDS], const uint8_t *at, size_t blocks)
{
    vector state[MD5_WORDS], words[16];
    for (unsigned i = 0; i < MD5_WORDS; i++)
        state[i] = constant(chain[i]);
    for (; blocks; blocks--, at += MD5_BLOCK_BYTES) {
        for (unsigned i = 0; i < 16; i++) {
            uint32_t word;
            memcpy(&word, at + 4 * i, sizeof word);
            words[i] = constant(word);
        }
        rounds(state, words);
    }
    for (unsigned i = 0; i < MD5_WORDS; i++)
        chain[i] = (uint32_t)_mm_cvtsi128_si32(state[i]);
}
#endif

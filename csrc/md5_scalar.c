/* The definition: one stream, one word in a register. */
#include "md5.h"

#include <string.h>

#define ROUNDS_INLINE static inline __attribute__((always_inline))

typedef uint32_t vector;

ROUNDS_INLINE vector constant(uint32_t k) { return k; }
ROUNDS_INLINE vector add(vector x, vector y) { return x + y; }
ROUNDS_INLINE vector rotate(vector x, unsigned bits) { return x << bits | x >> (32 - bits); }

/* Keeps the compiler from adding in another order: x comes last, and should be waited for last. */
ROUNDS_INLINE vector settled(vector x)
{
    __asm__("" : "+r"(x));
    return x;
}

ROUNDS_INLINE vector plus_f(vector sum, vector x, vector y, vector z)
{
    return settled(sum) + (((y ^ z) & x) ^ z);
}

/* The two sides of G have no bit in common, so that they can be added one after the other. */
ROUNDS_INLINE vector plus_g(vector sum, vector x, vector y, vector z)
{
    return settled(sum + (y & ~z)) + (x & z);
}

ROUNDS_INLINE vector plus_h(vector sum, vector x, vector y, vector z)
{
    return settled(sum) + (x ^ settled(y ^ z));
}

ROUNDS_INLINE vector plus_i(vector sum, vector x, vector y, vector z)
{
    return settled(sum) + (y ^ (x | ~z));
}

#include "md5_rounds.h"

/* Little-endian, whatever the machine is. */
ROUNDS_INLINE uint32_t word_at(const uint8_t *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap32(word);
#endif
    return word;
}

void md5_lone_scalar(uint32_t chain[MD5_WORDS], const uint8_t *at, size_t blocks)
{
    vector state[MD5_WORDS], words[MD5_BLOCK_BYTES / 4];
    memcpy(state, chain, sizeof state);
    for (; blocks; blocks--, at += MD5_BLOCK_BYTES) {
        for (unsigned i = 0; i < MD5_BLOCK_BYTES / 4; i++)
            words[i] = word_at(at + 4 * i);
        rounds(state, words);
    }
    memcpy(chain, state, sizeof state);
}

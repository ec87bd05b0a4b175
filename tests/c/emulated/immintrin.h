/* The x86 instructions that the kernels use, in plain C, after Intel's Intrinsics Guide.
 *
 * A test build puts this folder in front of the compiler's headers and defines GF_TARGET and
 * GF_CPU_HAS, so that every kernel runs, unchanged, on any CPU: above all those with GFNI on a
 * machine without it. */
#ifndef EMULATED_IMMINTRIN_H
#define EMULATED_IMMINTRIN_H

#include <stdint.h>
#include <string.h>

typedef struct { uint8_t byte[16]; } __m128i;
typedef struct { uint8_t byte[32]; } __m256i;
typedef struct { uint8_t byte[64]; } __m512i;

/* GF2P8AFFINEQB for one byte: bit i of the result is the parity of the byte under the mask in
 * byte 7 - i of the matrix, plus bit i of the constant. */
static inline uint8_t affine_byte(uint64_t matrix, uint8_t byte, unsigned constant)
{
    unsigned result = constant;
    for (unsigned i = 0; i < 8; i++)
        result ^= (unsigned)__builtin_parity((matrix >> 8 * (7 - i)) & byte) << i;
    return (uint8_t)result;
}

#define EMULATE(V, LOAD, STORE, ZERO, AND, XOR, SET1_8, SET1_64, SHIFT_RIGHT_64, SHUFFLE, AFFINE) \
    static inline V LOAD(const void *p)                                                           \
    {                                                                                             \
        V x;                                                                                      \
        memcpy(&x, p, sizeof x);                                                                  \
        return x;                                                                                 \
    }                                                                                             \
    static inline void STORE(void *p, V x) { memcpy(p, &x, sizeof x); }                           \
    static inline V SET1_8(char c)                                                                \
    {                                                                                             \
        V x;                                                                                      \
        memset(&x, c, sizeof x);                                                                  \
        return x;                                                                                 \
    }                                                                                             \
    static inline V ZERO(void) { return SET1_8(0); }                                              \
    static inline V SET1_64(int64_t word)                                                         \
    {                                                                                             \
        V x;                                                                                      \
        for (unsigned i = 0; i < sizeof x; i += 8)                                                \
            memcpy(x.byte + i, &word, 8);                                                         \
        return x;                                                                                 \
    }                                                                                             \
    static inline V AND(V a, V b)                                                                 \
    {                                                                                             \
        for (unsigned i = 0; i < sizeof a; i++)                                                   \
            a.byte[i] &= b.byte[i];                                                               \
        return a;                                                                                 \
    }                                                                                             \
    static inline V XOR(V a, V b)                                                                 \
    {                                                                                             \
        for (unsigned i = 0; i < sizeof a; i++)                                                   \
            a.byte[i] ^= b.byte[i];                                                               \
        return a;                                                                                 \
    }                                                                                             \
    static inline V SHIFT_RIGHT_64(V a, unsigned bits)                                            \
    {                                                                                             \
        for (unsigned i = 0; i < sizeof a; i += 8) {                                              \
            uint64_t word;                                                                        \
            memcpy(&word, a.byte + i, 8);                                                         \
            word >>= bits;                                                                        \
            memcpy(a.byte + i, &word, 8);                                                         \
        }                                                                                         \
        return a;                                                                                 \
    }                                                                                             \
    static inline V SHUFFLE(V table, V index)                                                     \
    {                                                                                             \
        V x;                                                                                      \
        for (unsigned i = 0; i < sizeof x; i++) {                                                 \
            unsigned lane = i & ~15u, at = index.byte[i];                                         \
            x.byte[i] = at & 0x80 ? 0 : table.byte[lane + (at & 15)];                             \
        }                                                                                         \
        return x;                                                                                 \
    }                                                                                             \
    static inline V AFFINE(V a, V matrices, unsigned constant)                                    \
    {                                                                                             \
        for (unsigned i = 0; i < sizeof a; i++) {                                                 \
            uint64_t matrix;                                                                      \
            memcpy(&matrix, matrices.byte + (i & ~7u), 8);                                        \
            a.byte[i] = affine_byte(matrix, a.byte[i], constant);                                 \
        }                                                                                         \
        return a;                                                                                 \
    }

EMULATE(__m128i, _mm_loadu_si128, _mm_storeu_si128, _mm_setzero_si128, _mm_and_si128,
        _mm_xor_si128, _mm_set1_epi8, _mm_set1_epi64x, _mm_srli_epi64, _mm_shuffle_epi8,
        _mm_gf2p8affine_epi64_epi8)
EMULATE(__m256i, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_setzero_si256, _mm256_and_si256,
        _mm256_xor_si256, _mm256_set1_epi8, _mm256_set1_epi64x, _mm256_srli_epi64,
        _mm256_shuffle_epi8, _mm256_gf2p8affine_epi64_epi8)
EMULATE(__m512i, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_setzero_si512, _mm512_and_si512,
        _mm512_xor_si512, _mm512_set1_epi8, _mm512_set1_epi64, _mm512_srli_epi64,
        _mm512_shuffle_epi8, _mm512_gf2p8affine_epi64_epi8)

static inline __m256i _mm256_broadcastsi128_si256(__m128i a)
{
    __m256i x;
    for (unsigned i = 0; i < sizeof x; i++)
        x.byte[i] = a.byte[i & 15];
    return x;
}

static inline __m512i _mm512_broadcast_i32x4(__m128i a)
{
    __m512i x;
    for (unsigned i = 0; i < sizeof x; i++)
        x.byte[i] = a.byte[i & 15];
    return x;
}

/* Each bit of the result is the bit of the table that the bits of a, b and c (least) number. */
static inline __m512i _mm512_ternarylogic_epi64(__m512i a, __m512i b, __m512i c, unsigned table)
{
    for (unsigned i = 0; i < sizeof a; i++) {
        unsigned result = 0;
        for (unsigned bit = 0; bit < 8; bit++) {
            unsigned at = (a.byte[i] >> bit & 1u) << 2 | (b.byte[i] >> bit & 1u) << 1
                          | (c.byte[i] >> bit & 1u);
            result |= (table >> at & 1u) << bit;
        }
        a.byte[i] = (uint8_t)result;
    }
    return a;
}

#endif

/* The x86 instructions that the kernels use, in plain C, after Intel's Intrinsics Guide.
 *
 * A test build puts this folder in front of the compiler's headers and defines what the
 * kernels' *_target.h define otherwise, so that every kernel runs, unchanged, on any CPU: above all
 * those with GFNI on a machine without it. */
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

/* Words of 32 bits. UNPACK takes from each 16 bytes of both, in turn, pieces of `size` bytes from
 * `from` on; in TERNARY each bit of the result is the bit of the table that the bits of a, b and c
 * (least) number. */
#define EMULATE_WORDS(V, SET1, ADD, OR, LEFT, RIGHT, ROTATE, TERNARY_32, TERNARY_64, UNPACK,      \
                      LOW_32, HIGH_32, LOW_64, HIGH_64)                                           \
    static inline uint32_t V##_word(V x, unsigned i)                                              \
    {                                                                                             \
        uint32_t word;                                                                            \
        memcpy(&word, x.byte + i, sizeof word);                                                   \
        return word;                                                                              \
    }                                                                                             \
    static inline V SET1(int word)                                                                \
    {                                                                                             \
        V x;                                                                                      \
        for (unsigned i = 0; i < sizeof x; i += 4)                                                \
            memcpy(x.byte + i, &word, 4);                                                         \
        return x;                                                                                 \
    }                                                                                             \
    static inline V ADD(V a, V b)                                                                 \
    {                                                                                             \
        for (unsigned i = 0; i < sizeof a; i += 4) {                                              \
            uint32_t sum = V##_word(a, i) + V##_word(b, i);                                       \
            memcpy(a.byte + i, &sum, 4);                                                          \
        }                                                                                         \
        return a;                                                                                 \
    }                                                                                             \
    static inline V OR(V a, V b)                                                                  \
    {                                                                                             \
        for (unsigned i = 0; i < sizeof a; i++)                                                   \
            a.byte[i] |= b.byte[i];                                                               \
        return a;                                                                                 \
    }                                                                                             \
    static inline V LEFT(V a, int bits)                                                           \
    {                                                                                             \
        for (unsigned i = 0; i < sizeof a; i += 4) {                                              \
            uint32_t word = V##_word(a, i) << bits;                                               \
            memcpy(a.byte + i, &word, 4);                                                         \
        }                                                                                         \
        return a;                                                                                 \
    }                                                                                             \
    static inline V RIGHT(V a, int bits)                                                          \
    {                                                                                             \
        for (unsigned i = 0; i < sizeof a; i += 4) {                                              \
            uint32_t word = V##_word(a, i) >> bits;                                               \
            memcpy(a.byte + i, &word, 4);                                                         \
        }                                                                                         \
        return a;                                                                                 \
    }                                                                                             \
    static inline V ROTATE(V a, int bits) { return OR(LEFT(a, bits), RIGHT(a, 32 - bits)); }      \
    static inline V TERNARY_64(V a, V b, V c, unsigned table)                                     \
    {                                                                                             \
        for (unsigned i = 0; i < sizeof a; i++) {                                                 \
            unsigned result = 0;                                                                  \
            for (unsigned number = 0; number < 8; number++)                                       \
                if (table >> number & 1)                                                          \
                    result |= (number & 4 ? a.byte[i] : ~a.byte[i])                               \
                              & (number & 2 ? b.byte[i] : ~b.byte[i])                             \
                              & (number & 1 ? c.byte[i] : ~c.byte[i]);                            \
            a.byte[i] = (uint8_t)result;                                                          \
        }                                                                                         \
        return a;                                                                                 \
    }                                                                                             \
    static inline V TERNARY_32(V a, V b, V c, unsigned t) { return TERNARY_64(a, b, c, t); }      \
    static inline V UNPACK(V a, V b, unsigned size, unsigned from)                                \
    {                                                                                             \
        V x;                                                                                      \
        for (unsigned i = 0; i < sizeof x; i += 2 * size) {                                       \
            unsigned at = (i & ~15u) + from + (i & 15u) / 2;                                      \
            memcpy(x.byte + i, a.byte + at, size);                                                \
            memcpy(x.byte + i + size, b.byte + at, size);                                         \
        }                                                                                         \
        return x;                                                                                 \
    }                                                                                             \
    static inline V LOW_32(V a, V b) { return UNPACK(a, b, 4, 0); }                               \
    static inline V HIGH_32(V a, V b) { return UNPACK(a, b, 4, 8); }                              \
    static inline V LOW_64(V a, V b) { return UNPACK(a, b, 8, 0); }                               \
    static inline V HIGH_64(V a, V b) { return UNPACK(a, b, 8, 8); }

EMULATE_WORDS(__m128i, _mm_set1_epi32, _mm_add_epi32, _mm_or_si128, _mm_slli_epi32,
              _mm_srli_epi32, _mm_rol_epi32, _mm_ternarylogic_epi32, _mm_ternarylogic_epi64,
              unpack_128, _mm_unpacklo_epi32, _mm_unpackhi_epi32, _mm_unpacklo_epi64,
              _mm_unpackhi_epi64)
EMULATE_WORDS(__m256i, _mm256_set1_epi32, _mm256_add_epi32, _mm256_or_si256, _mm256_slli_epi32,
              _mm256_srli_epi32, _mm256_rol_epi32, _mm256_ternarylogic_epi32,
              _mm256_ternarylogic_epi64, unpack_256, _mm256_unpacklo_epi32,
              _mm256_unpackhi_epi32, _mm256_unpacklo_epi64, _mm256_unpackhi_epi64)
EMULATE_WORDS(__m512i, _mm512_set1_epi32, _mm512_add_epi32, _mm512_or_si512, _mm512_slli_epi32,
              _mm512_srli_epi32, _mm512_rol_epi32, _mm512_ternarylogic_epi32,
              _mm512_ternarylogic_epi64, unpack_512, _mm512_unpacklo_epi32,
              _mm512_unpackhi_epi32, _mm512_unpacklo_epi64, _mm512_unpackhi_epi64)

/* Words of 64 bits; SWAP is of 32. */
#define _MM_SHUFFLE(d, c, b, a) ((d) << 6 | (c) << 4 | (b) << 2 | (a))
#define _MM_PERM_BADC _MM_SHUFFLE(1, 0, 3, 2)
#define EMULATE_DOUBLE_WORDS(V, ADD, MULTIPLY, LEFT, SWAP)                                        \
    static inline V ADD(V a, V b)                                                                 \
    {                                                                                             \
        for (unsigned i = 0; i < sizeof a; i += 8) {                                              \
            uint64_t x, y;                                                                        \
            memcpy(&x, a.byte + i, 8);                                                            \
            memcpy(&y, b.byte + i, 8);                                                            \
            x += y;                                                                               \
            memcpy(a.byte + i, &x, 8);                                                            \
        }                                                                                         \
        return a;                                                                                 \
    }                                                                                             \
    static inline V MULTIPLY(V a, V b)                                                            \
    {                                                                                             \
        for (unsigned i = 0; i < sizeof a; i += 8) {                                              \
            uint64_t product = (uint64_t)V##_word(a, i) * V##_word(b, i);                         \
            memcpy(a.byte + i, &product, 8);                                                      \
        }                                                                                         \
        return a;                                                                                 \
    }                                                                                             \
    static inline V LEFT(V a, unsigned bits)                                                      \
    {                                                                                             \
        for (unsigned i = 0; i < sizeof a; i += 8) {                                              \
            uint64_t word;                                                                        \
            memcpy(&word, a.byte + i, 8);                                                         \
            word <<= bits;                                                                        \
            memcpy(a.byte + i, &word, 8);                                                         \
        }                                                                                         \
        return a;                                                                                 \
    }                                                                                             \
    static inline V SWAP(V a, int order)                                                          \
    {                                                                                             \
        V x;                                                                                      \
        for (unsigned i = 0; i < sizeof a; i += 4) {                                              \
            uint32_t word = V##_word(a, (i & ~15u) + 4 * (order >> i % 16 / 2 & 3));              \
            memcpy(x.byte + i, &word, 4);                                                         \
        }                                                                                         \
        return x;                                                                                 \
    }

EMULATE_DOUBLE_WORDS(__m256i, _mm256_add_epi64, _mm256_mul_epu32, _mm256_slli_epi64,
                     _mm256_shuffle_epi32)
EMULATE_DOUBLE_WORDS(__m512i, _mm512_add_epi64, _mm512_mul_epu32, _mm512_slli_epi64,
                     _mm512_shuffle_epi32)

static inline int _mm_cvtsi128_si32(__m128i a) { return (int)__m128i_word(a, 0); }

static inline __m128i _mm_set_epi64x(int64_t high, int64_t low)
{
    __m128i x;
    memcpy(x.byte, &low, 8);
    memcpy(x.byte + 8, &high, 8);
    return x;
}

/* PCLMULQDQ: bits 0 and 4 of `halves` say which half of a and of b are multiplied, as polynomials
 * over GF(2). */
static inline __m128i _mm_clmulepi64_si128(__m128i a, __m128i b, int halves)
{
    uint64_t x, y, low = 0, high = 0;
    memcpy(&x, a.byte + 8 * (halves & 1), 8);
    memcpy(&y, b.byte + 8 * (halves >> 4), 8);
    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(y >> bit & 1))
            continue;
        low ^= x << bit;
        high ^= bit ? x >> (64 - bit) : 0;
    }
    return _mm_set_epi64x((int64_t)high, (int64_t)low);
}

/* What the instruction leaves undefined is made wrong. */
static inline __m256i _mm256_castsi128_si256(__m128i a)
{
    __m256i x = _mm256_set1_epi8(0x55);
    memcpy(x.byte, a.byte, sizeof a);
    return x;
}

static inline __m512i _mm512_castsi128_si512(__m128i a)
{
    __m512i x = _mm512_set1_epi8(0x55);
    memcpy(x.byte, a.byte, sizeof a);
    return x;
}

static inline __m256i _mm256_inserti128_si256(__m256i a, __m128i b, unsigned half)
{
    memcpy(a.byte + 16 * half, b.byte, sizeof b);
    return a;
}

static inline __m512i _mm512_inserti32x4(__m512i a, __m128i b, unsigned quarter)
{
    memcpy(a.byte + 16 * quarter, b.byte, sizeof b);
    return a;
}

#endif

/* The 64 steps of MD5 over one block, for any number of streams: included by each kernel after it
 * has defined, inline,
 *
 *   vector                      a word of 32 bits of every stream
 *   constant(k)                 the same word for all
 *   add(x, y), rotate(x, bits)  word by word
 *   plus_f(sum, x, y, z) ...    sum + F(x, y, z), and so G, H, I of RFC 1321, section 3.4, in the
 *                               order that is quickest after x, which the step before has made
 *
 * and ROUNDS_INLINE, how its functions are declared. */

/* One step.  Instead of handing the four variables on, the next step has their names exchanged. */
#define STEP(plus, a, b, c, d, index, bits, k)                               \
    (a) = add(rotate(plus(add((a), add(words[(index) & 15], constant(k))), b, c, d), bits), b)

#define FOUR(plus, first, stride, r0, r1, r2, r3, k0, k1, k2, k3)   \
    STEP(plus, a, b, c, d, (first), r0, k0);                        \
    STEP(plus, d, a, b, c, (first) + (stride), r1, k1);             \
    STEP(plus, c, d, a, b, (first) + 2 * (stride), r2, k2);         \
    STEP(plus, b, c, d, a, (first) + 3 * (stride), r3, k3)

/* state: the four words of the chaining value; words: the block's sixteen. */
ROUNDS_INLINE void rounds(vector state[4], const vector words[16])
{
    vector a = state[0], b = state[1], c = state[2], d = state[3];

    FOUR(plus_f, 0, 1, 7, 12, 17, 22, 0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee);
    FOUR(plus_f, 4, 1, 7, 12, 17, 22, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501);
    FOUR(plus_f, 8, 1, 7, 12, 17, 22, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be);
    FOUR(plus_f, 12, 1, 7, 12, 17, 22, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821);

    FOUR(plus_g, 1, 5, 5, 9, 14, 20, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa);
    FOUR(plus_g, 5, 5, 5, 9, 14, 20, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8);
    FOUR(plus_g, 9, 5, 5, 9, 14, 20, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed);
    FOUR(plus_g, 13, 5, 5, 9, 14, 20, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a);

    FOUR(plus_h, 5, 3, 4, 11, 16, 23, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c);
    FOUR(plus_h, 1, 3, 4, 11, 16, 23, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70);
    FOUR(plus_h, 13, 3, 4, 11, 16, 23, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05);
    FOUR(plus_h, 9, 3, 4, 11, 16, 23, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665);

    FOUR(plus_i, 0, 7, 6, 10, 15, 21, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039);
    FOUR(plus_i, 12, 7, 6, 10, 15, 21, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1);
    FOUR(plus_i, 8, 7, 6, 10, 15, 21, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1);
    FOUR(plus_i, 4, 7, 6, 10, 15, 21, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391);

    state[0] = add(state[0], a);
    state[1] = add(state[1], b);
    state[2] = add(state[2], c);
    state[3] = add(state[3], d);
}

#undef FOUR
#undef STEP

/* The functions of RFC 1321 where one instruction makes any function of three words: included by
 * kernels that have defined add and ternary(x, y, z, table), before md5_rounds.h. */

/* Bit 4x + 2y + z of a table is the function of the bits x, y, z. */
enum { TABLE_F = 0xca, TABLE_G = 0xe4, TABLE_H = 0x96, TABLE_I = 0x39 };

/* The sum comes first, so that nothing but the function waits for x. */
ROUNDS_INLINE vector settled(vector sum)
{
    MD5_SETTLE(sum);
    return sum;
}

#define plus_f(sum, x, y, z) add(settled(sum), ternary(x, y, z, TABLE_F))
#define plus_g(sum, x, y, z) add(settled(sum), ternary(x, y, z, TABLE_G))
#define plus_h(sum, x, y, z) add(settled(sum), ternary(x, y, z, TABLE_H))
#define plus_i(sum, x, y, z) add(settled(sum), ternary(x, y, z, TABLE_I))

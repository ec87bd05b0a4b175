#include "gf.h"

uint8_t gf_multiply(uint8_t a, uint8_t b)
{
    unsigned product = 0, x = a;
    for (; b; b >>= 1, x = (x << 1) ^ ((x & 0x80) ? 0x11d : 0))
        if (b & 1)
            product ^= x;
    return (uint8_t)product;
}

/* The table, and when to fold. What it is about: crc64.h. */
#include "crc64.h"

/* What four bits become that are shifted out. */
static const uint64_t table[16] = {
    0x0000000000000000, 0x78E0FF3B88BE6F81, 0xF1C1FE77117CDF02, 0x8921014C99C2B083,
    0xD75ADABD7A6E2D6F, 0xAFBA2586F2D042EE, 0x269B24CA6B12F26D, 0x5E7BDBF1E3AC9DEC,
    0x9A6C9329AC4BC9B5, 0xE28C6C1224F5A634, 0x6BAD6D5EBD3716B7, 0x134D926535897936,
    0x4D364994D625E4DA, 0x35D6B6AF5E9B8B5B, 0xBCF7B7E3C7593BD8, 0xC41748D84FE75459,
};

uint64_t crc64_table(uint64_t state, const uint8_t *data, size_t bytes)
{
    for (; bytes; bytes--) {
        state ^= *data++;
        state = state >> 4 ^ table[state & 15];
        state = state >> 4 ^ table[state & 15];
    }
    return state;
}

bool crc64_quick(void)
{
    return crc64_pclmul && crc64_pclmul->supported();
}

uint64_t crc64(uint64_t crc, const uint8_t *data, size_t bytes)
{
    uint64_t state = ~crc;
    if (bytes >= CRC64_FOLD_MIN && crc64_quick()) {
        size_t whole = bytes / CRC64_UNIT * CRC64_UNIT;
        state = crc64_pclmul->fold(state, data, whole);
        data += whole;
        bytes -= whole;
    }
    return ~crc64_table(state, data, bytes);
}

/* CRC-64/NVME folded and by the table, beside the CRC written down bit by bit: every short length
 * and longer ones, in one piece and in two, at every alignment.
 *
 * Buffers end where their allocation ends, so that the address sanitizer sees a read beyond them.
 * With ANY_CPU the test is the CPU, and takes the feature away as well. */
#include "crc64.h"
#include "require.h"

#include <string.h>

#ifdef ANY_CPU
static const char *lacking = "";

int cpu_has(const char *feature)
{
    return !strstr(lacking, feature);
}
#endif

/* --- the oracle: one bit at a time ------------------------------------------------------------ */

static uint64_t oracle(const uint8_t *data, size_t bytes)
{
    uint64_t state = ~UINT64_C(0);
    for (size_t bit = 0; bit < 8 * bytes; bit++) {
        uint64_t out = (state ^ data[bit / 8] >> bit % 8) & 1;
        state = state >> 1 ^ (out ? UINT64_C(0x9A6C9329AC4BC9B5) : 0);
    }
    return ~state;
}

static uint64_t of_copy(uint64_t crc, const uint8_t *data, size_t bytes, size_t offset)
{
    uint8_t *copy = malloc(offset + bytes + !(offset + bytes));
    memcpy(copy + offset, data, bytes);
    crc = crc64(crc, copy + offset, bytes);
    free(copy);
    return crc;
}

static void check_all(const uint8_t *data)
{
    REQUIRE(crc64(0, NULL, 0) == 0, "of nothing");
    REQUIRE(crc64(0, (const uint8_t *)"123456789", 9) == 0xAE8B14860A799888, "the check value");
    for (size_t bytes = 0; bytes < 1500; bytes += bytes < 300 ? 1 : 37) {
        uint64_t expected = oracle(data, bytes);
        REQUIRE(of_copy(0, data, bytes, bytes % 17) == expected, "%zu bytes", bytes);
        for (size_t cut = 0; cut <= bytes; cut += 1 + bytes / 8) {
            uint64_t crc = of_copy(of_copy(0, data, cut, 0), data + cut, bytes - cut, cut % 13);
            REQUIRE(crc == expected, "%zu bytes, cut at %zu", bytes, cut);
        }
    }
}

int main(void)
{
    uint8_t data[1500];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 131 + (i >> 8) * 29 + 7);
    check_all(data);
#ifdef ANY_CPU
    REQUIRE(crc64_quick(), "it is there");
    lacking = "pclmul";
    REQUIRE(!crc64_quick(), "it is not there");
    check_all(data);
#endif
    return 0;
}

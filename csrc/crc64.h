/* CRC-64/NVME, the checksum that S3 keeps where a client declares none.
 *
 * The polynomial is 0xAD93D23594C93659; bits are reflected, as in CRC-32: the first bit of a
 * message is the lowest of its first byte. It begins with all ones, and is inverted at the end.
 *
 * A message is a polynomial, of which the remainder is wanted. 16 bytes that lie d bits before
 * others may be multiplied with x^d modulo the polynomial and added to those, which leaves the
 * remainder as it was: this is what carry-less multiplication folds long messages with, until 16
 * bytes are left, and the table does the rest.
 *
 * Source: the NVM Command Set Specification, "64b CRC"; check value 0xAE8B14860A799888 for
 * "123456789". Folding: "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ", Intel 2009.
 *
 * Nothing is read outside data[0..bytes), nothing is allocated, locked or kept.
 */
#ifndef S3NODE_CRC64_H
#define S3NODE_CRC64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CRC64_UNIT = 16,     /* bytes that are folded at once */
    CRC64_FOLD_MIN = 64, /* what is shorter than four units is left to the table */
};

/* The CRC of what has the CRC `crc` with these bytes behind it; of nothing it is 0. */
uint64_t crc64(uint64_t crc, const uint8_t *data, size_t bytes);

/* Whether this CPU folds: where it does not, others are quicker. */
bool crc64_quick(void);

/* The definition, of a state that is not inverted. */
uint64_t crc64_table(uint64_t state, const uint8_t *data, size_t bytes);

struct crc64_folding {
    bool (*supported)(void); /* by the CPU this process runs on */
    /* As crc64_table, for whole units, at least CRC64_FOLD_MIN of bytes. */
    uint64_t (*fold)(uint64_t state, const uint8_t *data, size_t bytes);
};

/* NULL where this build's architecture lacks the instruction. */
extern const struct crc64_folding *const crc64_pclmul;

#endif

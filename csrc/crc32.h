/* CRC-32 as zlib's: what the formats of the disks and of the index are checked with. */
#ifndef S3NODE_CRC32_H
#define S3NODE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Of what `crc` is of (0: of nothing), with these bytes behind it. */
uint32_t crc32_of(uint32_t crc, const uint8_t *data, size_t bytes);

#endif

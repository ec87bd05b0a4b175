/* What the record format says, as far as reading and writing many of them needs it.
 *
 * The format is described in s3node/store/record.py. Only "yes" is said of what was read:
 * everything a record must be is checked, and whatever is anything else is looked at again by
 * whoever asked, who then says what is wrong with it. Headers are packed there; here what differs
 * between the records of one stripe is filled in.
 */
#ifndef S3NODE_RECORD_H
#define S3NODE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xxh3.h"

enum {
    RECORD_VERSION = 1,
    RECORD_HEADER_BYTES = 128,
    RECORD_BLOCK_BITS = 16,
    RECORD_PAYLOAD_BYTES_MAX = 64 << 20,
    RECORD_HINT_BYTES_MAX = 4096,
    RECORD_ALIGN = 8,
    RECORD_SHARDS_MAX = 16
};

typedef struct { /* what a record must say of itself, and which of its blocks were read */
    uint8_t k, m, code, shard_index;
    uint32_t stripe_index, stripe_bytes, payload_bytes;
    uint8_t data_id[16], disk_id[16];
    uint64_t segment, offset, stripe_offset;
    uint64_t first_block; /* 0-based: where `body` begins in the payload */
} record_claim;

/* Blocks of a payload, each with a digest of its own. */
static inline size_t record_block_count(size_t payload_bytes)
{
    return (payload_bytes + (1u << RECORD_BLOCK_BITS) - 1) >> RECORD_BLOCK_BITS;
}

/* Where the payload begins within a record: how long header and digests are. */
size_t record_payload_start(size_t payload_bytes);

/* Whether `head` (header and all digests) is of that record, undamaged, and `body`, which are
 * whole blocks of its payload, matches the digests. */
bool record_verify(const record_claim *claim, const uint8_t *head, size_t head_bytes,
                   const uint8_t *body, size_t body_bytes);

/* Pack the head (header and digests) of a record: `common` is a header with what the records of its
 * stripe have in common and the shard index of the first, whose number `shard` this is; `digests`
 * are its own. The header's CRC. */
uint32_t record_pack(uint8_t *head, const uint8_t *common, unsigned shard, const uint8_t *disk_id,
                     uint64_t segment, uint64_t offset, const uint8_t *digests);

/* The digests of the blocks of `count` payloads of that many bytes each, one right behind the
 * other: all of the first, then all of the next. */
void record_digests(const uint8_t *payloads, size_t bytes, size_t count, uint64_t *out);

#endif

/* See record.h. */
#include "record.h"

#include "crc32.h"

#include <string.h>

typedef struct { /* as it lies on the disk, little-endian */
    char magic[8];
    uint16_t version, flags;
    uint8_t k, m, code, shard_index;
    uint8_t data_id[16], disk_id[16];
    uint64_t segment, offset, stripe_offset, sequence;
    uint32_t stripe_index, stripe_bytes, payload_bytes;
    uint16_t digest_count;
    uint8_t block_bits, reserved_a;
    uint16_t hint_bytes, reserved_b;
    uint8_t key_id[16];
    uint32_t hint_crc, digest_crc, crc;
} header;

_Static_assert(sizeof(header) == RECORD_HEADER_BYTES, "the header has no holes");
_Static_assert(offsetof(header, crc) == RECORD_HEADER_BYTES - 4, "and ends with its CRC");

/* ---- packing --------------------------------------------------------------------------- */

size_t record_payload_start(size_t payload_bytes)
{
    return sizeof(header) + 8 * record_block_count(payload_bytes);
}

uint32_t record_pack(uint8_t *head, const uint8_t *common, unsigned shard, const uint8_t *disk_id,
                     uint64_t segment, uint64_t offset, const uint8_t *digests)
{
    header h;
    memcpy(&h, common, sizeof h);
    size_t digest_bytes = 8 * (size_t)h.digest_count;
    h.shard_index = (uint8_t)(h.shard_index + shard);
    memcpy(h.disk_id, disk_id, sizeof h.disk_id);
    h.segment = segment;
    h.offset = offset;
    h.digest_crc = crc32_of(0, digests, digest_bytes);
    memcpy(head, &h, sizeof h);
    h.crc = crc32_of(0, head, offsetof(header, crc));
    memcpy(head + offsetof(header, crc), &h.crc, sizeof h.crc);
    memcpy(head + sizeof h, digests, digest_bytes);
    return h.crc;
}

/* ---- verification ---------------------------------------------------------------------- */

/* The fields that tell whose record it is. */
static bool names(const header *h, const record_claim *claim)
{
    return !memcmp(&h->k, &claim->k, 4) & !memcmp(h->data_id, claim->data_id, 16) &
           !memcmp(h->disk_id, claim->disk_id, 16) & (h->segment == claim->segment) &
           (h->offset == claim->offset) & (h->stripe_offset == claim->stripe_offset) &
           (h->stripe_index == claim->stripe_index) & (h->stripe_bytes == claim->stripe_bytes) &
           (h->payload_bytes == claim->payload_bytes);
}

/* A format that is known, and values that are possible. */
static bool plausible(const header *h)
{
    static const uint8_t no_key[16];
    unsigned n = (unsigned)h->k + h->m;
    return !memcmp(h->magic, "s3nRECD\n", 8) & (h->version == RECORD_VERSION) & (h->flags == 0) &
           (h->block_bits == RECORD_BLOCK_BITS) & !memcmp(h->key_id, no_key, 16) & (h->k >= 1) &
           (n <= RECORD_SHARDS_MAX) & (h->shard_index < n) & (h->payload_bytes > 0) &
           (h->payload_bytes <= RECORD_PAYLOAD_BYTES_MAX) &
           (h->digest_count == record_block_count(h->payload_bytes)) &
           (h->hint_bytes <= RECORD_HINT_BYTES_MAX) &
           (h->stripe_bytes <= (uint64_t)h->k * h->payload_bytes) &
           (h->offset % RECORD_ALIGN == 0);
}

static bool blocks_match(const uint8_t *digests, const uint8_t *body, size_t bytes)
{
    const struct xxh3_kernel *kernel = xxh3_select();
    for (size_t at = 0; at < bytes; at += 1u << RECORD_BLOCK_BITS, digests += 8) {
        size_t left = bytes - at, block = 1u << RECORD_BLOCK_BITS;
        uint64_t found = xxh3_64_with(kernel, body + at, left < block ? left : block);
        if (memcmp(&found, digests, sizeof found))
            return false;
    }
    return true;
}

bool record_verify(const record_claim *claim, const uint8_t *head, size_t head_bytes,
                   const uint8_t *body, size_t body_bytes)
{
    header h;
    size_t blocks = record_block_count(claim->payload_bytes);
    if (head_bytes != record_payload_start(claim->payload_bytes) ||
        claim->first_block + record_block_count(body_bytes) > blocks)
        return false;
    memcpy(&h, head, sizeof h);
    if (!(names(&h, claim) & plausible(&h)) ||
        crc32_of(0, head, offsetof(header, crc)) != h.crc ||
        crc32_of(0, head + sizeof h, 8 * blocks) != h.digest_crc)
        return false;
    return blocks_match(head + sizeof h + 8 * claim->first_block, body, body_bytes);
}

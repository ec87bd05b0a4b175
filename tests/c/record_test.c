/* Digests of every kernel beside values that the xxHash library gave; a record as it must be, and
 * as it must not.
 *
 * Buffers end where their allocation ends, so that the address sanitizer sees a read beyond them.
 * Prints "KERNEL: N digests" for each, then "N refused"; exits 1 at the first difference. With
 * ANY_CPU the test is the CPU, and takes features away to see what is chosen then. */
#include "crc32.h"
#include "record.h"
#include "require.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    size_t bytes;
    uint64_t digest;
} known[] = {
    {0, 0x2d06800538d394c2u},
    {1, 0x4c5cca45d0f4811fu},
    {2, 0x29c60963cbfa4e6eu},
    {3, 0x6e3e2670e61106acu},
    {4, 0x5c4c63133443d03fu},
    {7, 0x46a5c724d51fe43fu},
    {8, 0xf9fd4dd0b04d78f5u},
    {9, 0x7c20df9712c26edfu},
    {15, 0xb345a7b2698ba575u},
    {16, 0x86abf6baccea0858u},
    {17, 0xb58bf5dc5022d071u},
    {31, 0x48442fcd5518b086u},
    {32, 0xe3712ed84c04a66eu},
    {33, 0xa4dee99b093e1f73u},
    {64, 0x1291d2d4042330ddu},
    {65, 0x97c6bf83217e5ec9u},
    {96, 0x81296929fc063365u},
    {97, 0xf145a45b658ab9ddu},
    {128, 0x10d17f72c0ccba41u},
    {129, 0x1648bdc3db49d1a2u},
    {143, 0xd05ced598f7f87b3u},
    {144, 0xb46dbfc6d9e31abau},
    {239, 0xf0d154819adb16cdu},
    {240, 0xb6cfaf343fab81e6u},
    {241, 0x956cae592c67279eu},
    {255, 0x64a6073025eb7929u},
    {256, 0xb15e550733c5dfacu},
    {1023, 0x43f7f4bf40db4027u},
    {1024, 0x9bb68f1fc0d4408cu},
    {1025, 0x98e8ec13f4c92d1au},
    {1088, 0x5a957b4cadb92d4eu},
    {2048, 0xc1454e2af9706e53u},
    {4113, 0x6730985e04f13c7cu},
    {65535, 0xfdaf8836eb8cc69bu},
    {65536, 0xc0a93859d90f3f86u},
};
enum { KNOWN = sizeof known / sizeof known[0], LONGEST = 2300 };

static const struct {
    size_t bytes;
    const char *digest;
} known_128[] = {
    {241, "b53840fe3fedf161956cae592c67279e"},
    {256, "d0d2829a226d0edbb15e550733c5dfac"},
    {1023, "a4608fe6b19f829843f7f4bf40db4027"},
    {1024, "f74abfee36ca5eb69bb68f1fc0d4408c"},
    {1025, "0d472c059e7a4fbb98e8ec13f4c92d1a"},
    {1088, "2ea681227af08d4f5a957b4cadb92d4e"},
    {1089, "0c745a31d89e13e04829e636cfa7c3a2"},
    {2047, "af9afad406e8e9f824953ae1152a89e0"},
    {2048, "8543d78c072419e6c1454e2af9706e53"},
    {2049, "dbcc7652d4e6c25eb42167a27d3822e4"},
    {2300, "a7cf0a38dc56a27f3f5670f728e89c11"},
    {4113, "ae2cccf09a7744c86730985e04f13c7c"},
    {65536, "14684d74ed096c69c0a93859d90f3f86"},
    {131372, "9fb820318df34cd3491e9960ab2ea5e5"},
};
enum { KNOWN_128 = sizeof known_128 / sizeof known_128[0] };

#ifdef ANY_CPU
static const char *lacking;

int cpu_has(const char *feature)
{
    return !lacking || !strstr(lacking, feature);
}

static void choices(void)
{
    lacking = "avx512f";
    REQUIRE(!strcmp(xxh3_select()->name, "avx2"), "%s", xxh3_select()->name);
    lacking = "avx512f avx2";
    REQUIRE(!strcmp(xxh3_select()->name, "scalar"), "%s", xxh3_select()->name);
    lacking = NULL;
    REQUIRE(!strcmp(xxh3_select()->name, "avx512"), "%s", xxh3_select()->name);
}
#else
static void choices(void) {}
#endif

static void *copy_of(const void *data, size_t bytes)
{
    void *copy = malloc(bytes ? bytes : 1);
    REQUIRE(copy, "no memory");
    return memcpy(copy, data, bytes);
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 131 + (i >> 8) * 29 + 7);
}

static void digests(const uint8_t *data)
{
    const struct xxh3_kernel *scalar = xxh3_kernel_at(XXH3_KERNELS - 1);
    REQUIRE(scalar && !xxh3_kernel_at(XXH3_KERNELS), "scalar comes last");
    for (unsigned rank = 0; rank < XXH3_KERNELS; rank++) {
        const struct xxh3_kernel *kernel = xxh3_kernel_at(rank);
        unsigned done = 0;
        if (!kernel)
            continue;
        for (unsigned i = 0; i < KNOWN; i++, done++) {
            uint8_t *copy = copy_of(data, known[i].bytes);
            REQUIRE(xxh3_64_with(kernel, copy, known[i].bytes) == known[i].digest, "%s, %zu",
                    kernel->name, known[i].bytes);
            free(copy);
        }
        for (size_t bytes = 0; bytes < LONGEST; bytes++, done++) {
            uint8_t *copy = copy_of(data + bytes % 67, bytes);
            REQUIRE(xxh3_64_with(kernel, copy, bytes) == xxh3_64_with(scalar, copy, bytes),
                    "%s, %zu", kernel->name, bytes);
            free(copy);
        }
        printf("%s: %u digests\n", kernel->name, done);
    }
    REQUIRE(xxh3_64(data, 100) == xxh3_64_with(scalar, data, 100), "the one that is chosen");
}

/* One message in pieces of about that many bytes, none of which is NULL. */
static void streamed(const uint8_t *data, unsigned known, size_t piece)
{
    struct xxh3_stream stream;
    uint8_t digest[XXH3_128_BYTES];
    char hex[2 * XXH3_128_BYTES + 1];
    size_t bytes = known_128[known].bytes;
    xxh3_begin(&stream);
    for (size_t at = 0, next; at < bytes; at += next) {
        next = bytes - at < piece + at % 3 ? bytes - at : piece + at % 3;
        uint8_t *copy = copy_of(data + at, next);
        xxh3_update(&stream, copy, next);
        xxh3_update(&stream, copy, 0);
        free(copy);
    }
    xxh3_128_digest(&stream, digest);
    for (unsigned i = 0; i < sizeof digest; i++)
        sprintf(hex + 2 * i, "%02x", digest[i]);
    REQUIRE(!strcmp(hex, known_128[known].digest), "%s, %zu bytes by %zu", xxh3_select()->name,
            bytes, piece);
}

static void streams(const uint8_t *data)
{
    static const size_t pieces[] = {61, 64, 1023, 1024, 1025, 3000, 1 << 20};
    for (unsigned known = 0; known < KNOWN_128; known++)
        for (unsigned i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
            streamed(data, known, pieces[i]);
}

static void streams_of_every_kernel(const uint8_t *data)
{
    streams(data);
#ifdef ANY_CPU
    lacking = "avx512f";
    streams(data);
    lacking = "avx512f avx2";
    streams(data);
    lacking = NULL;
#endif
}

/* ---- a record ---------------------------------------------------------------------------- */

enum { PAYLOAD = 2 * 65536 + 300, BLOCKS = 3, HEAD = RECORD_HEADER_BYTES + 8 * BLOCKS };

static void put(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static void seal(uint8_t *head)
{
    put(head + 120, crc32_of(0, head + RECORD_HEADER_BYTES, 8 * BLOCKS), 4);
    put(head + 124, crc32_of(0, head, 124), 4);
}

static record_claim record_of(uint8_t *head, const uint8_t *payload)
{
    record_claim claim = {.k = 4,
                          .m = 2,
                          .code = 1,
                          .shard_index = 5,
                          .stripe_index = 9,
                          .stripe_bytes = 4 * PAYLOAD - 3,
                          .payload_bytes = PAYLOAD,
                          .segment = 0x1122334455667788,
                          .offset = 4096,
                          .stripe_offset = 77};
    memset(claim.data_id, 0xDA, 16);
    memset(claim.disk_id, 0xD1, 16);
    memset(head, 0, HEAD);
    memcpy(head, "s3nRECD\n", 8);
    put(head + 8, 1, 2);
    memcpy(head + 12, (uint8_t[]){4, 2, 1, 5}, 4);
    memcpy(head + 16, claim.data_id, 16);
    memcpy(head + 32, claim.disk_id, 16);
    put(head + 48, claim.segment, 8);
    put(head + 56, claim.offset, 8);
    put(head + 64, claim.stripe_offset, 8);
    put(head + 72, 123456, 8);
    put(head + 80, claim.stripe_index, 4);
    put(head + 84, claim.stripe_bytes, 4);
    put(head + 88, claim.payload_bytes, 4);
    put(head + 92, BLOCKS, 2);
    head[94] = 16;
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t left = PAYLOAD - i * 65536;
        put(head + 128 + 8 * i, xxh3_64(payload + i * 65536, left < 65536 ? left : 65536), 8);
    }
    seal(head);
    return claim;
}

static bool fits(const record_claim *claim, const uint8_t *head, const uint8_t *payload)
{
    return record_verify(claim, head, HEAD, payload, PAYLOAD);
}

/* Of what a stripe's records have in common, the one that `head` is. */
static void packed(const uint8_t *head, const record_claim *claim)
{
    uint8_t common[RECORD_HEADER_BYTES], made[HEAD];
    memcpy(common, head, sizeof common);
    common[15] -= 3;
    memset(common + 32, 0xFF, 32); /* disk, segment, offset */
    memset(common + 120, 0xFF, 8); /* both CRCs */
    uint32_t crc = record_pack(made, common, 3, claim->disk_id, claim->segment, claim->offset,
                               head + RECORD_HEADER_BYTES);
    REQUIRE(!memcmp(made, head, HEAD), "packed as it must be");
    REQUIRE(!memcmp(&crc, head + 124, 4), "its CRC");
}

static void records(const uint8_t *payload)
{
    uint8_t head[HEAD];
    record_claim claim = record_of(head, payload);
    unsigned refused = 0;
    REQUIRE(fits(&claim, head, payload), "as it must be");
    packed(head, &claim);
    for (uint64_t first = 0; first < BLOCKS; first++) { /* the blocks from `first` on */
        claim.first_block = first;
        REQUIRE(record_verify(&claim, head, HEAD, payload + first * 65536,
                              PAYLOAD - first * 65536), "%d", (int)first);
        if (first)
            REQUIRE(!fits(&claim, head, payload), "more blocks than there are");
    }
    claim.first_block = 0;
    REQUIRE(record_verify(&claim, head, HEAD, payload, 65536), "the first alone");
    REQUIRE(!record_verify(&claim, head, HEAD - 8, payload, PAYLOAD), "digests are lacking");
    for (size_t i = 0; i < HEAD; i++, refused++) { /* damage */
        head[i] ^= 0x10;
        REQUIRE(!fits(&claim, head, payload), "byte %zu", i);
        head[i] ^= 0x10;
    }
    for (size_t i = 0; i < HEAD - 8; i++) { /* another value, and the CRCs right */
        if (i >= 120 && i < 128)
            continue;
        uint8_t before = head[i];
        head[i] ^= 0x80;
        seal(head);
        /* The sequence, the CRC of a hint, the reserved bytes and the hint's length may be any. */
        bool any = (i >= 72 && i < 80) || i == 95 || i == 96 || i == 98 || i == 99 ||
                   (i >= 116 && i < 120);
        REQUIRE(fits(&claim, head, payload) == any, "byte %zu", i);
        refused += !any;
        head[i] = before;
    }
    seal(head);
    uint8_t *changed = copy_of(payload, PAYLOAD);
    for (size_t i = 0; i < PAYLOAD; i += 7919, refused++) {
        changed[i] ^= 1;
        REQUIRE(!fits(&claim, head, changed), "byte %zu of the payload", i);
        changed[i] ^= 1;
    }
    free(changed);
    for (size_t i = 0; i < offsetof(record_claim, first_block); i++, refused++) {
        ((uint8_t *)&claim)[i] ^= 4;
        REQUIRE(!fits(&claim, head, payload), "byte %zu of the claim", i);
        ((uint8_t *)&claim)[i] ^= 4;
    }
    printf("%u refused\n", refused);
}

/* Of payloads side by side, whose last block is short, whole, or all there is. */
static void rows(const uint8_t *data)
{
    const size_t block = (size_t)1 << RECORD_BLOCK_BITS;
    const size_t sizes[] = {1, 100, block - 1, block, block + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t count = 0; count * sizes[i] <= PAYLOAD && count < 4; count++) {
            size_t bytes = sizes[i], blocks = (bytes + block - 1) / block;
            uint64_t out[8], *next = out;
            record_digests(data, bytes, count, out);
            for (size_t shard = 0; shard < count; shard++)
                for (size_t b = 0; b < blocks; b++, next++) {
                    size_t at = b * block, length = bytes - at < block ? bytes - at : block;
                    REQUIRE(*next == xxh3_64(data + shard * bytes + at, length),
                            "shard %zu of %zu bytes, block %zu", shard, bytes, b);
                }
        }
}

int main(void)
{
    static uint8_t data[PAYLOAD + 100];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = pattern(i);
    REQUIRE(crc32_of(0, (const uint8_t *)"123456789", 9) == 0xCBF43926, "the check value");
    choices();
    digests(data);
    streams_of_every_kernel(data);
    records(data);
    rows(data);
    return 0;
}

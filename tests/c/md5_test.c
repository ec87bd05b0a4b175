/* Runs every kernel that this build and CPU have over RFC 1321's vectors, every short length, and
 * shuffles of streams of unequal lengths in pieces, against MD5 written down once more as the RFC
 * says it.  Pieces end where their allocation ends, so that the address sanitizer sees a read
 * beyond them.
 *
 * Prints "KERNEL: N digests" for each, and exits 1 at the first difference.  Arguments name the
 * kernels to run, which must then be there.  With ANY_CPU the test is the CPU, and takes features
 * away to see what is chosen then (MD5_CPU_HAS is cpu_has). */
#include "md5.h"
#include "require.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef EMULATED /* instruction by instruction in plain C */
enum { SHUFFLES = 12, LONGEST = 700, LENGTHS_STEP = 7 };
#else
enum { SHUFFLES = 100, LONGEST = 5000, LENGTHS_STEP = 1 };
#endif
enum { STREAMS_MAX = 40, PIECES_MAX = 6, MISALIGNMENTS = 67 };

static unsigned long digests;

static uint32_t noise(void)
{
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return state >> 8;
}

/* --- the oracle: RFC 1321, section 3, in its own words -------------------------------------- */

static uint32_t mixed(unsigned round, uint32_t x, uint32_t y, uint32_t z)
{
    switch (round) {
    case 0: return (x & y) | (~x & z);
    case 1: return (x & z) | (y & ~z);
    case 2: return x ^ y ^ z;
    default: return y ^ (x | ~z);
    }
}

static uint32_t sine(unsigned step)
{
    static uint32_t table[64];
    if (!table[0])
        for (unsigned i = 0; i < 64; i++)
            table[i] = (uint32_t)(4294967296.0 * fabs(sin(i + 1)));
    return table[step];
}

static void oracle_block(uint32_t chain[4], const uint8_t *block)
{
    static const unsigned shifts[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23},
                                          {6, 10, 15, 21}};
    static const unsigned first[4] = {0, 1, 5, 0}, stride[4] = {1, 5, 3, 7};
    uint32_t a = chain[0], b = chain[1], c = chain[2], d = chain[3];
    for (unsigned step = 0; step < 64; step++) {
        unsigned round = step / 16, k = (first[round] + stride[round] * step) % 16;
        unsigned shift = shifts[round][step % 4];
        uint32_t word = (uint32_t)block[4 * k] | (uint32_t)block[4 * k + 1] << 8
                        | (uint32_t)block[4 * k + 2] << 16 | (uint32_t)block[4 * k + 3] << 24;
        uint32_t sum = a + mixed(round, b, c, d) + word + sine(step);
        a = d;
        d = c;
        c = b;
        b += sum << shift | sum >> (32 - shift);
    }
    chain[0] += a;
    chain[1] += b;
    chain[2] += c;
    chain[3] += d;
}

static void oracle(const uint8_t *data, size_t bytes, uint8_t digest[MD5_DIGEST_BYTES])
{
    uint32_t chain[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    size_t padded = (bytes + 8) / 64 * 64 + 64;
    uint8_t *message = calloc(1, padded);
    memcpy(message, data, bytes);
    message[bytes] = 0x80;
    for (unsigned i = 0; i < 8; i++)
        message[padded - 8 + i] = (uint8_t)((uint64_t)bytes * 8 >> 8 * i);
    for (size_t at = 0; at < padded; at += 64)
        oracle_block(chain, message + at);
    for (unsigned i = 0; i < MD5_DIGEST_BYTES; i++)
        digest[i] = (uint8_t)(chain[i / 4] >> 8 * (i % 4));
    free(message);
}

/* --- one stream ------------------------------------------------------------------------------ */

static void require_digest(const char *name, const struct md5_stream *stream,
                           const uint8_t *expected, size_t bytes)
{
    uint8_t digest[MD5_DIGEST_BYTES];
    md5_digest(stream, digest);
    REQUIRE(stream->bytes == bytes, "%s, %zu bytes", name, bytes);
    REQUIRE(memcmp(digest, expected, sizeof digest) == 0, "%s, %zu bytes", name, bytes);
    digests++;
}

static void check_vectors(const struct md5_kernel *kernel)
{
    static const struct {
        const char *text, *digest;
    } vectors[] = {
        /* RFC 1321, section A.5 */
        {"", "d41d8cd98f00b204e9800998ecf8427e"},
        {"a", "0cc175b9c0f1b6a831c399e269772661"},
        {"abc", "900150983cd24fb0d6963f7d28e17f72"},
        {"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
        {"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"},
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
         "d174ab98d277d9f5a5611c2c9f419d9f"},
        {"12345678901234567890123456789012345678901234567890123456789012345678901234567890",
         "57edf4a22be3c955ac49da2e2107b67a"},
    };
    for (unsigned i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const char *text = vectors[i].text;
        struct md5_stream stream;
        uint8_t digest[MD5_DIGEST_BYTES];
        char hex[2 * MD5_DIGEST_BYTES + 1];
        md5_init(&stream);
        md5_update(kernel, &stream, (const uint8_t *)text, strlen(text));
        md5_digest(&stream, digest);
        for (unsigned j = 0; j < MD5_DIGEST_BYTES; j++)
            sprintf(hex + 2 * j, "%02x", digest[j]);
        REQUIRE(strcmp(hex, vectors[i].digest) == 0, "%s of \"%s\"", kernel->name, text);
        digests++;
        oracle((const uint8_t *)text, strlen(text), digest);
        require_digest("oracle", &stream, digest, strlen(text));
    }
}

/* Every length, cut into two in several ways. */
static void check_lengths(const struct md5_kernel *kernel)
{
    for (size_t bytes = 0; bytes <= 300; bytes += LENGTHS_STEP) {
        uint8_t *data = malloc(bytes + !bytes), expected[MD5_DIGEST_BYTES];
        for (size_t at = 0; at < bytes; at++)
            data[at] = (uint8_t)noise();
        oracle(data, bytes, expected);
        for (size_t cut = 0; cut <= bytes; cut += 1 + bytes / 16) {
            struct md5_stream stream;
            md5_init(&stream);
            md5_update(kernel, &stream, data, cut);
            md5_update(kernel, &stream, data + cut, bytes - cut);
            require_digest(kernel->name, &stream, expected, bytes);
        }
        free(data);
    }
}

/* --- many streams ---------------------------------------------------------------------------- */

struct message {
    struct md5_stream stream;
    struct md5_piece pieces[PIECES_MAX];
    struct md5_job job;
    uint8_t *blocks[PIECES_MAX]; /* allocated: each ends where its piece does */
    uint8_t whole[PIECES_MAX * LONGEST];
    size_t bytes;
};

static struct message messages[STREAMS_MAX];

/* Lengths of all kinds: none, a few bytes, whole blocks, anything. */
static size_t some_length(void)
{
    switch (noise() % 5) {
    case 0: return 0;
    case 1: return noise() % 70;
    case 2: return noise() % (LONGEST / 64) * 64;
    default: return noise() % LONGEST;
    }
}

static void compose(struct message *message)
{
    unsigned count = noise() % (PIECES_MAX + 1);
    md5_init(&message->stream);
    message->bytes = 0;
    for (unsigned i = 0; i < PIECES_MAX; i++) {
        size_t bytes = i < count ? some_length() : 0, offset = noise() % MISALIGNMENTS;
        message->blocks[i] = malloc(offset + bytes + !(offset + bytes));
        for (size_t at = 0; at < bytes; at++)
            message->blocks[i][offset + at] = message->whole[message->bytes + at]
                = (uint8_t)noise();
        message->pieces[i] = (struct md5_piece){message->blocks[i] + offset, bytes};
        message->bytes += bytes;
    }
    message->job = (struct md5_job){&message->stream, message->pieces, count};
}

/* Calls until all is taken, and how many at the most: each takes what it may, or all there is. */
static void advance_all(const struct md5_kernel *kernel, unsigned count, size_t bytes_max)
{
    struct md5_job *jobs[STREAMS_MAX];
    size_t calls = bytes_max > 64 ? 2 : 2 + PIECES_MAX * LONGEST / 64, left = count;
    for (unsigned i = 0; i < count; i++)
        jobs[i] = &messages[i].job;
    for (; left; calls--) {
        uint64_t before[STREAMS_MAX];
        REQUIRE(calls > 0, "%s makes no headway", kernel->name);
        for (unsigned i = 0; i < count; i++)
            before[i] = messages[i].stream.bytes;
        md5_advance(kernel, jobs, count, bytes_max);
        for (unsigned i = 0; i < count; i++) {
            uint64_t taken = messages[i].stream.bytes - before[i];
            /* Beside whole blocks, only what completes a block or is too little for one. */
            REQUIRE(bytes_max > 64 || taken <= 64 + PIECES_MAX * 2 * 64, "%s took %llu",
                    kernel->name, (unsigned long long)taken);
        }
        for (left = 0; left < count && !messages[left].job.count; left++)
            ;
        left = count - left;
    }
}

static void check_streams(const struct md5_kernel *kernel, unsigned count, size_t bytes_max)
{
    for (unsigned i = 0; i < count; i++)
        compose(&messages[i]);
    advance_all(kernel, count, bytes_max);
    for (unsigned i = 0; i < count; i++) {
        uint8_t expected[MD5_DIGEST_BYTES];
        oracle(messages[i].whole, messages[i].bytes, expected);
        require_digest(kernel->name, &messages[i].stream, expected, messages[i].bytes);
        for (unsigned j = 0; j < PIECES_MAX; j++)
            free(messages[i].blocks[j]);
    }
}

static void check_kernel(const struct md5_kernel *kernel)
{
    digests = 0;
    check_vectors(kernel);
    check_lengths(kernel);
    for (unsigned count = 0; count <= STREAMS_MAX; count += LENGTHS_STEP)
        check_streams(kernel, count, SIZE_MAX);
    for (unsigned i = 0; i < SHUFFLES; i++)
        check_streams(kernel, noise() % (STREAMS_MAX + 1), i % 3 ? SIZE_MAX : noise() % 65);
    printf("%s: %lu digests\n", kernel->name, digests);
}

#ifdef ANY_CPU
static const char *lacking = "";

int cpu_has(const char *feature)
{
    return !strstr(lacking, feature);
}

static void check_selection(void)
{
    static const char *const cpus[] = {"", "avx512f", "avx512vl", "avx512f avx2"};
    static const char *const best[] = {"avx512", "avx2", "avx2", "scalar"};
    const struct md5_kernel *kernel;
    for (unsigned i = 0; i < sizeof cpus / sizeof *cpus; i++) {
        lacking = cpus[i];
        REQUIRE(md5_select(NULL, &kernel) == MD5_SELECTED, "without %s", cpus[i]);
        REQUIRE(!strcmp(kernel->name, best[i]), "%s without %s", kernel->name, cpus[i]);
    }
    REQUIRE(md5_select("avx2", &kernel) == MD5_NO_CPU, "avx2 without it");
    REQUIRE(!md5_kernel_name(1000), "no such rank");
    lacking = "";
}
#endif

int main(int count, char **names)
{
    const struct md5_kernel *kernel = NULL;
#ifdef ANY_CPU
    check_selection();
#endif
    REQUIRE(md5_select("no such kernel", &kernel) == MD5_UNKNOWN && !kernel, "unknown");
    for (int i = 1; i < count; i++) {
        REQUIRE(md5_select(names[i], &kernel) == MD5_SELECTED, "%s", names[i]);
        check_kernel(kernel);
    }
    for (unsigned rank = 0; count == 1 && md5_kernel_name(rank); rank++)
        if (md5_select(md5_kernel_name(rank), &kernel) == MD5_SELECTED)
            check_kernel(kernel);
    return 0;
}

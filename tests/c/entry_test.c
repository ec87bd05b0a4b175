/* Entries of rows as they must be, and of everything that is not one: each field cut short, of
 * another kind, missing.
 *
 * Buffers end where their allocation ends, so that the address sanitizer sees a read beyond them.
 * Prints "N entries, M refused"; exits 1 at the first difference. */
#include "entry.h"
#include "require.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROW_MAX = 1 << 17 };

static unsigned written, refused;

/* ---- rows, made by hand ---------------------------------------------------------------------- */

typedef struct {
    uint8_t data[ROW_MAX];
    size_t bytes;
} row;

static void add(row *to, const void *data, size_t bytes)
{
    memcpy(to->data + to->bytes, data, bytes);
    to->bytes += bytes;
}

#define ADD(to, literal) add(to, literal, sizeof(literal) - 1)

static uint32_t crc_of(uint32_t crc, const uint8_t *data, size_t bytes)
{
    for (; bytes; bytes--) {
        crc ^= *data++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
    }
    return crc;
}

static const char stored[] = "V12345678key";

/* The entry of what has been added, sealed; `out` ends with a zero. */
static int entry_of(const row *content, span key, span owner, bool url, char *out)
{
    size_t bytes = content->bytes + 4;
    uint8_t *value = malloc(bytes);
    REQUIRE(value, "no memory");
    memcpy(value, content->data, content->bytes);
    uint32_t crc = crc_of(~0u, (const uint8_t *)stored, sizeof stored - 1);
    crc = ~crc_of(crc, value, content->bytes);
    for (int i = 0; i < 4; i++)
        value[content->bytes + i] = (uint8_t)(crc >> (24 - 8 * i));
    span at = {(const uint8_t *)stored, sizeof stored - 1};
    int found = entry_write(at, key, (span){value, bytes}, owner, url, (uint8_t *)out);
    free(value);
    if (found >= 0)
        out[found] = 0;
    return found;
}

static span span_of(const char *text)
{
    return (span){(const uint8_t *)text, strlen(text)};
}

static void expect(const row *content, const char *key, const char *owner, bool url,
                   const char *wanted)
{
    static char out[ENTRY_BYTES_MAX + 1];
    int found = entry_of(content, span_of(key), span_of(owner), url, out);
    REQUIRE(found == (int)strlen(wanted), "%d bytes: %s", found, found < 0 ? "" : out);
    REQUIRE(!strcmp(out, wanted), "%s", out);
    written++;
}

static void refuse(const row *content)
{
    static char out[ENTRY_BYTES_MAX + 1];
    int found = entry_of(content, span_of("k"), span_of(""), false, out);
    REQUIRE(found == ENTRY_UNREADABLE, "%d", found);
    refused++;
}

/* The fields of a version row one by one, any of which a test may put otherwise. */
enum {
    HLC, MODIFIED, SIZE, ETAG, DIGEST, PARTS, NULL_VERSION, MARKER, INLINE, DATA, HEADERS,
    METADATA, CHECKSUM, PART_CHECKSUMS, SHA256, OWNER, STORAGE_CLASS, FIELDS
};

typedef struct {
    const char *data;
    size_t bytes;
} literal;

#define L(text) {text, sizeof(text) - 1}

static const literal usual[FIELDS] = {
    L("\xcf\1\2\3\4\5\6\7\x8"), L("\xcf\x00\x00\x01\x93\xb8\xaf\xc3\xf7"), L("\x7f"), L("\xa4""e<>t"),
    L("\xc4\3abc"), L("\xcc\xff"), L("\xc3"), L("\xc2"), L("\xc0"),
    L("\x91\x95\xc4\1x\xcd\1\0\xce\0\1\0\0\0\xc4\0"), L("\xdc\0\1\x92\xa1n\xd9\1v"),
    L("\xdd\0\0\0\0"), L("\x93\xa5""CRC32\xc4\4abcd\xc2"), L("\x90"), L("\xc4\0"), L("\xa1o"),
    L("\xa8STANDARD"),
};

static void build(row *to, const literal fields[], int count)
{
    uint8_t head[4] = {1, 0xdc, 0, (uint8_t)count};
    to->bytes = 0;
    add(to, head, sizeof head);
    for (int i = 0; i < count; i++)
        add(to, fields[i].data, fields[i].bytes);
}

static row made;

static const row *with(int field, literal other, int count)
{
    literal fields[FIELDS];
    memcpy(fields, usual, sizeof fields);
    fields[field] = other;
    build(&made, fields, count);
    return &made;
}

#define WITH(field, text) with(field, (literal)L(text), FIELDS)
#define HEAD "<Contents><Key>k</Key><LastModified>2024-12-12T02:25:46.000Z</LastModified>"
#define ETAGGED HEAD "<ETag>&quot;e&lt;&gt;t&quot;</ETag>"
#define SUM(kind) "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>" kind "</ChecksumType>"
#define SIZED "<Size>127</Size>"
#define STORED "<StorageClass>STANDARD</StorageClass></Contents>"

/* ---- what is written ------------------------------------------------------------------------- */

static void fields(void)
{
    const row *plain = WITH(SIZE, "\x7f");
    expect(plain, "k", "", false, ETAGGED SUM("FULL_OBJECT") SIZED STORED);
    expect(plain, "k", "<Owner/>", true, ETAGGED SUM("FULL_OBJECT") SIZED "<Owner/>" STORED);
    expect(WITH(MARKER, "\xc3"), "k", "", false, "");
    expect(WITH(CHECKSUM, "\xc0"), "k", "", false, ETAGGED SIZED STORED);
    expect(WITH(CHECKSUM, "\x92\xa5""CRC32\xc4\0"), "k", "", false,
           ETAGGED SUM("FULL_OBJECT") SIZED STORED);
    expect(WITH(CHECKSUM, "\x95\xa5""CRC32\xc4\0\xc3\2\xc0"), "k", "", false,
           ETAGGED SUM("COMPOSITE") SIZED STORED);
    expect(WITH(STORAGE_CLASS, "\xda\0\1X"), "k", "", false,
           ETAGGED SUM("FULL_OBJECT") SIZED "<StorageClass>X</StorageClass></Contents>");
    expect(WITH(SIZE, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), "k", "", false,
           ETAGGED SUM("FULL_OBJECT") "<Size>18446744073709551615</Size>" STORED);
    expect(WITH(INLINE, "\xc6\0\0\0\1x"), "k", "", false,
           ETAGGED SUM("FULL_OBJECT") SIZED STORED);
    expect(WITH(INLINE, "\xdb\0\0\0\1x"), "k", "", false,
           ETAGGED SUM("FULL_OBJECT") SIZED STORED);
    /* Of an older release: fewer fields. Of a later one: more, whatever they are. */
    expect(with(SIZE, usual[SIZE], CHECKSUM), "k", "", false, ETAGGED SIZED STORED);
    build(&made, usual, FIELDS);
    made.data[3]++;
    ADD(&made, "\x81\1\1");
    expect(&made, "k", "", false, ETAGGED SUM("FULL_OBJECT") SIZED STORED);
}

static void keys(void)
{
    static const struct {
        const char *key, *escaped, *url;
    } known[] = {
        {"a/B-_.~09", "a/B-_.~09", "a/B-_.~09"},
        {"&<>\"\r\n\t\x1f", "&amp;&lt;&gt;&quot;&#13;&#10;&#x9;&#x1f;",
         "%26%3C%3E%22%0D%0A%09%1F"},
        {"\xef\xbf\xbe\xef\xbf\xbf\xef\xbf\xbd", "&#xfffe;&#xffff;\xef\xbf\xbd",
         "%EF%BF%BE%EF%BF%BF%EF%BF%BD"},
        {"\xef\xbb\xbf\xc3\xa9", "\xef\xbb\xbf\xc3\xa9", "%EF%BB%BF%C3%A9"},
        {"@[`{,:", "@[`{,:", "%40%5B%60%7B%2C%3A"},
        {"\xef\xbf", "\xef\xbf", "%EF%BF"},
    };
    const row *plain = WITH(CHECKSUM, "\xc0");
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        for (int url = 0; url < 2; url++) {
            char wanted[500];
            snprintf(wanted, sizeof wanted, "<Contents><Key>%s%s",
                     url ? known[i].url : known[i].escaped,
                     strstr(ETAGGED, "</Key>"));
            strcat(wanted, SIZED STORED);
            expect(plain, known[i].key, "", url, wanted);
        }
}

static void times(void)
{
    static const struct {
        const char *ms, *shown;
    } known[] = {
        {"\xcf\0\0\0\0\0\0\0\0", "1970-01-01T00:00:00"},
        {"\xcf\x00\x00\x00\xdd\x9a\xa6\xe0\x00", "2000-02-29T00:00:00"},
        {"\xcf\x00\x00\x00\xdd\x9f\xcd\x3c\x00", "2000-03-01T00:00:00"},
        {"\xcf\x00\x00\xe6\x77\xd2\x1f\xd8\x18", "9999-12-31T23:59:59"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        char wanted[200];
        static char out[ENTRY_BYTES_MAX + 1];
        const row *dated = with(MODIFIED, (literal){known[i].ms, 9}, FIELDS);
        snprintf(wanted, sizeof wanted, "<LastModified>%s.000Z</LastModified>", known[i].shown);
        REQUIRE(entry_of(dated, span_of("k"), span_of(""), false, out) > 0, "unreadable");
        REQUIRE(strstr(out, wanted), "%s in %s", wanted, out);
        written++;
    }
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void others(void)
{
    static const int needed[] = {MODIFIED, SIZE, ETAG, MARKER, CHECKSUM, STORAGE_CLASS};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        refuse(WITH(needed[i], "\xc4\0"));
    for (int field = 0; field < FIELDS; field++) { /* kinds that no version row has */
        refuse(WITH(field, "\x80"));
        refuse(WITH(field, "\xe0"));
        refuse(WITH(field, "\xc1"));
        refuse(WITH(field, "\xc7\0\0"));
        refuse(WITH(field, "\xd0\0"));
        refuse(WITH(field, "\xd8"));
        refuse(WITH(field, "\xde\0\0"));
    }
    refuse(WITH(ETAG, "\xa2\xc3\xa9"));
    refuse(WITH(CHECKSUM, "\x91\xa1""a"));
    refuse(WITH(CHECKSUM, "\x92\1\xc4\0"));
    refuse(WITH(CHECKSUM, "\x92\xa1""a\x80"));
    refuse(WITH(CHECKSUM, "\x93\xa1""a\xc4\0\1"));
    refuse(WITH(CHECKSUM, "\x94\xa1""a\xc4\0\xc2\x80"));
    refuse(with(SIZE, usual[SIZE], DIGEST));
    made.bytes = 0;
    ADD(&made, "\1\xc0");
    refuse(&made);
    build(&made, usual, FIELDS);
    made.data[0] = 2; /* of a later release */
    refuse(&made);
}

static void cuts(void)
{
    build(&made, usual, FIELDS);
    for (size_t whole = made.bytes; made.bytes;) {
        memset(made.data + made.bytes, 0, whole - made.bytes);
        made.bytes--;
        refuse(&made);
    }
    static char out[8];
    for (size_t bytes = 0; bytes < 5; bytes++) { /* too short for a sealed row */
        span none = {(const uint8_t *)stored, 0}, value = {(const uint8_t *)"\0\0\0\0\0", bytes};
        REQUIRE(entry_write(none, none, value, none, false, (uint8_t *)out) < 0, "%zu", bytes);
        refused++;
    }
}

static void damage(void)
{
    static uint8_t out[ENTRY_BYTES_MAX];
    span at = span_of(stored);
    REQUIRE(entry_write(at, at, span_of("\1\x90\x11\x22\x33\x44"), at, false, out) < 0, "CRC");
    refused++;
}

static void too_long(void)
{
    static char owner[ENTRY_BYTES_MAX + 1];
    static char out[ENTRY_BYTES_MAX + 1];
    memset(owner, 'o', ENTRY_BYTES_MAX);
    const row *plain = WITH(SIZE, "\x7f");
    REQUIRE(entry_of(plain, span_of("k"), span_of(owner), false, out) < 0, "too long");
    refused++;
}

int main(void)
{
    fields();
    keys();
    times();
    others();
    cuts();
    damage();
    too_long();
    printf("%u entries, %u refused\n", written, refused);
    return 0;
}

/* See entry.h. */
#include "entry.h"

#include <string.h>

/* Where the next byte goes. Nothing here looks for the end: `fits` did. */
typedef uint8_t *output;

enum {
    ESCAPED_MAX = 6, /* bytes that one may become: "&quot;" */
    MARKUP_MAX = 512 /* of an entry without its texts: tags, numbers, a time */
};

static bool fits(const version_row *row, span key, span owner)
{
    size_t rest = ENTRY_BYTES_MAX - MARKUP_MAX;
    const size_t sizes[] = {
        owner.bytes,
        key.bytes * ESCAPED_MAX,
        row->etag.bytes * ESCAPED_MAX,
        row->algorithm.bytes * ESCAPED_MAX,
        row->storage_class.bytes * ESCAPED_MAX,
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (sizes[i] > rest)
            return false;
        rest -= sizes[i];
    }
    return true;
}

static inline void put(output *out, const void *data, size_t bytes)
{
    memcpy(*out, data, bytes);
    *out += bytes;
}

#define PUT(out, literal) put(out, literal, sizeof(literal) - 1)

/* In so many digits at least. */
static void put_number(output *out, uint64_t number, int digits)
{
    char text[20];
    size_t at = sizeof text;
    do {
        text[--at] = (char)('0' + number % 10);
        number /= 10;
        digits--;
    } while (number || digits > 0);
    put(out, text + at, sizeof text - at);
}

/* ---- text ----------------------------------------------------------------------------------- */

static void put_reference(output *out, unsigned character)
{
    static const char digits[] = "0123456789abcdef";
    int shift = character > 0xff ? 12 : character > 0xf ? 4 : 0;
    PUT(out, "&#x");
    for (; shift >= 0; shift -= 4)
        put(out, &digits[character >> shift & 15], 1);
    PUT(out, ";");
}

static void put_special(output *out, uint8_t byte)
{
    switch (byte) {
    case '&':
        PUT(out, "&amp;");
        break;
    case '<':
        PUT(out, "&lt;");
        break;
    case '>':
        PUT(out, "&gt;");
        break;
    case '"':
        PUT(out, "&quot;");
        break;
    case '\r':
        PUT(out, "&#13;");
        break;
    case '\n':
        PUT(out, "&#10;");
        break;
    default:
        put_reference(out, byte);
    }
}

/* Bytes that may not stand as they are between tags, and the one that U+FFFE and U+FFFF begin
 * with, which XML has no place for. */
enum { PLAIN, SPECIAL, DOUBTFUL };

static const uint8_t kind_of[256] = {
    [0 ... 0x1f] = SPECIAL, ['&'] = SPECIAL, ['<'] = SPECIAL, ['>'] = SPECIAL, ['"'] = SPECIAL,
    [0xef] = DOUBTFUL,
};

static bool is_noncharacter(const uint8_t *at, const uint8_t *end)
{
    return end - at >= 3 && at[1] == 0xbf && at[2] >= 0xbe;
}

/* UTF-8 as it stands between tags. */
static void put_escaped(output *out, span text)
{
    const uint8_t *at = text.data, *end = at + text.bytes, *plain = at;
    while (at < end) {
        uint8_t kind = kind_of[*at];
        if (kind == PLAIN || (kind == DOUBTFUL && !is_noncharacter(at, end))) {
            at++;
            continue;
        }
        put(out, plain, (size_t)(at - plain));
        if (kind == SPECIAL)
            put_special(out, *at);
        else
            put_reference(out, 0xff00u | (at[2] | 0x40u));
        at += kind == SPECIAL ? 1 : 3;
        plain = at;
    }
    put(out, plain, (size_t)(end - plain));
}

static bool is_unreserved(uint8_t byte)
{
    uint8_t letter = byte | 0x20;
    return (letter >= 'a' && letter <= 'z') || (byte >= '-' && byte <= '9') || byte == '_' ||
           byte == '~';
}

/* UTF-8 as encoding-type=url shows it: unreserved are '-', '.', '/' and the digits among others,
 * which stand beside each other in ASCII. */
static void put_url_encoded(output *out, span text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (const uint8_t *at = text.data, *end = at + text.bytes; at < end; at++) {
        char encoded[3] = {'%', digits[*at >> 4], digits[*at & 15]};
        if (is_unreserved(*at))
            *(*out)++ = *at;
        else
            put(out, encoded, sizeof encoded);
    }
}

/* ---- time ----------------------------------------------------------------------------------- */

enum { DAY_S = 86400, DAYS_OF_400_YEARS = 146097, DAYS_OF_4_YEARS = 1461, DAYS_TO_1970 = 719468 };

/* Seconds since 1970 as S3's XML shows them. Days are counted from 0000-03-01, so that a leap
 * day ends its year. */
static void put_time(output *out, uint64_t seconds)
{
    uint64_t days = seconds / DAY_S + DAYS_TO_1970, second = seconds % DAY_S;
    uint64_t day = days % DAYS_OF_400_YEARS;
    uint64_t year = (day - day / (DAYS_OF_4_YEARS - 1) + day / (DAYS_OF_400_YEARS / 4) -
                     day / (DAYS_OF_400_YEARS - 1)) / 365;
    day -= 365 * year + year / 4 - year / 100;
    uint64_t month = (5 * day + 2) / 153; /* from March: five months have 153 days */
    day -= (153 * month + 2) / 5;
    year += days / DAYS_OF_400_YEARS * 400 + (month >= 10);
    put_number(out, year, 4);
    PUT(out, "-");
    put_number(out, month >= 10 ? month - 9 : month + 3, 2);
    PUT(out, "-");
    put_number(out, day + 1, 2);
    PUT(out, "T");
    put_number(out, second / 3600, 2);
    PUT(out, ":");
    put_number(out, second / 60 % 60, 2);
    PUT(out, ":");
    put_number(out, second % 60, 2);
    PUT(out, ".000Z");
}

/* ---- the entry ------------------------------------------------------------------------------ */

int entry_write(span stored, span key, span value, span owner, bool url, uint8_t *out)
{
    version_row row;
    output to = out;
    if (!version_row_read(stored, value, &row) || !fits(&row, key, owner))
        return ENTRY_UNREADABLE;
    if (row.delete_marker)
        return 0;
    PUT(&to, "<Contents><Key>");
    (url ? put_url_encoded : put_escaped)(&to, key);
    PUT(&to, "</Key><LastModified>");
    put_time(&to, row.modified_ms / 1000);
    PUT(&to, "</LastModified><ETag>&quot;");
    put_escaped(&to, row.etag);
    PUT(&to, "&quot;</ETag>");
    if (row.algorithm.bytes) {
        PUT(&to, "<ChecksumAlgorithm>");
        put_escaped(&to, row.algorithm);
        PUT(&to, "</ChecksumAlgorithm><ChecksumType>");
        row.composite ? PUT(&to, "COMPOSITE") : PUT(&to, "FULL_OBJECT");
        PUT(&to, "</ChecksumType>");
    }
    PUT(&to, "<Size>");
    put_number(&to, row.size, 1);
    PUT(&to, "</Size>");
    put(&to, owner.data, owner.bytes);
    PUT(&to, "<StorageClass>");
    put_escaped(&to, row.storage_class);
    PUT(&to, "</StorageClass></Contents>");
    return (int)(to - out);
}

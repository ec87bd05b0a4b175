/* See version_row.h. */
#include "version_row.h"

#include "crc32.h"

enum { FORMAT = 1, CRC_BYTES = 4, FORMAT_BYTES = 1 };

/* ---- MessagePack ---------------------------------------------------------------------------- */

enum kind { NIL, TRUTH, NUMBER, TEXT, BYTES, ARRAY };

typedef struct {
    enum kind kind;
    uint64_t number; /* its value, how many elements, or how many bytes */
    const uint8_t *data;
} token;

static bool big_endian(span *rest, size_t width, uint64_t *number)
{
    if (rest->bytes < width)
        return false;
    *number = 0;
    for (size_t i = 0; i < width; i++)
        *number = *number << 8 | rest->data[i];
    rest->data += width;
    rest->bytes -= width;
    return true;
}

/* What the first byte says: what follows, and in how many bytes its number is; 0: found is it. */
static bool first_byte(uint8_t byte, token *found, size_t *width)
{
    *width = 0;
    found->number = byte;
    if (byte < 0x80) {
        found->kind = NUMBER;
    } else if (byte >> 4 == 0x9) {
        found->kind = ARRAY;
        found->number = byte & 0xf;
    } else if (byte >> 5 == 0x5) {
        found->kind = TEXT;
        found->number = byte & 0x1f;
    } else if (byte == 0xc0) {
        found->kind = NIL;
    } else if (byte == 0xc2 || byte == 0xc3) {
        found->kind = TRUTH;
        found->number = byte & 1;
    } else if (byte >= 0xc4 && byte <= 0xc6) {
        found->kind = BYTES;
        *width = (size_t)1 << (byte - 0xc4);
    } else if (byte >= 0xcc && byte <= 0xcf) {
        found->kind = NUMBER;
        *width = (size_t)1 << (byte - 0xcc);
    } else if (byte >= 0xd9 && byte <= 0xdb) {
        found->kind = TEXT;
        *width = (size_t)1 << (byte - 0xd9);
    } else if (byte == 0xdc || byte == 0xdd) {
        found->kind = ARRAY;
        *width = (size_t)2 << (byte - 0xdc);
    } else {
        return false; /* nothing that a version row has */
    }
    return true;
}

static bool next(span *rest, token *found)
{
    uint64_t byte;
    size_t width;
    if (!big_endian(rest, 1, &byte) || !first_byte((uint8_t)byte, found, &width))
        return false;
    if (width && !big_endian(rest, width, &found->number))
        return false;
    if (found->kind == TEXT || found->kind == BYTES) {
        if (found->number > rest->bytes)
            return false;
        found->data = rest->data;
        rest->data += found->number;
        rest->bytes -= found->number;
    }
    return true;
}

static bool next_of(span *rest, enum kind kind, token *found)
{
    return next(rest, found) && found->kind == kind;
}

static bool number(span *rest, uint64_t *into)
{
    token found;
    if (!next_of(rest, NUMBER, &found))
        return false;
    *into = found.number;
    return true;
}

static bool truth(span *rest, bool *into)
{
    token found;
    if (!next_of(rest, TRUTH, &found))
        return false;
    *into = found.number;
    return true;
}

static bool text(span *rest, span *into)
{
    token found;
    if (!next_of(rest, TEXT, &found))
        return false;
    for (size_t i = 0; i < found.number; i++)
        if (found.data[i] >= 0x80)
            return false;
    *into = (span){found.data, found.number};
    return true;
}

/* Past so many values, and what is within them. */
static bool skip(span *rest, uint64_t values)
{
    token found;
    for (; values; values--) {
        if (!next(rest, &found))
            return false;
        if (found.kind == ARRAY)
            values += found.number; /* 2^32 at most, each of a byte at least: never too many */
    }
    return true;
}

/* ---- rows ------------------------------------------------------------------------------------ */

enum checksum_field { ALGORITHM, DIGEST, COMPOSITE, CHECKSUM_NEEDED = COMPOSITE };

static bool checksum(span *rest, version_row *row)
{
    token found;
    if (!next(rest, &found) || found.kind == NIL)
        return found.kind == NIL;
    if (found.kind != ARRAY || found.number < CHECKSUM_NEEDED)
        return false;
    if (!text(rest, &row->algorithm) || !skip(rest, 1))
        return false;
    if (found.number == CHECKSUM_NEEDED)
        return true;
    return truth(rest, &row->composite) && skip(rest, found.number - COMPOSITE - 1);
}

/* The fields of a version row in their order, as many as are looked at. */
enum field {
    HLC, MODIFIED_MS, SIZE, ETAG, ROW_DIGEST, PARTS, NULL_VERSION, DELETE_MARKER, INLINE, DATA,
    HEADERS, METADATA, CHECKSUM, PART_CHECKSUMS, SHA256, OWNER, STORAGE_CLASS,
    FIELDS, NEEDED = PARTS
};

static bool field(enum field at, span *rest, version_row *row)
{
    switch (at) {
    case MODIFIED_MS:
        return number(rest, &row->modified_ms);
    case SIZE:
        return number(rest, &row->size);
    case ETAG:
        return text(rest, &row->etag);
    case DELETE_MARKER:
        return truth(rest, &row->delete_marker);
    case CHECKSUM:
        return checksum(rest, row);
    case STORAGE_CLASS:
        return text(rest, &row->storage_class);
    default:
        return skip(rest, 1);
    }
}

static bool intact(span key, span value)
{
    uint32_t crc = crc32_of(crc32_of(0, key.data, key.bytes), value.data, value.bytes - CRC_BYTES);
    span stored = {value.data + value.bytes - CRC_BYTES, CRC_BYTES};
    uint64_t wanted = 0;
    big_endian(&stored, CRC_BYTES, &wanted);
    return wanted == crc;
}

bool version_row_read(span key, span value, version_row *row)
{
    if (value.bytes < FORMAT_BYTES + CRC_BYTES || !intact(key, value) || value.data[0] != FORMAT)
        return false;
    span rest = {value.data + FORMAT_BYTES, value.bytes - FORMAT_BYTES - CRC_BYTES};
    token fields;
    if (!next_of(&rest, ARRAY, &fields) || fields.number < NEEDED)
        return false;
    *row = (version_row){.storage_class = {(const uint8_t *)"STANDARD", 8}};
    for (uint64_t at = 0; at < fields.number && at < FIELDS; at++)
        if (!field((enum field)at, &rest, row))
            return false;
    return true;
}

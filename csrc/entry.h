/* An object's entry in a listing: its <Contents> element.
 *
 * What it is made of is described in s3node/s3/documents.py; this is the same, byte for byte, out
 * of the row as it is stored: a page has a thousand of them.
 */
#ifndef S3NODE_ENTRY_H
#define S3NODE_ENTRY_H

#include "version_row.h"

enum { ENTRY_BYTES_MAX = 16384, ENTRY_UNREADABLE = -1 };

/* Writes to `out` (ENTRY_BYTES_MAX) the entry of the object `key`, whose current version is the
 * row in `value` under the row key `stored`: how many bytes, 0 when it is a delete marker,
 * ENTRY_UNREADABLE when that is not an undamaged row or the entry is too long. `owner` is the
 * element as it is to stand in the entry. `url`: the key as encoding-type=url has it. */
int entry_write(span stored, span key, span value, span owner, bool url, uint8_t *out);

#endif

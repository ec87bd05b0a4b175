/* What a version row says, as far as a listing shows it.
 *
 * How a value is sealed is described in s3node/meta/values.py, what is in a row in
 * s3node/model/rows.py. Only "yes" is said here: what does not read as a row of this release is
 * looked at again by whoever asked, who then says what is wrong with it. What stands behind the
 * storage class is not looked at; the CRC is over all of it.
 */
#ifndef S3NODE_VERSION_ROW_H
#define S3NODE_VERSION_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *data;
    size_t bytes;
} span;

typedef struct { /* its spans point into the value, or to constants; texts are ASCII */
    uint64_t modified_ms, size;
    span etag, storage_class;
    span algorithm; /* of the checksum; empty when there is none */
    bool composite, delete_marker;
} version_row;

/* Whether `value`, found under the row key `key`, is a version row undamaged. */
bool version_row_read(span key, span value, version_row *row);

#endif

/* Writing past the page cache: what is written once, and read much later if ever, neither costs
 * a copy into pages that have to be found first, nor drives out what is read often. And an error
 * of the medium is the write's own, not one that a later sync may tell or not.
 *
 * Such writes begin and end at multiples of ENGINE_BLOCK, and so does their memory. A run of bytes
 * is copied together there. The block in which it begins is written again with what lay in it
 * before; the one in which it ends is filled up with zeros. (The page cache does just that, in
 * pages of the same size: what is written again is what was there.)
 *
 * Invariant: bytes before the run are written as they are on the platter. Those of the last run
 * are kept, so that nothing has to be read; others are read from the medium. */
#ifndef S3NODE_ENGINE_DIRECT_H
#define S3NODE_ENGINE_DIRECT_H

#include "engine_write.h"

enum { ENGINE_GATHER = 256 << 10 }; /* bytes of one write, at most */

_Static_assert(ENGINE_GATHER % ENGINE_BLOCK == 0, "whole blocks");

/* Whether whole blocks do for a file that asks for such alignments (statx(2)) of memory and of
 * offsets; 0: it takes no such writes. */
bool engine_direct_fits(uint32_t memory, uint32_t offsets);

/* Write `iov` to a direct file at `offset`, by way of `gather`: ENGINE_GATHER bytes of aligned
 * memory. 0, or a positive errno. */
int engine_write_direct(const engine_calls *calls, engine_file *file, const engine_iov *iov,
                        int count, int64_t offset, uint8_t *gather, engine_counters *tally);

#endif

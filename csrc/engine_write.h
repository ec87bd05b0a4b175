/* Writing for the engine: a batch of one slot, joined and synced. */
#ifndef S3NODE_ENGINE_WRITE_H
#define S3NODE_ENGINE_WRITE_H

#include "engine_queue.h"

enum { ENGINE_PENDING = -1 }; /* the stage of an operation that is not done */

struct engine_file { /* changed by the writing thread of its slot alone; others read fd */
    int fd;
    int error;
    int64_t allocated;
    engine_room room;
    bool direct;  /* written past the page cache */
    int64_t end;  /* direct: where what was written last ends; -1 before anything was */
    uint8_t kept[ENGINE_BLOCK]; /* direct: of the block that it ends in, what lies before that */
};

/* Write all that is pending of a batch, what follows each other in a file at once, and sync each
 * file once. Every operation gets its error and stage. `gather`: see engine_direct.h. */
void engine_write_batch(const engine_calls *calls, engine_node *first, uint8_t *gather,
                        engine_counters *tally);

/* Write `iov`, which is used up, however short the single writes are: 0, or a positive errno. */
int engine_write_all(const engine_calls *calls, int fd, engine_iov *iov, int count, int64_t offset,
                     engine_counters *tally);

#endif

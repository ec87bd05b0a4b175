/* Writing for the engine: a batch of one slot, joined and synced. */
#ifndef S3NODE_ENGINE_WRITE_H
#define S3NODE_ENGINE_WRITE_H

#include "engine_queue.h"

enum { ENGINE_PENDING = -1 }; /* the stage of an operation that is not done */

struct engine_file { /* changed by the writing thread of its slot alone; others read fd */
    int fd;
    int error;
    int64_t allocated, step_min, step_max, limit;
};

/* Write all that is pending of a batch, what follows each other in a file at once, and sync each
 * file once. Every operation gets its error and stage. */
void engine_write_batch(const engine_calls *calls, engine_node *first, engine_counters *tally);

#endif

/* Reading for the engine: one operation, from memory alone or for as long as it takes. */
#ifndef S3NODE_ENGINE_READ_H
#define S3NODE_ENGINE_READ_H

#include <stdbool.h>

#include "engine.h"

/* Fill both buffers of a read and verify what it claims; `out` gets its completion. With `now`
 * nothing is waited for: false when not all of it is in memory, and `out` is not filled. */
bool engine_read_op(const engine_calls *calls, const engine_op *op, bool now,
                    engine_completion *out, engine_counters *tally);

/* Add to what is counted. */
void engine_tally(engine *e, const engine_counters *tally);

#endif

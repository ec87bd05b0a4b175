/* The queues between whoever submits and the engine's threads.
 *
 * A thread that finds its queue empty sleeps; who gives to a queue wakes the threads of that one,
 * and no wake goes through another queue's thread: what a disk holds holds nobody else. (A chain,
 * in which whoever is woken wakes two others, was tried: it spares whoever submits a little, but a
 * lone client waits longer, for its stripe's completions then come one by one.)
 */
#ifndef S3NODE_ENGINE_QUEUE_H
#define S3NODE_ENGINE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>

#include "engine.h"

typedef struct engine_node {
    struct engine_node *next;
    engine_op op;
    int64_t got;
    int32_t error, stage;
} engine_node;

typedef struct {
    engine_node *first, **last;
} engine_list;

typedef struct {
    engine *engine;
    uint8_t *gather; /* of a queue of writes: see engine_direct.h */
    pthread_mutex_t mutex; /* of everything below */
    pthread_cond_t changed;
    engine_list pending;
    bool stopping;
} engine_queue;

static inline void engine_list_clear(engine_list *l)
{
    l->first = NULL;
    l->last = &l->first;
}

static inline void engine_list_push(engine_list *l, engine_node *n)
{
    n->next = NULL;
    *l->last = n;
    l->last = &n->next;
}

static inline engine_node *engine_list_pop(engine_list *l)
{
    engine_node *n = l->first;
    l->first = n->next;
    if (!n->next)
        engine_list_clear(l);
    return n;
}

/* All of `from`, behind what is in `to`. */
static inline void engine_list_move(engine_list *to, engine_list *from)
{
    if (!from->first)
        return;
    *to->last = from->first;
    to->last = from->last;
    engine_list_clear(from);
}

void engine_queue_init(engine_queue *q, engine *e);
void engine_queue_destroy(engine_queue *q);

/* Give a queue what it is to do next. */
void engine_queue_give(engine_queue *q, engine_list *more);

/* Wait for something to do: all of it, or only the first; false when the queue has ended. */
bool engine_queue_take(engine_queue *q, engine_list *batch, bool all);

/* What is queued is the last. */
void engine_queue_stop(engine_queue *q);
bool engine_queue_stopping(engine_queue *q);

#endif

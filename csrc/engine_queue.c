/* See engine_queue.h. */
#define _GNU_SOURCE
#include "engine_queue.h"

void engine_queue_init(engine_queue *q, engine *e)
{
    q->engine = e;
    pthread_mutex_init(&q->mutex, NULL); /* cannot fail with default attributes on Linux */
    pthread_cond_init(&q->changed, NULL);
    engine_list_clear(&q->pending);
}

void engine_queue_destroy(engine_queue *q)
{
    pthread_mutex_destroy(&q->mutex);
    pthread_cond_destroy(&q->changed);
}

void engine_queue_give(engine_queue *q, engine_list *more)
{
    pthread_mutex_lock(&q->mutex);
    engine_list_move(&q->pending, more);
    pthread_mutex_unlock(&q->mutex);
    /* Once the lock is free: who wakes only to wait for it costs two switches more. */
    pthread_cond_broadcast(&q->changed);
}

bool engine_queue_take(engine_queue *q, engine_list *batch, bool all)
{
    engine_list_clear(batch);
    pthread_mutex_lock(&q->mutex);
    while (!q->pending.first && !q->stopping)
        pthread_cond_wait(&q->changed, &q->mutex);
    if (all)
        engine_list_move(batch, &q->pending);
    else if (q->pending.first)
        engine_list_push(batch, engine_list_pop(&q->pending));
    pthread_mutex_unlock(&q->mutex);
    return batch->first != NULL;
}

void engine_queue_stop(engine_queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->stopping = true;
    pthread_mutex_unlock(&q->mutex);
    pthread_cond_broadcast(&q->changed);
}

bool engine_queue_stopping(engine_queue *q)
{
    pthread_mutex_lock(&q->mutex);
    bool stopping = q->stopping;
    pthread_mutex_unlock(&q->mutex);
    return stopping;
}

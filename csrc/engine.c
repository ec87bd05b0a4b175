/* See engine.h for what it does and the invariants. */
#define _GNU_SOURCE
#include "engine_direct.h"
#include "engine_read.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

typedef struct chunk {
    struct chunk *next;
    engine_node nodes[ENGINE_CHUNK];
} chunk;

struct engine {
    engine_calls calls;
    int event_fd, slots, threads;
    bool stopped;
    engine_queue *queues; /* the slots' queues of writes, then those of reads */
    uint8_t *gathers;     /* ENGINE_GATHER bytes for each queue of writes, and what aligns them */
    pthread_t *running;   /* `threads` of them */
    pthread_mutex_t mutex; /* of everything below */
    engine_list done;
    engine_node *spare;
    int64_t spare_count;
    chunk *chunks;
    engine_counters counters;
};

/* ---- threads --------------------------------------------------------------------------- */

/* Signal that there are completions. A wake that is lost would hang whoever waits, so it is
 * tried until it works; engine_stop needs none, for it is followed by a last engine_reap. */
static void wake(engine *e, engine_queue *q)
{
    const struct timespec pause = {.tv_sec = 0, .tv_nsec = 1000000};
    while (e->calls.wake(e->event_fd) < 0) {
        if (engine_queue_stopping(q))
            return;
        nanosleep(&pause, NULL);
    }
}

/* The engine's mutex is held. */
static void add(engine_counters *sum, const engine_counters *tally)
{
    sum->crossings += tally->crossings;
    sum->drains += tally->drains;
    sum->writes += tally->writes;
    sum->syncs += tally->syncs;
    sum->reads += tally->reads;
    sum->bytes_written += tally->bytes_written;
    sum->bytes_read += tally->bytes_read;
}

void engine_tally(engine *e, const engine_counters *tally)
{
    pthread_mutex_lock(&e->mutex);
    add(&e->counters, tally);
    pthread_mutex_unlock(&e->mutex);
}

static void complete(engine *e, engine_queue *q, engine_list *batch, const engine_counters *tally)
{
    pthread_mutex_lock(&e->mutex);
    bool first = !e->done.first;
    engine_list_move(&e->done, batch);
    add(&e->counters, tally);
    e->counters.wakes += first;
    pthread_mutex_unlock(&e->mutex);
    if (first)
        wake(e, q);
}

static void *write_thread(void *argument)
{
    engine_queue *q = argument;
    engine_list batch;
    while (engine_queue_take(q, &batch, true)) {
        engine_counters tally = {.drains = 1};
        engine_write_batch(&q->engine->calls, batch.first, q->gather, &tally);
        complete(q->engine, q, &batch, &tally);
    }
    return NULL;
}

static void *read_thread(void *argument)
{
    engine_queue *q = argument;
    engine_list batch;
    while (engine_queue_take(q, &batch, false)) {
        engine_counters tally = {0};
        engine_completion done;
        engine_node *n = batch.first;
        engine_read_op(&q->engine->calls, &n->op, false, &done, &tally);
        n->got = done.got;
        n->error = done.error;
        n->stage = done.stage;
        complete(q->engine, q, &batch, &tally);
    }
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------ */

static void *allocate_zeroed(const engine_calls *calls, size_t size)
{
    void *memory = calls->allocate(size);
    return memory ? memset(memory, 0, size) : NULL;
}

static int start_threads(engine *e, int readers)
{
    for (int i = 0; i < 2 * e->slots; i++) {
        bool writes = i < e->slots;
        for (int count = writes ? 1 : readers; count > 0; count--) {
            int error = e->calls.spawn(&e->running[e->threads],
                                       writes ? write_thread : read_thread, &e->queues[i]);
            if (error < 0)
                return -error;
            e->threads++;
        }
    }
    return 0;
}

static engine *fail(engine *e, int *error, int number)
{
    *error = number;
    engine_stop(e);
    engine_free(e);
    return NULL;
}

engine *engine_new(int slots, int readers, int event_fd, const engine_calls *calls, int *error)
{
    engine *e = allocate_zeroed(calls, sizeof *e);
    if (!e) {
        *error = ENOMEM;
        return NULL;
    }
    e->calls = *calls;
    e->event_fd = event_fd;
    engine_list_clear(&e->done);
    pthread_mutex_init(&e->mutex, NULL); /* cannot fail with default attributes on Linux */
    e->queues = allocate_zeroed(calls, 2 * (size_t)slots * sizeof *e->queues);
    if (!e->queues)
        return fail(e, error, ENOMEM);
    e->slots = slots;
    for (int i = 0; i < 2 * slots; i++)
        engine_queue_init(&e->queues[i], e);
    e->gathers = calls->allocate((size_t)slots * ENGINE_GATHER + ENGINE_BLOCK);
    if (!e->gathers)
        return fail(e, error, ENOMEM);
    uintptr_t gather = (uintptr_t)e->gathers;
    gather += -gather % ENGINE_BLOCK;
    for (int i = 0; i < slots; i++, gather += ENGINE_GATHER)
        e->queues[i].gather = (uint8_t *)gather;
    e->running = allocate_zeroed(calls, (size_t)slots * (1 + (size_t)readers) * sizeof(pthread_t));
    if (!e->running)
        return fail(e, error, ENOMEM);
    *error = start_threads(e, readers);
    return *error ? fail(e, error, *error) : e;
}

void engine_stop(engine *e)
{
    if (e->stopped)
        return;
    e->stopped = true;
    for (int i = 0; i < 2 * e->slots; i++)
        engine_queue_stop(&e->queues[i]);
    for (int i = 0; i < e->threads; i++)
        pthread_join(e->running[i], NULL);
}

void engine_free(engine *e)
{
    for (int i = 0; i < 2 * e->slots; i++)
        engine_queue_destroy(&e->queues[i]);
    pthread_mutex_destroy(&e->mutex);
    for (chunk *c = e->chunks; c;) {
        chunk *next = c->next;
        e->calls.release(c);
        c = next;
    }
    if (e->queues)
        e->calls.release(e->queues);
    if (e->gathers)
        e->calls.release(e->gathers);
    if (e->running)
        e->calls.release(e->running);
    e->calls.release(e);
}

engine_file *engine_attach(engine *e, int fd, int64_t allocated, engine_room room, bool direct)
{
    engine_file *file = allocate_zeroed(&e->calls, sizeof *file);
    if (file)
        *file = (engine_file){.fd = fd,
                              .allocated = allocated,
                              .room = room,
                              .direct = direct && e->calls.go_direct(fd),
                              .end = -1};
    return file;
}

void engine_detach(engine *e, engine_file *file)
{
    e->calls.release(file);
}

/* ---- submitting and reaping ------------------------------------------------------------ */

/* Have at least `count` spare nodes; false without memory. The engine's mutex is held. */
static bool provide(engine *e, int64_t count)
{
    while (e->spare_count < count) {
        chunk *c = e->calls.allocate(sizeof *c);
        if (!c)
            return false;
        c->next = e->chunks;
        e->chunks = c;
        for (int i = 0; i < ENGINE_CHUNK; i++) {
            c->nodes[i].next = e->spare;
            e->spare = &c->nodes[i];
        }
        e->spare_count += ENGINE_CHUNK;
    }
    return true;
}

/* Take `count` nodes for one crossing: 0, or a positive errno. */
static int withdraw(engine *e, int64_t count, engine_node **spare)
{
    if (e->stopped)
        return ESHUTDOWN;
    pthread_mutex_lock(&e->mutex);
    bool provided = provide(e, count);
    if (provided) {
        engine_node **end = &e->spare;
        e->counters.crossings++;
        e->spare_count -= count;
        *spare = e->spare;
        for (int64_t i = 0; i < count; i++)
            end = &(*end)->next;
        e->spare = *end;
    }
    pthread_mutex_unlock(&e->mutex);
    return provided ? 0 : ENOMEM;
}

static engine_node *take_spare(engine_node **spare, const engine_op *op)
{
    engine_node *n = *spare;
    *spare = n->next;
    n->op = *op;
    n->got = 0;
    n->error = 0;
    n->stage = ENGINE_PENDING;
    return n;
}

/* Give operations to the queues, each run of one slot under one lock. */
static void enqueue(engine_queue *queues, const engine_op *ops, int count, engine_node **spare)
{
    for (int i = 0; i < count;) {
        int32_t slot = ops[i].slot;
        engine_list more;
        engine_list_clear(&more);
        for (; i < count && ops[i].slot == slot; i++)
            engine_list_push(&more, take_spare(spare, &ops[i]));
        engine_queue_give(&queues[slot], &more);
    }
}

bool engine_reads_valid(const engine *e, const engine_op *reads, int count)
{
    for (int i = 0; i < count; i++)
        if (reads[i].slot < 0 || reads[i].slot >= e->slots ||
            reads[i].count != ENGINE_READ_BUFFERS)
            return false;
    return true;
}

const engine_calls *engine_table(const engine *e)
{
    return &e->calls;
}

int engine_fd(const engine_file *file)
{
    return file->fd;
}

int engine_submit(engine *e, const engine_op *writes, int write_count, const engine_op *reads,
                  int read_count)
{
    int64_t count = (int64_t)write_count + read_count;
    for (int i = 0; i < write_count; i++) {
        const engine_op *op = &writes[i];
        if (op->slot < 0 || op->slot >= e->slots || op->count < 1 || op->count > ENGINE_BUFFERS)
            return EINVAL;
    }
    if (!engine_reads_valid(e, reads, read_count))
        return EINVAL;
    engine_node *spare;
    int error = withdraw(e, count, &spare);
    if (error)
        return error;
    enqueue(e->queues, writes, write_count, &spare);
    enqueue(e->queues + e->slots, reads, read_count, &spare);
    return 0;
}

/* The write of one record, its head packed. */
static engine_op record_op(const engine_stripe *stripe, engine_target *target, uint8_t *head)
{
    size_t head_bytes = record_payload_start(stripe->payload_bytes);
    const uint8_t *digests =
        stripe->digests + target->payload * (head_bytes - RECORD_HEADER_BYTES);
    const uint8_t *payload = stripe->payloads + (size_t)target->payload * stripe->payload_bytes;
    target->crc = record_pack(head, stripe->common, target->payload, target->disk_id,
                              target->segment, target->offset, digests);
    return (engine_op){
        .token = target->token,
        .file = target->file,
        .offset = (int64_t)target->offset,
        .slot = (int32_t)target->slot,
        .count = ENGINE_BUFFERS,
        .iov = {{head, head_bytes},
                {(void *)(uintptr_t)payload, stripe->payload_bytes},
                {(void *)(uintptr_t)stripe->tail, stripe->tail_bytes}},
    };
}

int engine_append(engine *e, const engine_stripe *stripes, int count)
{
    int64_t records = 0;
    for (const engine_stripe *stripe = stripes; stripe < stripes + count; stripe++) {
        records += stripe->count;
        for (uint32_t i = 0; i < stripe->count; i++)
            if (stripe->targets[i].slot >= (uint32_t)e->slots)
                return EINVAL;
    }
    engine_node *spare;
    int error = withdraw(e, records, &spare);
    if (error)
        return error;
    for (uint32_t slot = 0; slot < (uint32_t)e->slots; slot++) {
        engine_list more;
        engine_list_clear(&more);
        for (const engine_stripe *stripe = stripes; stripe < stripes + count; stripe++) {
            size_t head_bytes = record_payload_start(stripe->payload_bytes);
            for (uint32_t i = 0; i < stripe->count; i++) {
                if (stripe->targets[i].slot != slot)
                    continue;
                uint8_t *head = stripe->heads + i * head_bytes;
                engine_op op = record_op(stripe, &stripe->targets[i], head);
                engine_list_push(&more, take_spare(&spare, &op));
            }
        }
        if (more.first)
            engine_queue_give(&e->queues[slot], &more);
    }
    return 0;
}

int engine_reap(engine *e, engine_completion *out, int capacity)
{
    int count = 0;
    /* First: what is completed from now on signals anew. If it fails, it is asked for again. */
    e->calls.clear(e->event_fd);
    pthread_mutex_lock(&e->mutex);
    while (count < capacity && e->done.first) {
        engine_node *n = engine_list_pop(&e->done);
        out[count++] = (engine_completion){n->op.token, n->error, n->stage, n->got};
        n->next = e->spare;
        e->spare = n;
        e->spare_count++;
    }
    pthread_mutex_unlock(&e->mutex);
    return count;
}

void engine_count(engine *e, engine_counters *out)
{
    pthread_mutex_lock(&e->mutex);
    *out = e->counters;
    pthread_mutex_unlock(&e->mutex);
}

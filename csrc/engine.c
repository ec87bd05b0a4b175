/* See engine.h for what it does and the invariants. */
#define _GNU_SOURCE
#include "engine_read.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

enum { PENDING = -1 };

typedef struct node {
    struct node *next;
    engine_op op;
    int64_t got;
    int32_t error, stage;
} node;

typedef struct {
    node *first, **last;
} list;

typedef struct chunk {
    struct chunk *next;
    node nodes[ENGINE_CHUNK];
} chunk;

struct engine_file { /* read and changed by the writing thread of its slot alone */
    int fd;
    int error;
    int64_t allocated, step_min, step_max, limit;
};

typedef struct {
    engine *engine;
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    list pending;
    bool stopping;
} queue;

struct engine {
    engine_calls calls;
    int event_fd, slots, threads;
    bool stopped;
    queue *queues;      /* the slots' queues of writes, then those of reads */
    pthread_t *running; /* `threads` of them */
    pthread_mutex_t mutex; /* of everything below */
    list done;
    node *spare;
    int64_t spare_count;
    chunk *chunks;
    engine_counters counters;
};

/* ---- lists ----------------------------------------------------------------------------- */

static void list_clear(list *l)
{
    l->first = NULL;
    l->last = &l->first;
}

static void list_push(list *l, node *n)
{
    n->next = NULL;
    *l->last = n;
    l->last = &n->next;
}

static void list_move(list *to, list *from)
{
    if (!from->first)
        return;
    *to->last = from->first;
    to->last = from->last;
    list_clear(from);
}

/* ---- writing --------------------------------------------------------------------------- */

static size_t op_bytes(const engine_op *op)
{
    size_t bytes = 0;
    for (int i = 0; i < op->count; i++)
        bytes += op->iov[i].length;
    return bytes;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Reserve room ahead of a write that ends at `end`. No room for a step is no failure: the write
 * will tell; but then it is not asked for again. */
static void reserve(engine *e, engine_file *file, int64_t end)
{
    if (!file->step_max || end <= file->allocated)
        return;
    int64_t step = smaller(end > file->step_min ? end : file->step_min, file->step_max);
    int64_t target = smaller(end + step, file->limit);
    if (target < end)
        target = end;
    if (e->calls.fallocate(file->fd, file->allocated, target - file->allocated) < 0)
        file->step_max = 0;
    else
        file->allocated = target;
}

/* Drop the first `written` bytes of iov[from..count): the new `from`; count if nothing is left,
 * -1 if more was reported written than was given. */
static int advance(engine_iov *iov, int from, int count, size_t written)
{
    for (; from < count; from++) {
        if (written < iov[from].length) {
            iov[from].base = (char *)iov[from].base + written;
            iov[from].length -= written;
            return from;
        }
        written -= iov[from].length;
    }
    return written ? -1 : count;
}

static int write_all(engine *e, int fd, engine_iov *iov, int count, int64_t offset,
                     engine_counters *tally)
{
    for (int from = 0; from < count;) {
        tally->writes++;
        int64_t written = e->calls.pwritev(fd, iov + from, count - from, offset);
        if (written == -EINTR)
            continue;
        if (written < 0)
            return (int)-written;
        from = advance(iov, from, count, (size_t)written);
        if (written == 0 || from < 0)
            return EIO;
        tally->bytes_written += (uint64_t)written;
        offset += written;
    }
    return 0;
}

/* Write everything for one file from `first` on, joining what lies next to each other. */
static int write_runs(engine *e, const node *first, engine_counters *tally)
{
    engine_iov iov[ENGINE_IOV_MAX];
    engine_file *file = first->op.file;
    int count = 0, error = 0;
    int64_t start = 0, end = 0;
    for (const node *n = first; n && !error; n = n->next) {
        const engine_op *op = &n->op;
        if (op->file != file)
            continue;
        if (count && (op->offset != end || count + op->count > ENGINE_IOV_MAX)) {
            error = write_all(e, file->fd, iov, count, start, tally);
            count = 0;
        }
        if (!count)
            start = end = op->offset;
        for (int i = 0; i < op->count; i++)
            if (op->iov[i].length)
                iov[count++] = op->iov[i];
        end = op->offset + (int64_t)op_bytes(op);
    }
    return error || !count ? error : write_all(e, file->fd, iov, count, start, tally);
}

/* Write and sync everything for the file of `first`, and mark it. Any failure kills the file. */
static void write_file(engine *e, node *first, engine_counters *tally)
{
    engine_file *file = first->op.file;
    int32_t stage = file->error ? ENGINE_DEAD : ENGINE_WRITE;
    if (!file->error) {
        int64_t end = 0;
        for (const node *n = first; n; n = n->next) {
            int64_t stop = n->op.offset + (int64_t)op_bytes(&n->op);
            if (n->op.file == file && stop > end)
                end = stop;
        }
        reserve(e, file, end);
        file->error = write_runs(e, first, tally);
    }
    if (!file->error) {
        /* EINTR too: after an interrupted sync nobody knows what the next one would promise. */
        tally->syncs++;
        int result = e->calls.fdatasync(file->fd);
        file->error = result < 0 ? -result : 0;
        stage = ENGINE_SYNC;
    }
    for (node *n = first; n; n = n->next)
        if (n->op.file == file) {
            n->error = file->error;
            n->stage = file->error ? stage : ENGINE_DONE;
        }
}

/* ---- threads --------------------------------------------------------------------------- */

/* Signal that there are completions. A wake that is lost would hang whoever waits, so it is
 * tried until it works; engine_stop needs none, for it is followed by a last engine_reap. */
static void wake(engine *e, queue *q)
{
    const struct timespec pause = {.tv_sec = 0, .tv_nsec = 1000000};
    while (e->calls.wake(e->event_fd) < 0) {
        pthread_mutex_lock(&q->mutex);
        bool stopping = q->stopping;
        pthread_mutex_unlock(&q->mutex);
        if (stopping)
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

static void complete(engine *e, queue *q, list *batch, const engine_counters *tally)
{
    pthread_mutex_lock(&e->mutex);
    bool first = !e->done.first;
    list_move(&e->done, batch);
    add(&e->counters, tally);
    e->counters.wakes += first;
    pthread_mutex_unlock(&e->mutex);
    if (first)
        wake(e, q);
}

/* Wait for something to do: all of it, or only the first; false when the queue has ended. */
static bool take(queue *q, list *batch, bool all)
{
    list_clear(batch);
    pthread_mutex_lock(&q->mutex);
    while (!q->pending.first && !q->stopping)
        pthread_cond_wait(&q->filled, &q->mutex);
    node *first = q->pending.first;
    if (all) {
        list_move(batch, &q->pending);
    } else if (first) {
        q->pending.first = first->next;
        if (!first->next)
            list_clear(&q->pending);
        list_push(batch, first);
    }
    pthread_mutex_unlock(&q->mutex);
    return first != NULL;
}

static void *write_thread(void *argument)
{
    queue *q = argument;
    list batch;
    while (take(q, &batch, true)) {
        engine_counters tally = {.drains = 1};
        for (node *n = batch.first; n; n = n->next)
            if (n->stage == PENDING)
                write_file(q->engine, n, &tally);
        complete(q->engine, q, &batch, &tally);
    }
    return NULL;
}

static void *read_thread(void *argument)
{
    queue *q = argument;
    list batch;
    while (take(q, &batch, false)) {
        engine_counters tally = {0};
        engine_completion done;
        node *n = batch.first;
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
    list_clear(&e->done);
    pthread_mutex_init(&e->mutex, NULL); /* cannot fail with default attributes on Linux */
    e->queues = allocate_zeroed(calls, 2 * (size_t)slots * sizeof *e->queues);
    if (!e->queues)
        return fail(e, error, ENOMEM);
    e->slots = slots;
    for (int i = 0; i < 2 * slots; i++) {
        e->queues[i].engine = e;
        pthread_mutex_init(&e->queues[i].mutex, NULL);
        pthread_cond_init(&e->queues[i].filled, NULL);
        list_clear(&e->queues[i].pending);
    }
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
    for (int i = 0; i < 2 * e->slots; i++) {
        queue *q = &e->queues[i];
        pthread_mutex_lock(&q->mutex);
        q->stopping = true;
        pthread_cond_broadcast(&q->filled);
        pthread_mutex_unlock(&q->mutex);
    }
    for (int i = 0; i < e->threads; i++)
        pthread_join(e->running[i], NULL);
}

void engine_free(engine *e)
{
    for (int i = 0; i < 2 * e->slots; i++) {
        pthread_mutex_destroy(&e->queues[i].mutex);
        pthread_cond_destroy(&e->queues[i].filled);
    }
    pthread_mutex_destroy(&e->mutex);
    for (chunk *c = e->chunks; c;) {
        chunk *next = c->next;
        e->calls.release(c);
        c = next;
    }
    if (e->queues)
        e->calls.release(e->queues);
    if (e->running)
        e->calls.release(e->running);
    e->calls.release(e);
}

engine_file *engine_attach(engine *e, int fd, int64_t allocated, int64_t step_min,
                           int64_t step_max, int64_t limit)
{
    engine_file *file = allocate_zeroed(&e->calls, sizeof *file);
    if (file)
        *file = (engine_file){.fd = fd,
                              .allocated = allocated,
                              .step_min = step_min,
                              .step_max = step_max,
                              .limit = limit};
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

static node *take_spare(node **spare, const engine_op *op)
{
    node *n = *spare;
    *spare = n->next;
    n->op = *op;
    n->got = 0;
    n->error = 0;
    n->stage = PENDING;
    return n;
}

/* Give operations to the queues, each run of one slot under one lock. */
static void enqueue(queue *queues, const engine_op *ops, int count, node **spare)
{
    for (int i = 0; i < count;) {
        queue *q = &queues[ops[i].slot];
        int32_t slot = ops[i].slot;
        pthread_mutex_lock(&q->mutex);
        for (; i < count && ops[i].slot == slot; i++)
            list_push(&q->pending, take_spare(spare, &ops[i]));
        pthread_cond_broadcast(&q->filled);
        pthread_mutex_unlock(&q->mutex);
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
    if (e->stopped)
        return ESHUTDOWN;
    pthread_mutex_lock(&e->mutex);
    if (!provide(e, count)) {
        pthread_mutex_unlock(&e->mutex);
        return ENOMEM;
    }
    e->counters.crossings++;
    e->spare_count -= count;
    node *spare = e->spare, **end = &e->spare;
    for (int64_t i = 0; i < count; i++)
        end = &(*end)->next;
    e->spare = *end;
    pthread_mutex_unlock(&e->mutex);
    enqueue(e->queues, writes, write_count, &spare);
    enqueue(e->queues + e->slots, reads, read_count, &spare);
    return 0;
}

int engine_reap(engine *e, engine_completion *out, int capacity)
{
    int count = 0;
    pthread_mutex_lock(&e->mutex);
    while (count < capacity && e->done.first) {
        node *n = e->done.first;
        e->done.first = n->next;
        if (!n->next)
            list_clear(&e->done);
        out[count++] = (engine_completion){n->op.token, n->got, n->error, n->stage};
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

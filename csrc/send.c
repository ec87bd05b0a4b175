/* See send.h for what it does and the invariants. */
#define _GNU_SOURCE
#include "send.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

typedef struct job {
    struct job *next; /* in the list that it is in */
    int64_t taken;
    int32_t fd, error, count;
    send_piece pieces[SEND_PIECES_MAX];
} job;

typedef struct {
    job *first, **last;
} list;

struct sender {
    send_calls calls;
    int event_fd;
    pthread_t thread;
    pthread_cond_t filled;
    pthread_mutex_t mutex; /* of everything below */
    bool stopping;
    job *waiting;
    list done, spare;
    job jobs[SEND_JOBS_MAX];
};

/* ---- lists ----------------------------------------------------------------------------- */

static void list_clear(list *l)
{
    l->first = NULL;
    l->last = &l->first;
}

static void list_push(list *l, job *j)
{
    j->next = NULL;
    *l->last = j;
    l->last = &j->next;
}

/* Of a list that is not empty. */
static job *list_pop(list *l)
{
    job *j = l->first;
    l->first = j->next;
    if (!j->next)
        list_clear(l);
    return j;
}

/* ---- the thread ------------------------------------------------------------------------ */

/* The first of the pieces from `from` on that is not sent yet when `sent` bytes of them are, cut
 * to what is left of it; `count` if there is none. */
static int advance(send_piece *pieces, int from, int count, size_t sent)
{
    for (; from < count; from++) {
        if (sent < pieces[from].length) {
            pieces[from].base = (const char *)pieces[from].base + sent;
            pieces[from].length -= sent;
            return from;
        }
        sent -= pieces[from].length;
    }
    return count;
}

/* Give the kernel what it takes without waiting. */
static void transmit(const send_calls *calls, job *j)
{
    for (int from = advance(j->pieces, 0, j->count, 0); from < j->count;) {
        int64_t sent = calls->send(j->fd, j->pieces + from, j->count - from);
        if (sent == -EINTR)
            continue;
        if (sent < 0 && sent != -EAGAIN)
            j->error = (int32_t)-sent;
        if (sent <= 0)
            break;
        j->taken += sent;
        from = advance(j->pieces, from, j->count, (size_t)sent);
    }
}

/* Signal that there is something to reap. A wake that is lost would hang whoever waits, so it is
 * tried until it works; after send_stop there is none, for it is followed by a last reap. */
static void wake(sender *s)
{
    const struct timespec pause = {.tv_sec = 0, .tv_nsec = 1000000};
    while (s->calls.wake(s->event_fd) < 0) {
        pthread_mutex_lock(&s->mutex);
        bool stopping = s->stopping;
        pthread_mutex_unlock(&s->mutex);
        if (stopping)
            return;
        nanosleep(&pause, NULL);
    }
}

static void complete(sender *s, job *j)
{
    s->calls.close(j->fd);
    pthread_mutex_lock(&s->mutex);
    bool first = !s->done.first;
    list_push(&s->done, j);
    pthread_mutex_unlock(&s->mutex);
    if (first)
        wake(s);
}

static job *take(sender *s)
{
    pthread_mutex_lock(&s->mutex);
    while (!s->waiting && !s->stopping)
        pthread_cond_wait(&s->filled, &s->mutex);
    job *j = s->waiting;
    s->waiting = NULL;
    pthread_mutex_unlock(&s->mutex);
    return j;
}

static void *send_thread(void *argument)
{
    sender *s = argument;
    for (job *j = take(s); j; j = take(s)) {
        transmit(&s->calls, j);
        complete(s, j);
    }
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------ */

sender *send_new(int event_fd, const send_calls *calls, int *error)
{
    sender *s = calls->allocate(sizeof *s);
    if (!s) {
        *error = ENOMEM;
        return NULL;
    }
    memset(s, 0, sizeof *s);
    s->calls = *calls;
    s->event_fd = event_fd;
    list_clear(&s->done);
    list_clear(&s->spare);
    for (int i = 0; i < SEND_JOBS_MAX; i++)
        list_push(&s->spare, &s->jobs[i]);
    pthread_mutex_init(&s->mutex, NULL); /* cannot fail with default attributes on Linux */
    pthread_cond_init(&s->filled, NULL);
    *error = -s->calls.spawn(&s->thread, send_thread, s);
    if (*error) {
        send_free(s);
        return NULL;
    }
    return s;
}

void send_stop(sender *s)
{
    pthread_mutex_lock(&s->mutex);
    s->stopping = true;
    if (s->waiting) {
        s->calls.close(s->waiting->fd);
        s->waiting->error = ECANCELED;
        list_push(&s->done, s->waiting);
        s->waiting = NULL;
    }
    pthread_cond_signal(&s->filled);
    pthread_mutex_unlock(&s->mutex);
    pthread_join(s->thread, NULL);
}

void send_free(sender *s)
{
    pthread_cond_destroy(&s->filled);
    pthread_mutex_destroy(&s->mutex);
    s->calls.release(s);
}

/* ---- jobs ------------------------------------------------------------------------------ */

int send_give(sender *s, int fd, const send_piece *pieces, int count)
{
    if (count > SEND_PIECES_MAX)
        return -EINVAL;
    pthread_mutex_lock(&s->mutex);
    bool busy = s->waiting || !s->spare.first;
    int answer = s->stopping ? -ESHUTDOWN : busy ? -EBUSY : s->calls.duplicate(fd);
    bool accepted = answer >= 0;
    if (accepted) {
        job *j = s->waiting = list_pop(&s->spare);
        j->taken = j->error = 0;
        j->fd = answer;
        j->count = count;
        memcpy(j->pieces, pieces, (size_t)count * sizeof *pieces);
        answer = (int)(j - s->jobs);
    }
    pthread_mutex_unlock(&s->mutex);
    if (accepted)
        pthread_cond_signal(&s->filled); /* now it need not wait for the lock */
    return answer;
}

bool send_withdraw(sender *s, int number)
{
    job *wanted = &s->jobs[number];
    pthread_mutex_lock(&s->mutex);
    bool found = s->waiting == wanted;
    if (found) {
        s->waiting = NULL;
        s->calls.close(wanted->fd);
        list_push(&s->spare, wanted);
    }
    pthread_mutex_unlock(&s->mutex);
    return found;
}

int send_reap(sender *s, send_done *out, int capacity)
{
    int count = 0;
    /* First: what completes from now on signals anew. If it fails, it is asked for again. */
    s->calls.clear(s->event_fd);
    pthread_mutex_lock(&s->mutex);
    while (count < capacity && s->done.first) {
        job *j = list_pop(&s->done);
        out[count++] = (send_done){j->taken, (int32_t)(j - s->jobs), j->error};
        list_push(&s->spare, j);
    }
    pthread_mutex_unlock(&s->mutex);
    return count;
}

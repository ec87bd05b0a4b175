/* Bytes into sockets by a thread of their own, while the interpreter does something else.
 *
 * send_give hands over one job: a socket and the pieces that it is to be sent, in order. The thread
 * gives the kernel what this takes at once: it waits for no client. What was taken, and what went
 * wrong, is reaped; one event descriptor says when there is something to reap.
 *
 * One job at the most waits while another is at work. Where the thread does not keep up, who brings
 * more had better send himself: so they share the work, and no job waits long.
 *
 * Invariants
 *  1. A job works on a duplicate of the descriptor, which nobody else knows and which is closed
 *     before the job completes: whoever closes his own at any moment, and whatever then gets its
 *     number, no byte goes anywhere but to the socket that was given.
 *  2. Of a job that completed nothing is read any more: its pieces may be used for other things.
 *  3. Every job that was accepted completes exactly once, unless it was withdrawn; one that still
 *     waits at the end does so with ECANCELED and without a byte.
 *  4. While jobs are there to reap, the event descriptor is readable, or a wake is on its way, or
 *     the last reap had no room for more: it is signalled whenever the list of completed jobs stops
 *     being empty, and cleared by a reap, which is repeated until it leaves nothing. (send_stop
 *     signals nothing: it is followed by a reap.)
 *  5. Nothing here aborts, prints, raises a signal or keeps errno: errors are positive numbers.
 *
 * All calls to the system go through a table, so that tests can replace each of them.
 */
#ifndef S3NODE_SEND_H
#define S3NODE_SEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SEND_PIECES_MAX = 64, /* of one job */
    SEND_JOBS_MAX = 32    /* that have not been reaped */
};

typedef struct sender sender;

typedef struct { /* as struct iovec */
    const void *base;
    size_t length;
} send_piece;

/* What is asked of the system. A negative result is a negated errno. */
typedef struct {
    int64_t (*send)(int fd, const send_piece *pieces, int count); /* without waiting */
    int (*duplicate)(int fd);
    int (*close)(int fd);
    int (*wake)(int event_fd);
    int (*clear)(int event_fd); /* no longer readable, until the next wake */
    int (*spawn)(void *thread, void *(*body)(void *), void *argument); /* thread: pthread_t* */
    void *(*allocate)(size_t size);
    void (*release)(void *memory);
} send_calls;

typedef struct {
    int64_t taken; /* bytes, from the first on */
    int32_t job;
    int32_t error; /* 0 also where the kernel took less, or nothing, for want of room */
} send_done;

/* The kernel's and libc's. */
void send_system_calls(send_calls *calls);

/* A sender with its thread running; NULL and *error if there is no memory or no thread. */
sender *send_new(int event_fd, const send_calls *calls, int *error);

/* Hand over a job, whose pieces must stay as they are until it has completed or was withdrawn: its
 * number, below SEND_JOBS_MAX and no other's until it was reaped or withdrawn; or a negated errno
 * and nothing was taken: EBUSY while another job waits, or too many to be reaped; EINVAL for too
 * many pieces, ESHUTDOWN after the stop, or what kept the descriptor from being duplicated. */
int send_give(sender *s, int fd, const send_piece *pieces, int count);

/* Take a job back: true if it had not begun; it never does, and nothing of it is in use. A job that
 * has begun completes as it would have. */
bool send_withdraw(sender *s, int job);

/* Up to `capacity` completed jobs, after the event descriptor was cleared; how many. */
int send_reap(sender *s, send_done *out, int capacity);

/* End the thread, which begins nothing more. Waits for no client. What completed can be reaped. */
void send_stop(sender *s);

/* After send_stop. */
void send_free(sender *s);

#endif

/* The sender's calls to the system: thin, each answering a negated errno. */
#define _GNU_SOURCE
#include "send.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(send_piece) == sizeof(struct iovec), "send_piece is struct iovec");
_Static_assert(offsetof(send_piece, base) == offsetof(struct iovec, iov_base), "the same");
_Static_assert(offsetof(send_piece, length) == offsetof(struct iovec, iov_len), "the same");

static int64_t system_send(int fd, const send_piece *pieces, int count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)pieces,
                             .msg_iovlen = (size_t)count};
    ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

static int system_duplicate(int fd)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return own < 0 ? -errno : own;
}

static int system_close(int fd)
{
    return close(fd) < 0 ? -errno : 0;
}

static int system_wake(int event_fd)
{
    uint64_t one = 1;
    /* EAGAIN: the counter is full, so the descriptor is readable already. */
    return write(event_fd, &one, sizeof one) < 0 && errno != EAGAIN ? -errno : 0;
}

static int system_clear(int event_fd)
{
    uint64_t count;
    return read(event_fd, &count, sizeof count) < 0 && errno != EAGAIN ? -errno : 0;
}

static int system_spawn(void *thread, void *(*body)(void *), void *argument)
{
    return -pthread_create(thread, NULL, body, argument);
}

void send_system_calls(send_calls *calls)
{
    *calls = (send_calls){
        .send = system_send,
        .duplicate = system_duplicate,
        .close = system_close,
        .wake = system_wake,
        .clear = system_clear,
        .spawn = system_spawn,
        .allocate = malloc,
        .release = free,
    };
}

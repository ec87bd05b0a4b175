/* The sender's calls to the system: thin, each answering a negated errno. */
#define _GNU_SOURCE
#include "send.h"
#include "system.h"

#include <errno.h>
#include <fcntl.h>
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

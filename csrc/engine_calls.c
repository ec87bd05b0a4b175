/* The engine's calls to the system: thin, each answering a negated errno. */
#define _GNU_SOURCE
#include "engine_direct.h"
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(engine_iov) == sizeof(struct iovec), "engine_iov is struct iovec");
_Static_assert(offsetof(engine_iov, base) == offsetof(struct iovec, iov_base), "the same");
_Static_assert(offsetof(engine_iov, length) == offsetof(struct iovec, iov_len), "the same");
_Static_assert(sizeof(off_t) == 8, "files are larger than 4 GiB");

static int64_t system_pwritev(int fd, const engine_iov *iov, int count, int64_t offset)
{
    ssize_t written = pwritev(fd, (const struct iovec *)(const void *)iov, count, offset);
    return written < 0 ? -errno : written;
}

static int64_t system_preadv(int fd, const engine_iov *iov, int count, int64_t offset, bool now)
{
    ssize_t got = preadv2(fd, (const struct iovec *)(const void *)iov, count, offset,
                          now ? RWF_NOWAIT : 0);
    return got < 0 ? -errno : got;
}

static int system_fdatasync(int fd)
{
    return fdatasync(fd) < 0 ? -errno : 0;
}

static int system_fallocate(int fd, int64_t offset, int64_t length)
{
    return fallocate(fd, 0, offset, length) < 0 ? -errno : 0;
}

static bool system_go_direct(int fd)
{
#ifdef STATX_DIOALIGN
    struct statx told = {0}; /* what is not told stays 0 */
    return statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &told) == 0 &&
           engine_direct_fits(told.stx_dio_mem_align, told.stx_dio_offset_align) &&
           fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_DIRECT) == 0;
#else
    (void)fd;
    return false; /* built where a file could not say what it asks for */
#endif
}

void engine_system_calls(engine_calls *calls)
{
    *calls = (engine_calls){
        .pwritev = system_pwritev,
        .preadv = system_preadv,
        .fdatasync = system_fdatasync,
        .fallocate = system_fallocate,
        .go_direct = system_go_direct,
        .wake = system_wake,
        .clear = system_clear,
        .spawn = system_spawn,
        .allocate = malloc,
        .release = free,
    };
}

/* A disk that stops answering, for measurements: loaded before a node's own libraries.
 *
 * While the file STALL_FLAG exists, every call that reaches a file below STALL_DISK waits: reads,
 * writes, syncs, opens. A read that says it will not wait (RWF_NOWAIT) is told EAGAIN, as the
 * kernel tells it of what lies in no cache. All other files are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static bool stalled(void)
{
    const char *flag = getenv("STALL_FLAG");
    return flag && access(flag, F_OK) == 0;
}

static bool below(const char *path)
{
    const char *disk = getenv("STALL_DISK");
    return disk && strncmp(path, disk, strlen(disk)) == 0;
}

static bool hit(int fd)
{
    char name[32], path[4096];
    int error = errno;
    bool found = false;
    if (stalled()) {
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(name, path, sizeof path - 1);
        if (length > 0) {
            path[length] = 0;
            found = below(path);
        }
    }
    errno = error;
    return found;
}

static void wait_out(bool hit)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    int error = errno;
    while (hit && stalled())
        nanosleep(&pause, NULL);
    errno = error;
}

#define NEXT(name)                                                    \
    static __typeof__(name) *next;                                    \
    if (!next)                                                        \
        next = (__typeof__(name) *)(uintptr_t)dlsym(RTLD_NEXT, #name)

#define POSITIONED(name, buffer)                                  \
    ssize_t name(int fd, buffer from, size_t count, off_t offset) \
    {                                                             \
        NEXT(name);                                               \
        wait_out(hit(fd));                                        \
        return next(fd, from, count, offset);                     \
    }

#define VECTORED(name)                                                     \
    ssize_t name(int fd, const struct iovec *iov, int count, off_t offset) \
    {                                                                      \
        NEXT(name);                                                        \
        wait_out(hit(fd));                                                 \
        return next(fd, iov, count, offset);                               \
    }

#define FLAGGED(name)                                                                 \
    ssize_t name(int fd, const struct iovec *iov, int count, off_t offset, int flags) \
    {                                                                                 \
        NEXT(name);                                                                   \
        bool stands = hit(fd);                                                        \
        if (stands && flags & RWF_NOWAIT) {                                           \
            errno = EAGAIN;                                                           \
            return -1;                                                                \
        }                                                                             \
        wait_out(stands);                                                             \
        return next(fd, iov, count, offset, flags);                                   \
    }

#define SYNCED(name)       \
    int name(int fd)       \
    {                      \
        NEXT(name);        \
        wait_out(hit(fd)); \
        return next(fd);   \
    }

#define OPENED(name)                           \
    int name(const char *path, int flags, ...) \
    {                                          \
        NEXT(name);                            \
        va_list rest;                          \
        va_start(rest, flags);                 \
        mode_t mode = va_arg(rest, mode_t);    \
        va_end(rest);                          \
        wait_out(below(path) && stalled());    \
        return next(path, flags, mode);        \
    }

POSITIONED(pread, void *)
POSITIONED(pread64, void *)
POSITIONED(pwrite, const void *)
POSITIONED(pwrite64, const void *)
VECTORED(preadv)
VECTORED(preadv64)
VECTORED(pwritev)
VECTORED(pwritev64)
FLAGGED(preadv2)
FLAGGED(preadv64v2)
FLAGGED(pwritev2)
FLAGGED(pwritev64v2)
SYNCED(fsync)
SYNCED(fdatasync)
OPENED(open)
OPENED(open64)

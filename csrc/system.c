/* See system.h. */
#define _GNU_SOURCE
#include "system.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

int system_wake(int event_fd)
{
    uint64_t one = 1;
    /* EAGAIN: the counter is full, so the descriptor is readable already. */
    return write(event_fd, &one, sizeof one) < 0 && errno != EAGAIN ? -errno : 0;
}

int system_clear(int event_fd)
{
    uint64_t count;
    return read(event_fd, &count, sizeof count) < 0 && errno != EAGAIN ? -errno : 0;
}

int system_spawn(void *thread, void *(*body)(void *), void *argument)
{
    return -pthread_create(thread, NULL, body, argument);
}

/* What the threads in C ask of the system alike: thin, each answering a negated errno. */
#ifndef S3NODE_SYSTEM_H
#define S3NODE_SYSTEM_H

/* Makes a non-blocking event descriptor readable. */
int system_wake(int event_fd);

/* It is no longer readable, until the next wake. */
int system_clear(int event_fd);

/* `thread`: pthread_t*. */
int system_spawn(void *thread, void *(*body)(void *), void *argument);

#endif

/* REQUIRE(condition, format, ...): says what is wrong, and ends the test, unless it holds. */
#ifndef REQUIRE_H
#define REQUIRE_H

#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition, ...)                  \
    do {                                         \
        if (!(condition)) {                      \
            fprintf(stderr, "%s: ", #condition); \
            fprintf(stderr, __VA_ARGS__);        \
            fputc('\n', stderr);                 \
            exit(1);                             \
        }                                        \
    } while (0)

#endif

/* How a kernel asks for instructions, and for the CPU that has them.
 *
 * Only the marked functions use the features, so one binary runs on any CPU of its architecture.
 * A test build defines all of these itself to run kernels whose instructions it emulates in plain
 * C. */
#ifndef S3NODE_MD5_TARGET_H
#define S3NODE_MD5_TARGET_H

#include "md5.h"

#ifndef MD5_TARGET
#define MD5_TARGET(features) __attribute__((target(features)))
#define MD5_CPU_HAS(feature) __builtin_cpu_supports(feature)
/* Keeps the compiler from adding to the register in another order than it is told. */
#define MD5_SETTLE(register) __asm__("" : "+v"(register))
#endif

#define ROUNDS_INLINE MD5_TARGET(MD5_FEATURES) static inline __attribute__((always_inline))

#endif

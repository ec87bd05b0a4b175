/* How a kernel asks for instructions, and for the CPU that has them; see gf_target.h. */
#ifndef S3NODE_XXH3_TARGET_H
#define S3NODE_XXH3_TARGET_H

#include "xxh3.h"

#ifndef XXH3_TARGET
#define XXH3_TARGET(features) __attribute__((target(features)))
#define XXH3_CPU_HAS(feature) __builtin_cpu_supports(feature)
#endif

#define XXH3_INLINE XXH3_TARGET(XXH3_FEATURES) static inline __attribute__((always_inline))

#endif

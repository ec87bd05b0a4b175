/* How a kernel asks for instructions, and for the CPU that has them.
 *
 * Only the marked functions use the features, so one binary runs on any CPU of its architecture.
 * A test build defines GF_TARGET and GF_CPU_HAS itself to run kernels whose instructions it
 * emulates in plain C. */
#ifndef S3NODE_GF_TARGET_H
#define S3NODE_GF_TARGET_H

#include "gf.h"

#ifndef GF_TARGET
#define GF_TARGET(features) __attribute__((target(features)))
#define GF_CPU_HAS(feature) __builtin_cpu_supports(feature)
#endif

#define GF_INLINE GF_TARGET(GF_FEATURES) static inline __attribute__((always_inline))

#endif

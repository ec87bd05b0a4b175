/* NEON, which every 64-bit ARM has: multiplies by nibbles, 16 bytes to a table lookup. */
#include "gf.h"

#ifdef __aarch64__
#include <arm_neon.h>

#define GF_TARGET(features)
#define GF_INLINE static inline __attribute__((always_inline))
enum { WIDTH = 16 };
typedef uint8x16_t vector;
typedef struct { vector low, high; } operand;
typedef struct gf_nibbles factor;

GF_INLINE const factor *factors(const struct gf_plan *plan) { return plan->nibbles; }
GF_INLINE vector load(const uint8_t *p) { return vld1q_u8(p); }
GF_INLINE void store(uint8_t *p, vector x) { vst1q_u8(p, x); }
GF_INLINE vector zero(void) { return vdupq_n_u8(0); }

GF_INLINE operand split(vector x)
{
    return (operand){vandq_u8(x, vdupq_n_u8(15)), vshrq_n_u8(x, 4)};
}

GF_INLINE vector add_product(vector sum, const factor *f, operand x)
{
    vector low = vqtbl1q_u8(load(f->low), x.low);
    vector high = vqtbl1q_u8(load(f->high), x.high);
    return veorq_u8(sum, veorq_u8(low, high));
}

#include "gf_dot.h"

static bool supported(void)
{
    return true;
}

static const struct gf_kernel kernel = {"neon", supported, dot};
const struct gf_kernel *const gf_neon = &kernel;
#else
const struct gf_kernel *const gf_neon = NULL;
#endif

/* GF(2^8) arithmetic, polynomial 0x11d. */
#ifndef S3NODE_GF_H
#define S3NODE_GF_H
#include <stdint.h>
uint8_t gf_multiply(uint8_t a, uint8_t b);
#endif

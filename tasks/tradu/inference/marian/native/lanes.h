/* Vectors of LANES floats or integers, as the compiler's own vector types: every instruction set gives the same bits,
 * since each lane does the same IEEE operations in the same order (contraction to fused multiply-add is off). */
#ifndef TRADU_LANES_H
#define TRADU_LANES_H

#include "marian.h"
#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float lanes __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES), may_alias));
typedef double doubles __attribute__((vector_size(4 * LANES), may_alias));
typedef int64_t longs __attribute__((vector_size(4 * LANES), may_alias));
typedef float half_lanes __attribute__((vector_size(2 * LANES), may_alias));

INLINE lanes spread(float value) { return value - (lanes){0}; }
INLINE lanes load(const float *at) { return *(const lanes *)at; }
INLINE void store(float *at, lanes value) { *(lanes *)at = value; }
INLINE lanes pick(ints mask, lanes yes, lanes no) { return (lanes)((mask & (ints)yes) | (~mask & (ints)no)); }

/* a > b ? a : b and a < b ? a : b, so that a NaN in a gives b: what the x86 instructions do */
#if defined(__AVX512F__)
INLINE lanes larger(lanes a, lanes b) { return (lanes)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE lanes smaller(lanes a, lanes b) { return (lanes)_mm512_min_ps((__m512)a, (__m512)b); }
#elif defined(__AVX2__)
INLINE lanes larger(lanes a, lanes b) { return (lanes)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE lanes smaller(lanes a, lanes b) { return (lanes)_mm256_min_ps((__m256)a, (__m256)b); }
#elif defined(__x86_64__)
INLINE lanes larger(lanes a, lanes b) { return (lanes)_mm_max_ps((__m128)a, (__m128)b); }
INLINE lanes smaller(lanes a, lanes b) { return (lanes)_mm_min_ps((__m128)a, (__m128)b); }
#else
INLINE lanes larger(lanes a, lanes b) { return pick(a > b, a, b); }
INLINE lanes smaller(lanes a, lanes b) { return pick(a < b, a, b); }
#endif

INLINE lanes to_float(ints value) { return __builtin_convertvector(value, lanes); }

INLINE lanes root(lanes value) {
    float at[LANES] __attribute__((aligned(64)));
    store(at, value);
    for (int i = 0; i < LANES; i++) at[i] = sqrtf(at[i]);
    return load(at);
}

/* x * quant rounded (half to even) and cut to [-127, 127], plus 127. Adding 1.5 * 2^23 rounds a float to a whole number
 * and leaves that number in its low bits. */
INLINE ints quantised(lanes value, lanes quant) {
    lanes scaled = smaller(larger(value * quant, spread(-127.0f)), spread(127.0f));
    return (ints)(scaled + 12582912.0f) - (0x4B400000 - 127);
}

/* Four features of the tokens as bytes: [token][feature]. */
INLINE ints packed(ints a, ints b, ints c, ints d) { return a | (b << 8) | (c << 16) | (d << 24); }

/* e^x in double precision: 2^n * e^r with |r| <= ln 2 / 2 and a polynomial for e^r; error below 1e-11, so that the result
 * is the correctly rounded float but in about one case of 100,000. */
INLINE doubles exp_doubles(doubles x) {
    const double magic = 6755399441055744.0; /* 1.5 * 2^52: rounds to a whole number, as above */
    doubles shifted = x * 1.4426950408889634 + magic;
    doubles r = x - (shifted - magic) * 0.6931471805599453;
    doubles r2 = r * r, r4 = r2 * r2;
    doubles low = (1.0 + r) + r2 * (0.5 + r * (1.0 / 6));
    doubles high = (1.0 / 24 + r * (1.0 / 120)) + r2 * (1.0 / 720 + r * (1.0 / 5040));
    doubles e = low + r4 * (high + r4 * (1.0 / 40320 + r * (1.0 / 362880)));
    return (doubles)((longs)e + ((longs)shifted << 52));
}

INLINE lanes exponential(lanes x) {
    x = larger(x, spread(-110.0f)); /* below, a float is 0 anyway */
    x = smaller(x, spread(88.7f));
    half_lanes half[2];
    memcpy(half, &x, sizeof x);
    for (int i = 0; i < 2; i++)
        half[i] = __builtin_convertvector(exp_doubles(__builtin_convertvector(half[i], doubles)), half_lanes);
    memcpy(&x, half, sizeof x);
    return x;
}

/* e^x in single precision, error about 2 units in the last place: for log-probabilities, which decide nothing. */
INLINE lanes quick_exponential(lanes x) {
    x = larger(x, spread(-87.0f));
    lanes shifted = x * 1.44269504f + 12582912.0f;
    lanes n = shifted - 12582912.0f;
    lanes r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    lanes r2 = r * r;
    lanes e = (1.0f + r) + r2 * ((0.5f + r * 0.16666667f) + r2 * (0.041666667f + r * (0.0083333333f + r * 0.0013888889f)));
    return (lanes)((ints)e + ((ints)shifted << 23));
}

#endif

/* The int8 products. All give the exact sums of (shifted activation, 0..254) * (weight, -127..127): whichever
 * instruction set computes them, the integers are the same.
 *
 * Two forms:
 *   multiply_block  a vector of tokens: the four bytes of a weight row are broadcast to the tokens' four bytes, so the
 *                   weights need no packing and are read where they lie in the file.
 *   dot, dot4       one token, the vector runs along the row: for single rows and for a shortlist's words.
 */
#ifndef TRADU_MULTIPLY_H
#define TRADU_MULTIPLY_H

#include "lanes.h"

INLINE int32_t four_bytes(const int8_t *at) {
    int32_t value;
    memcpy(&value, at, 4);
    return value;
}

#if defined(TRADU_AVX512VNNI) || defined(TRADU_AVX512)

#define BLOCK_TILES 3
#define BLOCK_ROWS 8

INLINE __m512i products(__m512i sum, __m512i x, __m512i w) {
#if defined(TRADU_AVX512VNNI)
    return _mm512_dpbusd_epi32(sum, x, w);
#else
    /* Pairs of products of 0..254 and -127..127 overflow 16 bits, so the halves are taken apart: even bytes, odd bytes */
    __m512i even = _mm512_madd_epi16(_mm512_and_si512(x, _mm512_set1_epi16(255)),
                                     _mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8));
    __m512i odd = _mm512_madd_epi16(_mm512_srli_epi16(x, 8), _mm512_srai_epi16(w, 8));
    return _mm512_add_epi32(sum, _mm512_add_epi32(even, odd));
#endif
}

/* tiles * BLOCK_ROWS sums of LANES tokens each; `tiles` is a constant where it is called */
INLINE void multiply_block(const affine *a, int row, const uint8_t *x, int tiles, int32_t *out) {
    __m512i sum[BLOCK_TILES][BLOCK_ROWS];
    const size_t depth = (size_t)a->inputs;
    const int8_t *w = a->weights + (size_t)row * depth;
#pragma GCC unroll 3
    for (int t = 0; t < tiles; t++)
#pragma GCC unroll 8
        for (int r = 0; r < BLOCK_ROWS; r++) sum[t][r] = _mm512_setzero_si512();
    for (size_t k = 0; k < depth; k += 4) {
        __m512i token[BLOCK_TILES];
#pragma GCC unroll 3
        for (int t = 0; t < tiles; t++) token[t] = _mm512_load_si512(x + ((size_t)t * depth + k) * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < BLOCK_ROWS; r++) {
            __m512i four = _mm512_set1_epi32(four_bytes(w + (size_t)r * depth + k));
#pragma GCC unroll 3
            for (int t = 0; t < tiles; t++) sum[t][r] = products(sum[t][r], token[t], four);
        }
    }
#pragma GCC unroll 3
    for (int t = 0; t < tiles; t++)
#pragma GCC unroll 8
        for (int r = 0; r < BLOCK_ROWS; r++) _mm512_store_si512(out + (t * BLOCK_ROWS + r) * LANES, sum[t][r]);
}

INLINE int32_t dot(const uint8_t *x, const int8_t *w, size_t depth) {
    __m512i sum = _mm512_setzero_si512();
    for (size_t k = 0; k + 64 <= depth; k += 64)
        sum = products(sum, _mm512_loadu_si512(x + k), _mm512_loadu_si512(w + k));
    if (depth % 64) {
        __mmask64 rest = ((__mmask64)1 << (depth % 64)) - 1;
        size_t k = depth & ~(size_t)63;
        sum = products(sum, _mm512_maskz_loadu_epi8(rest, x + k), _mm512_maskz_loadu_epi8(rest, w + k));
    }
    return _mm512_reduce_add_epi32(sum);
}

/* The sums of four rows; where `depth` is no multiple of 64 one by one. */
INLINE void dot4(const uint8_t *x, const int8_t *const *w, size_t depth, int32_t *out) {
    if (depth % 64) {
        for (int i = 0; i < 4; i++) out[i] = dot(x, w[i], depth);
        return;
    }
    __m512i s[4];
    for (int i = 0; i < 4; i++) s[i] = _mm512_setzero_si512();
    for (size_t k = 0; k < depth; k += 64) {
        const __m512i token = _mm512_loadu_si512(x + k);
        for (int i = 0; i < 4; i++) s[i] = products(s[i], token, _mm512_loadu_si512(w[i] + k));
    }
    /* each 128-bit quarter becomes four sums, then the quarters are added */
    const __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(s[0], s[1]), _mm512_unpackhi_epi32(s[0], s[1]));
    const __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(s[2], s[3]), _mm512_unpackhi_epi32(s[2], s[3]));
    const __m512i c = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    const __m256i d = _mm256_add_epi32(_mm512_castsi512_si256(c), _mm512_extracti64x4_epi64(c, 1));
    _mm_storeu_si128((__m128i *)out, _mm_add_epi32(_mm256_castsi256_si128(d), _mm256_extracti128_si256(d, 1)));
}

#elif defined(TRADU_AVXVNNI) || defined(TRADU_AVX2) || (defined(TRADU_SATURATING) && defined(__AVX2__))

#define BLOCK_TILES 2
#define BLOCK_ROWS 4

/* AVX2 multiplies |x| by w with x's sign, which can't overflow 16 bits where the shifted x would; the sums are made
 * those of the shifted x by adding 127 * the sum of the row. */
INLINE void multiply_block(const affine *a, int row, const uint8_t *x, int tiles, int32_t *out) {
    const size_t depth = (size_t)a->inputs;
    const int8_t *w = a->weights + (size_t)row * depth;
    __m256i sum[BLOCK_TILES][BLOCK_ROWS];
#pragma GCC unroll 2
    for (int t = 0; t < tiles; t++)
#pragma GCC unroll 4
        for (int r = 0; r < BLOCK_ROWS; r++)
#if defined(TRADU_AVX2)
            sum[t][r] = _mm256_set1_epi32(127 * a->sums[row + r]);
    const __m256i shift = _mm256_set1_epi8(127);
#else
            sum[t][r] = _mm256_setzero_si256();
#endif
#if !defined(TRADU_AVXVNNI)
    const __m256i ones = _mm256_set1_epi16(1);
#endif
    for (size_t k = 0; k < depth; k += 4) {
        __m256i token[BLOCK_TILES];
#pragma GCC unroll 2
        for (int t = 0; t < tiles; t++) {
            token[t] = _mm256_load_si256((const __m256i *)(x + ((size_t)t * depth + k) * LANES));
#if defined(TRADU_AVX2)
            token[t] = _mm256_sub_epi8(token[t], shift);
#endif
        }
#pragma GCC unroll 4
        for (int r = 0; r < BLOCK_ROWS; r++) {
            const __m256i four = _mm256_set1_epi32(four_bytes(w + (size_t)r * depth + k));
#pragma GCC unroll 2
            for (int t = 0; t < tiles; t++) {
#if defined(TRADU_AVXVNNI)
                sum[t][r] = _mm256_dpbusd_avx_epi32(sum[t][r], token[t], four);
#else
#if defined(TRADU_SATURATING) /* what the reference engine does: pairs of products are cut to 16 bits */
                const __m256i pairs = _mm256_maddubs_epi16(token[t], four);
#else
                const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(token[t]), _mm256_sign_epi8(four, token[t]));
#endif
                sum[t][r] = _mm256_add_epi32(sum[t][r], _mm256_madd_epi16(pairs, ones));
#endif
            }
        }
    }
#pragma GCC unroll 2
    for (int t = 0; t < tiles; t++)
#pragma GCC unroll 4
        for (int r = 0; r < BLOCK_ROWS; r++)
            _mm256_store_si256((__m256i *)(out + (t * BLOCK_ROWS + r) * LANES), sum[t][r]);
}

INLINE int32_t sum_of(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
}

INLINE int32_t dot(const uint8_t *x, const int8_t *w, size_t depth) { /* depth is a multiple of 16 */
    __m256i sum = _mm256_setzero_si256();
    for (size_t k = 0; k < depth; k += 16) {
        __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(x + k)));
        __m256i b = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(w + k)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    }
    return sum_of(sum);
}

INLINE void dot4(const uint8_t *x, const int8_t *const *w, size_t depth, int32_t *out) {
    for (int i = 0; i < 4; i++) out[i] = dot(x, w[i], depth);
}

#else /* any processor */

#define BLOCK_TILES 2
#define BLOCK_ROWS 4

/* The tokens' even and odd bytes as 16-bit halves of 32-bit lanes, times the weights' two and two. */
INLINE ints products(ints sum, ints x, const int8_t *w) {
#if defined(__x86_64__)
    const __m128i even = _mm_and_si128((__m128i)x, _mm_set1_epi32(0x00FF00FF));
    const __m128i odd = _mm_srli_epi16((__m128i)x, 8);
    const int32_t low = (int32_t)((uint16_t)w[0] | (uint32_t)(uint16_t)w[2] << 16);
    const int32_t high = (int32_t)((uint16_t)w[1] | (uint32_t)(uint16_t)w[3] << 16);
    return sum + (ints)_mm_madd_epi16(even, _mm_set1_epi32(low)) + (ints)_mm_madd_epi16(odd, _mm_set1_epi32(high));
#else
    return sum + (x & 255) * w[0] + ((x >> 8) & 255) * w[1] + ((x >> 16) & 255) * w[2] + ((x >> 24) & 255) * w[3];
#endif
}

INLINE void multiply_block(const affine *a, int row, const uint8_t *x, int tiles, int32_t *out) {
    const size_t depth = (size_t)a->inputs;
    const int8_t *w = a->weights + (size_t)row * depth;
    ints sum[BLOCK_TILES][BLOCK_ROWS] = {{{0}}};
    for (size_t k = 0; k < depth; k += 4)
#pragma GCC unroll 4
        for (int r = 0; r < BLOCK_ROWS; r++)
#pragma GCC unroll 2
            for (int t = 0; t < tiles; t++)
                sum[t][r] = products(sum[t][r], *(const ints *)(x + ((size_t)t * depth + k) * LANES), w + (size_t)r * depth + k);
    for (int t = 0; t < tiles; t++)
        for (int r = 0; r < BLOCK_ROWS; r++) *(ints *)(out + (t * BLOCK_ROWS + r) * LANES) = sum[t][r];
}

INLINE int32_t dot(const uint8_t *x, const int8_t *w, size_t depth) {
    int32_t sum = 0;
    for (size_t k = 0; k < depth; k++) sum += x[k] * w[k];
    return sum;
}

INLINE void dot4(const uint8_t *x, const int8_t *const *w, size_t depth, int32_t *out) {
    for (int i = 0; i < 4; i++) out[i] = dot(x, w[i], depth);
}

#endif

#endif

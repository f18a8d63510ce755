/* The whole engine for one instruction set: compiled once for each, with TRADU_PATH naming it. */
#include "search.h"

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define TEXT2(a) #a
#define TEXT(a) TEXT2(a)

/* All sums of `tiles` tiles: out is [tiles][outputs][LANES]. For tests and for measuring the products alone. */
static void multiply(const affine *a, const uint8_t *x, int32_t *out, int32_t tiles) {
    int32_t sums[BLOCK_TILES * BLOCK_ROWS * LANES] __attribute__((aligned(64)));
    for (int32_t t = 0; t < tiles;) {
        const int block = tiles - t >= BLOCK_TILES ? BLOCK_TILES : 1;
        const uint8_t *at = x + (size_t)t * (size_t)a->inputs * LANES;
        for (int row = 0; row < a->outputs; row += BLOCK_ROWS) {
            if (block == BLOCK_TILES) multiply_block(a, row, at, BLOCK_TILES, sums);
            else multiply_block(a, row, at, 1, sums);
            for (int i = 0; i < block; i++)
                memcpy(out + ((size_t)(t + i) * (size_t)a->outputs + (size_t)row) * LANES,
                       sums + i * BLOCK_ROWS * LANES, BLOCK_ROWS * LANES * sizeof(int32_t));
        }
        t += block;
    }
}

/* The sums of single rows of weights with one token's bytes. */
static void rows(const affine *a, const uint8_t *row, const int32_t *wanted, int32_t count, int32_t *out) {
    for (int32_t i = 0; i < count; i++)
        out[i] = dot(row, a->weights + (size_t)wanted[i] * (size_t)a->inputs, (size_t)a->inputs);
}

extern const path JOIN(tradu_path_, TRADU_PATH);
const path JOIN(tradu_path_, TRADU_PATH) = {TEXT(TRADU_PATH), LANES, translate, multiply, rows};

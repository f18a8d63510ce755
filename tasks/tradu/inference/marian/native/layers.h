/* What the encoder and the decoder are made of: quantising, affine layers, normalisation. */
#ifndef TRADU_LAYERS_H
#define TRADU_LAYERS_H

#include "multiply.h"

#define FEW 3 /* up to so many tokens, products along the rows beat products across a tile's lanes */

INLINE int tiles_of(int tokens) { return (tokens + LANES - 1) / LANES; }

/* [tiles][dim][LANES] floats to bytes [tiles][dim / 4][LANES][4] */
static void quantise(const float *x, int dim, int tiles, float quant, uint8_t *out) {
    const lanes q = spread(quant);
    for (long c = 0; c < (long)tiles * dim; c += 4, x += 4 * LANES, out += 4 * LANES)
        *(ints *)out = packed(quantised(load(x), q), quantised(load(x + LANES), q), quantised(load(x + 2 * LANES), q),
                              quantised(load(x + 3 * LANES), q));
}

/* One token's bytes out of a tile, as a row. */
static void row_of(const uint8_t *tile, int lane, int depth, uint8_t *row) {
    for (int k = 0; k < depth; k += 4) memcpy(row + k, tile + (k * LANES) + lane * 4, 4);
}

/* The sums of BLOCK_ROWS rows for a few tokens of one tile. */
static void multiply_few(const affine *a, int row, const uint8_t *rows, int tokens, int32_t *out) {
    for (int r = 0; r < BLOCK_ROWS; r++)
        for (int i = 0; i < tokens; i++)
            out[r * LANES + i] = dot(rows + (size_t)i * (size_t)a->inputs,
                                     a->weights + (size_t)(row + r) * (size_t)a->inputs, (size_t)a->inputs);
}

INLINE lanes affine_value(const affine *a, int row, const int32_t *sums) {
    return a->unquant * to_float(*(const ints *)sums) + a->bias[row];
}

/* Where the results of an affine layer go: floats, or (through a ReLU) the next layer's bytes. */
typedef struct {
    float *floats;
    uint8_t *bytes;
    float quant;
} sink;

INLINE void deliver(const affine *a, int row, const int32_t *sums, sink to, size_t tile) {
    const size_t outputs = (size_t)a->outputs;
    if (to.floats) {
        float *at = to.floats + (tile * outputs + (size_t)row) * LANES;
        for (int r = 0; r < BLOCK_ROWS; r++) store(at + r * LANES, affine_value(a, row + r, sums + r * LANES));
        return;
    }
    const lanes zero = spread(0), q = spread(to.quant);
    uint8_t *at = to.bytes + (tile * outputs + (size_t)row) * LANES;
    for (int r = 0; r < BLOCK_ROWS; r += 4) {
        ints v[4];
        for (int i = 0; i < 4; i++)
            v[i] = quantised(larger(affine_value(a, row + r + i, sums + (r + i) * LANES), zero), q);
        *(ints *)(at + r * LANES) = packed(v[0], v[1], v[2], v[3]);
    }
}

INLINE void apply_tiles(const affine *a, const uint8_t *x, int tiles, size_t first, sink to) {
    int32_t sums[BLOCK_TILES * BLOCK_ROWS * LANES] __attribute__((aligned(64)));
    for (int row = 0; row < a->outputs; row += BLOCK_ROWS) {
        multiply_block(a, row, x, tiles, sums);
        for (int t = 0; t < tiles; t++) deliver(a, row, sums + t * BLOCK_ROWS * LANES, to, first + (size_t)t);
    }
}

static void apply_few(const affine *a, const uint8_t *x, int tokens, sink to) {
    int32_t sums[BLOCK_ROWS * LANES] __attribute__((aligned(64))) = {0};
    uint8_t rows[FEW * MAX_DEPTH];
    for (int i = 0; i < tokens; i++) row_of(x, i, a->inputs, rows + i * a->inputs);
    for (int row = 0; row < a->outputs; row += BLOCK_ROWS) {
        multiply_few(a, row, rows, tokens, sums);
        deliver(a, row, sums, to, 0);
    }
}

/* An affine layer over the first `tokens` tokens. */
static void apply(const affine *a, const uint8_t *x, int tokens, sink to) {
    if (tokens <= FEW) {
        apply_few(a, x, tokens, to);
        return;
    }
    const int tiles = tiles_of(tokens);
    int t = 0;
    for (; t + BLOCK_TILES <= tiles; t += BLOCK_TILES)
        apply_tiles(a, x + (size_t)t * (size_t)a->inputs * LANES, BLOCK_TILES, (size_t)t, to);
#if BLOCK_TILES > 1
    if (tiles - t == 2) apply_tiles(a, x + (size_t)t * (size_t)a->inputs * LANES, 2, (size_t)t, to);
    if (tiles - t == 1) apply_tiles(a, x + (size_t)t * (size_t)a->inputs * LANES, 1, (size_t)t, to);
#endif
}

/* x = normalised(x + added), each token over its features. Sums run over the features one by one, as in the reference. */
INLINE void normalise_tiles(float *x, const float *added, int dim, const norm *n, int tiles) {
    const size_t stride = (size_t)dim * LANES;
    lanes mean[4], spreads[4];
    for (int t = 0; t < tiles; t++) mean[t] = spreads[t] = spread(0);
    for (int c = 0; c < dim; c++)
        for (int t = 0; t < tiles; t++) {
            float *at = x + (size_t)t * stride + c * LANES;
            lanes v = load(added + (size_t)t * stride + c * LANES) + load(at);
            store(at, v);
            mean[t] += v;
        }
    for (int t = 0; t < tiles; t++) mean[t] /= (float)dim;
    for (int c = 0; c < dim; c++)
        for (int t = 0; t < tiles; t++) {
            lanes d = load(x + (size_t)t * stride + c * LANES) - mean[t];
            spreads[t] += d * d;
        }
    for (int t = 0; t < tiles; t++) spreads[t] = root(spreads[t] / (float)dim + 1e-6f);
    for (int c = 0; c < dim; c++)
        for (int t = 0; t < tiles; t++) {
            float *at = x + (size_t)t * stride + c * LANES;
            store(at, n->scale[c] * ((load(at) - mean[t]) / spreads[t]) + n->bias[c]);
        }
}

static void normalise(float *x, const float *added, int dim, const norm *n, int tiles) {
    const size_t stride = (size_t)dim * LANES;
    int t = 0;
    for (; t + 4 <= tiles; t += 4) normalise_tiles(x + (size_t)t * stride, added + (size_t)t * stride, dim, n, 4);
    for (; t < tiles; t++) normalise_tiles(x + (size_t)t * stride, added + (size_t)t * stride, dim, n, 1);
}

/* x = normalised(x + project(relu(hidden(x)))), in portions whose hidden layer stays in the cache */
static void feed_forward(float *x, int tokens, int dim, const affine *hidden, const affine *project, const norm *n,
                         uint8_t *bytes, uint8_t *hidden_bytes, float *out) {
    const int portion = BLOCK_TILES * LANES;
    for (int first = 0; first < tokens; first += portion) {
        const int count = tokens - first < portion ? tokens - first : portion, tiles = tiles_of(count);
        float *at = x + (size_t)first * (size_t)dim;
        quantise(at, dim, tiles, hidden->quant, bytes);
        apply(hidden, bytes, count, (sink){.bytes = hidden_bytes, .quant = project->quant});
        apply(project, hidden_bytes, count, (sink){.floats = out});
        normalise(at, out, dim, n, tiles);
    }
}

/* The bytes of x for a layer, made anew only where its multiplier differs from the one before. */
INLINE void quantise_for(const affine *a, const float *x, int tiles, uint8_t *bytes, float *made) {
    if (*made != a->quant) quantise(x, a->inputs, tiles, a->quant, bytes);
    *made = a->quant;
}

/* One token's embedding times sqrt(dim), plus its position. `embedding` NULL: the position alone. */
static void embed(const int8_t *embedding, float step, const float *position, int dim, float *tile, int lane) {
    const float scale = sqrtf((float)dim);
    for (int c = 0; c < dim; c++) {
        float value = embedding ? (float)embedding[c] * step : 0.0f;
        tile[c * LANES + lane] = scale * value + position[c];
    }
}

#endif

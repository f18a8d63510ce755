/* The encoder: a group of sentences, their tokens one after the other without padding. */
#ifndef TRADU_ENCODER_H
#define TRADU_ENCODER_H

#include "layers.h"

#define KEYS_AT_ONCE 4
#define FEATURES_AT_ONCE 8

/* A feature of one token in tiles. */
INLINE const float *feature(const float *tiles, int dim, int token, int c) {
    return tiles + ((size_t)(token / LANES) * (size_t)dim + (size_t)c) * LANES + token % LANES;
}

/* Scores of `count` keys for the queries of a tile: dot products over a head's features, in their order. */
INLINE void score_keys(const float *query, const float *keys, int dim, int head, int width, int first, int count,
                       float scale, lanes *scores) {
    lanes sum[KEYS_AT_ONCE];
    const float *key[KEYS_AT_ONCE];
    for (int i = 0; i < count; i++) {
        sum[i] = spread(0);
        key[i] = feature(keys, dim, first + i, head * width);
    }
    for (int c = 0; c < width; c++) {
        lanes q = load(query + (head * width + c) * LANES);
        for (int i = 0; i < count; i++) sum[i] += q * key[i][c * LANES];
    }
    for (int i = 0; i < count; i++) scores[i] = sum[i] * scale;
}

/* Attention of one head for the queries of one tile over the keys [begin, end) of one sentence. */
static void attend_head(const float *query, const float *keys, const float *values, int dim, int head, int width,
                        int begin, int end, lanes *scores, ints mine, float *out) {
    const int length = end - begin;
    const float scale = 1.0f / sqrtf((float)width);
    int j = 0;
    for (; j + KEYS_AT_ONCE <= length; j += KEYS_AT_ONCE)
        score_keys(query, keys, dim, head, width, begin + j, KEYS_AT_ONCE, scale, scores + j);
    for (; j < length; j++) score_keys(query, keys, dim, head, width, begin + j, 1, scale, scores + j);

    lanes most = scores[0], sum = spread(0);
    for (j = 1; j < length; j++) most = larger(scores[j], most);
    for (j = 0; j < length; j++) {
        scores[j] = exponential(scores[j] - most);
        sum += scores[j];
    }
    for (j = 0; j < length; j++) scores[j] /= sum;

    for (int c = 0; c < width; c += FEATURES_AT_ONCE) {
        lanes total[FEATURES_AT_ONCE];
        for (int i = 0; i < FEATURES_AT_ONCE; i++) total[i] = spread(0);
        for (j = 0; j < length; j++) {
            const float *value = feature(values, dim, begin + j, head * width + c);
            for (int i = 0; i < FEATURES_AT_ONCE; i++) total[i] += scores[j] * value[i * LANES];
        }
        for (int i = 0; i < FEATURES_AT_ONCE; i++) {
            float *at = out + (head * width + c + i) * LANES;
            store(at, pick(mine, total[i], load(at)));
        }
    }
}

/* Self-attention of one sentence, whose tokens are [begin, end) of the group. */
static void attend_sentence(const model *m, const float *queries, const float *keys, const float *values, int begin,
                            int end, lanes *scores, float *out) {
    const size_t stride = (size_t)m->dim * LANES;
    for (int t = begin / LANES; t <= (end - 1) / LANES; t++) {
        ints mine;
        for (int i = 0; i < LANES; i++) mine[i] = -(t * LANES + i >= begin && t * LANES + i < end);
        for (int head = 0; head < m->heads; head++)
            attend_head(queries + (size_t)t * stride, keys, values, m->dim, head, m->dim / m->heads, begin, end, scores,
                        mine, out + (size_t)t * stride);
    }
}

/* What encoding a group works with; sizes are for `tokens` tokens in whole tiles. */
typedef struct {
    float *x, *queries, *keys, *values, *joined;
    uint8_t *bytes, *hidden_bytes;
    lanes *scores;
} encoder_space;

/* Encode sentences given by their token ids; `ends[i]` is where sentence i ends in the group. The result is space->x. */
static void encode(const model *m, const int32_t *const *ids, const int32_t *ends, int sentences, encoder_space *s) {
    const int tokens = ends[sentences - 1], tiles = tiles_of(tokens), dim = m->dim;
    const size_t size = (size_t)tiles * (size_t)dim * LANES;
    memset(s->x, 0, size * sizeof(float));
    memset(s->joined, 0, size * sizeof(float));
    for (int i = 0, token = 0; i < sentences; i++)
        for (int begin = token; token < ends[i]; token++)
            embed(m->source_embeddings + (size_t)ids[i][token - begin] * (size_t)dim, m->source_step,
                  m->positions + (size_t)(token - begin) * (size_t)dim, dim,
                  s->x + (size_t)(token / LANES) * (size_t)dim * LANES, token % LANES);

    for (int l = 0; l < m->encoder_layers; l++) {
        const encoder_layer *layer = &m->encoder[l];
        float made = -1;
        quantise_for(&layer->query, s->x, tiles, s->bytes, &made);
        apply(&layer->query, s->bytes, tokens, (sink){.floats = s->queries});
        quantise_for(&layer->key, s->x, tiles, s->bytes, &made);
        apply(&layer->key, s->bytes, tokens, (sink){.floats = s->keys});
        quantise_for(&layer->value, s->x, tiles, s->bytes, &made);
        apply(&layer->value, s->bytes, tokens, (sink){.floats = s->values});
        for (int i = 0; i < sentences; i++)
            attend_sentence(m, s->queries, s->keys, s->values, i ? ends[i - 1] : 0, ends[i], s->scores, s->joined);
        quantise(s->joined, dim, tiles, layer->output.quant, s->bytes);
        apply(&layer->output, s->bytes, tokens, (sink){.floats = s->queries});
        normalise(s->x, s->queries, dim, &layer->attention_norm, tiles);
        feed_forward(s->x, tokens, dim, &layer->hidden, &layer->project, &layer->forward_norm, s->bytes,
                     s->hidden_bytes, s->queries);
    }
}

#endif

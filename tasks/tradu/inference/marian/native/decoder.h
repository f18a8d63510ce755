/* One step of the decoder for all live hypotheses, each in a lane of its own. */
#ifndef TRADU_DECODER_H
#define TRADU_DECODER_H

#include "encoder.h"
#include "sentence.h"

#define HEADS_AT_ONCE 4
#define WORDS_AT_ONCE 1024 /* a stretch of the vocabulary: their rows are to stay in the cache */

/* Each sentence has `beam` lanes side by side; those beyond its live hypotheses are idle. */
typedef struct {
    int32_t beam, count, room; /* lanes of a sentence; sentences being decoded; sentences there is room for */
    int32_t capacity;          /* lanes there are, a multiple of LANES */
    sentence **sentences;      /* [room] */
    float *x, *branch, *gate, *query, *joined;
    float *cells; /* [layer][tile][dim][LANES]: the SSRU's memory */
    uint8_t *bytes, *hidden_bytes;
    uint8_t *rows; /* [lane][dim]: the tops' bytes */
    float *scores; /* [heads][keys, in whole tiles] of one hypothesis */
    float *flat;   /* [dim] */
} decoder_space;

/* The sentence whose live hypothesis is in a lane, or NULL. */
INLINE sentence *in_lane(const decoder_space *d, int lane) {
    sentence *s = d->sentences[lane / d->beam];
    return lane % d->beam < s->live ? s : NULL;
}

/* Scores of all keys of a tile for `heads` heads of one query, from `first` on. */
INLINE void score_tile(const float *query, const float *keys, int first, int heads, int width, float scale,
                       float *scores, size_t stride) {
    lanes sum[HEADS_AT_ONCE];
    for (int h = 0; h < heads; h++) sum[h] = spread(0);
    for (int c = 0; c < width; c++)
        for (int h = 0; h < heads; h++) {
            const int at = (first + h) * width + c;
            sum[h] += query[at] * load(keys + (size_t)at * LANES);
        }
    for (int h = 0; h < heads; h++) store(scores + (size_t)(first + h) * stride, sum[h] * scale);
}

/* scores[0..length) of one head become weights that sum to 1; lanes beyond `length` become 0. */
static void soften(float *scores, int length) {
    float most = scores[0], sum = 0;
    for (int j = 1; j < length; j++) most = scores[j] > most ? scores[j] : most;
    const int whole = tiles_of(length) * LANES;
    for (int j = 0; j < whole; j += LANES) store(scores + j, exponential(load(scores + j) - spread(most)));
    for (int j = 0; j < length; j++) sum += scores[j];
    for (int j = 0; j < whole; j += LANES) store(scores + j, load(scores + j) / sum);
}

/* Attention of one query, flat, over its sentence; the result replaces the query. */
static void attend_source(const model *m, const sentence *s, int layer, float *flat, float *scores, float *first_head) {
    const int dim = m->dim, width = dim / m->heads, tiles = tiles_of(s->length);
    const size_t stride = (size_t)tiles * LANES;
    const float *keys = s->keys + (size_t)layer * (size_t)tiles * (size_t)dim * LANES;
    const float *values = s->values + (size_t)layer * (size_t)s->length * (size_t)dim;
    const float scale = 1.0f / sqrtf((float)width);
    for (int t = 0; t < tiles; t++) {
        int h = 0;
        for (; h + HEADS_AT_ONCE <= m->heads; h += HEADS_AT_ONCE)
            score_tile(flat, keys + (size_t)t * (size_t)dim * LANES, h, HEADS_AT_ONCE, width, scale,
                       scores + t * LANES, stride);
        for (; h < m->heads; h++)
            score_tile(flat, keys + (size_t)t * (size_t)dim * LANES, h, 1, width, scale, scores + t * LANES, stride);
    }
    for (int h = 0; h < m->heads; h++) soften(scores + (size_t)h * stride, s->length);
    if (first_head) memcpy(first_head, scores, (size_t)s->length * sizeof(float));
    for (int c = 0; c < dim; c += LANES) {
        const float *weight = scores + (size_t)(c / width) * stride;
        lanes total = spread(0);
        for (int j = 0; j < s->length; j++) total += weight[j] * load(values + (size_t)j * (size_t)dim + c);
        store(flat + c, total);
    }
}

static void flatten(const float *tiles, int dim, int lane, float *flat) {
    const float *at = feature(tiles, dim, lane, 0);
    for (int c = 0; c < dim; c++) flat[c] = at[c * LANES];
}

static void unflatten(const float *flat, int dim, int lane, float *tiles) {
    float *at = (float *)feature(tiles, dim, lane, 0);
    for (int c = 0; c < dim; c++) at[c * LANES] = flat[c];
}

/* What each hypothesis continues: its last word and its position. */
static void embed_last(const model *m, decoder_space *d) {
    const size_t dim = (size_t)m->dim;
    for (int i = 0; i < d->count * d->beam; i++) {
        const sentence *s = in_lane(d, i);
        if (!s) continue;
        const int32_t last = s->last[i % d->beam];
        /* at the first position there is no word yet, only the position */
        embed(last < 0 ? NULL : m->target_embeddings + (size_t)last * dim, m->target_step,
              m->positions + (size_t)s->step * dim, m->dim, d->x + (size_t)(i / LANES) * dim * LANES, i % LANES);
    }
}

/* SSRU: cell = keep * cell + (1 - keep) * candidate; the branch is its positive part. */
static void remember(float *cell, const float *gate, const float *candidate, size_t size, float *branch) {
    for (size_t i = 0; i < size; i += LANES) {
        lanes keep = 1.0f / (1.0f + exponential(-load(gate + i)));
        lanes now = keep * load(cell + i) + (1.0f - keep) * load(candidate + i);
        store(cell + i, now);
        store(branch + i, larger(now, spread(0)));
    }
}

/* All layers; leaves the top in d->x. */
static void step_layers(const model *m, decoder_space *d) {
    const int dim = m->dim, lanes_used = d->count * d->beam, tiles = tiles_of(lanes_used);
    const size_t size = (size_t)tiles * (size_t)dim * LANES, room = (size_t)d->capacity * (size_t)dim;
    embed_last(m, d);
    for (int l = 0; l < m->decoder_layers; l++) {
        const decoder_layer *layer = &m->decoder[l];
        float made = -1;
        quantise_for(&layer->candidate, d->x, tiles, d->bytes, &made);
        apply(&layer->candidate, d->bytes, lanes_used, (sink){.floats = d->branch});
        quantise_for(&layer->gate, d->x, tiles, d->bytes, &made);
        apply(&layer->gate, d->bytes, lanes_used, (sink){.floats = d->gate});
        remember(d->cells + (size_t)l * room, d->gate, d->branch, size, d->branch);
        normalise(d->x, d->branch, dim, &layer->cell_norm, tiles);

        quantise(d->x, dim, tiles, layer->query.quant, d->bytes);
        apply(&layer->query, d->bytes, lanes_used, (sink){.floats = d->query});
        for (int i = 0; i < lanes_used; i++) {
            const sentence *s = in_lane(d, i);
            if (!s) continue;
            float *kept = NULL;
            if (s->attention && l == m->decoder_layers - 1)
                kept = s->attention + ((size_t)s->step * (size_t)d->beam + (size_t)(i % d->beam)) * (size_t)s->length;
            flatten(d->query, dim, i, d->flat);
            attend_source(m, s, l, d->flat, d->scores, kept);
            unflatten(d->flat, dim, i, d->joined);
        }
        quantise(d->joined, dim, tiles, layer->output.quant, d->bytes);
        apply(&layer->output, d->bytes, lanes_used, (sink){.floats = d->branch});
        normalise(d->x, d->branch, dim, &layer->attention_norm, tiles);
        feed_forward(d->x, lanes_used, dim, &layer->hidden, &layer->project, &layer->forward_norm, d->bytes,
                     d->hidden_bytes, d->branch);
    }
}

/* Sums of some of a sentence's words, from `first` up to `end`, for the token whose bytes are `row`. */
static void some_sums(const model *m, const sentence *s, const uint8_t *row, int32_t first, int32_t end, int32_t *sums) {
    const size_t dim = (size_t)m->dim;
    const int8_t *words[4];
    for (; first + 4 <= end; first += 4) {
        for (int i = 0; i < 4; i++) words[i] = m->logits.weights + (size_t)s->wanted[first + i] * dim;
        dot4(row, words, dim, sums + first);
    }
    for (; first < end; first++) sums[first] = dot(row, m->logits.weights + (size_t)s->wanted[first] * dim, dim);
}

/* The sums of all hypotheses, a stretch of the vocabulary after the other: its words stay in the cache meanwhile, and
 * many sentences may use them. */
static void all_sums(const model *m, decoder_space *d) {
    const size_t dim = (size_t)m->dim;
    for (int i = 0; i < d->count * d->beam; i++)
        row_of(d->bytes + (size_t)(i / LANES) * dim * LANES, i % LANES, m->dim, d->rows + (size_t)i * dim);
    for (int i = 0; i < d->count; i++) d->sentences[i]->cursor = 0;
    for (int32_t border = WORDS_AT_ONCE; border < m->target_words + WORDS_AT_ONCE; border += WORDS_AT_ONCE)
        for (int i = 0; i < d->count; i++) {
            sentence *s = d->sentences[i];
            int32_t end = s->cursor;
            while (end < s->words && s->wanted[end] < border) end++;
            for (int rank = 0; rank < s->live; rank++)
                some_sums(m, s, d->rows + (size_t)(i * d->beam + rank) * dim, s->cursor, end, sums_of(s, rank));
            s->cursor = end;
        }
}

/* A hypothesis's logits from its sums, in the same place; beyond them, up to a whole STRIDE, nothing. */
static float *finish_logits(const model *m, const sentence *s, int rank) {
    float *logits = (float *)sums_of(s, rank);
    for (int32_t i = 0; i < s->words; i += LANES)
        store(logits + i, m->logits.unquant * to_float(*(ints *)(logits + i)) + load(s->bias + i));
    for (int32_t i = s->words; i % STRIDE; i++) logits[i] = -INFINITY;
    return logits;
}

/* log(sum(exp(logits))): STRIDE sums, then one by one, whatever the width of the registers */
static float log_total(const float *logits, int32_t words, float most) {
    float sums[STRIDE] __attribute__((aligned(64))) = {0}, total = 0;
    for (int32_t i = 0; i < words; i += STRIDE)
        for (int k = 0; k < STRIDE; k += LANES)
            store(sums + k, load(sums + k) + quick_exponential(load(logits + i + k) - spread(most)));
    for (int i = 0; i < STRIDE; i++) total += sums[i];
    return most + logf(total);
}

#endif

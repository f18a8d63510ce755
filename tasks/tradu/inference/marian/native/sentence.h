/* A sentence on its way through the decoder: its keys and values, the words it may use, and what was chosen so far. */
#ifndef TRADU_SENTENCE_H
#define TRADU_SENTENCE_H

#include "layers.h"
#include <stdlib.h>

typedef struct {
    int32_t token, parent; /* parent: the hypothesis it continues */
    float log_probability;
} choice;

typedef struct {
    int32_t step, parent, complete; /* the last choice of the hypothesis is at `step`, by `parent` */
    float score;
} hypothesis;

typedef struct {
    int32_t index, length, limit, step, beam;
    int32_t live;     /* hypotheses still growing */
    int32_t finished; /* hypotheses in `done` */
    int32_t words, cursor;
    int32_t *wanted;   /* [words] ids, ascending */
    float *bias;       /* [words] */
    int32_t *sums;     /* [beam][words, in whole STRIDEs]; they become the logits */
    float *keys;       /* [layer][key tile][dim][LANES] */
    float *values;     /* [layer][length][dim] */
    choice *history;   /* [limit][beam] */
    float *attention;  /* [limit][beam][length], or NULL */
    float total[MAX_BEAM];
    int32_t last[MAX_BEAM]; /* the token each hypothesis ends in, -1 at the start */
    hypothesis done[MAX_BEAM];
} sentence;

#define STRIDE 16

INLINE int32_t *sums_of(const sentence *s, int rank) {
    return s->sums + (size_t)rank * (size_t)((s->words + STRIDE - 1) / STRIDE * STRIDE);
}

INLINE size_t round64(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

/* Memory in 64-byte lines; NULL where there is none. */
static void *lines(size_t bytes) { return aligned_alloc(64, round64(bytes ? bytes : 1)); }

/* The target words a sentence may use, ascending: the most frequent ones, the lists of its words, its words themselves
 * where the vocabulary is shared, and further frequent ones up to a multiple of eight, as in Marian; then the `forced`
 * ones. `marks` is a bitmap of the target vocabulary, empty before and after. Without a shortlist: all words. */
static int32_t allowed_words(const model *m, const int32_t *ids, int32_t length, const int32_t *forced,
                             int32_t forced_length, uint64_t *marks, int32_t *wanted) {
    int32_t count = 0;
#define MARK(word)                                                                                                     \
    do {                                                                                                               \
        const uint32_t at = (uint32_t)(word);                                                                          \
        const uint64_t bit = (uint64_t)1 << (at % 64);                                                                 \
        count += !(marks[at / 64] & bit);                                                                              \
        marks[at / 64] |= bit;                                                                                         \
    } while (0)
    const int32_t first = m->list_words ? m->first_words : m->target_words;
    for (int32_t i = 0; i < first; i++) MARK(i);
    for (int32_t i = 0; i < length && m->list_words; i++) {
        if (m->shared && ids[i] < m->target_words) MARK(ids[i]);
        if (ids[i] + 1 < m->list_words)
            for (uint64_t j = m->list_offsets[ids[i]]; j < m->list_offsets[ids[i] + 1]; j++) MARK(m->lists[j]);
    }
    for (int32_t i = first; count % 8 && i < m->target_words; i++) MARK(i);
    for (int32_t i = 0; i < forced_length; i++) MARK(forced[i]);
#undef MARK
    count = 0;
    for (int32_t block = 0; block < (m->target_words + 63) / 64; block++) {
        for (uint64_t bits = marks[block]; bits; bits &= bits - 1)
            wanted[count++] = block * 64 + __builtin_ctzll(bits);
        marks[block] = 0;
    }
    return count;
}

/* A sentence in one piece of memory; NULL where there is none. `wanted` are its allowed words. */
static sentence *sentence_new(const model *m, const job *j, int32_t index, const int32_t *wanted, int32_t words) {
    const size_t length = (size_t)(j->offsets[index + 1] - j->offsets[index]), limit = (size_t)j->limits[index];
    const size_t layers = (size_t)m->decoder_layers, dim = (size_t)m->dim, beam = (size_t)j->beam;
    const size_t keys = round64(layers * (size_t)tiles_of((int)length) * dim * LANES * sizeof(float));
    const size_t values = round64(layers * length * dim * sizeof(float));
    const size_t bias = round64(((size_t)words + LANES) * sizeof(float));
    const size_t sums = beam * round64((size_t)words * sizeof(int32_t)), ids = round64((size_t)words * sizeof(int32_t));
    const size_t history = round64(limit * beam * sizeof(choice));
    const size_t attention = j->out_attention ? round64(limit * beam * length * sizeof(float)) : 0;
    char *memory = lines(round64(sizeof(sentence)) + keys + values + bias + sums + ids + history + attention);
    if (!memory) return NULL;
    sentence *s = (sentence *)memory;
    memset(s, 0, sizeof *s);
    memory += round64(sizeof(sentence));
    s->keys = (float *)memory, memory += keys;
    s->values = (float *)memory, memory += values;
    s->bias = (float *)memory, memory += bias;
    s->sums = (int32_t *)memory, memory += sums;
    s->wanted = (int32_t *)memory, memory += ids;
    s->history = (choice *)memory, memory += history;
    s->attention = attention ? (float *)memory : NULL;
    s->beam = j->beam, s->index = index, s->length = (int32_t)length, s->limit = (int32_t)limit, s->words = words, s->live = 1;
    s->last[0] = -1;
    memcpy(s->wanted, wanted, (size_t)words * sizeof(int32_t));
    for (int32_t i = 0; i < words; i++) s->bias[i] = m->logits.bias[wanted[i]];
    memset(s->keys, 0, keys);
    return s;
}

/* Take a sentence's keys and values out of its group's tiles; `begin` is its first token there. */
static void take_context(const model *m, sentence *s, int layer, const float *keys, const float *values, int begin) {
    const size_t dim = (size_t)m->dim, tiles = (size_t)tiles_of(s->length);
    float *own_keys = s->keys + (size_t)layer * tiles * dim * LANES;
    float *own_values = s->values + (size_t)layer * (size_t)s->length * dim;
    for (int i = 0; i < s->length; i++) {
        const size_t tile = (size_t)((begin + i) / LANES), lane = (size_t)((begin + i) % LANES);
        const float *k = keys + tile * dim * LANES + lane, *v = values + tile * dim * LANES + lane;
        float *to = own_keys + (size_t)(i / LANES) * dim * LANES + i % LANES;
        for (size_t c = 0; c < dim; c++) {
            to[c * LANES] = k[c * LANES];
            own_values[(size_t)i * dim + c] = v[c * LANES];
        }
    }
}

/* Write a finished sentence's hypotheses into the results, the best first. */
static void give_back(const job *j, sentence *s) {
    for (int32_t rank = 0; rank < s->finished; rank++) {
        int32_t best = -1;
        for (int32_t i = 0; i < s->finished; i++)
            if (s->done[i].step >= 0 && (best < 0 || s->done[i].score > s->done[best].score)) best = i;
        const hypothesis h = s->done[best];
        s->done[best].step = -1;
        const int64_t row = (int64_t)s->index * j->beam + rank;
        const int64_t at = j->out_offsets[s->index] + (int64_t)rank * s->limit;
        j->out_lengths[row] = h.step + 1;
        j->out_complete[row] = (uint8_t)h.complete;
        j->out_scores[row] = h.score;
        for (int32_t step = h.step, who = h.parent; step >= 0; step--) {
            const choice *c = &s->history[step * j->beam + who];
            j->out_tokens[at + step] = c->token;
            j->out_log_probabilities[at + step] = c->log_probability;
            if (s->attention) { /* rows lie with the hypothesis that was continued */
                const int64_t to = j->attention_offsets[s->index] + ((int64_t)rank * s->limit + step) * s->length;
                memcpy(j->out_attention + to, s->attention + ((int64_t)step * j->beam + c->parent) * s->length,
                       (size_t)s->length * sizeof(float));
            }
            who = c->parent;
        }
    }
}

#endif

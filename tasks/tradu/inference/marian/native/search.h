/* The search: sentences are encoded in groups, decoded side by side in lanes, and leave as they finish; the next take
 * their place. Greedy is a beam of one. */
#ifndef TRADU_SEARCH_H
#define TRADU_SEARCH_H

#include "decoder.h"

#define MAX_GROUP 256 /* most sentences encoded together */

typedef struct {
    const model *m;
    const job *j;
    encoder_space encoder;
    decoder_space decoder;
    int32_t group_room; /* tokens the encoder's memory is for */
    uint64_t *marks;
    int32_t *wanted;
    sentence *waiting[MAX_GROUP]; /* encoded, not yet in a lane; the next one last */
    int32_t waiting_count;
    float *moved; /* [beam][dim] */
} search;

INLINE float *cells_of(const search *s, int layer) {
    return s->decoder.cells + (size_t)layer * (size_t)s->decoder.capacity * (size_t)s->m->dim;
}

static void free_encoder(encoder_space *e) {
    free(e->x), free(e->queries), free(e->keys), free(e->values), free(e->joined);
    free(e->bytes), free(e->hidden_bytes), free(e->scores);
    memset(e, 0, sizeof *e);
}

/* Room for a group of so many tokens. */
static int make_encoder(search *s, int32_t tokens) {
    const size_t room = (size_t)tiles_of(tokens) * LANES, dim = (size_t)s->m->dim;
    encoder_space *e = &s->encoder;
    free_encoder(e);
    e->x = lines(room * dim * 4), e->queries = lines(room * dim * 4), e->keys = lines(room * dim * 4);
    e->values = lines(room * dim * 4), e->joined = lines(room * dim * 4), e->bytes = lines(room * dim);
    e->hidden_bytes = lines((size_t)BLOCK_TILES * LANES * (size_t)s->m->hidden);
    e->scores = lines(room * sizeof(lanes));
    s->group_room = tokens;
    return e->x && e->queries && e->keys && e->values && e->joined && e->bytes && e->hidden_bytes && e->scores;
}

static int make_decoder(search *s, int32_t longest) {
    decoder_space *d = &s->decoder;
    d->beam = s->j->beam;
    d->room = s->j->slots / d->beam > 0 ? s->j->slots / d->beam : 1;
    d->capacity = tiles_of(d->room * d->beam) * LANES;
    const size_t capacity = (size_t)d->capacity, dim = (size_t)s->m->dim;
    d->sentences = calloc((size_t)d->room, sizeof(sentence *));
    d->x = lines(capacity * dim * 4), d->branch = lines(capacity * dim * 4), d->gate = lines(capacity * dim * 4);
    d->query = lines(capacity * dim * 4), d->joined = lines(capacity * dim * 4);
    d->cells = lines(capacity * dim * 4 * (size_t)s->m->decoder_layers);
    d->bytes = lines(capacity * dim), d->rows = lines(capacity * dim), d->flat = lines(dim * 4);
    d->hidden_bytes = lines((size_t)BLOCK_TILES * LANES * (size_t)s->m->hidden);
    d->scores = lines((size_t)s->m->heads * (size_t)tiles_of(longest) * LANES * 4);
    s->moved = lines((size_t)s->j->beam * dim * 4);
    s->marks = calloc((size_t)s->m->target_words / 64 + 1, 8);
    s->wanted = lines((size_t)s->m->target_words * 4);
    if (!(d->sentences && d->x && d->branch && d->gate && d->query && d->joined && d->cells && d->bytes &&
          d->flat && d->hidden_bytes && d->rows && d->scores && s->moved && s->marks && s->wanted))
        return 0;
    /* lanes that were never used are computed with too: they must hold numbers, not what lay in memory */
    memset(d->x, 0, capacity * dim * 4), memset(d->joined, 0, capacity * dim * 4);
    memset(d->cells, 0, capacity * dim * 4 * (size_t)s->m->decoder_layers);
    return 1;
}

static void free_search(search *s) {
    decoder_space *d = &s->decoder;
    free_encoder(&s->encoder);
    for (int32_t i = 0; i < s->waiting_count; i++) free(s->waiting[i]);
    for (int32_t i = 0; i < d->count; i++) free(d->sentences[i]);
    free(d->sentences), free(d->x), free(d->branch), free(d->gate), free(d->query), free(d->joined), free(d->cells);
    free(d->bytes), free(d->hidden_bytes), free(d->rows), free(d->scores), free(d->flat);
    free(s->marks), free(s->wanted), free(s->moved);
}

INLINE int32_t length_of(const job *j, int32_t index) { return (int32_t)(j->offsets[index + 1] - j->offsets[index]); }

/* The translation of a sentence that is to be scored, or NULL. */
INLINE const int32_t *forced_of(const job *j, int32_t index) {
    return j->forced ? j->forced + j->out_offsets[index] : NULL;
}

/* Take sentences from the job and encode them; 0 where memory is short. */
static int encode_group(search *s) {
    const job *j = s->j;
    const int32_t *ids[MAX_GROUP];
    int32_t ends[MAX_GROUP], index[MAX_GROUP], count = 0, tokens = 0;
    while (count < MAX_GROUP && (count == 0 || tokens < j->group_tokens)) {
        const int32_t next = __atomic_fetch_add(j->cursor, 1, __ATOMIC_RELAXED);
        if (next >= j->sentences) break;
        index[count] = j->order[next];
        ids[count] = j->tokens + j->offsets[index[count]];
        tokens += length_of(j, index[count]);
        ends[count++] = tokens;
    }
    if (!count) return 1;
    if (tokens > s->group_room && !make_encoder(s, tokens)) return 0;
    encode(s->m, ids, ends, count, &s->encoder);
    for (int32_t i = count - 1; i >= 0; i--) { /* backwards: they are taken from the end */
        const int32_t *forced = forced_of(j, index[i]);
        const int32_t words = allowed_words(s->m, ids[i], length_of(j, index[i]), forced,
                                            forced ? j->limits[index[i]] : 0, s->marks, s->wanted);
        sentence *made = sentence_new(s->m, j, index[i], s->wanted, words);
        if (!made) return 0;
        s->waiting[s->waiting_count++] = made;
    }
    const int tiles = tiles_of(tokens);
    for (int l = 0; l < s->m->decoder_layers; l++) {
        const decoder_layer *layer = &s->m->decoder[l];
        float quant = -1;
        quantise_for(&layer->key, s->encoder.x, tiles, s->encoder.bytes, &quant);
        apply(&layer->key, s->encoder.bytes, tokens, (sink){.floats = s->encoder.keys});
        quantise_for(&layer->value, s->encoder.x, tiles, s->encoder.bytes, &quant);
        apply(&layer->value, s->encoder.bytes, tokens, (sink){.floats = s->encoder.values});
        for (int32_t i = 0; i < count; i++)
            take_context(s->m, s->waiting[count - 1 - i], l, s->encoder.keys, s->encoder.values, i ? ends[i - 1] : 0);
    }
    return 1;
}

/* Put a sentence into the next free lanes. */
static void enter(search *s, sentence *of) {
    decoder_space *d = &s->decoder;
    memset(d->flat, 0, (size_t)s->m->dim * sizeof(float));
    for (int l = 0; l < s->m->decoder_layers; l++) unflatten(d->flat, s->m->dim, d->count * d->beam, cells_of(s, l));
    d->sentences[d->count++] = of;
}

/* Let lane `to + i` continue lane `from + sources[i]`. */
static void move_cells(search *s, int from, const int32_t *sources, int to, int count) {
    const int dim = s->m->dim;
    for (int l = 0; l < s->m->decoder_layers; l++) {
        for (int i = 0; i < count; i++) flatten(cells_of(s, l), dim, from + sources[i], s->moved + (size_t)i * (size_t)dim);
        for (int i = 0; i < count; i++) unflatten(s->moved + (size_t)i * (size_t)dim, dim, to + i, cells_of(s, l));
    }
}

static void record(sentence *of, int32_t step, int32_t parent, float total, int32_t complete) {
    of->done[of->finished++] = (hypothesis){step, parent, complete, total / (float)(step + 1)};
}

/* Where a word stands among a sentence's allowed ones; it is one of them. */
static int32_t place_of(const sentence *s, int32_t word) {
    int32_t low = 0, high = s->words - 1;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        if (s->wanted[middle] < word) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* The best next word of a lone hypothesis, or the one that is forced. */
static void choose_one(const model *m, sentence *of, const float *logits, const int32_t *forced) {
    int32_t best = 0;
    for (int32_t i = 1; i < of->words; i++)
        if (logits[i] > logits[best]) best = i;
    const float all = log_total(logits, of->words, logits[best]);
    if (forced) best = place_of(of, forced[of->step]);
    const float log_probability = logits[best] - all;
    const int32_t word = of->wanted[best];
    of->history[of->step] = (choice){word, 0, log_probability};
    of->total[0] += log_probability;
    of->last[0] = word;
    if (word == m->end || of->step + 1 == of->limit) {
        record(of, of->step, 0, of->total[0], word == m->end);
        of->live = 0;
    }
}

typedef struct {
    float total, log_probability;
    int32_t word, parent;
} candidate;

/* Keep the best `room` candidates, ordered; of equals the earlier stays first. */
static int32_t insert(candidate *best, int32_t count, int32_t room, candidate new) {
    int32_t at = count;
    while (at > 0 && new.total > best[at - 1].total) at--;
    if (at == room) return count;
    if (count < room) count++;
    for (int32_t i = count - 1; i > at; i--) best[i] = best[i - 1];
    best[at] = new;
    return count;
}

/* The best continuations of all of a sentence's hypotheses; `parents[rank]` is what each new hypothesis continues. */
static void choose_many(const model *m, sentence *of, const candidate *best, int32_t count, int32_t *parents) {
    choice *row = of->history + (size_t)of->step * (size_t)of->beam;
    int32_t live = 0;
    float total[MAX_BEAM];
    for (int32_t i = 0; i < count; i++) {
        /* a finished hypothesis is written where no live one will be: from the end */
        const int32_t ends = best[i].word == m->end;
        const int32_t at = ends ? of->beam - 1 - (i - live) : live;
        row[at] = (choice){best[i].word, best[i].parent, best[i].log_probability};
        if (ends) {
            record(of, of->step, at, best[i].total, 1);
            continue;
        }
        total[live] = best[i].total;
        of->last[live] = best[i].word;
        parents[live++] = best[i].parent;
    }
    of->live = live;
    for (int32_t i = 0; i < live; i++) {
        of->total[i] = total[i];
        if (of->step + 1 == of->limit) record(of, of->step, i, total[i], 0);
    }
    if (of->step + 1 == of->limit) of->live = 0;
}

/* Choose the next words of a sentence, from its hypotheses' sums. */
static void choose(search *s, sentence *of, int32_t *parents) {
    const int32_t room = of->beam - of->finished;
    candidate best[MAX_BEAM];
    int32_t count = 0;
    for (int32_t rank = 0; rank < of->live; rank++) {
        const float *logits = finish_logits(s->m, of, rank);
        if (of->beam == 1) {
            choose_one(s->m, of, logits, forced_of(s->j, of->index));
            break;
        }
        float most = logits[0];
        for (int32_t i = 1; i < of->words; i++) most = logits[i] > most ? logits[i] : most;
        const float all = log_total(logits, of->words, most);
        for (int32_t i = 0; i < of->words; i++) {
            const float each = logits[i] - all, total = of->total[rank] + each;
            if (count < room || total > best[count - 1].total)
                count = insert(best, count, room, (candidate){total, each, of->wanted[i], rank});
        }
    }
    if (of->beam > 1) choose_many(s->m, of, best, count, parents);
    of->step++;
}

/* One word more for every hypothesis; finished sentences leave, and the last ones take their lanes. */
static void step(search *s) {
    decoder_space *d = &s->decoder;
    static const int32_t same[MAX_BEAM] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    step_layers(s->m, d);
    quantise(d->x, s->m->dim, tiles_of(d->count * d->beam), s->m->logits.quant, d->bytes);
    all_sums(s->m, d);
    for (int i = 0; i < d->count; i++) {
        int32_t parents[MAX_BEAM];
        sentence *of = d->sentences[i];
        choose(s, of, parents);
        if (of->live && d->beam > 1) move_cells(s, i * d->beam, parents, i * d->beam, of->live);
    }
    for (int i = 0; i < d->count;) {
        sentence *of = d->sentences[i];
        if (of->live) {
            i++;
            continue;
        }
        give_back(s->j, of);
        free(of);
        d->sentences[i] = d->sentences[--d->count];
        if (i < d->count) move_cells(s, d->count * d->beam, same, i * d->beam, d->sentences[i]->live);
    }
}

static int run(search *s) {
    decoder_space *d = &s->decoder;
    for (;;) {
        /* a group is encoded when a quarter of the lanes would stand empty: often enough, and not for single lanes */
        if (!s->waiting_count && d->count * 4 <= d->room * 3 && !encode_group(s)) return TRADU_NO_MEMORY;
        while (s->waiting_count && d->count < d->room) enter(s, s->waiting[--s->waiting_count]);
        if (!d->count) return TRADU_OK;
        step(s);
    }
}

static int check_job(const model *m, const job *j) {
    if (j->sentences < 0 || j->beam < 1 || j->beam > MAX_BEAM || j->slots < 1 || (j->forced && j->beam > 1))
        return TRADU_BAD_JOB;
    for (int32_t i = 0; i < j->sentences; i++) {
        const int64_t length = j->offsets[i + 1] - j->offsets[i];
        if (j->order[i] < 0 || j->order[i] >= j->sentences || length < 1 || length > m->position_rows ||
            j->limits[i] < 1 || j->limits[i] > m->position_rows)
            return TRADU_BAD_JOB;
    }
    for (int64_t i = 0; i < j->offsets[j->sentences]; i++)
        if (j->tokens[i] < 0 || j->tokens[i] >= m->source_words) return TRADU_BAD_TOKEN;
    for (int64_t i = 0; j->forced && i < j->out_offsets[j->sentences]; i++)
        if (j->forced[i] < 0 || j->forced[i] >= m->target_words) return TRADU_BAD_TOKEN;
    return TRADU_OK;
}

static int translate(const model *m, const job *j) {
    const int bad = check_job(m, j);
    if (bad) return bad;
    search *s = calloc(1, sizeof *s);
    if (!s) return TRADU_NO_MEMORY;
    s->m = m, s->j = j;
    int32_t longest = 0;
    for (int32_t i = 0; i < j->sentences; i++)
        if (length_of(j, i) > longest) longest = length_of(j, i);
    const int result = make_decoder(s, longest) ? run(s) : TRADU_NO_MEMORY;
    free_search(s);
    free(s);
    return result;
}

#endif

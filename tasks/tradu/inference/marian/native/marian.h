/* The kernel's interface with Python (kernel.py mirrors these structures field by field).
 *
 * Shapes: a weight matrix of an affine layer is [outputs][inputs], int8, as the model file holds it, so it is used
 * where it lies in the memory-mapped file. Activations are kept in tiles of LANES tokens, as many as a vector register
 * holds floats, feature-major: [tile][feature][LANES]. A token is a lane; no operation crosses lanes, so a token's
 * numbers can't depend on its neighbours, nor on the width of the registers.
 */
#ifndef TRADU_MARIAN_H
#define TRADU_MARIAN_H

#include <stddef.h>
#include <stdint.h>

#define TRADU_ABI 2
#define MAX_BEAM 16
#define MAX_DEPTH 8192 /* most inputs of an affine layer */

/* y[n] = sum_k x[k] * w[n][k] + bias[n], in int8: x is rounded to x * quant in [-127, 127] and shifted by 127. */
typedef struct {
    const int8_t *weights;   /* [outputs][inputs] */
    const int32_t *sums;     /* [outputs]: the sum of each row of weights */
    const float *bias;       /* [outputs]: bias - 127 * unquant * sums, which takes the shift out again */
    float quant;             /* the activation's multiplier */
    float unquant;           /* 1 / (quant * the weights' multiplier) */
    int32_t inputs, outputs;
} affine;

/* scale and bias of a layer normalisation, [dim] each */
typedef struct {
    const float *scale, *bias;
} norm;

typedef struct {
    affine query, key, value, output, hidden, project;
    norm attention_norm, forward_norm;
} encoder_layer;

typedef struct {
    affine candidate, gate; /* SSRU: the new content, and how much of the old is kept */
    affine query, key, value, output, hidden, project;
    norm cell_norm, attention_norm, forward_norm;
} decoder_layer;

typedef struct {
    int32_t dim, hidden, heads, encoder_layers, decoder_layers;
    int32_t source_words, target_words, end; /* vocabulary sizes; the id that ends a sentence */
    const int8_t *source_embeddings;         /* [source_words][dim] */
    const int8_t *target_embeddings;         /* [target_words][dim] */
    float source_step, target_step;          /* embedding value = int8 value * step */
    const float *positions;                  /* [position_rows][dim] sinusoids */
    int32_t position_rows;                   /* inputs and outputs must be shorter than this */
    const encoder_layer *encoder;
    const decoder_layer *decoder;
    affine logits; /* weights are target_embeddings */
    /* lexical shortlist; list_words == 0: there is none */
    const uint64_t *list_offsets; /* [list_words]: where the words of a source word begin in lists */
    const uint32_t *lists;
    int64_t list_words;
    int32_t first_words; /* the most frequent target words, always allowed */
    int32_t shared;      /* source and target share a vocabulary: a source word may be copied */
} model;

/* A call: sentences in, hypotheses out. Several threads may share one job: each takes the sentence at the cursor. */
typedef struct {
    int32_t sentences;
    const int32_t *order;   /* [sentences]: which to take first */
    const int32_t *tokens;  /* all sentences' ids, each ending in `end` */
    const int64_t *offsets; /* [sentences + 1] into tokens */
    const int32_t *limits;  /* [sentences]: most tokens in the translation, `end` included */
    int32_t beam;           /* hypotheses a sentence, 1: greedy */
    int32_t slots;          /* most hypotheses decoded together */
    int32_t group_tokens;   /* about so many source tokens are encoded together */
    int32_t *cursor;        /* shared, starts at 0 */
    /* results: hypothesis h of sentence s is row s * beam + h, the best first; its tokens begin at
     * out_offsets[s] + h * limits[s] */
    const int64_t *out_offsets;
    int32_t *out_tokens;
    float *out_log_probabilities; /* one a token, `end` included */
    int32_t *out_lengths;         /* [sentences * beam] tokens, `end` included; 0: no such hypothesis */
    uint8_t *out_complete;        /* [sentences * beam] whether it ends in `end` */
    float *out_scores;            /* [sentences * beam] mean log-probability of a token */
    /* attention of the last decoder layer's first head, [hypothesis][limits[s]][source length]; NULL: not wanted */
    const int64_t *attention_offsets;
    float *out_attention;
    /* translations to be scored instead of made, laid out as out_tokens; limits[s] is then how long each is, `end`
     * included, and beam is 1. Their words are allowed whatever the shortlist says. NULL: make translations */
    const int32_t *forced;
} job;

enum { TRADU_OK = 0, TRADU_NO_MEMORY = 1, TRADU_BAD_TOKEN = 2, TRADU_NO_SUCH_PATH = 3, TRADU_BAD_JOB = 4 };

/* One set of entry points for each instruction set, found by number. */
typedef struct {
    const char *name;
    int32_t lanes; /* LANES of this path */
    int (*translate)(const model *, const job *);
    void (*multiply)(const affine *, const uint8_t *, int32_t *, int32_t);
    void (*rows)(const affine *, const uint8_t *, const int32_t *, int32_t, int32_t *);
} path;

int tradu_abi(void);
int tradu_paths(void);
const char *tradu_path_name(int number);
int tradu_path_usable(int number);
int tradu_path_lanes(int number);
int tradu_translate(int number, const model *m, const job *j);
int tradu_multiply(int number, const affine *w, const uint8_t *packed, int32_t *out, int32_t tiles);
int tradu_rows(int number, const affine *w, const uint8_t *row, const int32_t *wanted, int32_t count, int32_t *out);

#endif

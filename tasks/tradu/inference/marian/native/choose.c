/* Choosing the instruction set at run time, and the functions Python calls. */
#include "marian.h"

#if defined(__x86_64__)
#include <cpuid.h>

extern const path tradu_path_avx512vnni, tradu_path_avx512, tradu_path_avxvnni, tradu_path_avx2, tradu_path_saturating;

static uint64_t enabled_registers(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}

/* Whether the processor has a path's instructions, and the system keeps their registers. */
static int usable(const path *p) {
    uint32_t a, b, c, d, leaf7b, leaf7c, leaf71a = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    const uint64_t registers = enabled_registers();
    if (!__get_cpuid_count(7, 0, &a, &leaf7b, &leaf7c, &d)) return 0;
    if (a >= 1) __get_cpuid_count(7, 1, &leaf71a, &b, &c, &d);
    const int avx2 = (registers & 0x6) == 0x6 && (leaf7b & (1u << 5));
    /* foundation, DQ, BW and VL */
    const uint32_t all = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);
    const int avx512 = avx2 && (registers & 0xE6) == 0xE6 && (leaf7b & all) == all;
    if (p == &tradu_path_avx512vnni) return avx512 && (leaf7c & (1u << 11));
    if (p == &tradu_path_avx512) return avx512;
    if (p == &tradu_path_avxvnni) return avx2 && (leaf71a & (1u << 4));
    if (p == &tradu_path_avx2 || p == &tradu_path_saturating) return avx2;
    return 1;
}
#else
static int usable(const path *p) {
    (void)p;
    return 1;
}
#endif

extern const path tradu_path_portable;

/* Best first; the last one only repeats the reference engine's rounding, for tests, and is never chosen by itself. */
static const path *const paths[] = {
#if defined(__x86_64__)
    &tradu_path_avx512vnni, &tradu_path_avxvnni, &tradu_path_avx512, &tradu_path_avx2,
#endif
    &tradu_path_portable,
#if defined(__x86_64__)
    &tradu_path_saturating,
#endif
};
enum { PATHS = sizeof paths / sizeof *paths };

/* Asking the processor is slow in a virtual machine, so each answer is kept: 1 + the answer, 0: not asked yet. */
static char asked[PATHS];

static const path *get(int number) {
    if (number < 0 || number >= PATHS) return 0;
    if (!asked[number]) asked[number] = (char)(1 + (usable(paths[number]) != 0));
    return asked[number] == 2 ? paths[number] : 0;
}

int tradu_abi(void) { return TRADU_ABI; }
int tradu_paths(void) { return PATHS; }
const char *tradu_path_name(int number) { return number >= 0 && number < PATHS ? paths[number]->name : ""; }
int tradu_path_usable(int number) { return get(number) != 0; }
int tradu_path_lanes(int number) { return number >= 0 && number < PATHS ? paths[number]->lanes : 0; }

int tradu_translate(int number, const model *m, const job *j) {
    return get(number) ? get(number)->translate(m, j) : TRADU_NO_SUCH_PATH;
}

int tradu_multiply(int number, const affine *w, const uint8_t *packed, int32_t *out, int32_t tiles) {
    if (!get(number)) return TRADU_NO_SUCH_PATH;
    get(number)->multiply(w, packed, out, tiles);
    return TRADU_OK;
}

int tradu_rows(int number, const affine *w, const uint8_t *row, const int32_t *wanted, int32_t count, int32_t *out) {
    if (!get(number)) return TRADU_NO_SUCH_PATH;
    get(number)->rows(w, row, wanted, count, out);
    return TRADU_OK;
}

/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "element.h"

#include <string.h>

bool element_parse(const char *word, eum_element *out)
{
    static const char *const words[] = {"float32", "float16", "bfloat16"};
    for (eum_element i = 0; i < 3; i++) {
        if (strcmp(word, words[i]) == 0) {
            *out = EUM_ELEMENT_FLOAT32 + i;
            return true;
        }
    }
    return false;
}

bool metric_parse(const char *word, eum_metric *out)
{
    static const char *const words[] = {"cosine", "dot", "l2"};
    for (eum_metric i = 0; i < 3; i++) {
        if (strcmp(word, words[i]) == 0) {
            *out = EUM_METRIC_COSINE + i;
            return true;
        }
    }
    return false;
}

size_t element_bytes(eum_element element)
{
    return element == EUM_ELEMENT_FLOAT32 ? sizeof(float) : sizeof(uint16_t);
}

static float half_to_float(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 0x3ffu;
    uint32_t bits = sign | (exponent + 112) << 23 | fraction << 13;
    float number;
    if (exponent == 31)
        bits = sign | 0x7f800000u | fraction << 13;
    if (exponent == 0) {
        number = (float)fraction * 0x1p-24f;
        return sign != 0 ? -number : number;
    }
    memcpy(&number, &bits, sizeof number);
    return number;
}

void element_widen(eum_element element, const void *row, uint64_t dim, float *out)
{
    if (element == EUM_ELEMENT_FLOAT32) {
        memcpy(out, row, (size_t)dim * sizeof *out);
        return;
    }
    for (uint64_t k = 0; k < dim; k++) {
        const uint16_t narrow = ((const uint16_t *)row)[k];
        const uint32_t bits = (uint32_t)narrow << 16;
        if (element == EUM_ELEMENT_FLOAT16)
            out[k] = half_to_float(narrow);
        else
            memcpy(&out[k], &bits, sizeof bits);
    }
}

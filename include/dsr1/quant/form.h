// What every quant header of this folder offers, so that decoding, the CPU kernels' scalar twin and a generic kernel
// share one text. A type is a struct of statics:
//
//   kGgufId, kElements            GGUF's type number; elements a block holds
//   Block                         the bytes as they lie in the file (alignment 1: file data need not be aligned)
//   decode(const Block*, float*)  one block to floats
//
// and, where a block holds quantized integers, the integer view of each group of 32 elements (g = element / 32):
//
//   kForm                         how an element comes from its level, see Form
//   levels(b, g, out)             32 signed integers, |level| <= 128
//   scale(b, g[, half])           float factor of the group (or of its half: elements 0-15, 16-31)
//   min(b, g[, half])             float addend
//
// Formulas: section 2 of the format notes (docs/formats.md), which restate ggml's ggml-quants.c (MIT).
#pragma once

#include <cstdint>

#include "dsr1/base/half.h"

// Always inlined, so that no copy compiled with one file's instruction-set flags can serve another file.
#define DSR1_QUANT_FN [[gnu::always_inline]] DSR1_HD static inline

namespace dsr1::quant {

enum class Form : uint8_t {
  kPlain,      // w = scale * level
  kMin,        // w = scale * level + min, level >= 0
  kHalves,     // w = scale(half) * level
  kHalvesMin,  // w = scale * level + min(half), level >= 0
};

static constexpr int kGroup = 32;

// IQ4_NL and IQ4_XS: the sixteen levels a nibble stands for (ggml's kvalues_iq4nl).
static constexpr int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
// The same from a function: device code cannot index an array of the host.
DSR1_QUANT_FN int16_t iq4_level(int nibble) {
  constexpr int8_t levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  return levels[nibble];
}

}  // namespace dsr1::quant

#pragma once

#include "catalog/catalog.h"
#include "decide/sizing/weights.h"
#include "model/spec.h"

namespace tranche {

// The catalog's entry, or a typical dense model of that many parameters: grouped-query attention
// with 8 KV heads of 128, a vocabulary of 128k, layers and width by size. Typical of what is
// published since 2024.
CatalogModel TypicalModel(double parameters);

// Bytes of one value of the KV cache.
double BytesPerKvValue(const std::string& kv_precision, const std::string& precision);

// KV cache of one token in one layer, over `gpus` GPUs: KV heads that do not divide are kept on
// each.
double KvBytesPerLayer(const CatalogModel& model, double value_bytes, int gpus);
// KV cache of one token in every layer that keeps the whole context.
double KvBytesPerToken(const CatalogModel& model, double value_bytes, int gpus);
// KV cache of one sequence of `context` tokens; sliding layers keep their window only. Rounded up
// to whole blocks of `block` tokens.
double KvBytesPerSequence(const CatalogModel& model, double value_bytes, int context, int block,
                          int gpus);

}  // namespace tranche

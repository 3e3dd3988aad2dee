#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "catalog/catalog.h"
#include "model/spec.h"

namespace tranche {

// What a model server needs of each GPU, when it is given so much of it. `model` must outlive it.
std::function<Bytes(Bytes given, int gpus)> NeedOfModel(const ModelAsk& ask, ServingEngine engine,
                                                        const CatalogModel* model);

// "llama-3.1-8b, int4, 4096 tokens x 8, served by vllm".
std::string NeedText(const ModelAsk& ask, ServingEngine engine);

}  // namespace tranche

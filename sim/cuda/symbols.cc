#include "sim/cuda/symbols.h"

#include <array>
#include <atomic>
#include <unordered_map>
#include <vector>

namespace tranche::sim::cuda {
namespace {

template <typename T>
void* Address(T* function) {
  return reinterpret_cast<void*>(function);
}

std::array<std::atomic<uint64_t>, kSymbolCount> unmodelled_calls;

const std::array<Symbol, kSymbolCount>& Table() {
  static const std::array<Symbol, kSymbolCount> table = {{
#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments) \
  {#name, #base, since, per_thread != 0, Address(&::name)},
#include "abi/cuda_symbols.inc"
  }};
  return table;
}

const auto& ByBase() {
  static const auto* index = [] {
    auto* made = new std::unordered_map<std::string_view, std::vector<const Symbol*>>;
    for (const Symbol& symbol : Table()) (*made)[symbol.base].push_back(&symbol);
    return made;
  }();
  return *index;
}

}  // namespace

const Symbol& SymbolAt(size_t number) { return Table()[number]; }

Lookup FindSymbol(std::string_view base, int wanted, int driver, bool per_thread) {
  const auto found = ByBase().find(base);
  if (found == ByBase().end()) return {};
  const Symbol *plain = nullptr, *variant = nullptr;
  bool exists = false;
  for (const Symbol* symbol : found->second) {
    if (symbol->since == 0 || symbol->since > driver) continue;
    exists = true;
    if (symbol->since > wanted) continue;
    const Symbol*& best = symbol->per_thread ? variant : plain;
    if (best == nullptr || symbol->since > best->since) best = symbol;
  }
  if (!exists) return {};
  const Symbol* best = per_thread && variant != nullptr ? variant : plain;
  if (best == nullptr) return {nullptr, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT};
  return {best->address, CU_GET_PROC_ADDRESS_SUCCESS};
}

CUresult Unmodelled(size_t number) {
  unmodelled_calls[number].fetch_add(1, std::memory_order_relaxed);
  return CUDA_ERROR_NOT_SUPPORTED;
}

uint64_t UnmodelledCalls(size_t number) {
  return unmodelled_calls[number].load(std::memory_order_relaxed);
}

}  // namespace tranche::sim::cuda

#include "sim/cuda/contents.h"

#include <algorithm>
#include <cstring>

namespace tranche::sim::cuda {
namespace {

void FillPattern(char* to, size_t bytes, uint32_t pattern, size_t phase) {
  for (size_t i = 0; i < bytes; ++i) to[i] = static_cast<char>(pattern >> (8 * ((i + phase) % 4)));
}

}  // namespace

char* Contents::Bytes(uint64_t number) {
  Page& page = pages_[number];
  if (!page.bytes) {
    page.bytes = std::make_unique<std::array<char, kPage>>();
    held_ += kPage;
    FillPattern(page.bytes->data(), kPage, page.pattern, 0);
  }
  return page.bytes->data();
}

void Contents::Write(uint64_t at, const void* from, size_t bytes) {
  const char* source = static_cast<const char*>(from);
  while (bytes > 0) {
    const size_t offset = at % kPage, part = std::min(bytes, kPage - offset);
    std::memcpy(Bytes(at / kPage) + offset, source, part);
    at += part;
    source += part;
    bytes -= part;
  }
}

void Contents::Read(uint64_t at, void* to, size_t bytes) const {
  char* target = static_cast<char*>(to);
  while (bytes > 0) {
    const size_t offset = at % kPage, part = std::min(bytes, kPage - offset);
    const auto page = pages_.find(at / kPage);
    if (page == pages_.end()) {
      std::memset(target, 0, part);
    } else if (page->second.bytes) {
      std::memcpy(target, page->second.bytes->data() + offset, part);
    } else {
      FillPattern(target, part, page->second.pattern, offset);
    }
    at += part;
    target += part;
    bytes -= part;
  }
}

void Contents::Fill(uint64_t at, uint32_t value, size_t width, uint64_t count) {
  const uint32_t pattern = width == 1   ? (value & 0xff) * 0x01010101u
                           : width == 2 ? (value & 0xffff) * 0x00010001u
                                        : value;
  uint64_t bytes = count * width;
  while (bytes > 0) {
    const size_t offset = at % kPage;
    const size_t part = static_cast<size_t>(std::min<uint64_t>(bytes, kPage - offset));
    if (part == kPage) {
      Page& page = pages_[at / kPage];
      if (page.bytes) held_ -= kPage;
      page = Page{nullptr, pattern};
      if (pattern == 0) pages_.erase(at / kPage);
    } else {
      FillPattern(Bytes(at / kPage) + offset, part, pattern, offset);
    }
    at += part;
    bytes -= part;
  }
}

}  // namespace tranche::sim::cuda

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "decide/sizing/server.h"

namespace tranche {

// The headers of files that hold weights. Everything in them is checked against the file's size
// before it is believed; the weights themselves are never looked at.

struct TensorInfo {
  std::string name;
  std::string type;  // "BF16", "Q4_K"
  std::vector<uint64_t> shape;
  double values = 0;
  double bytes = 0;
};

// What a header says of its file, or of several added up.
struct TensorTable {
  std::vector<TensorInfo> tensors;
  double bytes() const;
  double values() const;
  // The type that most bytes are in.
  std::string main_type() const;
};

// How many bytes the header of a safetensors file has, from its first 8 bytes; kInvalid when
// `file_bytes` cannot hold it or it is more than any real header.
Result<uint64_t> SafetensorsHeaderBytes(std::string_view first_eight, uint64_t file_bytes);
// `header` is the JSON that follows those 8 bytes.
Result<TensorTable> ParseSafetensorsHeader(std::string_view header, uint64_t file_bytes);
// A model as far as names and shapes of tensors tell it; heads are 128 wide unless a tensor says
// otherwise.
Result<SizedModel> ModelFromTensors(const TensorTable& table, const std::string& name);

struct GgufHeader {
  SizedModel model;
  TensorTable table;
};
// kPartial: `begin` is fine as far as it goes, and ends before the header does; read more.
Result<GgufHeader> ParseGgufHeader(std::string_view begin, uint64_t file_bytes,
                                   const std::string& name);

// The total that a model.safetensors.index.json gives, and the files it names.
struct SafetensorsIndex {
  double total_bytes = 0;  // 0 = not given
  std::vector<std::string> files;
};
Result<SafetensorsIndex> ParseSafetensorsIndex(std::string_view text);

}  // namespace tranche

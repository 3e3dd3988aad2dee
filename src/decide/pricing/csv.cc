#include "decide/pricing/csv.h"

#include <fmt/format.h>

#include <algorithm>

namespace tranche::pricing {
namespace {

constexpr size_t kMostFields = 1000;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {
    if (text_.starts_with(kByteOrderMark)) at_ = kByteOrderMark.size();
  }

  bool done() const { return at_ >= text_.size(); }

  // One row, without its line end.
  Status Row(CsvRow* row) {
    row->line = line_;
    row->fields.clear();
    while (true) {
      if (row->fields.size() == kMostFields) {
        return Fail(ErrorCode::kInvalid,
                    fmt::format("line {}: more than {} columns", line_, kMostFields));
      }
      row->fields.emplace_back();
      if (auto ok = Field(&row->fields.back()); !ok) return ok;
      if (done()) return {};
      const char c = text_[at_++];
      if (c == ',') continue;
      if (c == '\r' && !done() && text_[at_] == '\n') ++at_;
      ++line_;
      return {};
    }
  }

 private:
  Status Field(std::string* field) {
    if (done() || text_[at_] != '"') {
      const size_t end = std::min(text_.find_first_of(",\r\n", at_), text_.size());
      field->assign(text_.substr(at_, end - at_));
      at_ = end;
      return {};
    }
    const int opened = line_;
    for (++at_; !done(); ++at_) {
      const char c = text_[at_];
      if (c == '\n') ++line_;
      if (c != '"') {
        *field += c;
      } else if (at_ + 1 < text_.size() && text_[at_ + 1] == '"') {
        *field += '"';
        ++at_;
      } else {
        ++at_;
        // What stands between the closing quote and the comma belongs to nobody.
        const size_t end = std::min(text_.find_first_of(",\r\n", at_), text_.size());
        at_ = end;
        return {};
      }
    }
    return Fail(ErrorCode::kInvalid, fmt::format("line {}: a quote is never closed", opened));
  }

  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
};

}  // namespace

Status ForEachCsvRow(std::string_view text, const std::function<Status(const CsvRow&)>& on_row,
                     size_t max_rows) {
  Scanner scanner(text);
  CsvRow row;
  size_t rows = 0;
  while (!scanner.done()) {
    if (auto ok = scanner.Row(&row); !ok) return ok;
    if (row.fields.size() == 1 && row.fields.front().empty()) continue;
    if (++rows > max_rows)
      return Fail(ErrorCode::kInvalid, fmt::format("more than {} rows", max_rows));
    if (auto ok = on_row(row); !ok) return ok;
  }
  return {};
}

}  // namespace tranche::pricing

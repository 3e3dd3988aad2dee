#include "decide/pricing/price_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "base/json.h"
#include "base/suggest.h"
#include "decide/pricing/csv.h"
#include "model/spec_rules.h"

namespace tranche {
namespace {

using pricing::CsvRow;

constexpr size_t kMostMistakesTold = 20;

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::optional<double> ToNumber(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    return std::nullopt;
  return value;
}

// One row of whatever file: values by column, and where it stands.
struct Row {
  std::string where;  // "prices.csv:12"
  std::map<std::string, std::string> values;

  const std::string& Get(const std::string& column) const {
    static const std::string kNone;
    const auto found = values.find(column);
    return found == values.end() ? kNone : found->second;
  }
  const std::string& Either(const std::string& a, const std::string& b) const {
    return Get(a).empty() ? Get(b) : Get(a);
  }
};

// What is wrong with a file, all of it.
class Wrong {
 public:
  void Add(const Row& row, const std::string& message) {
    ++count_;
    if (messages_.size() < kMostMistakesTold) messages_.push_back(row.where + ": " + message);
  }
  Status status() const {
    if (count_ == 0) return {};
    std::string all = fmt::format("{}", fmt::join(messages_, "\n"));
    if (count_ > messages_.size()) all += fmt::format("\nand {} more", count_ - messages_.size());
    return Fail(ErrorCode::kInvalid, all,
                "a price is a number above 0 per hour; leave out what is not known");
  }

 private:
  size_t count_ = 0;
  std::vector<std::string> messages_;
};

std::optional<double> ReadPrice(const Row& row, const std::string& text, const char* column,
                                Wrong* wrong) {
  const auto price = ToNumber(text);
  if (!price) {
    wrong->Add(row, fmt::format("{} '{}' is not a number", column, text.substr(0, 40)));
  } else if (*price <= 0) {
    wrong->Add(row, fmt::format("{} {} is not above 0", column, text.substr(0, 40)));
  } else if (*price > kMaxPrice) {
    wrong->Add(
        row, fmt::format("{} {} is more than {} per hour", column, text.substr(0, 40), kMaxPrice));
  } else {
    return price;
  }
  return std::nullopt;
}

int ReadCount(const Row& row, const std::string& text, const char* column, Wrong* wrong) {
  if (text.empty()) return 1;
  const auto count = ToNumber(text);
  if (count && *count >= 1 && *count <= 1024 && std::floor(*count) == *count)
    return static_cast<int>(*count);
  wrong->Add(row, fmt::format("{} '{}' is not a number of GPUs", column, text.substr(0, 40)));
  return 1;
}

std::optional<bool> ToBool(const std::string& text) {
  const std::string word = Lower(text);
  if (word == "true" || word == "yes" || word == "1") return true;
  if (word == "false" || word == "no" || word == "0" || word.empty()) return false;
  return std::nullopt;
}

// "SizeInMiB': 16384" of SkyPilot's Python dictionary: the memory of one GPU. The total beside it
// is not to be trusted.
std::optional<double> MemoryOfGpuInfo(const std::string& text) {
  const size_t at = text.find("SizeInMiB");
  if (at == std::string::npos) return std::nullopt;
  const size_t digits = text.find_first_of("0123456789", at);
  if (digits == std::string::npos) return std::nullopt;
  const size_t end = text.find_first_not_of("0123456789.", digits);
  const auto mib = ToNumber(std::string_view(text).substr(digits, end - digits));
  return mib ? std::optional(*mib / 1024) : std::nullopt;
}

enum class Form { kOwn, kSkyPilot, kGpuhunt };

std::optional<Form> FormOf(const std::set<std::string>& columns) {
  const auto has = [&columns](const char* name) { return columns.count(name) > 0; };
  if (has("acceleratorname") && has("price")) return Form::kSkyPilot;
  if (has("gpu_name") && has("price")) return Form::kGpuhunt;
  if (has("gpu") && (has("price_per_hour") || has("price_hour"))) return Form::kOwn;
  return std::nullopt;
}

std::string StemOf(const std::string& file) {
  const size_t slash = file.find_last_of('/');
  const std::string name = slash == std::string::npos ? file : file.substr(slash + 1);
  return name.substr(0, name.find('.'));
}

// Reads rows of any form into one list.
class Reader {
 public:
  Reader(std::string file, const Catalog& catalog) : file_(std::move(file)), catalog_(catalog) {}

  void Read(Form form, const Row& row) {
    switch (form) {
      case Form::kOwn:
        return ReadOwn(row);
      case Form::kSkyPilot:
        return ReadSkyPilot(row);
      case Form::kGpuhunt:
        return ReadGpuhunt(row);
    }
  }

  Result<PriceList> Finish() {
    if (auto ok = wrong_.status(); !ok) return tl::unexpected<Error>(ok.error());
    if (currencies_.size() > 1) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("{} has prices in {}", file_, fmt::join(currencies_, " and ")),
                  "one currency per file");
    }
    if (!currencies_.empty()) list_.currency = *currencies_.begin();
    if (list_.prices.empty()) {
      return Fail(ErrorCode::kInvalid, fmt::format("{} holds no price of a GPU", file_));
    }
    if (without_gpu_ > 0) {
      list_.notes.push_back(
          fmt::format("{}: {} rows are of machines without a GPU, or of other "
                      "vendors",
                      file_, without_gpu_));
    }
    if (without_price_ > 0) {
      list_.notes.push_back(fmt::format("{}: {} rows have no price", file_, without_price_));
    }
    if (!unknown_.empty()) {
      list_.notes.push_back(
          fmt::format("{}: the catalog does not know {}", file_, fmt::join(unknown_, ", ")));
    }
    return std::move(list_);
  }

 private:
  void Add(const Row& row, Price price, double whole, std::optional<double> memory_gb) {
    // A list names few GPUs, often.
    const auto [known, added] = gpus_.try_emplace({price.name, memory_gb.value_or(0)}, nullptr);
    if (added) known->second = GpuOfPriceName(catalog_, price.name, memory_gb);
    const CatalogGpu* gpu = known->second;
    if (gpu != nullptr) price.gpu = gpu->key;
    if (gpu == nullptr) unknown_.insert(price.name);
    price.per_hour = whole / price.gpus;
    price.source = row.where;
    list_.prices.push_back(std::move(price));
  }

  void ReadOwn(const Row& row) {
    Price price;
    price.name = row.Get("gpu");
    if (price.name.empty()) return wrong_.Add(row, "no gpu");
    price.gpus = ReadCount(row, row.Get("count"), "count", &wrong_);
    price.provider = row.Get("provider");
    price.region = row.Get("region");
    price.instance = row.Get("instance");
    const auto spot = ToBool(row.Get("spot"));
    if (!spot) wrong_.Add(row, fmt::format("spot '{}' is neither true nor false", row.Get("spot")));
    price.spot = spot.value_or(false);
    if (const std::string& currency = row.Get("currency"); !currency.empty()) {
      if (!IsCurrency(currency))
        wrong_.Add(row, fmt::format("currency '{}' is not three capital letters", currency));
      currencies_.insert(currency);
    }
    const std::string& text = row.Either("price_per_hour", "price_hour");
    const std::string& spot_text = row.Get("spot_price_per_hour");
    if (text.empty() && spot_text.empty()) return wrong_.Add(row, "no price");
    if (!text.empty()) {
      if (const auto whole = ReadPrice(row, text, "price_per_hour", &wrong_))
        Add(row, price, *whole, std::nullopt);
    }
    if (!spot_text.empty()) {
      price.spot = true;
      if (const auto whole = ReadPrice(row, spot_text, "spot_price_per_hour", &wrong_))
        Add(row, price, *whole, std::nullopt);
    }
  }

  void ReadSkyPilot(const Row& row) {
    Price price;
    price.name = row.Get("acceleratorname");
    if (price.name.empty()) {
      ++without_gpu_;
      return;
    }
    price.gpus = ReadCount(row, row.Get("acceleratorcount"), "AcceleratorCount", &wrong_);
    price.instance = row.Get("instancetype");
    price.provider = StemOf(file_);
    price.region = row.Either("availabilityzone", "region");
    const auto memory = MemoryOfGpuInfo(row.Get("gpuinfo"));
    bool any = false;
    for (const bool spot : {false, true}) {
      const std::string& text = row.Get(spot ? "spotprice" : "price");
      if (text.empty() || Lower(text) == "nan") continue;
      any = true;
      price.spot = spot;
      if (const auto whole = ReadPrice(row, text, spot ? "SpotPrice" : "Price", &wrong_))
        Add(row, price, *whole, memory);
    }
    if (!any) ++without_price_;
  }

  void ReadGpuhunt(const Row& row) {
    Price price;
    price.name = row.Get("gpu_name");
    const std::string vendor = Lower(row.Get("gpu_vendor"));
    if (price.name.empty() || row.Get("gpu_count") == "0" ||
        (!vendor.empty() && vendor != "nvidia")) {
      ++without_gpu_;
      return;
    }
    price.gpus = ReadCount(row, row.Get("gpu_count"), "gpu_count", &wrong_);
    price.instance = row.Get("instance_name");
    price.provider = row.Get("provider").empty() ? StemOf(file_) : row.Get("provider");
    price.region = row.Get("location");
    const auto spot = ToBool(row.Get("spot"));
    if (!spot) wrong_.Add(row, fmt::format("spot '{}' is neither true nor false", row.Get("spot")));
    price.spot = spot.value_or(false);
    const std::string& text = row.Get("price");
    if (text.empty()) {
      ++without_price_;
      return;
    }
    if (const auto whole = ReadPrice(row, text, "price", &wrong_))
      Add(row, price, *whole, ToNumber(row.Get("gpu_memory")));
  }

  std::string file_;
  const Catalog& catalog_;
  PriceList list_;
  Wrong wrong_;
  std::set<std::string> currencies_;
  std::set<std::string> unknown_;
  std::map<std::pair<std::string, double>, const CatalogGpu*> gpus_;
  int without_gpu_ = 0;
  int without_price_ = 0;
};

Error NoKnownForm(const std::string& file) {
  return {ErrorCode::kInvalid, file + " is no price list that Tranche knows",
          "its first line names the columns: gpu and price_per_hour, or those of a SkyPilot "
          "catalog or of gpuhunt"};
}

Result<PriceList> ParseCsvPrices(std::string_view text, const std::string& file,
                                 const Catalog& catalog) {
  std::vector<std::string> columns;
  std::optional<Form> form;
  Reader reader(file, catalog);
  const auto read = [&](const CsvRow& fields) -> Status {
    if (!form) {
      for (const std::string& field : fields.fields) columns.push_back(Lower(field));
      form = FormOf({columns.begin(), columns.end()});
      if (!form) return tl::unexpected<Error>(NoKnownForm(file));
      return {};
    }
    Row row;
    row.where = fmt::format("{}:{}", file, fields.line);
    for (size_t c = 0; c < std::min(columns.size(), fields.fields.size()); ++c) {
      row.values[columns[c]] = fields.fields[c];
    }
    reader.Read(*form, row);
    return {};
  };
  if (auto ok = pricing::ForEachCsvRow(text, read); !ok) {
    return form ? FailedWhile(file, ok.error()) : tl::unexpected<Error>(ok.error());
  }
  if (!form) return tl::unexpected<Error>(NoKnownForm(file));
  return reader.Finish();
}

std::string TextOf(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() || value.is_structured() ? "" : PrintJsonLine(value);
}

Result<PriceList> ParseJsonPrices(std::string_view text, const std::string& file,
                                  const Catalog& catalog) {
  const auto document = ParseJson(text);
  if (!document) return FailedWhile(file, document.error());
  Reader reader(file, catalog);
  if (document->is_object()) {
    for (const auto& member : document->items()) {
      Row row{fmt::format("{}: {}", file, member.key()),
              {{"gpu", member.key()}, {"price_per_hour", TextOf(member.value())}}};
      reader.Read(Form::kOwn, row);
    }
    return reader.Finish();
  }
  size_t index = 0;
  for (const Json& item : *document) {
    Row row;
    row.where = fmt::format("{}: [{}]", file, index++);
    std::set<std::string> columns;
    if (item.is_object()) {
      for (const auto& member : item.items()) {
        columns.insert(Lower(member.key()));
        row.values[Lower(member.key())] = TextOf(member.value());
      }
    }
    const auto form = FormOf(columns);
    if (!form) return tl::unexpected<Error>(NoKnownForm(row.where));
    reader.Read(*form, row);
  }
  return reader.Finish();
}

}  // namespace

Status PriceList::Append(PriceList other) {
  if (!prices.empty() && !other.prices.empty() && currency != other.currency) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("prices in {} and in {} cannot be compared", currency, other.currency),
                "use lists of one currency");
  }
  if (prices.empty()) currency = other.currency;
  prices.insert(prices.end(), std::make_move_iterator(other.prices.begin()),
                std::make_move_iterator(other.prices.end()));
  notes.insert(notes.end(), other.notes.begin(), other.notes.end());
  return {};
}

const CatalogGpu* GpuOfPriceName(const Catalog& catalog, const std::string& name,
                                 std::optional<double> memory_gb) {
  const auto fits = [memory_gb](const CatalogGpu& gpu) {
    if (!memory_gb || !gpu.memory) return true;
    // Decimal or binary, and what the driver keeps: 10 % either way tell no two boards apart.
    const double gib = static_cast<double>(gpu.memory->value) / 0x1p30;
    return std::abs(gib - *memory_gb) <= 0.1 * *memory_gb;
  };
  if (const auto found = catalog.FindGpu(name); found && fits(**found)) return *found;
  if (!memory_gb) return nullptr;
  for (const char* form : {"{}-{:.0f}GB", "{}-{:.0f}"}) {
    const auto found =
        catalog.FindGpu(fmt::format(fmt::runtime(form), name, std::round(*memory_gb)));
    if (found && fits(**found)) return *found;
  }
  return nullptr;
}

Result<PriceList> ParsePrices(std::string_view text, const std::string& file,
                              const Catalog& catalog) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  const bool json = first != std::string_view::npos && (text[first] == '[' || text[first] == '{');
  return json ? ParseJsonPrices(text, file, catalog) : ParseCsvPrices(text, file, catalog);
}

Result<Price> FindPrice(const PriceList& list, const PriceFilter& filter) {
  const Price* best = nullptr;
  std::set<std::string> priced;
  bool elsewhere = false;
  for (const Price& price : list.prices) {
    if (!price.gpu.empty()) priced.insert(price.gpu);
    if (price.gpu != filter.gpu || price.spot != filter.spot) continue;
    const bool here =
        (filter.provider.empty() || Lower(filter.provider) == Lower(price.provider)) &&
        (filter.region.empty() || Lower(filter.region) == Lower(price.region));
    elsewhere |= !here;
    if (here && (best == nullptr || price.per_hour < best->per_hour)) best = &price;
  }
  if (best != nullptr) return *best;
  std::string hint = "give one with --prices FILE";
  if (elsewhere) {
    hint = "there is one of another provider or region: 'tranche cost prices' lists all";
  } else if (priced.count(filter.gpu) > 0) {
    hint = filter.spot ? "only its price on demand is known" : "only its spot price is known";
  } else if (!priced.empty()) {
    hint = fmt::format("prices are known of {}", fmt::join(priced, ", "));
  }
  return Fail(ErrorCode::kNotFound,
              fmt::format("no {}price of {} is known", filter.spot ? "spot " : "", filter.gpu),
              hint);
}

}  // namespace tranche

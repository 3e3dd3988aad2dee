#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "decide/sizing/shape.h"
#include "decide/sizing/sizing.h"

// Holds the sizing to what was measured on real servers. The measurements are not part of the
// source: the environment says where they are.

namespace tranche {
namespace {

constexpr double kGiB = 1073741824.0;

// A measured row by column name; an empty cell is not known.
using Row = std::map<std::string, std::string>;

std::vector<std::string> Cells(const std::string& line) {
  std::vector<std::string> cells(1);
  bool quoted = false;
  for (const char c : line) {
    if (c == '"')
      quoted = !quoted;
    else if (c == ',' && !quoted)
      cells.emplace_back();
    else
      cells.back() += c;
  }
  return cells;
}

class VramDatapoints : public testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("TRANCHE_SHARED_DATA");
    if (folder == nullptr) {
      GTEST_SKIP() << "TRANCHE_SHARED_DATA does not say where vram_datapoints.csv is";
    }
    std::ifstream file(std::string(folder) + "/vram_datapoints.csv");
    if (!file) GTEST_SKIP() << "there is no vram_datapoints.csv in " << folder;
    std::string line;
    std::getline(file, line);
    const std::vector<std::string> names = Cells(line);
    while (std::getline(file, line)) {
      const std::vector<std::string> cells = Cells(line);
      Row row;
      for (size_t i = 0; i < names.size() && i < cells.size(); ++i) row[names[i]] = cells[i];
      rows_[row["id"]] = row;
    }
    catalog_ = *Catalog::Load();
  }

  // Where a measured model is not in the catalog, its public shape.
  CatalogModel ModelOf(const Row& row) const {
    const std::string& name = row.at("model");
    const auto in_catalog = [&](const char* key) { return **catalog_->FindModel(key); };
    const auto dense = [](double parameters, int layers, int hidden, int kv_heads, int vocab,
                          const char* note) {
      CatalogModel model;
      model.parameters = parameters;
      model.layers = model.full_attention_layers = layers;
      model.hidden = hidden;
      model.kv_heads = kv_heads;
      model.head_dim = 128;
      model.vocab = vocab;
      model.embedding_parameters = 2.0 * vocab * hidden;
      model.note = note;
      return model;
    };
    if (name.find("Llama-3-8B") != std::string::npos ||
        name.find("Llama-3.1-8B") != std::string::npos)
      return in_catalog("llama-3.1-8b");
    if (name.find("70B") != std::string::npos) return in_catalog("llama-3.1-70b");
    if (name.find("Qwen2.5-32B") != std::string::npos) return in_catalog("qwen2.5-32b");
    if (name.find("Qwen3-30B") != std::string::npos) return in_catalog("qwen3-30b-a3b");
    if (name.find("gemma-3-27b") != std::string::npos) return in_catalog("gemma-3-27b");
    if (name.find("gpt-oss-20b") != std::string::npos) return in_catalog("gpt-oss-20b");
    if (name.find("gpt-oss-120b") != std::string::npos) return in_catalog("gpt-oss-120b");
    if (name.find("Qwen3-32B") != std::string::npos)
      return dense(32.762e9, 64, 5120, 8, 151936, "");
    if (name.find("Qwen-14B") != std::string::npos) return dense(14.770e9, 48, 5120, 8, 152064, "");
    if (name.find("Mistral-Small") != std::string::npos)
      return dense(24.011e9, 40, 5120, 8, 131072, "vision tower");
    if (name.find("235B") != std::string::npos) return dense(235.09e9, 94, 4096, 4, 151936, "");
    return {};
  }

  double Number(const Row& row, const char* column) const {
    const auto cell = row.find(column);
    return cell == row.end() || cell->second.empty() ? std::nan("") : std::stod(cell->second);
  }

  std::map<std::string, Row> rows_;
  std::shared_ptr<const Catalog> catalog_;
};

TEST_F(VramDatapoints, WeightsAsMeasured) {
  int checked = 0;
  for (const auto& [id, row] : rows_) {
    const double measured = Number(row, "weights_gib_per_gpu") * std::stoi(row.at("tp"));
    const CatalogModel model = ModelOf(row);
    if (std::isnan(measured) || model.parameters == 0) continue;
    const std::string& precision = row.at("dtype");
    const bool loose = precision == "mxfp4" || model.note.find("vision") != std::string::npos;
    const double predicted = WeightsOf(model, precision).total() / kGiB;
    EXPECT_NEAR(predicted / measured, 1.0, loose ? 0.08 : 0.02)
        << "row " << id << ": " << row.at("model");
    ++checked;
  }
  EXPECT_GE(checked, 9);
}

TEST_F(VramDatapoints, KvTokensAsMeasured) {
  int checked = 0;
  for (const auto& [id, row] : rows_) {
    double per_gpu = Number(row, "kv_avail_gib_per_gpu");
    const double tokens = Number(row, "kv_tokens");
    const CatalogModel model = ModelOf(row);
    if (std::isnan(per_gpu) || std::isnan(tokens) || tokens == 0 || model.layers == 0) continue;
    if (model.sliding_window > 0) continue;  // its cache does not grow by the token; below
    // Tokens are the minimum over ranks and the log shows another rank; its cache follows from the
    // note.
    if (id == "20") per_gpu = 7.47;
    const int tp = std::stoi(row.at("tp"));
    const double predicted = per_gpu * tp * kGiB / KvBytesPerToken(model, 2, tp);
    EXPECT_NEAR(predicted / tokens, 1.0, 0.015) << "row " << id << ": " << row.at("model");
    ++checked;
  }
  EXPECT_GE(checked, 4);
}

TEST_F(VramDatapoints, SlidingWindowsAsMeasured) {
  const auto row = rows_.find("18");
  ASSERT_NE(row, rows_.end());
  const double predicted = 2 * KvBytesPerSequence(ModelOf(row->second), 2, 131072, 256, 1) / kGiB;
  EXPECT_NEAR(predicted / Number(row->second, "kv_avail_gib_per_gpu"), 1.0, 0.015);
}

// The coefficients of the activation term were chosen on these three rows, so this holds the
// calibration; it is no evidence for other models. Row 8 (multimodal) and the rows of V0 took less
// than the term says, by up to some GiB: with the engine's defaults it errs on the large side
// there.
TEST_F(VramDatapoints, ActivationsStayCalibrated) {
  for (const char* id : {"3", "7", "9"}) {
    const auto row = rows_.find(id);
    ASSERT_NE(row, rows_.end());
    ModelAsk ask;
    ask.precision = row->second.at("dtype");
    const CatalogModel model = ModelOf(row->second);
    const int tp = std::stoi(row->second.at("tp"));
    const MemoryNeed need =
        SizeModel(ask, ServingEngine::kVllm, &model, DefaultTuning(ServingEngine::kVllm), tp);
    const double predicted = static_cast<double>(need.Of("activations").value) / kGiB / tp;
    EXPECT_NEAR(predicted, Number(row->second, "act_peak_gib"), 1.0) << "row " << id;
  }
}

TEST_F(VramDatapoints, WhatDidNotFitDoesNotFit) {
  const auto found = rows_.find("23");
  ASSERT_NE(found, rows_.end());
  const Row& row = found->second;
  ModelAsk ask;
  ask.precision = row.at("dtype");
  ask.context = std::stoi(row.at("max_model_len"));
  const CatalogModel model = ModelOf(row);
  const MemoryNeed need =
      SizeModel(ask, ServingEngine::kVllm, &model, DefaultTuning(ServingEngine::kVllm));
  const double budget = Number(row, "gpu_total_gib") * Number(row, "util") * kGiB;
  EXPECT_GT(static_cast<double>(need.total().value), budget);
}

}  // namespace
}  // namespace tranche

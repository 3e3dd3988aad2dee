#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "decide/sizing/server.h"

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

  // The catalog's entry for what a row measured.
  SizedModel ModelOf(const Row& row) const {
    static const std::map<std::string, std::string> kNames = {
        {"Meta-Llama-3-8B", "llama-3-8b"},
        {"Llama-3.1-8B-Instruct", "llama-3.1-8b"},
        {"Qwen3-32B", "qwen3-32b"},
        {"Mistral-Small-3.2-24B", "mistral-small-3.2-24b"},
        {"gpt-oss-20b", "gpt-oss-20b"},
        {"gpt-oss-120b", "gpt-oss-120b"},
        {"Qwen2.5-32B-Instruct", "qwen2.5-32b"},
        {"gemma-3-27b-it", "gemma-3-27b"},
        {"Qwen3-30B-A3B (assumed from size)", "qwen3-30b-a3b"},
        {"Qwen3-235B-A22B-FP8", "qwen3-235b-a22b-fp8"},
        {"DeepSeek-R1-Distill-Qwen-14B", "deepseek-r1-distill-qwen-14b"},
        {"Llama-3.1-405B-Instruct-FP8", "llama-3.1-405b-fp8"},
        {"Llama-3.3-70B-FP8-dynamic", "llama-3.3-70b"}};
    SizedModel sized;
    const auto name = kNames.find(row.at("model"));
    EXPECT_NE(name, kNames.end()) << row.at("model");
    if (name != kNames.end()) sized.model = **catalog_->FindModel(name->second);
    sized.source = "catalog";
    return sized;
  }

  ServerSize Sized(const Row& row) const {
    const std::string& written = row.at("version");
    const bool sglang = row.at("engine") == "sglang";
    const bool llama_cpp = row.at("engine").starts_with("llama.cpp");
    // "dev 2024-12-13 (~0.6.5)", "~0.11 V1", "0.8.x V0": what is measured of V0 is its last table.
    std::string version = written.find("0.6.5") != std::string::npos ? "0.6.5"
                          : written.find("V0") != std::string::npos  ? "0.7"
                                                                     : "0.11";
    const auto engine = ParseEngine(sglang      ? "sglang"
                                    : llama_cpp ? "llama.cpp"
                                                : "vllm",
                                    sglang || llama_cpp ? "" : version);
    ServerAsk ask;
    const std::string& dtype = row.at("dtype");
    ask.precision = dtype == "f16 KV" ? "mxfp4" : dtype;
    ask.tensor_parallel = std::stoi(row.at("tp"));
    if (!std::isnan(Number(row, "util"))) ask.utilization = Number(row, "util");
    if (!row.at("max_model_len").empty()) ask.context = std::stoi(row.at("max_model_len"));
    if (row.at("max_model_len").ends_with("x2")) ask.concurrency = 2;
    ServerSpace space;
    space.gpu = row.at("gpu").find("H100") != std::string::npos ? "H100-SXM5-80GB" : row.at("gpu");
    double gib = Number(row, "gpu_total_gib");
    if (std::isnan(gib) && space.gpu == "H100-SXM5-80GB") gib = 79.18;
    if (!std::isnan(gib)) space.memory = Bytes{static_cast<uint64_t>(gib * kGiB)};
    return SizeServer(ModelOf(row), ask, *engine, space);
  }

  double Number(const Row& row, const char* column) const {
    const auto cell = row.find(column);
    return cell == row.end() || cell->second.empty() ? std::nan("") : std::stod(cell->second);
  }

  std::map<std::string, Row> rows_;
  std::shared_ptr<const Catalog> catalog_;
};

double InGiB(Bytes bytes) { return static_cast<double>(bytes.value) / kGiB; }

TEST_F(VramDatapoints, WeightsAsMeasured) {
  int checked = 0;
  for (const auto& [id, row] : rows_) {
    const double measured = Number(row, "weights_gib_per_gpu");
    if (std::isnan(measured)) continue;
    const bool loose = row.at("dtype") == "mxfp4" || ModelOf(row).model.vision_parameters > 0;
    EXPECT_NEAR(InGiB(Sized(row).weights) / measured, 1.0, loose ? 0.08 : 0.02)
        << "row " << id << ": " << row.at("model");
    ++checked;
  }
  EXPECT_GE(checked, 11);
}

TEST_F(VramDatapoints, KvTokensAsMeasured) {
  int checked = 0;
  for (const auto& [id, row] : rows_) {
    double per_gpu = Number(row, "kv_avail_gib_per_gpu");
    const double tokens = Number(row, "kv_tokens");
    if (std::isnan(per_gpu) || std::isnan(tokens) || tokens == 0) continue;
    // Tokens are the minimum over ranks and the log shows another rank; its cache follows from the
    // note.
    if (id == "20") per_gpu = 7.47;
    const double predicted = per_gpu * kGiB / static_cast<double>(Sized(row).kv_per_token.value);
    EXPECT_NEAR(predicted / tokens, 1.0, 0.015) << "row " << id << ": " << row.at("model");
    ++checked;
  }
  EXPECT_GE(checked, 5);
}

TEST_F(VramDatapoints, KvCacheAsMeasured) {
  int checked = 0;
  for (const auto& [id, row] : rows_) {
    double measured = Number(row, "kv_avail_gib_per_gpu");
    if (id == "20") measured = 7.47;  // of the rank whose tokens were counted
    if (std::isnan(measured) || measured < 0) continue;
    EXPECT_NEAR(InGiB(Sized(row).kv_cache), measured, 1.0)
        << "row " << id << ": " << row.at("model");
    ++checked;
  }
  EXPECT_GE(checked, 8);
}

// Row 20 had room for 81,536 tokens and was asked for 131,072, which that engine refuses to start
// with; row 23 has less room than nothing.
TEST_F(VramDatapoints, WhatDidNotFitDoesNotFit) {
  for (const auto& [id, row] : rows_) {
    const ServerSize size = Sized(row);
    if (!size.fits) continue;
    EXPECT_EQ(*size.fits, id != "20" && id != "23") << "row " << id << ": " << size.because;
  }
}

}  // namespace
}  // namespace tranche

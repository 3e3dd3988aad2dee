#pragma once

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "decide/geometry/layouts.h"
#include "decide/serving/capacity.h"
#include "decide/serving/replicas.h"

// For tests and benchmarks only: the published scenarios of ParvaGPU (SC'24) as a problem. FOLDER
// holds prof_data/ and SLO/.
namespace tranche::serving::published {

constexpr int kScenarios = 6;
constexpr int kGpus[kScenarios] = {2, 3, 5, 7, 13, 16};
constexpr int kSlices[kScenarios] = {10, 20, 33, 48, 90, 112};
constexpr const char* kModels[] = {"bert",        "densenet121", "densenet169", "densenet201",
                                   "inceptionv3", "mobilenetv2", "resnet101",   "resnet152",
                                   "resnet50",    "vgg16",       "vgg19"};

inline std::vector<std::vector<std::string>> Table(const std::string& file) {
  std::ifstream in(file);
  std::vector<std::vector<std::string>> rows;
  for (std::string line; std::getline(in, line);) {
    if (line.empty()) continue;
    std::stringstream stream(line);
    rows.emplace_back();
    for (std::string cell; std::getline(stream, cell, ',');) {
      while (!cell.empty() && (cell.back() == '\r' || cell.back() == ' ')) cell.pop_back();
      rows.back().push_back(cell);
    }
  }
  return rows;
}

// The file's throughput is of one process; a row of zeros did not fit into memory.
inline std::vector<ProfilePoint> PointsOf(const std::string& file) {
  std::vector<ProfilePoint> points;
  for (const std::vector<std::string>& row : Table(file)) {
    if (row.size() < 5 || row[0].find_first_not_of("0123456789") != std::string::npos) continue;
    ProfilePoint point;
    point.slice = std::atoi(row[0].c_str());
    point.batch = std::atoi(row[1].c_str());
    point.processes = std::atoi(row[2].c_str());
    point.per_second = std::atof(row[3].c_str()) * point.processes;
    point.seconds = std::atof(row[4].c_str());
    if (point.per_second > 0) points.push_back(point);
  }
  return points;
}

// The A100-80 that all was measured on, as many as wanted.
struct Gpus {
  fleet::GpuKind kind;
  MigGeometry geometry;
  std::vector<int> profiles;  // of each shape
};

inline Gpus GpusOf(const Catalog& catalog) {
  Gpus gpus{{}, *MigGeometry::Make((*catalog.FindGpu("A100-SXM4-80GB"))->mig_profiles), {}};
  gpus.profiles = ProfilesFor(gpus.geometry, {});
  gpus.kind.price = 1;
  gpus.kind.count = 100000;
  std::map<std::vector<int>, bool> seen;
  for (const InstanceLayout& layout : MaximalLayouts(gpus.geometry)) {
    std::vector<int> counts(gpus.profiles.size(), 0);
    for (const PlacedProfile& placed : layout) {
      const auto at = std::find(gpus.profiles.begin(), gpus.profiles.end(), placed.profile);
      ++counts[static_cast<size_t>(at - gpus.profiles.begin())];
    }
    if (seen.emplace(counts, true).second) gpus.kind.layouts.push_back(counts);
  }
  return gpus;
}

struct Model {
  std::string name;
  double per_second = 0;
  Objective objective;
  std::vector<ProfilePoint> points;
  std::vector<Setting> settings;  // a service's ways, in their order
};

struct Scenario {
  std::vector<Model> models;
  ReplicasProblem problem;
};

// Nothing where the folder does not hold it. A replica bears what it serves with at most `may_miss`
// of its requests too late; with 1, what was measured of it.
inline std::optional<Scenario> Read(const std::string& folder, int number, const Gpus& gpus,
                                    double may_miss, const QueueRun& run) {
  const auto slos = Table(folder + "/SLO/SLO_latency.csv");
  const auto rates = Table(folder + "/SLO/SLO_req_rate.csv");
  const size_t row = static_cast<size_t>(number);
  if (slos.size() <= row || rates.size() <= row) return std::nullopt;
  Scenario scenario;
  scenario.problem.kinds.push_back(gpus.kind);
  for (size_t m = 0; m < std::size(kModels); ++m) {
    if (slos[row].size() <= m || rates[row].size() <= m) return std::nullopt;
    if (slos[row][m] == "N/A") continue;
    Model model;
    model.name = kModels[m];
    model.objective.seconds = std::atof(slos[row][m].c_str()) / 1000;
    model.objective.may_miss = may_miss;
    model.per_second = std::atof(rates[row][m].c_str());
    model.points = PointsOf(folder + "/prof_data/" + model.name + ".csv");
    model.settings = BestSettings(model.points, model.objective, run);
    Service service;
    service.per_second = model.per_second;
    for (const Setting& setting : model.settings) {
      ReplicaWay way;
      for (size_t s = 0; s < gpus.profiles.size(); ++s) {
        if (gpus.geometry.profile(gpus.profiles[s]).compute_slices == setting.point.slice) {
          way.way.shape = static_cast<int>(s);
        }
      }
      way.per_second = setting.per_second;
      way.takes = setting.point.slice;
      service.ways.push_back(way);
    }
    scenario.problem.services.push_back(std::move(service));
    scenario.models.push_back(std::move(model));
  }
  return scenario;
}

// The profiles on one GPU of the answer.
inline std::vector<int> ProfilesOn(const fleet::Used& used, const ReplicasAnswer& answer,
                                   const Scenario& scenario, const Gpus& gpus) {
  std::vector<int> profiles;
  for (const fleet::Used::Content& content : used.contents) {
    const ReplicasAnswer::Item& item = answer.items[static_cast<size_t>(content.item_class)];
    const size_t way = static_cast<size_t>(item.ways[static_cast<size_t>(content.way)]);
    const Service& service = scenario.problem.services[static_cast<size_t>(item.service)];
    profiles.insert(profiles.end(), static_cast<size_t>(content.count),
                    gpus.profiles[static_cast<size_t>(service.ways[way].way.shape)]);
  }
  return profiles;
}

// What one model's requests see when they come at random; `longest`: the longest batch among its
// settings, as a part of its objective.
inline QueueOutcome Confirm(const Scenario& scenario, const ReplicasAnswer& answer, size_t m,
                            const QueueRun& run, double* longest) {
  const Model& model = scenario.models[m];
  std::vector<BatchServer> servers;
  std::vector<double> weights;
  for (const ReplicasAnswer::Item& item : answer.items) {
    if (item.service != static_cast<int>(m)) continue;
    const Setting& setting = model.settings[static_cast<size_t>(item.ways.front())];
    *longest = std::max(*longest, setting.point.seconds / model.objective.seconds);
    for (int64_t n = 0; n < item.count; ++n) {
      servers.push_back(ServerOf(setting.point, model.points));
      servers.back().wait = setting.wait;
      weights.push_back(setting.per_second);
    }
  }
  return SimulateBatches(servers, weights, model.per_second, model.objective.seconds, run);
}

}  // namespace tranche::serving::published

#include "report.h"

#include <cstdio>

#include "json_writer.h"

namespace tranche::gpu_check {

void Report::Add(Step step) {
  std::fprintf(stderr, "gpu-check: %s: %s%s%s (%.1f s)\n", step.name.c_str(), step.status.c_str(),
               step.reason.empty() ? "" : ", ", step.reason.c_str(), step.seconds);
  steps_.push_back(std::move(step));
  Write();
}

int Report::missed() const {
  int missed = 0;
  for (const Step& step : steps_) {
    for (const Value& value : step.values) missed += !value.met();
  }
  return missed;
}

bool Report::Write() const {
  const std::string temporary = path_ + ".new";
  FILE* file = std::fopen(temporary.c_str(), "w");
  if (file == nullptr) return false;
  {
    JsonWriter json(file);
    json.BeginObject();
    json.Put("format_version", "1.0");
    for (const auto& [name, text] : facts_) json.Put(name.c_str(), text);
    json.BeginArray("steps");
    for (const Step& step : steps_) {
      json.BeginObject();
      json.Put("step", step.name);
      json.Put("status", step.status);
      if (!step.reason.empty()) json.Put("reason", step.reason);
      json.Put("seconds", step.seconds);
      json.BeginArray("values");
      for (const Value& value : step.values) {
        json.BeginObject();
        json.Put("what", value.what);
        if (!value.mode.empty()) json.Put("mode", value.mode);
        if (!value.shape.empty()) json.Put("shape", value.shape);
        json.Put("value", value.number);
        json.Put("unit", value.unit);
        if (value.at_most) json.Put("at_most", *value.at_most);
        if (value.at_least) json.Put("at_least", *value.at_least);
        if (value.at_most || value.at_least) json.Put("met", value.met());
        json.EndObject();
      }
      json.EndArray();
      if (!step.document.empty()) json.PutJson("document", step.document);
      json.EndObject();
    }
    json.EndArray();
    json.EndObject();
  }
  return std::fclose(file) == 0 && std::rename(temporary.c_str(), path_.c_str()) == 0;
}

}  // namespace tranche::gpu_check

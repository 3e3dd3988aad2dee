#include "sim/gpu_time/programs.h"

#include <cmath>

namespace tranche::sim {
namespace {

constexpr int64_t kUs = 1000, kMs = 1000 * kUs;

Op Launch(int64_t duration, uint32_t blocks = 132, uint32_t key = 0) {
  return {.act = Act::kLaunch, .duration = duration, .key = key, .blocks = blocks};
}
Op Do(Act act, int64_t duration = 0) { return {.act = act, .duration = duration}; }
Op Graph(int64_t duration) { return {.act = Act::kLaunch, .duration = duration, .graph = true}; }
void Repeat(Program* program, int times, const Op& op) {
  program->script.insert(program->script.end(), times, op);
}

Program Mix() {
  Program mix{"mix", {}, true};
  // 20 kernels between 10 us and 5 ms, evenly on a logarithmic scale, long and short in turn.
  for (uint32_t i = 0; i < 20; ++i) {
    const double part = static_cast<double>(i * 7 % 20) / 19;
    mix.script.push_back(
        Launch(static_cast<int64_t>(10e3 * std::pow(500.0, part)), i % 3 == 0 ? 1024 : 132, i));
  }
  return mix;
}

// 400 kernels, each its own, so that a start is all surprises.
Program Fresh() {
  Program fresh{"fresh", {}, true};
  for (uint32_t i = 0; i < 400; ++i) {
    const double part = static_cast<double>(i * 149 % 400) / 399;
    fresh.script.push_back(Launch(static_cast<int64_t>(20e3 * std::pow(100.0, part)), 132, i));
  }
  return fresh;
}

Program Liar() {
  Program liar{"liar", {}, true};
  Repeat(&liar, 30, Launch(100 * kUs));
  liar.script.push_back(Launch(20 * kMs));
  return liar;
}

Program ManyStreams() {
  Program m16{"m16", {}, true};
  for (uint32_t i = 0; i < 16; ++i) {
    m16.script.push_back(Launch(kMs));
    m16.script.back().stream = i;
  }
  return m16;
}

Program Train() {
  Program train{"train", {Do(Act::kCopy, 3 * kMs)}, false};
  Repeat(&train, 100, Launch(300 * kUs));
  train.script.push_back(Do(Act::kSync));
  train.script.push_back(Do(Act::kCpu, 2 * kMs));
  return train;
}

Program TrainOverlapped() {
  Program train{"trainov", {}, false};
  Repeat(&train, 100, Launch(300 * kUs));
  train.script.push_back(Do(Act::kCpu, 10 * kMs));
  train.script.push_back(Do(Act::kSync));
  return train;
}

Program Infer() {
  Program infer{"infer", {Do(Act::kIdle, 40 * kMs)}, false};
  Repeat(&infer, 10, Launch(500 * kUs));
  infer.script[1].request = true;
  infer.script.push_back(Do(Act::kSync));
  return infer;
}

Program Burst() {
  Program burst{"burst", {}, false};
  Repeat(&burst, 200, Launch(kMs));
  burst.script.push_back(Do(Act::kSync));
  burst.script.push_back(Do(Act::kIdle, 300 * kMs));
  return burst;
}

Program Vary() {
  Program vary{"vary", {Launch(kMs)}, true};
  vary.script[0].spread = Spread::kLognormal;
  return vary;
}

Program Probe() {
  Program probe{"probe", {Do(Act::kArrival, kMs), Launch(20 * kUs, 8), Do(Act::kSync)}, false};
  probe.script[1].request = true;
  return probe;
}

}  // namespace

const std::vector<std::string>& ShapeNames() {
  static const std::vector<std::string> names = {
      "g132",  "b1024", "b64k",    "tiny",  "graph", "giant", "sync1", "sync50", "decode", "burst",
      "infer", "train", "trainov", "probe", "m16",   "mix",   "vary",  "liar",   "fresh"};
  return names;
}

std::optional<Program> Shape(std::string_view name) {
  if (name == "g132") return Program{"g132", {Launch(kMs)}, true};
  if (name == "b1024") return Program{"b1024", {Launch(50 * kUs, 1024)}, true};
  if (name == "b64k") return Program{"b64k", {Launch(kMs, 65536)}, true};
  if (name == "half") return Program{"half", {Launch(kMs, 66)}, true};
  if (name == "tiny") return Program{"tiny", {Launch(5 * kUs, 8)}, true};
  if (name == "graph") return Program{"graph", {Graph(10 * kMs)}, true};
  if (name == "giant") return Program{"giant", {Launch(200 * kMs)}, true};
  if (name == "persistent") return Program{"persistent", {Launch(3600'000 * kMs)}, true};
  if (name == "sync1") return Program{"sync1", {Launch(kMs), Do(Act::kSync)}, false};
  if (name == "sync50") return Program{"sync50", {Launch(50 * kUs), Do(Act::kSync)}, false};
  if (name == "decode")
    return Program{"decode", {Graph(10 * kMs), Do(Act::kSync), Do(Act::kCpu, 300 * kUs)}, false};
  if (name == "burst") return Burst();
  if (name == "infer") return Infer();
  if (name == "train") return Train();
  if (name == "trainov") return TrainOverlapped();
  if (name == "probe") return Probe();
  if (name == "m16") return ManyStreams();
  if (name == "mix") return Mix();
  if (name == "vary") return Vary();
  if (name == "liar") return Liar();
  if (name == "fresh") return Fresh();
  return std::nullopt;
}

}  // namespace tranche::sim

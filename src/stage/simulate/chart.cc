#include "stage/simulate/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <optional>
#include <utility>

namespace tranche::simulate {
namespace {

constexpr int kWidth = 860;
constexpr int kHeight = 200;
constexpr int kLeft = 60;
constexpr int kBottom = 24;
constexpr const char* kFoot = "</body>\n</html>\n";
// Distinguishable without colour vision too (Okabe and Ito).
constexpr std::array<const char*, 7> kColors = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                "#56b4e9", "#e69f00", "#000000"};

// What one curve goes through: seconds and values.
struct Line {
  std::string name;
  std::vector<std::pair<double, double>> points;
};

// A curve for each result, of those samples in which `read` finds a value.
template <typename Named, typename Read>
std::vector<Line> LinesOf(const std::vector<Named>& all, const Read& read) {
  std::vector<Line> lines;
  for (const Named& one : all) {
    lines.push_back({one.name, {}});
    for (const auto& sample : one.result.samples) {
      const std::optional<double> value = read(sample);
      if (value) lines.back().points.emplace_back(sample.at, *value);
    }
  }
  return lines;
}

std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

// The smallest of 1, 2, 5, 10, 20, ... that is not below `value`.
double RoundUp(double value) {
  if (value <= 0) return 1;
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (const double digit : {1.0, 2.0, 5.0, 10.0}) {
    if (digit * power >= value) return digit * power;
  }
  return 10 * power;
}

std::string Chart(const std::string& title, const std::vector<Line>& lines) {
  double last = 1;
  double most = 0;
  bool any = false;
  for (const Line& line : lines) {
    for (const auto& [at, value] : line.points) {
      any = true;
      last = std::max(last, at);
      most = std::max(most, value);
    }
  }
  if (!any) return "";
  most = RoundUp(most);
  const double x_scale = (kWidth - kLeft - 10) / last;
  const double y_scale = (kHeight - kBottom - 10) / most;
  std::string svg =
      fmt::format("<h2>{}</h2>\n<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n",
                  Escaped(title), kWidth, kHeight, Escaped(title));
  for (int line = 0; line <= 4; ++line) {
    const double value = most * line / 4;
    const double y = kHeight - kBottom - value * y_scale;
    svg += fmt::format(
        "<line x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\" class=\"grid\"/>"
        "<text x=\"{}\" y=\"{:.1f}\" class=\"y\">{:g}</text>\n",
        kLeft, kWidth - 10, y, y, kLeft - 6, y + 4, value);
    const double hours = last / 3600 * line / 4;
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" class=\"x\">{:.3g} h</text>\n",
                       kLeft + last * line / 4 * x_scale, kHeight - 6, hours);
  }
  for (size_t i = 0; i < lines.size(); ++i) {
    std::string points;
    for (const auto& [at, value] : lines[i].points) {
      points +=
          fmt::format("{:.1f},{:.1f} ", kLeft + at * x_scale, kHeight - kBottom - value * y_scale);
    }
    svg += fmt::format("<polyline points=\"{}\" stroke=\"{}\"><title>{}</title></polyline>\n",
                       points, kColors[i % kColors.size()], Escaped(lines[i].name));
  }
  return svg + "</svg>\n";
}

std::string Known(const std::optional<double>& value, int decimals) {
  return value ? fmt::format("{:.{}f}", *value, decimals) : "-";
}

std::string Head(const std::string& title) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{0}</title>\n"
      "<style>\n"
      "body {{ font: 15px sans-serif; max-width: 900px; margin: 2em auto; padding: 0 1em; }}\n"
      "h1 {{ font-size: 1.3em; }} h2 {{ font-size: 1em; margin-bottom: 0.2em; }}\n"
      "table {{ border-collapse: collapse; }} td, th {{ padding: 0.2em 0.8em; text-align: right; "
      "}}\n"
      "td:first-child, th:first-child {{ text-align: left; }} th {{ font-weight: 600; }}\n"
      "svg {{ width: 100%; }} polyline {{ fill: none; stroke-width: 1.5; }}\n"
      ".grid {{ stroke: #ddd; }} text {{ font-size: 11px; fill: #555; }}\n"
      ".y {{ text-anchor: end; }} .x {{ text-anchor: middle; }}\n"
      ".key {{ display: inline-block; width: 0.8em; height: 0.8em; margin-right: 0.4em; }}\n"
      "</style>\n</head>\n<body>\n<h1>{0}</h1>\n",
      Escaped(title));
}

std::string Key(size_t line, const std::string& name) {
  return fmt::format("<span class=\"key\" style=\"background:{}\"></span>{}",
                     kColors[line % kColors.size()], Escaped(name));
}

}  // namespace

std::string TimelinePage(const std::string& title, const std::vector<NamedTimeline>& timelines) {
  std::string page = Head(title);
  page +=
      "<table>\n<tr><th>policy</th><th>allocated %</th><th>finished</th><th>gave up</th>"
      "<th>restarted</th><th>preempted</th><th>mean wait s</th><th>95 % wait s</th><th>SLO "
      "misses</th><th>cost</th>"
      "<th>kWh</th></tr>\n";
  for (size_t i = 0; i < timelines.size(); ++i) {
    const TimelineResult& result = timelines[i].result;
    page += fmt::format(
        "<tr><td>{}</td><td>{:.2f}</td>"
        "<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.1f}</td><td>{:.1f}</td><td>{}</"
        "td><td>{}</td>"
        "<td>{}</td></tr>\n",
        Key(i, timelines[i].name), result.allocation_percent_mean, result.finished, result.gave_up,
        result.restarted, result.preempted, result.wait_mean, result.wait_p95, result.slo_misses,
        Known(result.cost, 2), Known(result.energy_kwh, 1));
  }
  page += "</table>\n";
  using Reading = std::function<std::optional<double>(const TimelineSample&)>;
  const std::vector<std::pair<const char*, Reading>> charts = {
      {"GPU allocated, %", [](const TimelineSample& s) { return s.allocation_percent; }},
      {"GPU free that typical workloads cannot use, %",
       [](const TimelineSample& s) { return s.fragmentation_percent; }},
      {"Workloads waiting", [](const TimelineSample& s) { return static_cast<double>(s.waiting); }},
      {"Wait of those that started, s", [](const TimelineSample& s) { return s.wait_seconds; }},
      {"Waited too long, so far",
       [](const TimelineSample& s) { return static_cast<double>(s.slo_misses); }},
      {"Nodes down", [](const TimelineSample& s) { return static_cast<double>(s.nodes_down); }},
      {"GPUs down", [](const TimelineSample& s) { return static_cast<double>(s.gpus_down); }},
      {"Cost so far", [](const TimelineSample& s) { return s.cost; }},
      {"Energy so far, kWh", [](const TimelineSample& s) { return s.energy_kwh; }}};
  for (const auto& [name, read] : charts) page += Chart(name, LinesOf(timelines, read));
  return page + kFoot;
}

std::string ServingPage(const std::string& title, const std::vector<NamedServing>& servings) {
  std::string page = Head(title);
  page +=
      "<table>\n<tr><th>servers</th><th>GPUs</th><th>answered</th><th>95 % first token s</th>"
      "<th>95 % per token s</th><th>SLO misses</th><th>tokens/s</th><th>busy %</th><th>cost</th>"
      "<th>kWh</th></tr>\n";
  for (size_t i = 0; i < servings.size(); ++i) {
    const ServingResult& result = servings[i].result;
    page += fmt::format(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.3f}</td><td>{:.4f}</td><td>{}</td>"
        "<td>{:.1f}</td><td>{:.1f}</td><td>{}</td><td>{}</td></tr>\n",
        Key(i, servings[i].name), result.gpus, result.finished, result.first_token.p95,
        result.token.p95, result.slo_misses, result.tokens_per_second, result.busy_percent,
        Known(result.cost, 2), Known(result.energy_kwh, 2));
  }
  page += "</table>\n";
  using Reading = std::function<std::optional<double>(const ServingSample&)>;
  const std::vector<std::pair<const char*, Reading>> charts = {
      {"Tokens per second", [](const ServingSample& s) { return s.tokens_per_second; }},
      {"Replicas busy, %", [](const ServingSample& s) { return s.busy_percent; }},
      {"Sequences worked on",
       [](const ServingSample& s) { return static_cast<double>(s.running); }},
      {"Requests waiting", [](const ServingSample& s) { return static_cast<double>(s.waiting); }},
      {"First token after, s", [](const ServingSample& s) { return s.first_token_seconds; }},
      {"SLO missed, so far",
       [](const ServingSample& s) { return static_cast<double>(s.slo_misses); }},
      {"Replicas down",
       [](const ServingSample& s) { return static_cast<double>(s.replicas_down); }},
      {"Cost so far", [](const ServingSample& s) { return s.cost; }},
      {"Energy so far, kWh", [](const ServingSample& s) { return s.energy_kwh; }}};
  for (const auto& [name, read] : charts) page += Chart(name, LinesOf(servings, read));
  return page + kFoot;
}

}  // namespace tranche::simulate

#include "face/http/api.h"

#include <fmt/format.h>

#include <charconv>

#include "base/json.h"
#include "face/http/target.h"
#include "model/receipt.h"
#include "stage/plan/planner.h"

extern "C" const char api_openapi_yaml[];
extern "C" const char api_openapi_yaml_end[];

namespace tranche {
namespace {

constexpr int kMostLogLines = 100000;

// One request on its way through a handler.
struct Call {
  const Api::Parts& parts;
  const ApiRequest& request;
  std::map<std::string, std::string> path;  // values of the {name} parts
  std::map<std::string, std::string> query;
  Json body;  // an object; empty without a body

  Caller caller() const { return {request.peer.uid, request.peer.gid}; }
};

ApiReply Ok(const Json& json) { return {200, "application/json", PrintJson(json), "", {}}; }

ApiReply Done() { return Ok({{"format_version", "1.0"}, {"done", true}}); }

template <typename T>
ApiReply Answer(const Result<T>& result) {
  return result ? Ok(ToJson(*result)) : Problem(result.error());
}

ApiReply Answer(const Status& status) { return status ? Done() : Problem(status.error()); }

Result<int> Number(const std::string& text, const std::string& name, int lowest, int highest) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < lowest ||
      value > highest) {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' must be a number from {} to {}, not '{}'",
                                                 name, lowest, highest, text));
  }
  return value;
}

// An absent flag is false.
bool Flag(JsonReader& reader, const char* key) { return reader.Has(key) && reader.Bool(key); }

Result<std::optional<int>> ReplicaIn(const Call& call) {
  JsonReader reader(call.body, "request");
  if (!reader.Has("replica")) return std::nullopt;
  const int64_t replica = reader.Int("replica");
  if (!reader.status()) return tl::unexpected<Error>(reader.status().error());
  if (replica < 0 || replica > 1000000) {
    return Fail(ErrorCode::kInvalid, fmt::format("there is no replica {}", replica));
  }
  return static_cast<int>(replica);
}

// Runs something that takes steps: an event per step as it begins and ends, then the receipt, or
// the error when nothing was tried. It goes on when the client has gone.
template <typename Work>
ApiReply StreamOf(Work work) {
  ApiReply reply;
  reply.content_type = "application/x-ndjson";
  reply.stream = [work = std::move(work)](const EventSink& sink) {
    const Result<Receipt> receipt = work([&](const StepReceipt& step) {
      sink(PrintJsonLine({{"step_receipt", ToJson(step)}}));
    });
    if (receipt)
      sink(PrintJsonLine({{"receipt", ToJson(*receipt)}}));
    else
      sink(PrintJsonLine({{"error", ToJson(receipt.error())}}));
  };
  return reply;
}

Result<ApplyOptions> OptionsIn(const Call& call) {
  JsonReader reader(call.body, "request");
  ApplyOptions options{call.caller(), Flag(reader, "allow_root"), Flag(reader, "adopt")};
  if (!reader.status()) return tl::unexpected<Error>(reader.status().error());
  return options;
}

ApiReply GetOpenApi(const Call&) {
  return {200, "application/yaml", std::string(OpenApiDocument()), "", {}};
}

ApiReply GetVersion(const Call& call) {
  return Ok({{"format_version", "1.0"}, {"version", call.parts.version}});
}

ApiReply GetMachine(const Call& call) { return Answer(call.parts.engine.Inventory()); }

ApiReply GetDeployment(const Call& call) { return Answer(call.parts.engine.GetDeployment()); }

ApiReply GetSpec(const Call& call) {
  const auto spec = call.parts.engine.GetSpec();
  if (!spec) return Problem(spec.error());
  return Ok({{"format_version", "1.0"}, {"spec", ToJson(*spec)}});
}

ApiReply PostDrain(const Call& call) {
  JsonReader reader(call.body, "request");
  const bool drained = reader.Bool("drained");
  if (!reader.status()) return Problem(reader.status().error());
  call.parts.log(fmt::format("{} of GPU {} for user {}", drained ? "drain" : "undrain",
                             call.path.at("gpu"), call.request.peer.uid));
  return Answer(call.parts.engine.SetDrained(call.path.at("gpu"), drained));
}

ApiReply GetStatus(const Call& call) {
  auto status = call.parts.engine.GetStatus();
  if (!status) return Problem(status.error());
  status->daemon = true;
  return Ok(ToJson(*status));
}

ApiReply PostPlan(const Call& call) {
  JsonReader reader(call.body, "request");
  const Json& json = reader.Object("spec");
  const PlanOptions options{Flag(reader, "adopt")};
  if (!reader.status()) return Problem(reader.status().error());
  const auto spec = SpecFromJson(json);
  if (!spec) return Problem(spec.error());
  return Answer(call.parts.engine.MakePlan(*spec, options));
}

ApiReply GetDownPlan(const Call& call) {
  const auto machine = call.parts.engine.Inventory();
  if (!machine) return Problem(machine.error());
  const auto deployment = call.parts.engine.GetDeployment();
  if (!deployment) return Problem(deployment.error());
  return Ok(ToJson(MakeDownPlan(*machine, *deployment, *call.parts.catalog)));
}

ApiReply PostApply(const Call& call) {
  const auto options = OptionsIn(call);
  if (!options) return Problem(options.error());
  JsonReader reader(call.body, "request");
  const Json& json = reader.Object("plan");
  if (!reader.status()) return Problem(reader.status().error());
  auto plan = PlanFromJson(json);
  if (!plan) return Problem(plan.error());
  call.parts.log(fmt::format("apply of plan {} for user {} (pid {})", plan->id,
                             call.request.peer.uid, call.request.peer.pid));
  return StreamOf([engine = &call.parts.engine, plan = std::move(*plan),
                   options = *options](const StepProgress& progress) {
    return engine->Apply(plan, options, progress);
  });
}

ApiReply PostDown(const Call& call) {
  const auto options = OptionsIn(call);
  if (!options) return Problem(options.error());
  call.parts.log(
      fmt::format("down for user {} (pid {})", call.request.peer.uid, call.request.peer.pid));
  return StreamOf([engine = &call.parts.engine, options = *options](const StepProgress& progress) {
    return engine->Down(options, progress);
  });
}

ApiReply GetLogs(const Call& call) {
  const auto replica = Number(call.path.at("replica"), "replica", 0, 1000000);
  if (!replica) return Problem(replica.error());
  int lines = 100;
  if (const auto it = call.query.find("lines"); it != call.query.end()) {
    const auto asked = Number(it->second, "lines", 0, kMostLogLines);
    if (!asked) return Problem(asked.error());
    lines = *asked;
  }
  std::optional<uint64_t> from;
  if (const auto it = call.query.find("from"); it != call.query.end()) {
    uint64_t value = 0;
    const char* end = it->second.data() + it->second.size();
    const auto [at, error] = std::from_chars(it->second.data(), end, value);
    if (error != std::errc() || at != end) {
      return Problem(
          {ErrorCode::kInvalid, "'from' must be a number of bytes, not '" + it->second + "'"});
    }
    from = value;
  }
  const auto part = call.parts.engine.Logs(call.path.at("workload"), *replica, lines, from);
  if (!part) return Problem(part.error());
  return Ok({{"format_version", "1.0"},
             {"workload", call.path.at("workload")},
             {"replica", *replica},
             {"text", part->text},
             {"next", part->next}});
}

ApiReply PostStop(const Call& call) {
  const auto replica = ReplicaIn(call);
  if (!replica) return Problem(replica.error());
  call.parts.log(
      fmt::format("stop of {} for user {}", call.path.at("workload"), call.request.peer.uid));
  return Answer(call.parts.engine.Stop(call.path.at("workload"), *replica));
}

ApiReply PostRestart(const Call& call) {
  const auto replica = ReplicaIn(call);
  if (!replica) return Problem(replica.error());
  call.parts.log(
      fmt::format("restart of {} for user {}", call.path.at("workload"), call.request.peer.uid));
  return Answer(call.parts.engine.Restart(call.path.at("workload"), *replica));
}

ApiReply PostLease(const Call& call) {
  const auto request = LeaseRequestFromJson(call.body);
  if (!request) return Problem(request.error());
  const auto lease = call.parts.engine.GrantLease(*request, call.caller(), call.request.peer.pid);
  if (lease && !request->dry_run) {
    call.parts.log(fmt::format("lease {} on GPU {} for user {} (pid {}): {}", lease->id,
                               lease->gpu_index, call.request.peer.uid, call.request.peer.pid,
                               lease->program));
  }
  return Answer(lease);
}

ApiReply PatchLease(const Call& call) {
  const auto change = LeaseChangeFromJson(call.body);
  if (!change) return Problem(change.error());
  return Answer(call.parts.engine.ChangeLease(call.path.at("lease"), *change, call.caller()));
}

ApiReply DeleteLease(const Call& call) {
  return Answer(call.parts.engine.EndLease(call.path.at("lease"), call.caller()));
}

struct Route {
  const char* method;
  const char* path;
  bool changes;
  ApiReply (*handler)(const Call&);
};

constexpr Route kRoutes[] = {
    {"GET", "/openapi.yaml", false, GetOpenApi},
    {"GET", "/v1/version", false, GetVersion},
    {"GET", "/v1/machine", false, GetMachine},
    {"GET", "/v1/deployment", false, GetDeployment},
    {"GET", "/v1/spec", false, GetSpec},
    {"POST", "/v1/gpus/{gpu}/drain", true, PostDrain},
    {"GET", "/v1/status", false, GetStatus},
    {"POST", "/v1/plans", false, PostPlan},
    {"GET", "/v1/plans/down", false, GetDownPlan},
    {"POST", "/v1/apply", true, PostApply},
    {"POST", "/v1/down", true, PostDown},
    {"GET", "/v1/workloads/{workload}/replicas/{replica}/logs", false, GetLogs},
    {"POST", "/v1/workloads/{workload}/stop", true, PostStop},
    {"POST", "/v1/workloads/{workload}/restart", true, PostRestart},
    {"POST", "/v1/leases", true, PostLease},
    {"PATCH", "/v1/leases/{lease}", true, PatchLease},
    {"DELETE", "/v1/leases/{lease}", true, DeleteLease},
};

int StatusOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return 400;
    case ErrorCode::kPermission:
      return 403;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kStale:
    case ErrorCode::kBusy:
      return 409;
    case ErrorCode::kDoesNotFit:
      return 422;
    case ErrorCode::kUnsupported:
      return 501;
    case ErrorCode::kUnavailable:
    case ErrorCode::kInterrupted:
      return 503;
    case ErrorCode::kFailed:
    case ErrorCode::kPartial:
      return 500;
  }
  return 500;
}

const char* TitleOf(int status) {
  switch (status) {
    case 400:
      return "Bad request";
    case 403:
      return "Not permitted";
    case 404:
      return "Not found";
    case 405:
      return "Method not allowed";
    case 409:
      return "Conflict";
    case 413:
      return "Too large";
    case 422:
      return "Does not fit";
    case 501:
      return "Not supported here";
    case 503:
      return "Unavailable";
    default:
      return "Failed";
  }
}

ApiReply ProblemWith(int status, const Error& error) {
  Json json = {{"type", "about:blank"},
               {"title", TitleOf(status)},
               {"status", status},
               {"detail", error.message},
               {"code", ErrorCodeName(error.code)}};
  if (!error.hint.empty()) json["hint"] = error.hint;
  return {status, "application/problem+json", PrintJson(json), "", {}};
}

}  // namespace

ApiReply Problem(const Error& error) { return ProblemWith(StatusOf(error.code), error); }

ApiReply Problem(int status, const std::string& detail) {
  return ProblemWith(status, {status == 404  ? ErrorCode::kNotFound
                              : status < 500 ? ErrorCode::kInvalid
                                             : ErrorCode::kUnavailable,
                              detail});
}

bool Api::Changes(const std::string& method, const std::string& target) {
  const auto parsed = ParseTarget(target);
  if (!parsed) return false;
  for (const Route& route : kRoutes) {
    if (route.changes && method == route.method && MatchPath(route.path, parsed->segments))
      return true;
  }
  return false;
}

ApiReply Api::Handle(const ApiRequest& request) const {
  const auto target = ParseTarget(request.target);
  if (!target) return Problem(target.error());
  if (const Status may = parts_.access.MayRead(request.peer); !may) return Problem(may.error());

  std::string allow;
  for (const Route& route : kRoutes) {
    auto values = MatchPath(route.path, target->segments);
    if (!values) continue;
    if (request.method != route.method) {
      allow += (allow.empty() ? "" : ", ") + std::string(route.method);
      continue;
    }
    if (route.changes) {
      if (const Status may = parts_.access.MayChange(request.peer); !may)
        return Problem(may.error());
    }
    Call call{parts_, request, std::move(*values), target->query, Json::object()};
    if (!request.body.empty()) {
      auto body = ParseJson(request.body);
      if (!body) return Problem(body.error());
      if (!body->is_object()) return Problem(400, "the request's body is not a JSON object");
      call.body = std::move(*body);
    }
    return route.handler(call);
  }
  if (allow.empty()) return Problem(404, "there is nothing at this path; see /openapi.yaml");
  ApiReply reply = Problem(405, "this path takes " + allow);
  reply.allow = allow;
  return reply;
}

std::vector<std::pair<std::string, std::string>> ApiRoutes() {
  std::vector<std::pair<std::string, std::string>> routes;
  for (const Route& route : kRoutes) routes.emplace_back(route.method, route.path);
  return routes;
}

std::string_view OpenApiDocument() {
  return {api_openapi_yaml, static_cast<size_t>(api_openapi_yaml_end - api_openapi_yaml)};
}

}  // namespace tranche

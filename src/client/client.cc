#include "client/client.h"

#include <fmt/format.h>

#include "base/json.h"

namespace tranche {
namespace {

// Workload names are DNS labels when they are right; anything else must still not become another
// path.
std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

// The error in a problem document (RFC 9457), or that there is none to be read.
Error ProblemOf(const HttpReply& reply) {
  const auto json = ParseJson(reply.body);
  if (json && json->is_object() && json->contains("code") && json->contains("detail")) {
    Json error = {{"code", (*json)["code"]}, {"message", (*json)["detail"]}};
    if (json->contains("hint")) error["hint"] = (*json)["hint"];
    if (auto known = ErrorFromJson(error)) return std::move(*known);
  }
  return {ErrorCode::kFailed, fmt::format("the daemon answered with status {}", reply.status),
          "is the socket another program's, or the daemon of another version?"};
}

Json ReplicaBody(std::optional<int> replica) {
  Json body = Json::object();
  if (replica) body["replica"] = *replica;
  return body;
}

Json ApplyBody(const Client::ApplyRequest& request) {
  return {{"allow_root", request.allow_root}, {"adopt", request.adopt}};
}

}  // namespace

Result<Json> Client::Call(const HttpRequest& request) {
  const auto reply = ExchangeHttp(socket_, request);
  if (!reply) return tl::unexpected<Error>(reply.error());
  if (reply->status < 200 || reply->status > 299) return tl::unexpected<Error>(ProblemOf(*reply));
  auto json = ParseJson(reply->body);
  if (!json) return FailedWhile("reading the daemon's answer", json.error());
  return json;
}

Result<Receipt> Client::Stream(const HttpRequest& request, const Progress& progress,
                               const Interrupted& interrupted) {
  std::optional<Result<Receipt>> end;
  const LineSink sink = [&](const std::string& line) {
    if (line.empty()) return;
    const auto json = ParseJson(line);
    if (!json) {
      end = FailedWhile("reading the daemon's events", json.error());
      return;
    }
    JsonReader reader(*json, "event");
    if (reader.Has("step_receipt")) {
      if (const auto step = StepReceiptFromJson(reader.Object("step_receipt"))) progress(*step);
    } else if (reader.Has("receipt")) {
      end = ReceiptFromJson(reader.Object("receipt"));
    } else if (reader.Has("error")) {
      auto error = ErrorFromJson(reader.Object("error"));
      end = tl::unexpected<Error>(error ? *error : error.error());
    }  // else: an event of a later version, which may be left out
  };
  const auto reply = ExchangeHttp(socket_, request, sink, interrupted);
  if (!reply) return tl::unexpected<Error>(reply.error());
  if (reply->status != 200) return tl::unexpected<Error>(ProblemOf(*reply));
  if (!end) {
    return Fail(ErrorCode::kUnavailable, "the daemon stopped answering before it was done",
                "it finishes or undoes the plan when it starts again; see 'tranche status'");
  }
  return std::move(*end);
}

Result<std::string> Client::Version() {
  const auto json = Call({"GET", "/v1/version", ""});
  if (!json) return tl::unexpected<Error>(json.error());
  JsonReader reader(*json, "version");
  std::string version = reader.String("version");
  if (!reader.status()) return tl::unexpected<Error>(reader.status().error());
  return version;
}

Result<Machine> Client::Inventory() {
  return Call({"GET", "/v1/machine", ""}).and_then(MachineFromJson);
}

Result<Deployment> Client::GetDeployment() {
  return Call({"GET", "/v1/deployment", ""}).and_then(DeploymentFromJson);
}

Result<Spec> Client::GetSpec() {
  const auto json = Call({"GET", "/v1/spec", ""});
  if (!json) return tl::unexpected<Error>(json.error());
  JsonReader reader(*json, "answer");
  const Json& spec = reader.Object("spec");
  if (!reader.status()) return tl::unexpected<Error>(reader.status().error());
  return SpecFromJson(spec);
}

Status Client::SetDrained(const std::string& gpu_uuid, bool drained) {
  const auto json = Call(
      {"POST", "/v1/gpus/" + Escaped(gpu_uuid) + "/drain", PrintJsonLine({{"drained", drained}})});
  if (!json) return tl::unexpected<Error>(json.error());
  return {};
}

Result<SystemStatus> Client::GetStatus() {
  return Call({"GET", "/v1/status", ""}).and_then(SystemStatusFromJson);
}

Result<Plan> Client::MakePlan(const Spec& spec, bool adopt) {
  const Json body = {{"spec", ToJson(spec)}, {"adopt", adopt}};
  return Call({"POST", "/v1/plans", PrintJsonLine(body)}).and_then(PlanFromJson);
}

Result<Plan> Client::MakeDownPlan() {
  return Call({"GET", "/v1/plans/down", ""}).and_then(PlanFromJson);
}

Result<Receipt> Client::Apply(const Plan& plan, const ApplyRequest& request,
                              const Progress& progress, const Interrupted& interrupted) {
  Json body = ApplyBody(request);
  body["plan"] = ToJson(plan);
  return Stream({"POST", "/v1/apply", PrintJsonLine(body)}, progress, interrupted);
}

Result<Receipt> Client::Down(const ApplyRequest& request, const Progress& progress,
                             const Interrupted& interrupted) {
  return Stream({"POST", "/v1/down", PrintJsonLine(ApplyBody(request))}, progress, interrupted);
}

Result<Client::LogPart> Client::Logs(const std::string& workload, int replica, int lines,
                                     std::optional<uint64_t> from) {
  std::string path =
      fmt::format("/v1/workloads/{}/replicas/{}/logs?lines={}", Escaped(workload), replica, lines);
  if (from) path += fmt::format("&from={}", *from);
  const auto json = Call({"GET", path, ""});
  if (!json) return tl::unexpected<Error>(json.error());
  JsonReader reader(*json, "logs");
  LogPart part{reader.String("text"), reader.Unsigned("next")};
  if (!reader.status()) return tl::unexpected<Error>(reader.status().error());
  return part;
}

Status Client::Stop(const std::string& workload, std::optional<int> replica) {
  const auto json = Call({"POST", "/v1/workloads/" + Escaped(workload) + "/stop",
                          PrintJsonLine(ReplicaBody(replica))});
  if (!json) return tl::unexpected<Error>(json.error());
  return {};
}

Status Client::Restart(const std::string& workload, std::optional<int> replica) {
  const auto json = Call({"POST", "/v1/workloads/" + Escaped(workload) + "/restart",
                          PrintJsonLine(ReplicaBody(replica))});
  if (!json) return tl::unexpected<Error>(json.error());
  return {};
}

Result<Lease> Client::GrantLease(const LeaseRequest& request) {
  return Call({"POST", "/v1/leases", PrintJsonLine(ToJson(request))}).and_then(LeaseFromJson);
}

Result<Lease> Client::ChangeLease(const std::string& id, const LeaseChange& change) {
  return Call({"PATCH", "/v1/leases/" + Escaped(id), PrintJsonLine(ToJson(change))})
      .and_then(LeaseFromJson);
}

Status Client::EndLease(const std::string& id) {
  const auto json = Call({"DELETE", "/v1/leases/" + Escaped(id), ""});
  if (!json) return tl::unexpected<Error>(json.error());
  return {};
}

}  // namespace tranche

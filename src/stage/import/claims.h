#pragma once

#include <map>
#include <string>
#include <vector>

#include "stage/import/formats.h"
#include "stage/import/reading.h"

namespace tranche::importing {

// The resource claims of a file (dynamic resource allocation): what each of their requests comes
// to, and who uses it.
class Claims {
 public:
  static bool IsClaim(const std::string& kind);

  // A claim, a template, a device class or a bare configuration; anything else is left.
  void Read(const YamlNode& object, Reading& reading);
  // `workload`, which runs what a container does, with what the claim gives it.
  void Use(const std::string& claim, const std::string& request, DraftWorkload workload,
           const YamlNode& at, Reading& reading);
  // A workload for each claim that no pod of the file uses.
  void AddUnused(Reading& reading);

 private:
  struct Request {
    const YamlNode* at = nullptr;
    std::string name;
    std::string device_class;
    std::string profile;  // of MIG
    std::string gpu;
    std::optional<Bytes> memory;
    int count = 1;
    SharingConfig sharing;
    int users = 0;
  };
  struct Claim {
    std::string name;
    std::string team;
    std::vector<Request> requests;
    bool used = false;
  };

  void ReadDevices(const YamlNode& devices, const std::string& path, Claim* claim,
                   Reading& reading);
  void ReadRequest(const YamlNode& node, const std::string& path, Claim* claim, Reading& reading);
  void ReadExactly(const YamlNode& node, const std::string& path, Request* request,
                   Reading& reading);
  void ReadSelector(const YamlNode& node, const std::string& path, Request* request,
                    Reading& reading);
  void ReadConfig(const YamlNode& list, const std::string& path, Claim* claim, Reading& reading);
  static void ShareSlice(const Request& request, const DraftWorkload& slice,
                         DraftWorkload* workload, Reading& reading);
  static void Apply(const Request& request, DraftWorkload workload, Reading& reading);

  std::vector<Claim> claims_;
  std::map<std::string, Request> classes_;
};

}  // namespace tranche::importing

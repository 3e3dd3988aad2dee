#include "engine/mps_daemons.h"

#include <cstdlib>
#include <filesystem>

extern "C" char** environ;

namespace tranche {

Result<MpsControl> FindMpsControl() {
  const char* path = std::getenv("PATH");
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  return MpsControl::Find(path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin",
                          std::move(environment));
}

MpsDaemonFiles MpsDaemons::FilesOf(const std::string& gpu_uuid) const {
  // A socket's path has 107 characters at most, so the folder's name is short.
  const std::string folder = folder_ + "/" + gpu_uuid.substr(0, 12);
  return {folder, folder + "/log"};
}

Result<MpsDaemonFiles> MpsDaemons::Ensure(const std::string& gpu_uuid) {
  const std::lock_guard lock(mutex_);
  const MpsDaemonFiles files = FilesOf(gpu_uuid);
  if (MpsControl::Daemon(files.pipe_directory)) return files;
  const auto control = FindMpsControl();
  if (!control) return tl::unexpected(control.error());
  const auto started = control->Start(files, gpu_uuid);
  if (!started) return FailedWhile("starting an MPS daemon", started.error());
  return files;
}

void MpsDaemons::EndOthers(const std::set<std::string>& gpu_uuids) {
  const std::lock_guard lock(mutex_);
  std::set<std::string> kept;
  for (const std::string& uuid : gpu_uuids) kept.insert(FilesOf(uuid).pipe_directory);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    const std::string folder = entry.path().string();
    if (kept.count(folder) != 0 || !MpsControl::Daemon(folder)) continue;
    // With clients it refuses, and is asked again the next time.
    if (const auto control = FindMpsControl()) (void)control->Quit({folder, folder + "/log"});
  }
}

}  // namespace tranche

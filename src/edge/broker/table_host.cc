#include "edge/broker/table_host.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace tranche {

tl::unexpected<Error> CannotDo(const std::string& what) {
  const int why = errno;
  const ErrorCode code = why == EACCES || why == EPERM ? ErrorCode::kPermission
                         : why == ENOENT               ? ErrorCode::kNotFound
                                                       : ErrorCode::kFailed;
  return Fail(code, "cannot " + what + ": " + std::strerror(why));
}

tl::unexpected<Error> NotMadeSo(const TablePlace& place) {
  return Fail(ErrorCode::kInvalid, place.path + " is another user's, or not of this version");
}

Result<Descriptor> FileTables::Make(TablePlace* place) {
  const std::string folder = std::filesystem::path(place->path).parent_path();
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return Fail(ErrorCode::kFailed, "cannot make " + folder + ": " + error.message());
  Descriptor file(place->path.ends_with("XXXXXX")
                      ? mkostemp(place->path.data(), O_CLOEXEC)
                      : open(place->path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return CannotDo("make a file in " + folder);
  // For reading it must be everybody's, as its owner is who writes.
  const bool owned = place->read_only || place->owner == geteuid() ||
                     fchown(file.get(), place->owner, static_cast<gid_t>(-1)) == 0;
  if (owned && fchmod(file.get(), place->read_only ? 0644 : 0600) == 0 &&
      ftruncate(file.get(), static_cast<off_t>(place->bytes)) == 0)
    return file;
  auto failed = CannotDo("make " + place->path);
  Remove(place->path);
  return failed;
}

Result<Descriptor> FileTables::Open(const TablePlace& place) {
  Descriptor file(open(place.path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  struct stat found {};
  if (!file || fstat(file.get(), &found) != 0) return CannotDo("open " + place.path);
  const bool owned = place.read_only || found.st_uid == place.owner;
  if (!owned || found.st_size != static_cast<off_t>(place.bytes)) return NotMadeSo(place);
  return file;
}

void FileTables::Remove(const std::string& path) { unlink(path.c_str()); }

}  // namespace tranche

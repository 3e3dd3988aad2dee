#include "edge/broker/program_check.h"

#include <elf.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>

namespace tranche {
namespace {

// As deep as the kernel follows a script whose interpreter is a script.
constexpr int kMaxInterpreters = 4;

bool IsFile(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

std::string ReadAt(std::ifstream& file, uint64_t at, size_t bytes) {
  std::string text(bytes, 0);
  file.clear();
  file.seekg(static_cast<std::streamoff>(at));
  file.read(text.data(), static_cast<std::streamsize>(bytes));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

Status Refuse(const std::string& file, const std::string& why) {
  return Fail(ErrorCode::kUnsupported, file + " " + why + ", so no limit would hold",
              "run a dynamically linked program of glibc without special rights, or use a GPU or "
              "MIG instance of its own");
}

Status CheckElf(const std::string& path, std::ifstream& file) {
  const std::string head = ReadAt(file, 0, sizeof(Elf64_Ehdr));
  Elf64_Ehdr elf;
  if (head.size() < sizeof(elf)) return {};
  std::memcpy(&elf, head.data(), sizeof(elf));
  if (elf.e_ident[EI_CLASS] != ELFCLASS64) return Refuse(path, "is a 32-bit program");
  if (elf.e_machine != EM_X86_64) return Refuse(path, "is not a program for x86-64");
  for (int i = 0; i < elf.e_phnum; ++i) {
    const std::string text =
        ReadAt(file, elf.e_phoff + static_cast<uint64_t>(i) * elf.e_phentsize, sizeof(Elf64_Phdr));
    Elf64_Phdr header;
    if (text.size() < sizeof(header)) break;
    std::memcpy(&header, text.data(), sizeof(header));
    if (header.p_type != PT_INTERP || header.p_filesz > 4096) continue;
    const std::string loader = ReadAt(file, header.p_offset, header.p_filesz).c_str();
    if (loader.find("ld-linux") != std::string::npos) return {};
    return Refuse(path, "needs another C library than glibc (" + loader + ")");
  }
  return Refuse(path, "is statically linked");
}

Status Check(const std::string& path, uint32_t uid, int depth) {
  struct stat status;
  if (stat(path.c_str(), &status) == 0 && (status.st_mode & (S_ISUID | S_ISGID)) != 0 && uid != 0)
    return Refuse(path, "runs with the rights of its owner (setuid or setgid)");
  if (uid != 0 && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0)
    return Refuse(path, "has capabilities of its own");
  std::ifstream file(path, std::ios::binary);
  const std::string head = ReadAt(file, 0, 256);
  if (head.compare(0, 4, "\177ELF") == 0) return CheckElf(path, file);
  if (head.compare(0, 2, "#!") != 0 || depth == kMaxInterpreters) return {};
  std::istringstream words(head.substr(2, head.find('\n') - 2));
  std::string interpreter;
  words >> interpreter;
  return interpreter.empty() ? Status() : Check(interpreter, uid, depth + 1);
}

}  // namespace

Result<std::string> FindProgram(const std::string& name, const std::string& path) {
  bool forbidden = false;
  std::istringstream folders(name.find('/') != std::string::npos ? "" : path);
  std::string folder;
  bool more = name.find('/') != std::string::npos || std::getline(folders, folder, ':');
  for (; more; more = static_cast<bool>(std::getline(folders, folder, ':'))) {
    const std::string file = name.find('/') != std::string::npos ? name : folder + "/" + name;
    if (IsFile(file)) {
      if (access(file.c_str(), X_OK) == 0) return file;
      forbidden = true;
    } else if (name.find('/') != std::string::npos && access(file.c_str(), F_OK) == 0) {
      forbidden = true;  // a folder
    }
  }
  if (forbidden) return Fail(ErrorCode::kPermission, "cannot execute '" + name + "'");
  return Fail(ErrorCode::kNotFound, "there is no program '" + name + "'");
}

Status CheckProgram(const std::string& file, uint32_t uid) { return Check(file, uid, 0); }

}  // namespace tranche

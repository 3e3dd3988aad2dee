#pragma once

#include <cstdint>
#include <vector>

namespace tranche::placement {

// A place that an instance of a MIG profile may take on a GPU.
struct MigPlace {
  int profile = 0;     // index into MigKind::profiles
  uint16_t slots = 0;  // bit i is memory slot i
};

// A profile as far as room goes. `id` is the same for the same profile on every kind of GPU,
// from 1.
struct MigRoomOfProfile {
  int id = 0;
  int compute = 0;  // compute slices
  int slots = 0;    // memory slots
};

// How GPUs of one model may be divided. No place: MIG cannot divide them.
struct MigKind {
  static constexpr int kMaxPlaces = 32;

  int compute = 0;
  int slots = 0;  // at most 16
  std::vector<MigRoomOfProfile> profiles;
  std::vector<MigPlace> places;  // by profile, then by start

  // Index into `profiles`; -1 where it has none of that id.
  int Find(int id) const {
    for (size_t i = 0; i < profiles.size(); ++i) {
      if (profiles[i].id == id) return static_cast<int>(i);
    }
    return -1;
  }
};

// What of one GPU instances of MIG take.
struct MigGpu {
  uint16_t slots = 0;  // taken
  uint8_t compute = 0;
  // Its layout was chosen beforehand: only these places exist, of which an instance may serve
  // whoever asks for no more than it has.
  bool fixed = false;
  bool down = false;
  uint32_t allowed = ~uint32_t{0};  // bit i is place i
  bool operator==(const MigGpu&) const = default;
};

}  // namespace tranche::placement

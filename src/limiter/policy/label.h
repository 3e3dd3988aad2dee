#pragma once

// Places at which a process may die, by name. Only the build of the limiter that is tested for it
// knows them (see test/limiter_memory/kill_test.cc); in the one that programs load they are
// nothing.
#define TRANCHE_LABELS(LABEL) \
  LABEL(kSlotLocked)          \
  LABEL(kSlotEmptied)         \
  LABEL(kSlotClaimed)         \
  LABEL(kReapLocked)          \
  LABEL(kReapEmptied)         \
  LABEL(kAsked)               \
  LABEL(kAskedAndHeld)        \
  LABEL(kHeld)                \
  LABEL(kRefusing)            \
  LABEL(kReleased)            \
  LABEL(kBeforeMake)          \
  LABEL(kMade)                \
  LABEL(kKept)                \
  LABEL(kForgotten)           \
  LABEL(kDestroyed)           \
  LABEL(kSmallMade)           \
  LABEL(kSmallKept)           \
  LABEL(kSmallFreed)          \
  LABEL(kAloneInHole)         \
  LABEL(kMadeInHole)          \
  LABEL(kPoolBegun)           \
  LABEL(kPoolTaken)           \
  LABEL(kPoolFollowed)        \
  LABEL(kPoolInNeed)          \
  LABEL(kPoolReturned)        \
  LABEL(kPrimaryCharged)      \
  LABEL(kPrimaryMade)         \
  LABEL(kPrimaryEnded)        \
  LABEL(kMeasuring)           \
  LABEL(kMeasured)            \
  LABEL(kMapped)              \
  LABEL(kUnmapped)            \
  LABEL(kTableLocked)         \
  LABEL(kTableUnlocked)       \
  LABEL(kGraphBegun)          \
  LABEL(kGraphRun)            \
  LABEL(kLimitReserved)       \
  LABEL(kLimitSet)            \
  LABEL(kGreenMade)           \
  LABEL(kBound)               \
  LABEL(kUnbound)

#ifdef TRANCHE_LIMITER_LABELS
namespace tranche::limiter {
enum class Label : int {
#define TRANCHE_LABEL_NAME(name) name,
  TRANCHE_LABELS(TRANCHE_LABEL_NAME)
#undef TRANCHE_LABEL_NAME
      kCount
};
// The process dies here if TRANCHE_TEST_DIE_AT is this label's number.
void AtLabel(Label label);
}  // namespace tranche::limiter
#define TRANCHE_LABEL(name) ::tranche::limiter::AtLabel(::tranche::limiter::Label::name)
#else
#define TRANCHE_LABEL(name) static_cast<void>(0)
#endif

#pragma once

#include <array>
#include <cstdint>

#include "sim/cuda/objects.h"

// Giving work to a GPU in the order of streams, and waiting for it.
namespace tranche::sim::cuda {

// A kernel, or a graph of kernels: so long with the whole device for itself, more than 0. Waits
// while the stream's queue is full, without the library's lock.
void GiveKernel(Stream* stream, uint64_t cost_ns, uint64_t blocks);
// A copy, which has an engine of its own.
void GiveCopy(Stream* stream, uint64_t cost_ns);
// What the stream is given from now on waits for that work, of any context on the same GPU.
void GiveWait(Stream* stream, const Point& point);
// A marker behind all that the stream was given; the event has its place there.
void GiveMarker(Stream* stream, Event* event);

// ipc.cc: of an event that several processes have, what another of them recorded last.
void LookAtShared(Event* event);
// It was recorded here.
void TellShared(Event* event);
// It goes away here. Under the library's lock.
void LeaveShared(Event* event);

bool IsDone(const Point& point);
// Not before then is it done; 0 when it is.
uint64_t NotBefore(const Point& point);
void Await(const Point& point);

// All that has to be done for the stream to be done.
struct Points {
  uint32_t count = 0;
  std::array<Point, kTimedStreams + 1> point;
};
Points PointsOf(const Stream& stream);
bool IsIdle(const Stream& stream);

// When the event's work was done; 0 while it is not. (It is not one that waits for a gate.)
uint64_t DoneAt(Event* event);

}  // namespace tranche::sim::cuda

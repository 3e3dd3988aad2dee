#pragma once

#include <functional>

#include "sim/cuda/library.h"

// Order and completion of work.
namespace tranche::sim::cuda {

// The stream behind a handle: a default stream of the current context, or one that was made.
// nullptr when there is none. No lock.
Stream* FindStream(CUstream handle);
// The calling thread's default stream of its current context, made when first asked for.
Stream* ThreadStream();

// Gives a new stream its context, and its place there.
void Settle(Stream* stream, ContextSlot* home);

// Runs `body` now, or, while the stream waits for a value in memory, when it goes on.
void Perform(Stream* stream, std::function<void()> body);
// Runs `body` when all that the stream was given is done; always on another thread.
void WhenDone(Stream* stream, std::function<void()> body);
// Sleeps until the stream is done. Without the library's lock.
void WaitFor(Stream* stream);
// The same for all streams of a context.
void WaitForContext(ContextSlot* context);
// Lets the stream wait until `open()`; asked again and again, under no lock.
void Gate(Stream* stream, std::function<bool()> open);

// Lets unused memory of pools go, as far as their thresholds say: at every synchronisation.
void TrimPools();

}  // namespace tranche::sim::cuda

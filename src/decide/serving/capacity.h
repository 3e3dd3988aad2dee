#pragma once

#include <string>
#include <vector>

#include "decide/serving/queue_simulation.h"

// How many requests a replica serves within its objective, from measured or predicted speeds.
namespace tranche::serving {

// How a server ran, or is predicted to run, in one slice: `processes` of it, each on batches of
// `batch`.
struct ProfilePoint {
  int slice = 0;  // any number that tells slices apart
  int batch = 1;
  int processes = 1;
  double per_second = 0;  // of all its processes together
  double seconds = 0;     // of one batch
};

// What is wrong with points that come from outside, one sentence each; empty when nothing is.
std::vector<std::string> WhatIsWrong(const std::vector<ProfilePoint>& points);

struct Objective {
  double seconds = 0;      // an answer takes at most so long,
  double may_miss = 0.01;  // but for this part of them; with 1 only what a full server does counts
  // A batch alone takes at most this part of the objective: as long again may pass before it
  // begins, since the batch before it has to end.
  double batch_part = 0.5;
};

struct Setting {
  ProfilePoint point;
  double wait = 0;        // seconds for which a batch that is not full waits for more
  double per_second = 0;  // that it serves within the objective
};

// The server of a point: a batch that is not full takes as long as was measured of smaller batches
// by as many processes, in between by a line, and no longer than a full one.
BatchServer ServerOf(const ProfilePoint& point, const std::vector<ProfilePoint>& points);

// The most requests per second within the objective, under random arrivals; 0 when even a single
// batch takes too long.
double CapacityOf(const BatchServer& server, const Objective& objective, const QueueRun& run);

// For each slice, by ascending number, the setting that serves most within the objective. Slices
// that cannot keep to it are left out.
std::vector<Setting> BestSettings(const std::vector<ProfilePoint>& points,
                                  const Objective& objective, const QueueRun& run);

}  // namespace tranche::serving

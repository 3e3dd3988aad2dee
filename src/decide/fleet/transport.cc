#include "decide/fleet/transport.h"

#include <algorithm>
#include <queue>

namespace tranche::fleet {

// Shortest augmenting paths; sources and sinks are few, whatever they hold.
void Transport(const std::vector<int64_t>& supply, const std::vector<int64_t>& room,
               std::vector<Arc>* arcs) {
  const size_t sources = supply.size(), nodes = sources + room.size();
  std::vector<int64_t> left = supply, space = room;
  std::vector<std::vector<size_t>> arcs_of(nodes);
  for (size_t a = 0; a < arcs->size(); ++a) {
    (*arcs)[a].flow = 0;
    arcs_of[static_cast<size_t>((*arcs)[a].source)].push_back(a);
    arcs_of[sources + static_cast<size_t>((*arcs)[a].sink)].push_back(a);
  }
  while (true) {
    // Backwards over an arc only what flows on it.
    std::vector<int> came_by(nodes, -1);
    std::vector<bool> seen(nodes, false);
    std::queue<size_t> next;
    for (size_t s = 0; s < sources; ++s) {
      if (left[s] > 0) {
        seen[s] = true;
        next.push(s);
      }
    }
    size_t end = nodes;
    while (!next.empty() && end == nodes) {
      const size_t node = next.front();
      next.pop();
      for (const size_t a : arcs_of[node]) {
        const Arc& arc = (*arcs)[a];
        const bool forth = node < sources;
        const size_t other =
            forth ? sources + static_cast<size_t>(arc.sink) : static_cast<size_t>(arc.source);
        if (seen[other] || (!forth && arc.flow == 0)) continue;
        seen[other] = true;
        came_by[other] = static_cast<int>(a);
        if (forth && space[other - sources] > 0) {
          end = other;
          break;
        }
        next.push(other);
      }
    }
    if (end == nodes) return;
    int64_t amount = space[end - sources];
    size_t node = end;
    while (came_by[node] >= 0) {
      const Arc& arc = (*arcs)[static_cast<size_t>(came_by[node])];
      if (node < sources) amount = std::min(amount, arc.flow);
      node = node < sources ? sources + static_cast<size_t>(arc.sink)
                            : static_cast<size_t>(arc.source);
    }
    amount = std::min(amount, left[node]);
    left[node] -= amount;
    space[end - sources] -= amount;
    node = end;
    while (came_by[node] >= 0) {
      Arc& arc = (*arcs)[static_cast<size_t>(came_by[node])];
      arc.flow += node < sources ? -amount : amount;
      node = node < sources ? sources + static_cast<size_t>(arc.sink)
                            : static_cast<size_t>(arc.source);
    }
  }
}

}  // namespace tranche::fleet

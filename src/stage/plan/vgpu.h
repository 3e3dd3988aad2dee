#pragma once

#include <string>
#include <vector>

#include "model/plan.h"
#include "stage/plan/layout.h"

// Virtual GPUs for virtual machines. Those that share a GPU by time have one size on it, or places
// aligned to their sizes where its sizes are mixed; those that MIG backs have an instance each, or
// where their board can do that, share one by time with others of their size.
// What holds for all of a GPU (that there are places at all, mixed sizes, how turns are taken) is
// one VgpuHostState.

namespace tranche::planning {

// Every type worth trying on one GPU, or why there is none.
void AddVgpuOptions(const GpuView& view, const ReplicaNeed& need, Candidates* out);

// What virtual GPUs of somebody else on a GPU take of it, and why nothing else goes there.
void CollectVgpus(const Deployment& deployment, GpuView& view);
// Puts those into a bin that nothing of ours is in yet.
void PutForeignVgpus(const GpuView& view, Bin* bin);

const VgpuOffer& OfferOf(const GpuView& view, const Option& option);
// What a replica can use of its slice.
Bytes RoomIn(const GpuView& view, const Option& option, Bytes slice);

// Has those that share instances of MIG fill one before they begin another: of two with room the
// driver might take either. What has its place keeps it.
void FillVgpuInstances(const std::vector<GpuView>& views, std::vector<Placed>* placed);

// What a GPU has to be like for those of ours on it, which MIG backs or which take turns.
VgpuHostState HostStateFor(bool by_mig, const std::vector<const Workload*>& tenants);

// What it goes back to: as it was before Tranche first changed it, as far as virtual GPUs that no
// plan made allow.
VgpuHostState VgpuHostBefore(const Deployment& deployment, const Gpu& gpu);

std::vector<std::string> VgpuReasons(const Placed& placed, const ReplicaNeed& need,
                                     const NodeLayout& layout, const std::vector<GpuView>& views);

// Fills in what the plan says of each, and what licences cost.
void DescribeVgpus(const NodeLayout& layout, const std::vector<ReplicaNeed>& needs,
                   const std::vector<GpuView>& views, Plan* plan);

}  // namespace tranche::planning

#include "sim/gpu_time/gpu.h"

namespace tranche::sim {

// calloc: what is not touched takes no memory.
TimedGpu::TimedGpu(uint32_t contexts, GpuTiming timing)
    : state_(std::make_unique<GpuState>()),
      items_(static_cast<WorkItem*>(
          std::calloc(size_t{contexts} * kTimedStreams * kQueueDepth, sizeof(WorkItem)))),
      arbiter_(state_.get(), items_.get(), &scratch_) {
  state_->timing = timing;
  for (uint32_t i = 0; i < contexts; ++i) arbiter_.Clear(i);
}

void TimedGpu::Submit(const Work& work) {
  arbiter_.Submit(work.context, work.stream,
                  {work.id, work.duration, work.visible_at, work.blocks, work.engine}, &done_);
}

void TimedGpu::AdvanceTo(int64_t at, std::vector<Done>* done) {
  arbiter_.AdvanceTo(at, &done_);
  for (const Arbiter::Done& d : done_) {
    done->push_back({{d.context, d.stream, d.item.id, d.item.duration, d.item.blocks, d.item.engine,
                      d.item.visible_at},
                     d.started_at});
  }
  done_.clear();
}

}  // namespace tranche::sim

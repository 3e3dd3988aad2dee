#pragma once

// What the programs here run on a GPU, as PTX text for the driver to compile: no toolkit is needed.
namespace tranche::gpu_check {

// spin(nominal, iterations, counters, from, to): so many rounds of the same arithmetic. Of those
// between two instants of the GPU's own clock, the first thread of each block adds up the number
// (counters[1]) and the time (counters[0]); steps of the clock of 30 us and more are those in which
// another context had the GPU, and are not counted.
//
// watch(nominal, duration, least, trace, most): for so long, writes down when each step of the
// clock of at least `least` began and ended: trace[0] counts them.
//
// `nominal` is how long it will take, in ns, which only a simulated GPU looks at. No parameter may
// be called as its kernel is: ptxas 12.9 ends with a crash then.
inline constexpr char kPtx[] = R"(
.version 7.0
.target sm_70
.address_size 64

.visible .entry empty(.param .u64 nominal)
{
  ret;
}

.visible .entry spin(.param .u64 nominal, .param .u64 iterations, .param .u64 counters,
                     .param .u64 from, .param .u64 to)
{
  .reg .pred %p<6>;
  .reg .b32 %r<4>;
  .reg .f32 %f<4>;
  .reg .b64 %rd<16>;
  ld.param.u64 %rd1, [iterations];
  ld.param.u64 %rd2, [counters];
  ld.param.u64 %rd3, [from];
  ld.param.u64 %rd4, [to];
  mov.u64 %rd5, 0;
  mov.u64 %rd6, 0;
  mov.f32 %f1, 0f3F800000;
  mov.f32 %f2, 0f3F7FFFFE;
  mov.f32 %f3, 0f33D6BF95;
  mov.u64 %rd7, %globaltimer;
ROUND:
  setp.eq.u64 %p1, %rd1, 0;
  @%p1 bra DONE;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  fma.rn.f32 %f1, %f1, %f2, %f3;
  mov.u64 %rd8, %globaltimer;
  sub.u64 %rd9, %rd8, %rd7;
  mov.u64 %rd7, %rd8;
  sub.u64 %rd1, %rd1, 1;
  setp.lt.u64 %p2, %rd8, %rd3;
  @%p2 bra ROUND;
  setp.ge.u64 %p3, %rd8, %rd4;
  @%p3 bra ROUND;
  add.u64 %rd6, %rd6, 1;
  setp.lt.u64 %p4, %rd9, 30000;
  @%p4 add.u64 %rd5, %rd5, %rd9;
  bra ROUND;
DONE:
  mov.u32 %r1, %tid.x;
  setp.ne.u32 %p1, %r1, 0;
  @%p1 bra END;
  setp.eq.u64 %p2, %rd2, 0;
  @%p2 bra END;
  red.global.add.u64 [%rd2], %rd5;
  red.global.add.u64 [%rd2+8], %rd6;
  setp.neu.f32 %p5, %f1, 0f00000000;
  @%p5 bra END;
  st.global.u64 [%rd2+16], %rd1;
END:
  ret;
}

.visible .entry watch(.param .u64 nominal, .param .u64 duration, .param .u64 least,
                      .param .u64 trace, .param .u64 most)
{
  .reg .pred %p<4>;
  .reg .b64 %rd<16>;
  ld.param.u64 %rd1, [duration];
  ld.param.u64 %rd2, [least];
  ld.param.u64 %rd3, [trace];
  ld.param.u64 %rd4, [most];
  mov.u64 %rd5, 0;
  mov.u64 %rd6, %globaltimer;
  add.u64 %rd7, %rd6, %rd1;
STEP:
  mov.u64 %rd8, %globaltimer;
  sub.u64 %rd9, %rd8, %rd6;
  setp.lt.u64 %p1, %rd9, %rd2;
  @%p1 bra NEXT;
  setp.ge.u64 %p2, %rd5, %rd4;
  @%p2 bra NEXT;
  shl.b64 %rd10, %rd5, 4;
  add.u64 %rd11, %rd3, %rd10;
  st.global.u64 [%rd11+8], %rd6;
  st.global.u64 [%rd11+16], %rd8;
  add.u64 %rd5, %rd5, 1;
NEXT:
  mov.u64 %rd6, %rd8;
  setp.lt.u64 %p3, %rd8, %rd7;
  @%p3 bra STEP;
  st.global.u64 [%rd3], %rd5;
  ret;
}

.visible .entry now(.param .u64 nominal, .param .u64 where)
{
  .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [where];
  mov.u64 %rd2, %globaltimer;
  st.global.u64 [%rd1], %rd2;
  ret;
}
)";

// The same names for a simulated GPU, which takes the time and does nothing.
inline constexpr char kSimulatedKernels[] =
    "tranche-kernels 1\n"
    "kernel empty 0\n"
    "kernel spin argument\n"
    "kernel watch argument\n"
    "kernel now 0\n";

}  // namespace tranche::gpu_check

/*
 * dlopen and dlmopen of the preloaded library. What is not about the libraries whose place we take is
 * not called but jumped to, as if the program had called libc: there the return address says who asks,
 * by which the loader knows whose RUNPATH counts and in which link namespace.
 */
#if !defined(__x86_64__)
#error "written for x86-64 only"
#endif

  .hidden tranche_preload_dlopen
  .hidden tranche_preload_dlmopen
  .hidden tranche_preload_real_dlopen
  .hidden tranche_preload_real_dlmopen

  .text
/* void* dlopen(const char* file, int mode) */
  .globl dlopen
  .type dlopen, @function
  .balign 16
dlopen:
  endbr64
  pushq %rdi
  pushq %rsi
  subq $8, %rsp
  movq 24(%rsp), %rdx
  call tranche_preload_dlopen
  addq $8, %rsp
  popq %rsi
  popq %rdi
  testq %rax, %rax
  jne 1f
  movq tranche_preload_real_dlopen(%rip), %rax
  jmpq *%rax
1:
  ret
  .size dlopen, . - dlopen

/* void* dlmopen(Lmid_t namespace, const char* file, int mode) */
  .globl dlmopen
  .type dlmopen, @function
  .balign 16
dlmopen:
  endbr64
  pushq %rdi
  pushq %rsi
  pushq %rdx
  movq 24(%rsp), %rcx
  call tranche_preload_dlmopen
  popq %rdx
  popq %rsi
  popq %rdi
  testq %rax, %rax
  jne 1f
  movq tranche_preload_real_dlmopen(%rip), %rax
  jmpq *%rax
1:
  ret
  .size dlmopen, . - dlmopen

  .section .note.GNU-stack, "", @progbits

/*
 * Every symbol of libcuda.so.1, forwarded by one jump through a table. An entry points at first to
 * code that has it resolved (to our hook if there is one, else to the driver's function) and then
 * straight to the answer. The arguments stay where they are: nothing here knows any signature.
 *
 * tranche_table[i] and tranche_hooks[i] are in the order of abi/cuda_symbols.inc.
 */
#if !defined(__x86_64__)
#error "the trampolines are written for x86-64 only"
#endif

.macro TRANCHE_STUB name
  .section .text.stubs, "ax", @progbits
  .globl \name
  .type \name, @function
  .balign 16
\name:
  endbr64
  jmpq *tranche_slot_\name(%rip)
  .size \name, . - \name

  .section .text.lazy, "ax", @progbits
tranche_lazy_\name:
  endbr64
  leaq tranche_slot_\name(%rip), %r11
  jmp tranche_resolve_and_jump

  .section .data.table, "aw", @progbits
tranche_slot_\name:
  .quad tranche_lazy_\name

  .weak tranche_hook_\name
  .hidden tranche_hook_\name
  .section .data.rel.ro.hooks, "aw", @progbits
  .quad tranche_hook_\name
.endm

  .section .data.table, "aw", @progbits
  .balign 8
  .globl tranche_table
  .hidden tranche_table
tranche_table:

  .section .data.rel.ro.hooks, "aw", @progbits
  .balign 8
  .globl tranche_hooks
  .hidden tranche_hooks
tranche_hooks:

#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments) TRANCHE_STUB name;
#include "abi/cuda_symbols.inc"

  .hidden tranche_resolve
  .section .text.lazy, "ax", @progbits
  .type tranche_resolve_and_jump, @function
tranche_resolve_and_jump:
  /* Everything that may hold an argument; the stack is aligned again after seven pushes. */
  pushq %rdi
  pushq %rsi
  pushq %rdx
  pushq %rcx
  pushq %r8
  pushq %r9
  pushq %rax
  subq $128, %rsp
  movaps %xmm0, (%rsp)
  movaps %xmm1, 16(%rsp)
  movaps %xmm2, 32(%rsp)
  movaps %xmm3, 48(%rsp)
  movaps %xmm4, 64(%rsp)
  movaps %xmm5, 80(%rsp)
  movaps %xmm6, 96(%rsp)
  movaps %xmm7, 112(%rsp)
  movq %r11, %rdi
  call tranche_resolve
  movq %rax, %r11
  movaps (%rsp), %xmm0
  movaps 16(%rsp), %xmm1
  movaps 32(%rsp), %xmm2
  movaps 48(%rsp), %xmm3
  movaps 64(%rsp), %xmm4
  movaps 80(%rsp), %xmm5
  movaps 96(%rsp), %xmm6
  movaps 112(%rsp), %xmm7
  addq $128, %rsp
  popq %rax
  popq %r9
  popq %r8
  popq %rcx
  popq %rdx
  popq %rsi
  popq %rdi
  jmpq *%r11

  .section .note.GNU-stack, "", @progbits

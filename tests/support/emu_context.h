// Switching between fibers: a few instructions on x86-64 (swapcontext makes a system call each time), ucontext
// elsewhere and under AddressSanitizer's own bookkeeping.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__x86_64__)
// Callee-saved registers go on the old stack and come from the new one (System V ABI).
extern "C" void dsr1_emu_switch(void** save, void* load);
asm(R"(
.text
.globl dsr1_emu_switch
.type dsr1_emu_switch, @function
dsr1_emu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size dsr1_emu_switch, .-dsr1_emu_switch
)");
#endif

namespace dsr1::simt::emu {

class Context {
 public:
  // entry never returns; it leaves by switching away.
  void prepare(std::byte* stack, size_t bytes, void (*entry)()) {
    stack_ = stack;
    bytes_ = bytes;
#if defined(__x86_64__)
    auto* top = reinterpret_cast<uint64_t*>(stack + bytes);  // 16-byte aligned: entry finds rsp as after a call
    top[-1] = 0;
    top[-2] = reinterpret_cast<uint64_t>(entry);
    sp_ = top - 8;  // six registers below
#else
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack;
    context_.uc_stack.ss_size = bytes;
    makecontext(&context_, entry, 0);
#endif
  }
  static void change(Context& from, Context& to) {
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, to.stack_, to.bytes_);
#endif
#if defined(__x86_64__)
    dsr1_emu_switch(&from.sp_, to.sp_);
#else
    swapcontext(&from.context_, &to.context_);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, &old_stack_, &old_bytes_);
#endif
  }
  // To be called first in entry. Tells AddressSanitizer that the stack changed, and where the scheduler's lies.
  static void entered([[maybe_unused]] Context& scheduler) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &scheduler.stack_, &scheduler.bytes_);
#endif
  }

 private:
  const void* stack_ = nullptr;
  size_t bytes_ = 0;
#if defined(__SANITIZE_ADDRESS__)
  static inline const void* old_stack_ = nullptr;
  static inline size_t old_bytes_ = 0;
#endif
#if defined(__x86_64__)
  void* sp_ = nullptr;
#else
  ucontext_t context_;
#endif
};

}  // namespace dsr1::simt::emu

// The instruction set, picked at run time.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace cgc {

namespace baseline {
extern const KernelTable table;
}
#ifdef CGC_HAS_x86_64_v3
namespace x86_64_v3 {
extern const KernelTable table;
}
#endif
#ifdef CGC_HAS_x86_64_v4
namespace x86_64_v4 {
extern const KernelTable table;
}
#endif

namespace {

// Best first; a null entry ends the list.
const KernelTable* const* runnable() {
  static const KernelTable* found[4] = {};
  static const bool once = [] {
    int n = 0;
#ifdef __x86_64__
    __builtin_cpu_init();
    [[maybe_unused]] const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                                     __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    [[maybe_unused]] const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                                     __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                                     __builtin_cpu_supports("avx512cd");
#endif
#ifdef CGC_HAS_x86_64_v4
    if (v4) found[n++] = &x86_64_v4::table;
#endif
#ifdef CGC_HAS_x86_64_v3
    if (v3) found[n++] = &x86_64_v3::table;
#endif
    found[n] = &baseline::table;
    return true;
  }();
  (void)once;
  return found;
}

}  // namespace

int kernel_names(const char** names, int capacity) {
  int n = 0;
  for (const KernelTable* const* t = runnable(); *t && n < capacity; ++t) names[n++] = (*t)->name;
  return n;
}

const KernelTable* kernels_named(const char* name) {
  for (const KernelTable* const* t = runnable(); *t; ++t)
    if (!std::strcmp((*t)->name, name)) return *t;
  return nullptr;
}

namespace {

const KernelTable* find_or_throw(const char* name) {
  const KernelTable* table = kernels_named(name);
  if (table) return table;
  std::string message =
      std::string("the instruction set '") + name + "' is unknown or cannot run on this processor; choose";
  for (const KernelTable* const* t = runnable(); *t; ++t) message += std::string(" ") + (*t)->name;
  throw std::invalid_argument(message);
}

std::atomic<const KernelTable*>& current() {
  static std::atomic<const KernelTable*> table = [] {
    const char* wanted = std::getenv("CGC_ISA");
    return wanted && *wanted ? find_or_throw(wanted) : runnable()[0];
  }();
  return table;
}

}  // namespace

const KernelTable& kernels() { return *current(); }

void use_kernels(const char* name) { current() = find_or_throw(name); }

}  // namespace cgc

// The instruction set, picked at run time.
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace cgc {

namespace baseline {
extern const KernelTable table;
}
#ifdef CGC_X86_LEVELS
namespace x86_64_v3 {
extern const KernelTable table;
}
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
#ifdef CGC_X86_LEVELS
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512cd");
    if (v4) found[n++] = &x86_64_v4::table;
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

const KernelTable& kernels() {
  static const KernelTable* chosen = [] {
    const char* wanted = std::getenv("CGC_ISA");
    if (!wanted || !*wanted) return runnable()[0];
    const KernelTable* table = kernels_named(wanted);
    if (!table) {
      std::string message = std::string("CGC_ISA=") + wanted + " cannot run on this processor; choose one of";
      for (const KernelTable* const* t = runnable(); *t; ++t) message += std::string(" ") + (*t)->name;
      throw std::runtime_error(message);
    }
    return table;
  }();
  return *chosen;
}

}  // namespace cgc

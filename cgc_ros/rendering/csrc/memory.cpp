// Memory that outlives a render.
#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>

#include "rasterizer.h"

namespace cgc {
namespace {

constexpr std::align_val_t kAlignment{64};
#ifdef CGC_SANITIZED
constexpr size_t kSmallest = SIZE_MAX;  // every array of its own and of the size asked for, to see what lies beyond
#else
constexpr size_t kSmallest = 64 << 10;  // below, malloc is quick enough
#endif
constexpr size_t kMostKept = 256u << 20;

struct Kept {
  void* memory;
  size_t bytes;
};

struct Shelf {
  std::mutex mutex;
  std::vector<Kept> blocks;  // oldest first
  size_t bytes = 0;
};

Shelf& shelf() {
  static Shelf* instance = new Shelf;  // never destroyed: arrays may be released after static destructors ran
  return *instance;
}

#ifdef MADV_HUGEPAGE
constexpr size_t kHugePage = 2 << 20;
#else
constexpr size_t kHugePage = SIZE_MAX;
#endif

std::align_val_t alignment(size_t bytes) { return bytes < kHugePage ? kAlignment : std::align_val_t{kHugePage}; }

// Splats and records are visited in no order: on large pages, where the system has them, their addresses are found
// quicker.
void* fresh_memory(size_t bytes) {
  void* memory = ::operator new(bytes, alignment(bytes));
#ifdef MADV_HUGEPAGE
  if (bytes >= kHugePage) madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return memory;
}

void free_memory(void* memory, size_t bytes) { ::operator delete(memory, alignment(bytes)); }

// A size that requests of about the same size share: the next of 16 steps to a power of two.
size_t rounded(size_t bytes) {
  if (bytes < kSmallest) return std::max<size_t>(bytes, 1);
  size_t step = kSmallest / 16;
  while (step * 32 <= bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

}  // namespace

void* take_memory(size_t bytes) {
  bytes = rounded(bytes);
  if (bytes >= kSmallest) {
    Shelf& s = shelf();
    std::lock_guard lock(s.mutex);
    for (size_t i = s.blocks.size(); i-- > 0;) {
      if (s.blocks[i].bytes != bytes) continue;
      void* memory = s.blocks[i].memory;
      s.blocks.erase(s.blocks.begin() + std::ptrdiff_t(i));
      s.bytes -= bytes;
      return memory;
    }
  }
  return fresh_memory(bytes);
}

void release_memory(void* memory, size_t bytes) {
  bytes = rounded(bytes);
  if (bytes < kSmallest || bytes > kMostKept) return free_memory(memory, bytes);
  Shelf& s = shelf();
  std::lock_guard lock(s.mutex);
  s.blocks.push_back({memory, bytes});
  s.bytes += bytes;
  while (s.bytes > kMostKept) {
    free_memory(s.blocks.front().memory, s.blocks.front().bytes);
    s.bytes -= s.blocks.front().bytes;
    s.blocks.erase(s.blocks.begin());
  }
}

GrowingBuffer::~GrowingBuffer() {
  if (data) release_memory(data, capacity);
}

void GrowingBuffer::grow(size_t bytes) {
  bytes = std::max(bytes, capacity + capacity / 2);
  void* larger = take_memory(bytes);
  if (data) std::memcpy(larger, data, capacity), release_memory(data, capacity);
  data = larger, capacity = bytes;
}

}  // namespace cgc

// Threads that wait for parallel loops.
#pragma once

#include <cstdint>

namespace cgc {

// Calls body(item, worker) for each item of [0, count) on up to `threads` threads, the caller's among them; workers are
// numbered from 0. Which thread takes which item is left to chance: bodies must not depend on it. A second caller while
// the pool is at work runs alone on its own thread. An exception in a body is thrown again here.
using LoopBody = void (*)(void* context, int64_t item, int worker);
void parallel_for(int64_t count, int threads, LoopBody body, void* context);

template <class Body>
void parallel_for(int64_t count, int threads, Body&& body) {
  parallel_for(
      count, threads, [](void* context, int64_t item, int worker) { (*static_cast<Body*>(context))(item, worker); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace cgc

#include "thread_pool.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace cgc {
namespace {

struct Loop {
  Loop(LoopBody body, void* context, int64_t count) : body(body), context(context), count(count) {}

  LoopBody body;
  void* context;
  int64_t count;
  int helpers = 0;  // workers numbered up to this may join
  std::atomic<int64_t> next{0};
  std::mutex failure_mutex;
  std::exception_ptr failure;

  void run(int worker) {
    for (int64_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
      try {
        body(context, item, worker);
      } catch (...) {  // handed to the caller, which throws it again
        std::lock_guard lock(failure_mutex);
        if (!failure) failure = std::current_exception();
        next.store(count, std::memory_order_relaxed);
      }
    }
  }
};

// Loops follow each other closely within one call, so a helper looks for the next one for a moment before it sleeps.
constexpr auto kLookOut = std::chrono::microseconds(100);

class Pool {
 public:
  void run(Loop& loop, int threads) {
    loop.helpers = threads - 1;
    {
      std::lock_guard lock(mutex_);
      while (int(helpers_.size()) < threads - 1) {
        const int worker = int(helpers_.size()) + 1;
        helpers_.emplace_back([this, worker] { help(worker); }).detach();
      }
      loop_ = &loop;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    loop.run(0);
    std::unique_lock lock(mutex_);
    loop_ = nullptr;
    idle_.wait(lock, [&] { return working_ == 0; });
  }

  std::mutex entry;  // one loop at a time

 private:
  void help(int worker) {
    uint64_t seen = 0;
    for (;;) {
      const auto until = std::chrono::steady_clock::now() + kLookOut;
      while (generation_.load(std::memory_order_acquire) == seen && std::chrono::steady_clock::now() < until) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      }
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
      seen = generation_.load(std::memory_order_relaxed);
      Loop* loop = loop_;
      if (!loop || worker > loop->helpers) continue;
      ++working_;
      lock.unlock();
      loop->run(worker);
      lock.lock();
      if (--working_ == 0) idle_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::atomic<uint64_t> generation_{0};
  std::vector<std::thread> helpers_;
  Loop* loop_ = nullptr;
  int working_ = 0;
};

// Never destroyed: helpers may outlive static destructors. A forked child starts anew, for threads do not survive a
// fork.
Pool*& pool() {
  static Pool* instance = [] {
    pthread_atfork(nullptr, nullptr, [] { pool() = new Pool; });
    return new Pool;
  }();
  return instance;
}

}  // namespace

void parallel_for(int64_t count, int threads, LoopBody body, void* context) {
  if (threads > count) threads = int(count);
  if (threads > 1) {
    Pool* p = pool();
    std::unique_lock entry(p->entry, std::try_to_lock);
    if (entry.owns_lock()) {
      Loop loop(body, context, count);
      p->run(loop, threads);
      if (loop.failure) std::rethrow_exception(loop.failure);
      return;
    }
  }
  for (int64_t item = 0; item < count; ++item) body(context, item, 0);
}

}  // namespace cgc

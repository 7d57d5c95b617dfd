// Plain threads for the CPU drivers. Not OpenMP: its waiting threads spin, and on busy cores, beside the pool that
// torch brings along, that turned milliseconds into seconds. A frame or a training batch repays starting a thread.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

// Calls body(k) for k < count on up to `threads` threads, the calling one included.
template <typename Body>
void parallel_for(int count, int threads, const Body& body) {
  if (threads > count) threads = count;
  std::atomic<int> next{0};
  auto work = [&] {
    for (int k; (k = next.fetch_add(1, std::memory_order_relaxed)) < count;) body(k);
  };
  std::vector<std::thread> others;
  try {
    for (int k = 1; k < threads; ++k) others.emplace_back(work);
  } catch (const std::system_error&) {
    // No more threads to be had: those that run, and this one, do the work.
  }
  work();
  for (std::thread& other : others) other.join();
}

// Scratch memory that outlives the call: grows to what is needed and is then reused, one per thread at work.
template <typename Scratch>
class Borrowed {
 public:
  Borrowed() {
    std::lock_guard<std::mutex> lock(mutex());
    if (!free_list().empty()) {
      scratch_ = std::move(free_list().back());
      free_list().pop_back();
    } else {
      scratch_.reset(new Scratch);
    }
  }
  ~Borrowed() {
    std::lock_guard<std::mutex> lock(mutex());
    free_list().push_back(std::move(scratch_));
  }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  Scratch& operator*() { return *scratch_; }
  Scratch* operator->() { return scratch_.get(); }

 private:
  static std::mutex& mutex() {
    static std::mutex m;
    return m;
  }
  static std::vector<std::unique_ptr<Scratch>>& free_list() {
    static std::vector<std::unique_ptr<Scratch>> list;
    return list;
  }
  std::unique_ptr<Scratch> scratch_;
};

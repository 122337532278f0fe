// What of rclcpp the documentation's example uses, with its signatures and no behaviour: the ROS wheels have no rclcpp.
#pragma once
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>

namespace rclcpp {

struct QoS {
  explicit QoS(size_t) {}
  QoS& transient_local() { return *this; }
};

template <typename Message>
struct Subscription {
  using SharedPtr = std::shared_ptr<Subscription<Message>>;
};

struct Logger {};

class Node {
 public:
  explicit Node(const std::string&) {}
  virtual ~Node() = default;
  Logger get_logger() const { return {}; }
  template <typename Message>
  typename Subscription<Message>::SharedPtr create_subscription(const std::string&, const QoS&,
                                                                std::function<void(const Message&)>) {
    return nullptr;
  }
};

inline void init(int, char**) {}
inline void spin(std::shared_ptr<Node>) {}
inline void shutdown() {}

}  // namespace rclcpp

#define RCLCPP_INFO(logger, ...) ((void)(logger), std::printf(__VA_ARGS__))

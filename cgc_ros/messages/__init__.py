"""What ROS messages say, read by their fields: the same for rclpy's, rosbags' and ROS 1's. No ROS is needed."""

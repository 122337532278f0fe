"""How long messages wait, in whose time, and what the arrivals of images tell."""

import time

import numpy as np
from builtin_interfaces.msg import Time
from ros_rig import CAMERA, LATCHED, Rig, shifted_transform
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from cgc_ros.messages.stamps import stamp_of
from cgc_ros.ros.conversions.camera_info import camera_info_from_intrinsics
from cgc_ros.ros.conversions.stamps import time_message
from cgc_ros.ros.image_stream import ImageStreamWatch, images_are_lost
from cgc_ros.ros.wait_clock import WaitClock

SECOND = 1_000_000_000


class Clocks:
    """A steady clock and a node's, moved by hand."""

    def __init__(self, is_simulated):
        self.steady = self.node = 0
        self.wait = WaitClock(lambda: self.node, lambda: is_simulated, lambda: self.steady)

    def after(self, steady_s=0.0, node_s=0.0):
        """Seconds of waiting that go by meanwhile."""
        before = self.wait()
        self.steady += round(steady_s * SECOND)
        self.node += round(node_s * SECOND)
        return (self.wait() - before) / SECOND


def test_waits_go_by_the_steady_clock_without_simulation():
    clocks = Clocks(is_simulated=False)
    assert clocks.after(steady_s=2.0, node_s=100.0) == 2.0


def test_waits_go_by_a_simulated_clock_at_its_own_pace():
    clocks = Clocks(is_simulated=True)
    assert clocks.after(steady_s=1.0) == 1.0  # nobody publishes /clock yet
    assert clocks.after(node_s=1_700_000_000.0) == 0.0  # its first message is no time that went by
    assert clocks.after(steady_s=10.0, node_s=1.0) == 1.0
    assert clocks.after(steady_s=10.0) == 0.0  # paused
    assert clocks.after(node_s=-500.0) == 0.0 and clocks.after(node_s=0.5) == 0.5  # a recording in a loop


def test_the_period_of_a_stream_is_the_median_of_its_newest_gaps():
    watch = ImageStreamWatch()
    assert watch.period_s() == 0.0
    for arrival in (0, 2, 4, 20, 22, 24):
        watch.on_image(arrival * SECOND, arrival * SECOND)
    assert watch.period_s() == 2.0


def arrivals(kept, seconds=5):
    """A watch of a camera at 30 Hz of whose images those that `kept` says get through; the time at the end."""
    watch = ImageStreamWatch()
    for index in range(30 * seconds):
        now = SECOND + index * SECOND // 30
        watch.on_camera_info(now)
        if kept(index):
            watch.on_image(now, now)
    return watch.lost(now)


def test_images_that_get_lost_beside_camera_info_are_noticed():
    through = set(np.random.default_rng(0).choice(150, 9, replace=False).tolist())
    assert arrivals(through.__contains__) == (9, 150)
    assert arrivals(lambda index: False) == (0, 150)


def test_images_that_are_all_there_or_late_to_be_found_or_throttled_are_not_lost():
    assert arrivals(lambda index: True) is None
    assert arrivals(lambda index: index % 5) is None  # one in five is lost: not most of them
    assert arrivals(lambda index: False, seconds=1) is None  # not yet subscribed to
    assert arrivals(lambda index: index % 6 == 0) is None  # 5 Hz beside 30
    assert not images_are_lost([], 5)


def test_a_simulation_at_a_tenth_of_real_time_is_mapped():
    with Rig(use_sim_time=True, transform_timeout=0.2, sync_wait=0.05) as rig:
        rig.connect()
        clock = rig.publisher(Clock, "/clock", 10)
        rig.wait(lambda: clock.get_subscription_count())
        seconds = 100.0

        def tick():
            nonlocal seconds
            seconds += 0.002
            clock.publish(Clock(clock=time_message(round(seconds * SECOND))))

        rig.wait(lambda: abs(rig.node.get_clock().now().nanoseconds * 1e-9 - seconds) < 1.0, do=tick)
        start, headers = seconds, []

        def play():  # more than one image: best effort may lose one
            tick()
            if seconds > start + 0.02 * len(headers):
                headers.append(rig.send(stamp=time_message(round(seconds * SECOND)), transform=False))

        # 0.1 s of simulated time, a second of real time: five times transform_timeout
        rig.wait(lambda: seconds > start + 0.1, do=play)
        assert not rig.session.frames and "late_transform" not in rig.faults()
        for header in headers:
            rig.transform(header.stamp, 1.0)
        rig.wait(lambda: rig.session.frames, do=tick)
        assert rig.session.frames[0].stamp_ns in {stamp_of(header.stamp) for header in headers[:3]}


def test_a_slow_camera_is_not_silent():
    with Rig(input_timeout=0.3, sync_wait=0.05) as rig:
        rig.connect()
        for _ in range(4):
            rig.send()
            time.sleep(0.8)  # its rhythm, slower than input_timeout
        rig.send()
        rig.wait(lambda: "no_images" not in rig.faults())
        for _ in range(3):
            time.sleep(0.8)
            assert "no_images" not in rig.faults()
            rig.send()
        rig.wait(lambda: "no_images" in rig.faults(), 10.0)  # after three periods


def test_lost_images_are_named():
    with Rig() as rig:
        rig.connect()
        info = camera_info_from_intrinsics(CAMERA, Header(frame_id="camera", stamp=Time(sec=1)))
        publisher = rig.publisher(CameraInfo, "camera_info")
        rig.publisher(Image, "image")
        diagnosis = rig.wait(lambda: rig.diagnosis("images_lost"), 10.0, do=lambda: publisher.publish(info))
        assert "FASTRTPS_DEFAULT_PROFILES_FILE" in diagnosis


def test_a_missing_transform_names_other_topics_with_transforms():
    with Rig(sync_wait=0.05, transform_timeout=0.05) as rig:
        rig.connect()
        rig.publisher(TFMessage, "/robot1/tf", 100)
        rig.wait(
            lambda: "/robot1/tf" in (rig.diagnosis("no_transform") or ""),
            do=lambda: rig.send(frame_id="unheard", transform=False),
            every=0.1,
        )


def test_a_calibration_that_was_sent_once_before_the_node_listened_is_heard():
    with Rig(autostart=False, sync_wait=0.05) as rig:
        rig.publisher(CameraInfo, "camera_info", LATCHED).publish(camera_info_from_intrinsics(CAMERA, Header()))
        assert rig.node.autostart()
        rig.connect()
        rig.wait(lambda: rig.session.frames, do=lambda: rig.send(info=False), every=0.05)


def test_static_transforms_that_are_not_kept_are_heard():
    with Rig(sync_wait=0.05) as rig:
        rig.connect()
        static = rig.publisher(TFMessage, "/tf_static", 10)
        rig.wait(static.get_subscription_count)

        def send():
            header = rig.send(frame_id="optical", transform=False)
            static.publish(TFMessage(transforms=[shifted_transform(header.stamp, parent="body", child="optical")]))
            rig.transform(header.stamp, child="body")

        rig.wait(lambda: rig.session.frames, do=send, every=0.05)

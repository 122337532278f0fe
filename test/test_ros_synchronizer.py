"""Joining streams by stamp: what is emitted, when, and what is counted."""

from hypothesis import given
from hypothesis import strategies as st

from cgc_ros.ros.synchronizer import PartnerPolicy, StampSynchronizer

MS = 1_000_000


def optional(**changes):
    return PartnerPolicy(**({"tolerance_ns": 5 * MS, "max_wait_ns": 100 * MS, "live_for_ns": 1000 * MS} | changes))


def sticky(**changes):
    return PartnerPolicy(**({"tolerance_ns": 5 * MS, "max_wait_ns": 100 * MS, "reuse_newest": True} | changes))


def test_an_exact_partner_is_joined_at_once():
    sync = StampSynchronizer({"depth": optional()})
    sync.add_partner("depth", 10, "d", now_ns=0)
    sync.add_primary(10, "image", now_ns=0)
    assert sync.poll(0) == [(10, "image", {"depth": "d"})]
    assert not sync.counts


def test_an_image_waits_for_a_living_partner_and_no_longer_than_said():
    sync = StampSynchronizer({"depth": optional()})
    sync.add_partner("depth", 0, "old", now_ns=0)
    sync.add_primary(50 * MS, "image", now_ns=10 * MS)
    assert sync.poll(109 * MS) == []
    assert sync.poll(110 * MS) == [(50 * MS, "image", {"depth": None})]
    assert sync.counts == {"depth_lost": 1}


def test_nobody_waits_for_a_stream_that_is_not_there():
    sync = StampSynchronizer({"depth": optional()})
    sync.add_primary(50 * MS, "image", now_ns=0)
    assert sync.poll(0) == [(50 * MS, "image", {"depth": None})]
    assert not sync.counts


def test_a_partner_stream_that_has_passed_by_ends_the_wait():
    sync = StampSynchronizer({"depth": optional()})
    sync.add_primary(50 * MS, "image", now_ns=0)
    sync.add_partner("depth", 20 * MS, "before", now_ns=0)
    assert sync.poll(0) == []
    sync.add_partner("depth", 80 * MS, "after", now_ns=1)
    assert sync.poll(1) == [(50 * MS, "image", {"depth": None})]


def test_the_nearest_partner_within_tolerance_is_taken_once_no_nearer_can_come():
    sync = StampSynchronizer({"depth": optional()})
    sync.add_primary(50 * MS, "image", now_ns=0)
    sync.add_partner("depth", 47 * MS, "3 ms before", now_ns=0)
    assert sync.poll(0) == []
    sync.add_partner("depth", 52 * MS, "2 ms after", now_ns=0)
    assert sync.poll(0) == [(50 * MS, "image", {"depth": "2 ms after"})]
    assert sync.counts == {"depth_approximate": 1}


def test_a_partner_that_comes_after_its_image_left_is_late():
    sync = StampSynchronizer({"depth": optional()})
    sync.add_primary(50 * MS, "image", now_ns=0)
    sync.poll(0)
    sync.add_partner("depth", 50 * MS, "late", now_ns=200 * MS)
    assert sync.counts == {"depth_late": 1}


def test_a_calibration_sent_once_serves_every_image():
    sync = StampSynchronizer({"camera_info": sticky()})
    sync.add_partner("camera_info", 0, "K", now_ns=0)
    for stamp in (10**9, 10**12):
        sync.add_primary(stamp, "image", now_ns=stamp)
        assert sync.poll(stamp) == [(stamp, "image", {"camera_info": "K"})]


def test_while_the_calibration_changes_an_image_waits_for_its_own():
    sync = StampSynchronizer({"camera_info": sticky()})
    sync.add_partner("camera_info", 0, "zoom 1", now_ns=0)
    sync.add_partner("camera_info", 33 * MS, "zoom 2", now_ns=33 * MS)
    sync.add_primary(66 * MS, "image", now_ns=66 * MS)
    assert sync.poll(66 * MS) == []
    sync.add_partner("camera_info", 66 * MS, "zoom 3", now_ns=67 * MS)
    assert sync.poll(67 * MS) == [(66 * MS, "image", {"camera_info": "zoom 3"})]


def test_a_calibration_that_does_not_fit_is_not_taken_before_the_wait_is_over():
    sync = StampSynchronizer({"camera_info": sticky(fits=lambda image, info: image == info)})
    sync.add_partner("camera_info", 0, "640x480", now_ns=0)
    sync.add_primary(10, "320x240", now_ns=0)
    assert sync.poll(0) == []
    sync.add_partner("camera_info", 10, "320x240", now_ns=1)
    assert sync.poll(1)[0][2] == {"camera_info": "320x240"}


def test_without_any_calibration_the_image_is_given_up():
    sync = StampSynchronizer({"camera_info": sticky()})
    sync.add_primary(10, "image", now_ns=0)
    assert sync.poll(99 * MS) == []
    assert sync.poll(100 * MS) == [(10, "image", {"camera_info": None})]
    assert sync.counts == {"camera_info_lost": 1}


def test_clearing_forgets_what_waits_and_keeps_the_calibration():
    sync = StampSynchronizer({"camera_info": sticky(), "depth": optional()})
    sync.add_partner("camera_info", 9 * 10**9, "K", now_ns=0)
    sync.add_partner("depth", 9 * 10**9, "d", now_ns=0)
    sync.add_primary(10**10, "image", now_ns=0)
    sync.clear()
    assert len(sync) == 0
    sync.add_primary(5, "again", now_ns=1)
    assert sync.poll(1) == [(5, "again", {"camera_info": "K", "depth": None})]


EVENTS = st.lists(
    st.tuples(st.sampled_from(["image", "depth", "poll"]), st.integers(0, 300), st.integers(0, 20)), max_size=80
)


@given(events=EVENTS)
def test_every_image_leaves_once_in_order_within_its_wait_and_memory_is_bounded(events):
    sync = StampSynchronizer({"depth": optional(history=8)}, queue_size=10)
    now, added, emitted = 0, 0, []
    for kind, stamp, pause in events:
        now += pause * MS
        if kind == "image":
            sync.add_primary(stamp * MS, added, now)
            added += 1
        elif kind == "depth":
            sync.add_partner("depth", stamp * MS, f"d{stamp}", now)
        emitted += [(item, stamp_out, partners["depth"]) for stamp_out, item, partners in sync.poll(now)]
        assert len(sync) <= 10 and sync.buffered("depth") <= 8
    emitted += [(item, stamp_out, partners["depth"]) for stamp_out, item, partners in sync.poll(now + 200 * MS)]
    items = [item for item, _, _ in emitted]
    assert items == sorted(set(items)) and len(items) + sync.counts["overflow"] == added
    for _, stamp, depth in emitted:
        assert depth is None or abs(int(depth[1:]) * MS - stamp) <= 5 * MS

"""Pixels that are no part of the world, at the intake."""

import numpy as np
from intake_rig import SECOND, T0, Rig
from std_msgs.msg import Header

from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.conversions.stamps import time_message


def mask_message(mask, stamp_ns=T0):
    return encode_image(mask.astype(np.uint8) * 255, "mono8", Header(stamp=time_message(stamp_ns)))


def hand() -> np.ndarray:
    mask = np.zeros((48, 64), bool)
    mask[30:, 20:40] = True
    return mask


def test_what_is_ignored_comes_with_the_view_and_the_frame():
    rig = Rig(max_image_width=32)
    rig.image()  # nobody publishes: nothing waits
    assert len(rig.views) == len(rig.frames) == 1 and rig.frames[0].ignore is None
    rig.intake.on_ignore(mask_message(hand(), T0 + 1))
    rig.image(T0 + 1)
    np.testing.assert_array_equal(rig.views[1].ignore, hand())
    np.testing.assert_array_equal(rig.frames[1].ignore, hand()[::2, ::2])


def test_a_view_waits_for_what_is_ignored_while_somebody_publishes_it():
    rig = Rig(ignore_wait=10.0)
    rig.intake.on_ignore(mask_message(hand(), T0 - SECOND))
    rig.image()
    assert not rig.views and not rig.frames and rig.intake.is_waiting
    rig.intake.on_ignore(mask_message(hand()))
    rig.intake.poll()
    np.testing.assert_array_equal(rig.views[0].ignore, hand())
    assert len(rig.frames) == 1 and not rig.intake.is_waiting


def test_an_image_whose_ignored_pixels_are_lost_or_unfit_is_labelled_and_not_mapped():
    rig = Rig(ignore_wait=0.0)
    rig.intake.on_ignore(mask_message(hand(), T0 - SECOND))
    rig.image()
    rig.intake.on_ignore(mask_message(hand()[:10], T0 + 1))
    rig.image(T0 + 1)
    rig.intake.on_ignore(mask_message(hand(), T0 + 2))
    rig.image(T0 + 2)
    assert len(rig.views) == 3 and [each.stamp_ns for each in rig.frames] == [T0 + 2]
    assert set(rig.names()) == {"ignore_lost", "ignore_mismatch"}
    assert rig.intake.counts().dropped == {"ignore_lost": 1, "ignore_mismatch": 1}

"""DDS made fit for images before a process joins: otherwise bursts of large messages take small ones down with them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_PROFILE = "fastdds.xml"
_SEGMENT_BYTES = 16 * 2**20  # as in config/fastdds.xml
_SEGMENTS_EXPECTED = 4  # participants of one machine that may use the profile at once
#: Whoever sets one of these has decided on transports already.
_DECIDED = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")


def prepare_transports() -> str:
    """Make Fast DDS use config/fastdds.xml in this process and its children; call before rclpy.init. Says what it did.

    Nothing is changed where the user chose transports, where shared memory is too small (containers), or where the
    file is missing.
    """
    chosen = [name for name in _DECIDED if os.environ.get(name)]
    if chosen:
        return f"DDS transports as {chosen[0]} says"
    profile = next((path for path in _candidates() if path.is_file()), None)
    if profile is None:
        return f"{_PROFILE} was not found: DDS keeps its small default buffers"
    shared_memory = Path("/dev/shm")
    if shared_memory.is_dir() and shutil.disk_usage(shared_memory).free < _SEGMENTS_EXPECTED * _SEGMENT_BYTES:
        return "/dev/shm has less than 64 MB free (docker: --shm-size): DDS keeps its small default buffers"
    os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(profile)
    return f"DDS transports from {profile}"


def _candidates() -> list[Path]:
    """The source tree's, then the installed one."""
    found = [Path(__file__).parents[2] / "config" / _PROFILE]
    try:
        from ament_index_python.packages import get_package_share_directory

        found.append(Path(get_package_share_directory("cgc_ros")) / "config" / _PROFILE)
    except (ImportError, LookupError, OSError):  # not installed as a ROS package, or no ROS environment
        pass
    return found

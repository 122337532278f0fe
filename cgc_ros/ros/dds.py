"""DDS made fit for images before a process joins: otherwise bursts of large messages take small ones down with them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
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
    environment, said = _choice()
    os.environ.update(environment)
    return said


def transport_environment() -> dict[str, str]:
    """The same for a process that is to be started, of a camera driver for one: variables to add to its environment."""
    return _choice()[0]


def profile_path() -> Path | None:
    """config/fastdds.xml of this checkout or installation; None where there is none."""
    return next((path for path in _candidates() if path.is_file()), None)


def has_large_buffers(endpoint: Sequence[int], own_endpoint: Sequence[int]) -> bool | None:
    """Whether the process of an endpoint keeps unread messages in as much shared memory as config/fastdds.xml gives.

    `endpoint`, `own_endpoint`: GIDs, of the endpoint asked about and of any of this process. None where it cannot be
    known: on another machine, in another container, with another DDS than Fast DDS, without shared memory.

    Fast DDS writes vendor, host and process id into a GID (eProsima, `GuidUtils`), and each participant holds a file
    lock beside its segment /dev/shm/fastrtps_*, which /proc/locks lists.
    """
    if tuple(endpoint[:4]) != tuple(own_endpoint[:4]):
        return None
    process_bits = endpoint[4] | endpoint[5] << 8
    sizes = [size for process, size in _segments() if process & 0xFFFF == process_bits]
    return max(sizes) >= _SEGMENT_BYTES if sizes else None


def _choice() -> tuple[dict[str, str], str]:
    """What to add to the environment, and why."""
    chosen = [name for name in _DECIDED if os.environ.get(name)]
    if chosen:
        return {}, f"DDS transports as {chosen[0]} says"
    profile = profile_path()
    if profile is None:
        return {}, f"{_PROFILE} was not found: DDS keeps its small default buffers"
    shared_memory = Path("/dev/shm")
    if shared_memory.is_dir() and shutil.disk_usage(shared_memory).free < _SEGMENTS_EXPECTED * _SEGMENT_BYTES:
        return {}, "/dev/shm has less than 64 MB free (docker: --shm-size): DDS keeps its small default buffers"
    return {"FASTRTPS_DEFAULT_PROFILES_FILE": str(profile)}, f"DDS transports from {profile}"


def _segments() -> list[tuple[int, int]]:
    """(process, bytes) of each shared-memory segment of Fast DDS on this machine."""
    try:
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        owners = {int(words[5].rpartition(":")[2]): int(words[4]) for words in locks if words[1] == "FLOCK"}
        found = []
        for lock in Path("/dev/shm").glob("fastrtps_*_el"):
            segment = lock.with_name(lock.name.removesuffix("_el"))
            if lock.stat().st_ino in owners and segment.exists():
                found.append((owners[lock.stat().st_ino], segment.stat().st_size))
    except OSError:  # no such kernel, or a process ended meanwhile
        return []
    return found


def _candidates() -> list[Path]:
    """The source tree's, then the installed one."""
    found = [Path(__file__).parents[2] / "config" / _PROFILE]
    try:
        from ament_index_python.packages import get_package_share_directory

        found.append(Path(get_package_share_directory("cgc_ros")) / "config" / _PROFILE)
    except (ImportError, LookupError, OSError):  # not installed as a ROS package, or no ROS environment
        pass
    return found

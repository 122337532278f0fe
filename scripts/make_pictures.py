"""Make the pictures of the documentation from real runs: `.venv/bin/python scripts/make_pictures.py`.

demo.jpg      what `cgc demo` left in out/demo: camera image, render, objects, clouds
viewer.jpg    the live page in Chromium, over the demo recording mapped at 5 Hz, one object selected
report.jpg    the report page of `cgc map` and `cgc eval` on it, or on the run that --run names
curves/*.svg  quality and speed against time, of the runs that --runs names (folders of `cgc map`); not made without it

Needs Chromium (apt-get install chromium) and, for demo.jpg, a `make demo` before. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test"))
from viewer_browser import Browser, find_chromium

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
RECORDING = ROOT / "demo" / "tabletop"
QUALITY = 85  # JPEG
LARGEST = 0.4  # metres: the selected object is no larger
PICTURES = ("demo", "viewer", "report")
DRAWN = ("train_psnr", "steps_per_second")
WITHOUT_NOTICES = (  # WebGL without a GPU is announced across the page
    "document.head.insertAdjacentHTML('beforeend', '<style>[class*=Notification] {display: none !important}</style>')"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", nargs="*", metavar="PICTURE", help="demo, viewer or report; all of them by default")
    parser.add_argument("--seconds", type=int, default=45, help="of mapping before the picture of viewer and report")
    parser.add_argument("--run", metavar="DIR", type=Path, help="evaluated run for the report, instead of a new one")
    parser.add_argument("--runs", metavar="DIR", type=Path, nargs="+", help="runs to draw curves of, nothing else")
    arguments = parser.parse_args()
    which = arguments.which or PICTURES
    if not set(which) <= set(PICTURES):
        parser.error(f"pictures are {', '.join(PICTURES)}, not {' '.join(which)}")
    if arguments.runs:
        _curves(arguments.runs)
        return 0
    if find_chromium() is None:
        print("Chromium is not installed: apt-get install chromium", file=sys.stderr)
        return 1
    if "demo" in which:
        montage = cv2.imread(str(ROOT / "out" / "demo" / "montage.png"))
        if montage is None:
            print("out/demo/montage.png is missing: run make demo first", file=sys.stderr)
            return 1
        _write(montage, "demo", 1280)
    with tempfile.TemporaryDirectory(prefix="cgc_ros_pictures_") as folder:
        if "viewer" in which:
            _viewer(Path(folder), arguments.seconds)
        if "report" in which:
            _report(arguments.run or _evaluated(Path(folder) / "run", arguments.seconds), Path(folder))
    return 0


def _curves(runs: list[Path]) -> None:
    """One SVG per quantity, the runs by the names of their folders."""
    import json

    from cgc_ros.evaluation.plots import CURVES, history_plots

    histories = {run.name: json.loads((run / "history.json").read_text())["records"] for run in runs}
    (IMAGES / "curves").mkdir(exist_ok=True)
    for curve in CURVES:
        if curve.key in DRAWN:
            (plot,) = history_plots(histories, [curve])
            (IMAGES / "curves" / f"{curve.key}.svg").write_text(plot)
            print(IMAGES / "curves" / f"{curve.key}.svg")


def _viewer(folder: Path, seconds: float) -> None:
    """The page while the recording is mapped."""
    from cgc_ros.mapping import Mapper, MapperConfig, MappingSession
    from cgc_ros.sequences import open_sequence
    from cgc_ros.viewer import MapViewer

    sequence = open_sequence(RECORDING)
    session = MappingSession(Mapper(MapperConfig()))
    session.start()
    with MapViewer(session, port=0) as viewer, Browser(1440, 900) as browser:
        start = time.monotonic()
        for index in range(len(sequence)):
            if not sequence.is_held_out(index):
                time.sleep(max(0.0, start + index / 5.0 - time.monotonic()))
                session.submit(sequence[index])
        time.sleep(max(0.0, start + seconds - time.monotonic()))
        browser.open(viewer.url)
        browser.evaluate(WITHOUT_NOTICES)
        browser.wait_for("document.body.innerText.includes('object ')", 60)
        things = [item for item in session.snapshot.objects if not item.background and item.box.size.max() < LARGEST]
        shown = max(things, key=lambda item: item.num_views)
        browser.click_on(
            f"[...document.querySelectorAll('button')].find(b => b.innerText.trim().startsWith('object {shown.id}\\n'))"
        )
        time.sleep(6)
        _screenshot_of_the_map(browser, folder / "viewer.png")
    session.stop()
    _write(cv2.imread(str(folder / "viewer.png")), "viewer", 1440)


def _screenshot_of_the_map(browser: Browser, path: Path) -> None:
    """The page fades in, at a speed that the machine decides: until there is little white in the middle."""
    deadline = time.monotonic() + 120
    while True:
        browser.screenshot(path)
        height, width = (picture := cv2.imread(str(path))).shape[:2]
        middle = picture[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3]
        if (middle.min(axis=2) < 200).mean() > 0.3 or time.monotonic() > deadline:
            return
        time.sleep(2)


def _evaluated(run: Path, seconds: int) -> Path:
    """The folder of a new run, scored."""
    cgc = [sys.executable, "-m", "cgc_ros.cli"]
    options = ["--masks", "given", "--rate", "5", "--budget", str(seconds), "--out", str(run)]
    subprocess.run([*cgc, "map", str(RECORDING), *options], check=True)
    subprocess.run([*cgc, "eval", str(run), str(RECORDING)], check=True)
    return run


def _report(run: Path, folder: Path) -> None:
    """The report's first screens."""
    with Browser(1240, 1400) as browser:
        browser.send("Emulation.setScrollbarsHidden", hidden=True)
        browser.open((run.resolve() / "eval" / "report.html").as_uri())
        time.sleep(1)
        browser.screenshot(folder / "report.png")
    _write(cv2.imread(str(folder / "report.png")), "report", 1240)


def _write(picture, name: str, width: int) -> None:
    if picture.shape[1] > width:
        height = round(picture.shape[0] * width / picture.shape[1])
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    IMAGES.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(IMAGES / f"{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    print(f"docs/images/{name}.jpg")


if __name__ == "__main__":
    raise SystemExit(main())

"""Whether the kernels in a wheel load and compute: python scripts/check_wheel.py WHEEL (or a folder with one).

Needs numpy alone: the wheel's own dependencies are several GB.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np


def main() -> int:
    (given,) = map(Path, sys.argv[1:])
    (wheel,) = given.glob("*.whl") if given.is_dir() else [given]
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        (module,) = Path(folder).glob("cgc_ros/rendering/_kernels*.so")
        spec = importlib.util.spec_from_file_location("_kernels", module)
        kernels = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(kernels)
        parameter, first, second = np.ones((5, 3), np.float32), *np.zeros((2, 5, 3), np.float32)
        gradient = np.arange(15, dtype=np.float32).reshape(5, 3) - 7
        kernels.adam_update(parameter, first, second, gradient, None, False, 0.1, 0.9, 0.999, 1e-15, threads=2)
    expected = 1 - 0.1 * np.where(gradient, np.sign(gradient) * 0.1 / np.sqrt(0.001), 0)
    if not np.allclose(parameter, expected, rtol=1e-5):
        print(f"{wheel.name}: a step of Adam gives {parameter.tolist()}, not {expected.tolist()}")
        return 1
    print(f"{wheel.name}: the kernels work")
    return 0


if __name__ == "__main__":
    sys.exit(main())

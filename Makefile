# No ROS installation needed: everything lives in .venv, which the first use makes (docs/development.md).
PYTHON ?= python3
PYTEST_ARGS ?=

# The environment brings its own ROS 2; one that happens to be sourced would mix into it.
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH PYTHONHOME PYTHONPATH VIRTUAL_ENV
unexport ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION _ROS_WHEELS_BOOTSTRAP_COMPLETE

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types sanitize gpu lock clean

help:            ## list the targets
	@sed -n 's/^\([a-z]*\): .*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST) | expand -t 16

setup:           ## make .venv with ROS 2 Jazzy, the interfaces and the kernels; quick when nothing changed
	@$(PYTHON) scripts/setup_environment

demo: setup      ## play the recorded tabletop to the real node; pictures and a table in out/demo
	@.venv/bin/cgc demo

test: setup      ## run all tests; PYTEST_ARGS="-k name" selects
	@.venv/bin/python -m pytest $(PYTEST_ARGS)

lint: setup      ## check the style of Python and C++
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/clang-format --dry-run --Werror cgc_ros/rendering/csrc/*.cpp cgc_ros/rendering/csrc/*.h cgc_ros/rendering/csrc/*.def

types: setup     ## check the package's type annotations
	@.venv/bin/mypy

sanitize: setup  ## run the kernels' tests under AddressSanitizer, UBSan and ThreadSanitizer
	@.venv/bin/python scripts/check_kernels.py

gpu: setup       ## compile gsplat, on a machine with an NVIDIA GPU and the CUDA toolkit
	@.venv/bin/python -m cgc_ros.rendering.gsplat_build

lock: setup      ## write down the exact versions of all indirect dependencies in .venv
	@.venv/bin/python scripts/lock_requirements.py

clean:           ## remove all that was built, .venv included; recordings and results in out/ stay
	rm -rf .venv .build build install log .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	find cgc_ros scripts test launch -name __pycache__ -prune -exec rm -rf {} +
	rm -f cgc_ros/rendering/*.so

# make build   set everything up: .venv/bin/ros-matching, and the ROS messages in install/
# make demo    replay a sequence through the ROS node; SEQUENCE=PATH takes one of yours, ARGS="..." adds options
# make test    all tests; ARGS="..." adds options of pytest
# make test-fast   the tests for daily work, under two minutes on two cores
# make benchmarks  the tables of README.md and docs/benchmarks.md, in results/benchmarks; QUICK=1 for a short run,
#                  ARGS="--only NAME" for some of them, ARGS=--update to replace the tables in the documents
# make docs    the documentation site, in site/; warnings are errors
# make lint    formatting and lint, as CI checks them
# make clean   remove everything that make build created
#
# A sourced ROS 2 environment (ROS_DISTRO is set) is used; otherwise ROS 2 Jazzy comes from PyPI into .venv.
# PYTHON=python3.12 chooses the interpreter, TORCH="torch==2.13.0 --index-url URL" another build of PyTorch.

PYTHON ?= python3
TORCH ?= torch==2.13.0

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.PHONY: build demo test test-fast benchmarks docs lint clean

ros := $(or $(ROS_DISTRO),pypi)
from_pypi := $(filter pypi,$(ros))
venv := $(CURDIR)/.venv
python := $(venv)/bin/python
pip := $(python) -m pip --disable-pip-version-check --quiet install

build: install/.made

demo: build
	$(venv)/bin/ros-matching demo $(if $(SEQUENCE),--source "$(SEQUENCE)") $(ARGS)

test: build
	$(python) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

test-fast: build
	$(python) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile -m "not slow" $(ARGS)

benchmarks: build
	$(python) resource/benchmarks.py $(if $(QUICK),--quick) $(ARGS)

docs: .venv/.made
	$(pip) --no-build-isolation --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(python) -m mkdocs build

lint: .venv/.made
	$(python) -m ruff format --check .
	$(python) -m ruff check .

clean:
	rm -rf .venv build install log site *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.made-for-$(ros):
	@sh resource/check_host.sh $(PYTHON) $(ros)
	if compgen -G ".venv/.made-for-*" > /dev/null; then
		echo "error: .venv was made for another ROS than $(ros); run 'make clean' first" >&2
		exit 1
	fi
	$(PYTHON) -m venv $(if $(from_pypi),,--system-site-packages) .venv
	touch $@

# PyTorch is installed first, so that other packages do not choose another build. The modules of a sourced ROS
# (cv_bridge, the messages) are compiled for its NumPy, so the major version must stay.
.venv/.made: .venv/.made-for-$(ros) setup.py package.xml resource/ros-jazzy.txt
	@echo "Installing the Python packages into .venv; the first time this takes some minutes."
	$(pip) 'setuptools>=64,<80' wheel
	$(pip) $(TORCH)
ifdef from_pypi
	$(pip) --no-build-isolation --editable '.[viz,dev,train,slam,batch,view,ros]'
	# The ROS wheels' CMake files name the headers of the machine that built them.
	python_include=$$($(python) -c 'import sysconfig; print(sysconfig.get_path("include"))')
	numpy_include=$$($(python) -c 'import numpy; print(numpy.get_include())')
	find .venv/share -name '*.cmake' -exec sed -i -E \
		-e "s#/opt/python/[^;\"]*/include/python3\.[0-9]+#$$python_include#g" \
		-e "s#/opt/python/[^;\"]*/numpy/(_core|core)/include#$$numpy_include#g" {} +
	touch .venv/local_setup.sh .venv/local_setup.bash
else
	numpy=$$($(PYTHON) -c 'import numpy; print("numpy<%d" % (int(numpy.__version__.split(".")[0]) + 1))')
	$(pip) --no-build-isolation --editable '.[viz,dev,train,slam,batch,view]' "$$numpy"
endif
	touch $@

# CMake refuses to export targets that use headers (NumPy's, in .venv) from below their own source folder, so colcon
# builds a workspace of links. Without a sourced ROS the venv is its prefix; colcon wants one to have a local_setup.
package := CMakeLists.txt package.xml msg srv launch config resource ros_matching test
workspace := build/src
colcon_environment := $(if $(from_pypi),PATH="$(venv)/bin:$$PATH" AMENT_PREFIX_PATH="$(venv)")

install/.made: .venv/.made CMakeLists.txt package.xml launch config $(shell find msg srv resource -type f)
	@mkdir -p $(workspace)/ros_matching
	ln -sfn -t $(workspace)/ros_matching $(package:%=$(CURDIR)/%)
	$(if $(from_pypi),ln -sfn $(CURDIR)/resource/tf2_msgs $(workspace)/tf2_msgs)
	$(colcon_environment) colcon build --merge-install --symlink-install --paths $(workspace)/* \
		--cmake-args -DPython3_EXECUTABLE="$(python)" -DBUILD_TESTING=OFF
	$(python) resource/ros_matching_overlay.py . install
	touch $@

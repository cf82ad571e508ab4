#!/bin/sh
# Says what the set-up needs of this machine and does not find, all at once, and then fails.
# usage: check_host.sh PYTHON pypi|ROS_DISTRO      (PYTHON: the interpreter to use)
#        check_host.sh --packages PYTHON ROS       (prints only the names of the missing Debian packages)
[ "$1" = --packages ] && only_packages=yes && shift
python=$1
ros=$2

missing=
need() { # PACKAGE COMMAND...: the package is missing when the command fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
need python3 "$python" --version
need python3-venv "$python" -c "import ensurepip, venv"
need python3-dev "$python" -c "import os, sysconfig; os.stat(sysconfig.get_path('include') + '/Python.h')"
need g++ c++ --version
need cmake cmake --version
need make make --version
[ "$ros" = pypi ] || need python3-colcon-common-extensions colcon --help

if [ "$only_packages" ]; then
    echo $missing
    exit
fi
if [ "$missing" ]; then
    echo "error: Debian packages are missing; install them with: sudo apt-get install$missing" >&2
    exit 1
fi
"$python" - "$ros" <<END
import platform, sys

ros = sys.argv[1]
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f"error: Python 3.10 to 3.13 is needed, $python is {platform.python_version()}; try: make PYTHON=python3.12")
if ros == "pypi" and (sys.platform, platform.machine()) != ("linux", "x86_64"):
    sys.exit("error: PyPI has ROS 2 for x86-64 Linux only; install ROS 2 on this machine and source its setup.bash")
if ros != "pypi":
    try:
        import rclpy
    except ImportError as error:
        sys.exit(f"error: ROS 2 {ros} is sourced, but $python cannot import it ({error}); try: make PYTHON=/usr/bin/python3")
END

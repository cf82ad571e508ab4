#!/usr/bin/env bash
# What to run when a GPU is at hand for a quarter of an hour: checks, timings, then training with the time that is left.
#
#   resource/gpu_run.sh [OUT]        OUT: the folder for results and checkpoints (default: results/gpu)
#
# MINUTES=15           the whole time there is
# RECIPE=posfeat_description  what is trained; RECIPE= leaves the training out
# DATA=PATH            the folder of photos and sequences that the recipe takes (option --data of ros-matching train)
#
# A training goes on where the last one in OUT stopped. Without a GPU the plan is shown and nothing is run.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-results/gpu}
minutes=${MINUTES:-15}
recipe=${RECIPE-posfeat_description}
python=${PYTHON:-.venv/bin/python}
start=$(date +%s)

left() { # minutes that are left, less one to bring the results home
    echo $((minutes - 1 - ($(date +%s) - start) / 60))
}
step() { # NAME COMMAND...: run with the output in a file, and say how it ended
    local name=$1
    shift
    echo "== $name: $*"
    [ "$has_gpu" ] || return 0
    timeout "$(($(left) > 0 ? $(left) : 0))m" "$@" >"$out/$name.txt" 2>&1
    echo "   exit code $?, $(left) minutes left; $out/$name.txt"
}

has_gpu=
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' && has_gpu=yes
[ "$has_gpu" ] && mkdir -p "$out" || echo "There is no GPU that PyTorch can use. With one, this would be run:"

step doctor "$python" -m ros_matching.cli.main doctor --device cuda
step tests "$python" -m pytest -q -m gpu
step speed "$python" -m ros_matching.cli.main speed "posfeat*" "ncmnet*" "pbs*" --device cuda --precision float16
if [ "$recipe" ]; then
    resume=
    [ -e "$out/$recipe/checkpoint.pt" ] && resume=--resume
    step train "$python" -m ros_matching.cli.main train "$recipe" ${DATA:+--data "$DATA"} --device cuda \
        --minutes "$(left)" --out "$out/$recipe" $resume
fi
exit 0

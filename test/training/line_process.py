"""One of the processes of a distributed run, for test_loop."""

from __future__ import annotations

import sys
from pathlib import Path

from test_loop import options, recipe

from ros_matching.networks import registry
from ros_matching.training.loop import train

registry._ENTRIES = (*registry._ENTRIES, registry.NetworkEntry("line", "ncnet", lambda _: None))
data, out = map(Path, sys.argv[1:])
train(recipe(data, steps=20, batch_size=2, ema_decay=0.0), options(out), "x")

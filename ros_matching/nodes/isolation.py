"""A ROS 2 graph of one's own: this machine only, in a domain that nobody else uses."""

from __future__ import annotations

import os
import random
import socket

from ros_matching.errors import NodeError

# Above 101 the ports of DDS run into those that Linux hands out for outgoing connections.
_DOMAINS = range(1, 102)

# RTPS 2.5, 9.6.2.3: the port of the first participant's discovery is 7400 + 250 domain + 10.
_FIRST_PORT = 7410
_PORTS_PER_DOMAIN = 250


def isolate(domain_id: int | None = None) -> int:
    """Let ROS contexts that are made from now on, here and in child processes, see only this machine and this domain.

    Without ``domain_id`` a free one is taken at random. Returns the domain. Raises ``NodeError`` when none is free.
    """
    domain_id = _free_domain() if domain_id is None else domain_id
    os.environ["ROS_DOMAIN_ID"] = str(domain_id)
    if os.environ.get("ROS_DISTRO") == "humble":
        os.environ["ROS_LOCALHOST_ONLY"] = "1"
    else:
        os.environ.pop("ROS_LOCALHOST_ONLY", None)  # would override what follows
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.pop("ROS_STATIC_PEERS", None)
    return domain_id


def _free_domain() -> int:
    for domain_id in random.sample(_DOMAINS, len(_DOMAINS)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", _FIRST_PORT + _PORTS_PER_DOMAIN * domain_id))
            except OSError:
                continue  # a participant of that domain runs here
            return domain_id
    raise NodeError(f"no ROS domain from {_DOMAINS[0]} to {_DOMAINS[-1]} is free on this machine; choose one yourself")

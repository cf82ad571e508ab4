"""Services that answer with what was done, or with why it was not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node

from ros_matching.errors import RosMatchingError


def offer(
    node: Node, service_type: type, name: str, action: Callable[[Any], str], group: CallbackGroup | None = None
) -> None:
    """Create a service whose answer has ``success`` and ``message``: what ``action`` returns, or its error."""

    def answer(request: Any, response: Any) -> Any:
        try:
            response.message = action(request)
            response.success = True
        except RosMatchingError as error:
            response.success, response.message = False, str(error)
        return response

    node.create_service(service_type, name, answer, callback_group=group)

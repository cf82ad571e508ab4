"""Services that answer with what was done, or with why it was not."""

from __future__ import annotations

import traceback
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
        except Exception as error:  # an exception out of a service would end the executor and so the process
            node.get_logger().error(f"the service {name} failed:\n{traceback.format_exc()}")
            response.success = False
            response.message = f"the service failed ({type(error).__name__}: {error}); please report this"
        return response

    node.create_service(service_type, name, answer, callback_group=group)

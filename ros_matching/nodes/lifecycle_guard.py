"""What rclpy's lifecycle nodes lack."""

from __future__ import annotations

import traceback
from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode


def refuse_wrong_transitions(node: LifecycleNode) -> None:
    """Answer a transition that the node's state does not allow with ``success: false``.

    rclpy (seen with Jazzy's) raises out of the service's callback instead, which ends the executor and so the process:
    a second ``ros2 lifecycle set NODE configure`` is enough.
    """
    service = node._service_change_state
    change_state = service.callback

    def change_state_or_refuse(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except rclpy_implementation.RCLError as error:
            node.get_logger().warning(f"a lifecycle transition was refused: {error}")
        except Exception:
            node.get_logger().error(f"a lifecycle transition failed:\n{traceback.format_exc()}")
        response.success = False
        return response

    service.callback = change_state_or_refuse

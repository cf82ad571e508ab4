"""The library logs by Python's ``logging``; a node passes that on to the log of ROS."""

from __future__ import annotations

import logging
from typing import Any


class RosLogHandler(logging.Handler):
    """Sends records to an rclpy logger. rclpy ties a severity to a line of code, hence a line for each."""

    def __init__(self, ros_logger: Any) -> None:
        super().__init__()
        self._ros_logger = ros_logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record with the severity nearest to its own."""
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._ros_logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._ros_logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._ros_logger.info(text)
        else:
            self._ros_logger.debug(text)

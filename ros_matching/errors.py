"""The errors of ros_matching: one base, one child per area.

Every message states what was expected, what was given, and the remedy. An expected failure of the method (a lost
track, too few matches) is a status or ``None``, never one of these.
"""


class RosMatchingError(Exception):
    """Base of all errors that ros_matching raises on purpose; catch this to catch them all."""


class DataTypeError(RosMatchingError, ValueError):
    """A class of ``datatypes`` was given an array of the wrong shape, type or range."""


class ConfigError(RosMatchingError, ValueError):
    """A configuration value is unknown, of the wrong type, or out of its range."""


class SourceError(RosMatchingError):
    """A frame source, trajectory or cloud file is missing, empty, truncated or inconsistent."""


class CalibrationError(SourceError):
    """A camera calibration is missing, all zero, or does not fit the images."""


class GeometryError(RosMatchingError, ValueError):
    """A geometric routine was given input it cannot be defined on."""


class MatchingError(RosMatchingError):
    """A matcher is unknown, or was given features that are not its own."""


class CheckpointError(RosMatchingError):
    """Network weights are missing, damaged, or do not fit the network; nothing was loaded."""


class TrackingError(RosMatchingError):
    """The tracker was given a frame that does not fit the ones before it."""


class ImuError(RosMatchingError, ValueError):
    """Samples, calibration or settings of an IMU cannot be used."""


class MapError(RosMatchingError):
    """A saved map is missing, damaged, too large, or does not fit the camera or the features; nothing was loaded."""


class SceneError(RosMatchingError, ValueError):
    """A synthetic scene or camera path was described inconsistently."""


class EvaluationError(RosMatchingError):
    """An estimate cannot be compared with the given ground truth."""


class TrainingError(RosMatchingError):
    """A network cannot be trained as requested: data is missing, a run does not fit its checkpoint, or it diverged."""


class NodeError(RosMatchingError):
    """A ROS message or parameter cannot be used; the message names the remedy."""


class MissingDependencyError(RosMatchingError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""

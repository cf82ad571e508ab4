"""The growing map in Rerun's viewer."""

from __future__ import annotations

from ros_matching.errors import MissingDependencyError
from ros_matching.mapping import MappingResult


class Viewer:
    """Starts the viewer and shows results: the camera with its image and depth, and the points as they come."""

    def __init__(self, name: str) -> None:
        try:
            import rerun
        except ImportError as error:
            raise MissingDependencyError(
                "--rerun needs Rerun's SDK: pip install rerun-sdk (extra rerun of ros_matching)"
            ) from error
        self._rerun = rerun
        rerun.init(f"ros_matching map {name}", spawn=True)
        rerun.log("world", rerun.ViewCoordinates.RIGHT_HAND_Y_DOWN, static=True)

    def show(self, result: MappingResult) -> None:
        """Add a mapped keyframe."""
        rerun, pose, frame = self._rerun, result.keyframe.world_from_camera, result.keyframe.frame
        camera = result.depth_map.camera
        rerun.set_time("frame", sequence=frame.index)
        rerun.log("world/camera", rerun.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
        rerun.log(
            "world/camera/depth",
            rerun.Pinhole(image_from_camera=camera.matrix, resolution=[camera.width, camera.height]),
        )
        rerun.log("world/camera/depth", rerun.DepthImage(result.depth_map.depth, meter=1.0))
        rerun.log("image", rerun.Image(frame.image))
        path = f"world/points/{result.keyframe_id:06d}"
        rerun.log(path, rerun.Points3D(result.cloud.points, colors=result.cloud.colors))

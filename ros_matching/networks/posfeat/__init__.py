"""PoSFeat: learned keypoints and descriptors, trained from camera poses alone."""

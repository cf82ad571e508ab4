"""VLAD: one vector for an image, from the descriptors of its keypoints."""

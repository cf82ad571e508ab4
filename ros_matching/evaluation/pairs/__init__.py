"""Image pairs against ground truth: poses, matches, keypoints, alignment, overlap."""

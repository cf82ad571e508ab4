"""ALIKED (Zhao et al. 2023): keypoints and descriptors of other authors, as a teacher and to compare with."""

"""NCMNet: pruning of putative matches by neighbour consistency mining (Liu and Yang, CVPR 2023)."""

"""CNNGeometric (Rocco et al. 2017): global alignment of two images."""

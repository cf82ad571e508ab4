"""The front end: map initialisation, localisation of each image, relocalisation, keyframe decision."""

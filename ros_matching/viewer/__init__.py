"""A live view in the browser: images with tracked points, the map, and plots."""

"""NCNet: neighbourhood consensus on the 4-D correlation of two feature maps."""

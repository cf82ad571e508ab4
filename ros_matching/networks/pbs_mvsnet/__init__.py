"""PBS-MVSNet: dense depth of a keyframe from its neighbours, with confidence."""

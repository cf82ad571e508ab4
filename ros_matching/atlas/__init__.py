"""The map: landmarks and keyframes with stable ids, the active and the inactive maps. Independent of the tracker."""

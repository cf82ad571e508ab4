"""Parts of nodes that do not depend on what the node computes."""

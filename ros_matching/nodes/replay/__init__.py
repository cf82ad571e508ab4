"""The replay node, and the recorder of what the nodes publish."""

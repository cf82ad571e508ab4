"""Two-view matching: extract, match, estimate the relative pose."""

"""Several matchers in the same tracker on the same frames."""

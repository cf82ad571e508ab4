"""The ``ros-matching`` command, one file per subcommand."""

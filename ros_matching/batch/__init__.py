"""Many recordings at once: one process per recording, on this machine or on a Dask cluster."""

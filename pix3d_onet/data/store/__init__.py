"""The prepared data set on disk: HDF5 shards and the manifest."""

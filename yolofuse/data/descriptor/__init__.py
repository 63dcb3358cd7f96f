"""Read a data set's YAML into a :class:`DatasetDescriptor`."""

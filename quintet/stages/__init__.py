"""One short file a stage: its data, what trains, where it starts from; read like recipes."""

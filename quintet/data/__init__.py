"""Documents and scenes -> rows: sources, shards, resumable loading, the synthetic world."""

"""What the larger commands do, one file each; `quintet.cli` is their door."""

"""What writes pages and pictures of the docs from the code; scripts for clusters lie beside it."""

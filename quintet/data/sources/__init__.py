"""A person's own data, whatever form it has, as documents: one thin reader for each format."""

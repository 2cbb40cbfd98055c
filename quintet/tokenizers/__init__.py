"""Arrays <-> ids: text, sound and pictures. Knows media, not time."""

"""Files and devices <-> arrays: sound, pictures, text-to-speech. Thin; libraries do the work."""

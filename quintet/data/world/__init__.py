"""The synthetic world: things, sentences, pictures and live scenes, seeded and labelled."""

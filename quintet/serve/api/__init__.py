"""What the HTTP API and the Realtime and Live APIs share: errors, settings, sound, its turns."""

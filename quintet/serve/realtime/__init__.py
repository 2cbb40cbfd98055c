"""The Realtime and Live APIs: what clients written for them say, over the same live sessions."""

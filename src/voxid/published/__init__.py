"""Other people's published checkpoints, made into our model folders."""

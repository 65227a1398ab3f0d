"""Speed and memory, always as a ratio against a peer or a bound measured in the same run."""

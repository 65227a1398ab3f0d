"""What to train: one TOML file a recipe."""

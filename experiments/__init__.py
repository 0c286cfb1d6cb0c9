"""What to learn: tasks, synthetic samples, and the `gancao` command."""

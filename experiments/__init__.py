"""The commands: each module is one task, with absl flags."""

"""What one launches: each module is a task, with absl flags."""

"""The one idea, in jax alone: objectives, the one pass through D and its checks, penalties."""

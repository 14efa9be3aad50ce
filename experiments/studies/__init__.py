"""What studies of many runs share."""

"""The process: devices, several processes, signals, settings."""

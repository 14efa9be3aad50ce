"""The process: devices, several processes, signals, caches, precision."""

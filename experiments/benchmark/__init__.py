"""Step times of the schemes, measured side by side, and rates to compare them with.

`peers` needs PyTorch; it is imported only with --peer.
"""

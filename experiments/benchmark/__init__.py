"""Step times of the schemes, measured side by side, and rates to compare them with.

`torch_peer` needs PyTorch; it is imported only with --peer.
"""

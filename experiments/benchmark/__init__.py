"""Step times of the schemes, measured side by side, and what they are to be compared with.

`torch_peer` needs PyTorch and is imported only where it is asked for.
"""

"""Step times of the schemes, measured side by side, and the rates to compare them with.

`torch_peer` needs PyTorch and is imported with --peer alone.
"""

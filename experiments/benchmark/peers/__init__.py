"""PyTorch's counterparts of this project's training steps, to be timed beside them.

Everything here needs torch, which nothing else in the project does, and is imported only with
--peer and by the suite's cases of that kind. Networks are written as a PyTorch user writes them,
and tuned as far as an eager framework allows.

Data contract: images here are `[N, C, H, W]`, torch's order of axes.
"""

"""The inception score (Salimans et al. 2016, arXiv:1606.03498, section 4)."""

import numpy as np


def inception_score(logits: np.ndarray, *, splits: int = 10) -> tuple[float, float]:
    """The exponential of the mean KL divergence of images' classes from their mean.

    Args:
      logits: `[N, K]`, N of at least `splits`.
      splits: equal parts, in order, each scored by itself; a remainder is left out.

    Returns:
      Mean and standard deviation (over the parts, not over one fewer) of the score, 1 to K.

    Raises:
      ValueError: for another shape, fewer images than parts, or logits that are not finite.
    """
    logits = np.asarray(logits, np.float64)
    if logits.ndim != 2:
        raise ValueError(f'expected logits [N, K], got {logits.shape}')
    if splits < 1 or len(logits) < splits:
        raise ValueError(f'{len(logits)} images cannot be scored in {splits} parts')
    if not np.isfinite(logits).all():
        raise ValueError('logits are not finite')
    size = len(logits) // splits
    log_p = logits - logits.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    scores = []
    for part in log_p[: size * splits].reshape(splits, size, -1):
        p = np.exp(part)
        mean = p.mean(axis=0)
        # Where the mean is 0 so is every p, and nothing is added.
        log_mean = np.log(np.where(mean > 0, mean, 1))
        scores.append(np.exp((p * (part - log_mean)).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
